"""Messages and bytes for each change at 1, 3, 10 and 100 members of a fleet: counted, and the table of the docs.

    python -m pytest bench/test_fleet_costs.py -s        or        python -m mycelium.fleet.costs     (the table alone)

Simulated and repeatable: the real placements and terms over a bucket and a stream that count. Nothing is timed. The
count at 100 members takes half a minute, as each of them hears all others.
"""

from __future__ import annotations

import pytest

from mycelium.fleet.costs import MEMBERS, SLOTS, Case, Count, Simulated, expected, table

WAYS = ("forward", "publish", "copy", "follow", "mesh")


@pytest.mark.parametrize("members", MEMBERS)
def test_the_table_is_what_is_counted(members):
    case = Case(members, 64, 1)
    fleet = Simulated(case)
    fleet.run(4_000)
    assert sum(fleet.owners().values()) == SLOTS
    fleet.count = Count()
    fleet.change(400)
    said = expected(case)
    print(f"\n{members} members, 64 peers, one change a batch: counted, and by the formula")
    for way in WAYS:
        counted, formula = fleet.count.messages[way] / 400, said.messages[way]
        print(
            f"  {way:8} {counted:8.2f} {formula:8.2f} messages {fleet.count.sizes_bytes[way] / 400:10,.0f} bytes"
        )
        assert counted == pytest.approx(formula, rel=0.06)


def test_the_table():
    print("\n" + "\n".join(table()))
