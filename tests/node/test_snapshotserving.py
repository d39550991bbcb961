"""What a member serves of a snapshot, to whom and how much: surveys, pages and rows, asked for over sockets."""

from __future__ import annotations

import asyncio
from unittest import mock

import kit
import pytest
from node.surveykit import KEYS, LOW, at_leisure, members
from nodekit import run

from mycelium.config.database import SNAPSHOT_OFFERS_BURST, SNAPSHOT_PAGES_BURST, SNAPSHOT_ROWS_MAX
from mycelium.errors import CallFailed
from mycelium.node import calls, snapshotserving
from mycelium.node.snapshotserving import OFFER, PAGE, ROWS, OfferAsked, Offered, PageAsked, Paged, RowsAsked


def page_asked(node, **changes):
    fields = {"space": "main", "account": node.account, "generation": node.generation, "first": 1, "last": 99}
    return PageAsked(**(fields | changes))


@pytest.mark.parametrize(
    ("method", "body"),
    [
        (OFFER, OfferAsked("nobody's", True)),
        (PAGE, PageAsked("nobody's", bytes(32), 1, 1, 2)),
        (ROWS, RowsAsked("nobody's", [b"nobody's\0k"])),
        (ROWS, RowsAsked("main", [])),
        (ROWS, RowsAsked("main", [b"other\0k"])),
        (ROWS, RowsAsked("main", [LOW + bytes(10_000)])),
        (ROWS, RowsAsked("main", [LOW] * (SNAPSHOT_ROWS_MAX + 1))),
        (PAGE, RowsAsked("main", [])),
        (OFFER, "no offer"),
    ],
    ids=["offer", "page", "rows", "no rows", "other rows", "long", "many", "shape", "text"],
)
def test_what_no_member_may_ask(tmp_path, method, body):
    async def main():
        async with members(tmp_path, 3, rounds=1) as mesh:
            with pytest.raises(CallFailed):
                await mesh[0].peercalls.call(mesh[1].account, method, calls.encode(body))
            assert not mesh[1].snapshotserving._surveys

    run(main())


def test_who_may_not_read_is_served_nothing(tmp_path, monkeypatch):
    async def main():
        async with members(tmp_path, 3, rounds=1) as mesh:
            one, other = mesh.nodes
            monkeypatch.setattr(other.snapshotserving, "_may_read", lambda link, space: False)
            for method, body in (
                (OFFER, OfferAsked("main", True)),
                (PAGE, page_asked(one)),
                (ROWS, RowsAsked("main", [LOW + b"k"])),
            ):
                with pytest.raises(CallFailed, match="may not read"):
                    await one.peercalls.call(other.account, method, calls.encode(body))

    run(main())


async def surveyed(one, other):
    """Let `other` make a survey for `one`; how often it was asked."""
    for number in range(1, 100):
        body = calls.encode(OfferAsked("main", True))
        offered = calls.decode(await one.peercalls.call(other.account, OFFER, body), Offered)
        if offered.ready:
            return number
        await asyncio.sleep(0.02)
    raise AssertionError("no survey")


def test_a_survey_is_made_once_and_until_then_there_are_no_pages(tmp_path, monkeypatch):
    async def main():
        async with members(tmp_path, 3, rounds=2) as mesh:
            one, other = mesh.nodes
            with pytest.raises(CallFailed, match="no snapshot ready"):
                await one.peercalls.call(other.account, PAGE, calls.encode(page_asked(one)))
            assert await surveyed(one, other) > 1
            assert await surveyed(one, other) == 1
            assert other.snapshotserving.counts["surveys"] == 1
            answer = await one.peercalls.call(
                other.account, PAGE, calls.encode(page_asked(one, last=2**64 - 1))
            )
            assert len(calls.decode(answer, Paged).batches) == KEYS // 10 + 2
            other.database.engine.counts["given-up"] += 1  # as after a seal
            with pytest.raises(CallFailed, match="no snapshot ready"):
                await one.peercalls.call(other.account, PAGE, calls.encode(page_asked(one)))
            await surveyed(one, other)
            monkeypatch.setattr(snapshotserving, "SNAPSHOT_SURVEY_MS", 0)
            other.snapshotserving.tick()
            assert not other.snapshotserving._surveys

    run(main())


def test_surveys_of_several_spaces_share_their_bound(monkeypatch):
    monkeypatch.setattr(snapshotserving, "SNAPSHOT_SURVEY_BATCHES_MAX", 5)
    at_leisure(monkeypatch, 0)

    async def main():
        database, calls_of_members = kit.database("a"), mock.Mock()
        for number in range(3):
            await database.table("scores").put(f"k{number}", 1)
            await database.table("aside").put(f"k{number}", 1)
        serving = snapshotserving.SnapshotServing(
            database, kit.FixedAuthority(), calls_of_members, lambda link, space: True, lambda: 0, lambda: 0
        )
        for space in ("main", "other"):
            serving._make(space)
        await asyncio.gather(*serving._making.values())
        assert sum(kept.survey.size for kept in serving._surveys.values()) == 3, "and not 6"
        await database.close()

    run(main())


def test_serving_is_bounded(tmp_path, monkeypatch):
    async def main():
        async with members(tmp_path, 3, rounds=1) as mesh:
            one, other = mesh.nodes
            await surveyed(one, other)
            with pytest.raises(CallFailed, match="more of a snapshot"):
                for _ in range(2 * SNAPSHOT_PAGES_BURST):
                    await one.peercalls.call(other.account, PAGE, calls.encode(page_asked(one, first=99)))
            with pytest.raises(CallFailed, match="more of a snapshot"):
                for _ in range(2 * SNAPSHOT_OFFERS_BURST):
                    body = calls.encode(OfferAsked("main", False))
                    await one.peercalls.call(other.account, OFFER, body)
            other.snapshotserving._served_ms.clear()
            monkeypatch.setattr(snapshotserving, "SNAPSHOT_SERVERS_MAX", 0)
            with pytest.raises(CallFailed, match="ask another"):
                await one.peercalls.call(other.account, PAGE, calls.encode(page_asked(one)))
            monkeypatch.setattr(other.snapshotserving, "_clock_ns", lambda: 2**62)
            other.snapshotserving.tick()
            assert not other.snapshotserving._meters

    run(main())
