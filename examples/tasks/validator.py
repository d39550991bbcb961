"""A validator that agrees with the others on the tasks and the seed of each epoch, scores miners, and sets weights.

python validator.py --config net/node1/node.toml
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from duties import Duties

import mycelium
from mycelium.chain.connection import Connection
from mycelium.errors import ChainError, ConfigError, LinkError, MyceliumError, ProtocolError, StoreError
from mycelium.validator.client import ValidatorClient

POLL_S = 0.2


async def run(config: Path, duties: Duties) -> None:
    """For as long as the program runs. The node and the chain may go and come back."""
    while True:
        try:
            async with mycelium.connect(config) as node:
                while True:
                    await duties.step(node)
                    await asyncio.sleep(POLL_S)
        except (LinkError, ProtocolError, StoreError, ChainError) as error:
            print(f"waiting: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(POLL_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="Agree on tasks and scores, epoch by epoch.")
    parser.add_argument("--config", type=Path, required=True, help="the node.toml of this validator's node")
    parser.add_argument(
        "--set-weights", action="store_true", help="set weights; without it, try if it would work"
    )
    given = parser.parse_args()
    try:
        settings = mycelium.Settings.load(given.config)
        if settings.chain is None:
            raise ConfigError(
                f"{given.config} has its members in a file", "weights need a chain: use [chain]"
            )
        with Connection(settings.chain.endpoints) as chain:
            client = ValidatorClient(chain, settings.netuid, hotkey=settings.keypair())
            asyncio.run(run(given.config, Duties(chain, client, dry_run=not given.set_weights)))
    except KeyboardInterrupt:
        return 130
    except MyceliumError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
