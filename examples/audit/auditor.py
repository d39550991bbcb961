"""An auditor: holds what the owner published on a node of its own, proves who signed it, and computes it anew.

    python auditor.py auditor/node.toml

Reads and never writes. It may be stopped for days: it goes on after the last result that it looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import results

import mycelium
from mycelium.database.watch import Change
from mycelium.errors import BadSignature, ConfigError, HistoryBroken, MyceliumError
from mycelium.identity.account import format as ss58

SPACE = "audit"
QUIET_S = 1.0
"""Without news for so long, everything that is here is verified."""


def judged(change: Change, owner: bytes | None) -> str:
    """What is to be said of one result."""
    result = results.read(change.value)
    if change.account != owner:
        return f"NOT THE OWNER'S: {change.key!r}, signed by {ss58(change.account)}"
    if result is None or result.key != change.key:
        return f"NO RESULT: {change.key!r}"
    if result.score != result.recomputed:
        return f"MISMATCH: {result.key} has {result.score}, and {result.recomputed} follows from its tasks"
    return f"ok: {result.key} {result.score}"


async def verified(node: mycelium.Node) -> str:
    """Check every signature, and that each log is one unbroken chain from its first change on."""
    verifier = mycelium.Verifier(node.network.netuid, node.network.genesis)
    async for batch in node.database.history(SPACE):
        verifier.take(batch)
    heads = [
        f"{ss58(origin.account)} signed {head.seq} changes in {head.batches} batches, up to {head.digest.hex()[:16]}"
        for origin, head in verifier.heads.items()
    ]
    return "verified: " + ("; ".join(heads) or "nothing is here yet")


async def audit(config: Path) -> None:
    """Follow the results, and say what is wrong with them."""
    async with mycelium.Node.open(config) as node:
        place = node.settings.data_dir / "audited"
        after = int(place.read_text()) if place.exists() else 0
        print(f"auditing after {after}", flush=True)
        watch = node.database.table("results").watch(after=after)
        proved = ""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    change = await anext(watch)
            except TimeoutError:
                proof = await verified(node)
                if proof != proved:
                    print(proof, flush=True)
                    proved = proof
                continue
            owners = [member.account for member in (await node.epoch()).members if member.role == "owner"]
            print(judged(change, owners[0] if owners else None), flush=True)
            # After it was said: killed in between, it says one result twice rather than none.
            place.write_text(str(change.cursor))


def main() -> int:
    parser = argparse.ArgumentParser(description="Audit what the owner publishes.")
    parser.add_argument("config", type=Path, help="the invitation: a node.toml, with hotkey.json beside it")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    try:
        asyncio.run(audit(given.config))
    except KeyboardInterrupt:
        return 130
    except (BadSignature, HistoryBroken) as error:
        print(f"NOT PROVED: {error}", file=sys.stderr)
        return 3
    except MyceliumError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
