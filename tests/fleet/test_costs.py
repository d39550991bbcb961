"""What a change costs in a fleet: the formula of the docs against real machines whose messages are counted."""

from __future__ import annotations

import re

import pytest

from mycelium.fleet.costs import MEMBERS, SLOTS, Case, Count, Simulated, expected, table

WAYS = ("forward", "publish", "copy", "follow", "mesh")


@pytest.mark.parametrize(
    "case", [Case(1, 1, 1), Case(3, 64, 1), Case(10, 64, 16)], ids=["1 member", "3 members", "10 members"]
)
def test_the_formula_is_what_is_counted(case):
    fleet = Simulated(case)
    fleet.run(4_000)
    owners = fleet.owners()
    assert (sum(owners.values()), len(owners)) == (SLOTS, case.members)
    fleet.count = Count()
    changes = 200 * case.batch
    fleet.change(changes)
    said = expected(case)
    for way in WAYS:
        # What is not a whole batch yet was not published, and who is asked is drawn.
        assert fleet.count.messages[way] / changes == pytest.approx(said.messages[way], rel=0.06), way
        assert fleet.count.sizes_bytes[way] / changes == pytest.approx(said.sizes_bytes[way], rel=0.06), way
    fleet.run(100)
    fleet.count = Count()
    fleet.run(9_000)
    assert fleet.count.messages["lease"] / 9 == pytest.approx(said.messages["lease"], rel=0.03)


def test_the_same_seed_counts_the_same():
    def counted():
        fleet = Simulated(Case(3, 1, 4), seed=7)
        fleet.run(4_000)
        fleet.change(50)
        return fleet.count

    assert counted() == counted()


def test_a_fleet_grows_where_it_is_said_to():
    def messages(members, peers, batch):
        return expected(Case(members, peers, batch)).messages

    assert messages(1, 64, 1)["forward"] == 0
    assert messages(100, 64, 1)["mesh"] == messages(1, 64, 1)["mesh"] == 64
    assert messages(100, 1, 1)["follow"] == 100 * messages(1, 1, 1)["follow"]
    # Heartbeats alone grow with the square.
    assert messages(100, 1, 1)["lease"] > 50 * messages(10, 1, 1)["lease"]


def test_the_table_has_a_row_for_every_case():
    lines = list(table())
    rows = [re.findall(r"[\d,.]+", line) for line in lines if re.match(r"\| \d", line)]
    assert len(rows) == 4 * len(MEMBERS) + len(MEMBERS)
    assert rows[0][:3] == ["1", "1", "1"]
