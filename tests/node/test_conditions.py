"""What a node says about its disk, its members and the chain when one of them is gone, and when it is back."""

from __future__ import annotations

import pytest
from nodekit import Mesh, places, run, until

from mycelium.config import INCIDENTS_MAX, SILENCE_MS
from mycelium.database import rocks
from mycelium.database.memory import MemoryStore
from mycelium.errors import StoreFull
from mycelium.metagraph.membership import SourceStatus
from mycelium.node.conditions import Conditions
from mycelium.node.events import TEXT_CHARS_MAX
from mycelium.node.incidents import Incidents


class Watched:
    """Conditions of a node that is all numbers."""

    def __init__(self):
        self.now_ms = 0
        self.wanted, self.connected = 3, 1
        self.problems: tuple[str, ...] = ()
        self.store = MemoryStore()
        self.incidents = Incidents(lambda: self.now_ms)
        self._conditions = Conditions(
            self.incidents,
            self.store,
            lambda: self.wanted,
            lambda: self.connected,
            lambda: SourceStatus(0, 0, problems=self.problems),
            lambda: self.now_ms * 10**6,
        )

    def passes(self, ms):
        self.now_ms += ms
        self._conditions.tick()

    @property
    def said(self):
        return [(one["kind"], one["over"]) for one in self.incidents.all()]


def test_a_full_disk_is_said_once_and_its_end_too_though_nobody_writes():
    node = Watched()
    node.store.full = True
    node.passes(1_000)
    assert node.said == [], "nothing failed yet"
    with pytest.raises(StoreFull):
        node.store.commit(node.store.batch())
    for _ in range(3):
        node.passes(1_000)
    assert node.said == [("disk", False)]
    assert "no space left" in node.incidents.problems[0]
    node.store.full = False
    node.passes(1_000)
    assert node.said == [("disk", False), ("disk", True)]
    assert node.incidents.problems == []


def test_a_node_without_members_says_so_after_a_while():
    node = Watched()
    node.connected = 0
    node.passes(SILENCE_MS)
    assert node.said == []
    node.passes(SILENCE_MS)
    node.passes(1_000)
    assert node.said == [("alone", False)]
    assert "firewall" in node.incidents.problems[0]
    node.connected = 1
    node.passes(1_000)
    assert node.said == [("alone", False), ("alone", True)]


def test_a_node_that_has_nobody_to_talk_to_is_not_alone():
    node = Watched()
    node.wanted = node.connected = 0
    node.passes(100 * SILENCE_MS)
    assert node.said == []


def test_the_chain_that_is_out_and_back():
    node = Watched()
    node.problems = ("no endpoint answers: look at [chain] endpoints",)
    node.passes(1_000)
    node.problems = ("no endpoint answers: look at [chain] endpoints", "the head is 200 s old")
    node.passes(1_000)
    assert node.said == [("chain", False)], "more of the same is no news"
    assert "200 s" in node.incidents.problems[0]
    node.problems = ()
    node.passes(1_000)
    assert node.said[-1] == ("chain", True)


def test_only_the_last_ones_are_kept():
    node = Watched()
    for number in range(3 * INCIDENTS_MAX):
        node.incidents.note("clock", f"{number}")
    assert [one["text"] for one in node.incidents.all()] == [
        f"{number}" for number in range(2 * INCIDENTS_MAX, 3 * INCIDENTS_MAX)
    ]


def test_a_real_store_that_has_no_room_and_a_node_that_recovers_by_itself(tmp_path, monkeypatch):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            monkeypatch.setattr(rocks, "_free_bytes", lambda path: 0)
            monkeypatch.setattr(rocks, "_SPACE_CHECK_BYTES", 0)
            with pytest.raises(StoreFull):
                await node.database.table("scores").put("k", 1, ack="durable")
            await until(lambda: node.status()["problems"], "said")
            assert "MiB free" in node.status()["problems"][0]
            monkeypatch.setattr(rocks, "_free_bytes", lambda path: 1 << 40)
            await until(lambda: not node.status()["problems"], "recovered")
            await node.database.table("scores").put("k", 2, ack="durable")
            assert [one["over"] for one in node.status()["incidents"]] == [False, True]
            told = [(one.kind, one.text) for one in node.events.after(0) if one.kind in ("trouble", "well")]
            assert told == [
                (kind, one["text"][:TEXT_CHARS_MAX])
                for kind, one in zip(("trouble", "well"), node.incidents.all(), strict=True)
            ], "each once, and at once: without an admin port too"

    run(main())
