"""Opening a node: what is checked before anything is made."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

import pytest

from mycelium.devnet import layout
from mycelium.errors import AddressInUse, ConfigError
from mycelium.identity.keys import Keypair
from mycelium.node.node import Node
from mycelium.peer.server import check_address


def test_a_member_cannot_be_a_client_too(tmp_path: Path) -> None:
    one, two = layout.prepare(tmp_path, 2)
    config = one.config.read_text()
    one.config.write_text(
        config + f'\n[auth]\nclients = ["{two.address}"]\n' if "[auth]" not in config else config
    )

    async def main() -> None:
        async with Node.open(one.config):
            pytest.fail("it opened")

    with pytest.raises(ConfigError, match=rf"{two.address}(.|\n)*hotkey of their own"):
        asyncio.run(main())
    assert not one.data_dir.exists()


def test_a_port_in_use_is_found_before_the_store_is_made(tmp_path: Path) -> None:
    (place,) = layout.prepare(tmp_path, 1)

    async def main() -> None:
        async with Node.open(place.config):
            check = place.config.read_text().replace('data_dir = "data"', 'data_dir = "other"')
            other = place.config.with_name("other.toml")
            other.write_text(check)
            with pytest.raises(AddressInUse):
                async with Node.open(other):
                    pytest.fail("it opened")
            assert not (place.config.parent / "other").exists()

    asyncio.run(main())
    check_address(layout.HOST, place.port)


def test_a_stranger_that_is_listed_is_a_client(tmp_path: Path) -> None:
    (place,) = layout.prepare(tmp_path, 1)
    program = Keypair.generate()
    from mycelium.identity.account import format as ss58

    place.config.write_text(place.config.read_text() + f'\n[auth]\nclients = ["{ss58(program.account)}"]\n')

    async def main() -> None:
        import mycelium

        async with Node.open(place.config) as node, mycelium.connect(node.url, program) as remote:
            await remote.database.table("hits").add("k", 2)
            assert await node.database.table("hits").get("k") == 2
            assert node.status()["clients"] == 1

    asyncio.run(main())


PARTS = (
    *("timekeeping", "conditions", "replicator", "presence", "discovery"),
    *("fingerprinting", "blacklisting", "trimming", "snapshotserving", "snapshotting"),
)


@pytest.mark.parametrize("failing", ["timekeeping", "policy", "presence", "snapshotting"])
def test_a_part_that_fails_keeps_no_other_from_its_turn(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (place,) = layout.prepare(tmp_path, 1)
    turns: Counter[str] = Counter()
    monkeypatch.setattr("mycelium.node.node.PING_INTERVAL_MS", 10)

    async def main() -> None:
        rounds = asyncio.Event()

        def watch(name: str, owner: object, method: str) -> None:
            tick = getattr(owner, method)

            def turn() -> None:
                turns[name] += 1
                if min(turns.values()) > 2 and len(turns) == len(PARTS) + 1:
                    rounds.set()
                if name == failing:
                    raise ZeroDivisionError
                tick()

            monkeypatch.setattr(owner, method, turn)

        async with Node.open(place.config) as node:
            for name in PARTS:
                watch(name, getattr(node, name), "tick")
            watch("policy", node, "_look_for_policy")
            await asyncio.wait_for(rounds.wait(), 20)

    with caplog.at_level(logging.ERROR, logger="mycelium"):
        asyncio.run(main())
    said = {record.getMessage() for record in caplog.records if record.exc_info}
    assert said == {f"the periodic work of {failing} failed; the others have theirs"}
