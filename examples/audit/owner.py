"""The owner's program: invites auditors, who may read the space `audit` and nothing else, and publishes results in it.

python owner.py invite 5F3s... --to auditor/ --config net/node1/node.toml
mycelium policy publish policy.json --config net/node1/node.toml
python owner.py publish results.jsonl --config net/node1/node.toml
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from results import Result

import mycelium
from mycelium.errors import ConfigError, MyceliumError
from mycelium.identity import account as accounts

TABLES = Path(__file__).with_name("tables.toml")
POLICY: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"who": "owner", "tables": "*", "may": ["read", "put", "delete", "admin"]},
        {"who": "validator", "tables": "main/*", "may": ["read", "put", "delete"]},
        {"who": "validator", "tables": "audit/*", "may": ["read"]},
    ],
}
"""What each auditor's rule is added to: validators read what the owner publishes, and write the space `main`."""
INVITATION = """\
# The settings of an auditor's node. Your hotkey is read from hotkey.json beside this file; nobody else needs it.
[node]
data_dir = "data"
listen = "127.0.0.1:0"
advertise = []                    # it dials out, and nobody needs to reach it

[identity]
key_file = "hotkey.json"

[network]
netuid = {netuid}

[chain]
endpoints = {endpoints}
epoch_blocks = {epoch_blocks}

{tables}"""


def invite(settings: mycelium.Settings, auditor: str, folder: Path, policy: Path) -> None:
    """Write the auditor's settings, and the policy with a rule for it. Publish that, and it is in force for all."""
    accounts.parse(auditor)  # AccountRefused for what is no address
    if settings.chain is None:
        raise ConfigError(
            f"{settings.path} has its members in a file", "auditors are admitted by a policy on chain"
        )
    document = json.loads(policy.read_text()) if policy.exists() else POLICY
    rule = {"who": auditor, "tables": "audit/*", "may": ["read"]}
    if rule not in document["rules"]:
        document["rules"].append(rule)
    policy.write_text(json.dumps(document, indent=2) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    invitation = INVITATION.format(
        netuid=settings.netuid,
        endpoints=json.dumps(list(settings.chain.endpoints)),
        epoch_blocks=settings.chain.epoch_blocks,
        tables=TABLES.read_text(),
    )
    (folder / "node.toml").write_text(invitation)
    print(
        f"wrote {folder / 'node.toml'} and {policy}; now: mycelium policy publish {policy} --config {settings.path}"
    )


async def publish(config: Path, found: list[Result]) -> None:
    """Publish results, all together or none: one batch, one signature."""
    async with mycelium.connect(config) as node, node.database.batch(ack="durable") as batch:
        for result in found:
            batch.put("results", result.key, msgspec.to_builtins(result))
    print(f"published {len(found)} results")


def main() -> int:
    parser = argparse.ArgumentParser(description="Distribute signed audit data.")
    parser.add_argument("what", choices=("invite", "publish"))
    parser.add_argument(
        "which", help="invite: the auditor's address (SS58); publish: a file, one JSON object a line"
    )
    parser.add_argument("--config", type=Path, required=True, help="the node.toml of the owner's node")
    parser.add_argument(
        "--to", type=Path, default=Path("auditor"), help="invite: where the invitation is written"
    )
    parser.add_argument(
        "--policy", type=Path, default=Path("policy.json"), help="invite: the policy document"
    )
    given = parser.parse_args()
    try:
        if given.what == "publish":
            lines = filter(None, Path(given.which).read_bytes().splitlines())
            asyncio.run(publish(given.config, [msgspec.json.decode(line, type=Result) for line in lines]))
        else:
            invite(mycelium.Settings.load(given.config), given.which, given.to, given.policy)
    except (MyceliumError, OSError, msgspec.MsgspecError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
