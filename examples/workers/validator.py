"""A validator's program beside its node: takes registrations of workers, and follows those that any validator took.

python miner.py bind worker-7 --key ... | python validator.py accept --config net/node1/node.toml
python validator.py follow --config net/node2/node.toml --index workers.db
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
import registration
from index import Index

import mycelium
from mycelium.errors import ConfigError, LinkError, MyceliumError, ProtocolError

RETRY_S = 0.5


async def accept(config: Path) -> int:
    """Put what comes on standard input into the store; what its miner did not sign is refused here already."""
    refused = 0
    async with mycelium.connect(config) as node:
        table = node.database.table("registrations")
        for line in sys.stdin:
            try:
                found = registration.read(msgspec.json.decode(line))
            except msgspec.DecodeError:
                found = None
            if found is None:
                refused += 1
                print("refused: no registration that its miner signed", flush=True)
                continue
            # Returns when it is on this node's disk; a node that is killed a moment later passes it on when it is back.
            await table.put(found.worker, msgspec.to_builtins(found), ack="durable")
            print(f"accepted: {found.action} {found.worker}", flush=True)
    return 1 if refused else 0


async def follow(config: Path, index: Index) -> None:
    """Keep the index, for as long as the program runs. Its node may go and come back."""
    while True:
        try:
            async with mycelium.connect(config) as node:
                table = node.database.table("registrations")
                after = index.cursor(node.generation)
                print(f"following after {after}", flush=True)
                async for change in table.watch(after=after):
                    worker = str(change.key)
                    # All facts and not only this one: it may have come late, and belong before others.
                    owner = registration.owner(worker, await table.get(worker))
                    if index.keep(node.generation, change.cursor, worker, owner):
                        print(f"{worker} is {'free' if owner is None else f'of {owner}'}", flush=True)
        except (LinkError, ProtocolError) as error:
            print(f"the node is away, trying again: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(RETRY_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="Share who registered which worker.")
    parser.add_argument("what", choices=("accept", "follow"))
    parser.add_argument("--config", type=Path, required=True, help="the node.toml of this validator's node")
    parser.add_argument("--index", type=Path, default=Path("workers.db"), help="the file that `follow` keeps")
    given = parser.parse_args()
    try:
        if given.what == "accept":
            return asyncio.run(accept(given.config))
        index = Index(given.index)
        try:
            asyncio.run(follow(given.config, index))
        finally:
            index.close()
    except KeyboardInterrupt:
        return 130
    except MyceliumError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
