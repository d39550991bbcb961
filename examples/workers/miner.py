"""A miner's tool: prints a signed registration of a worker, or its end, for a validator to take. Needs no node.

python miner.py bind worker-7 --key net/wallets/miner1/hotkeys/default
"""

from __future__ import annotations

import argparse
import sys
import time

import msgspec
from registration import Registration

from mycelium.chain.signer import address, signer
from mycelium.errors import KeyFileError


def main() -> int:
    parser = argparse.ArgumentParser(description="Sign who a worker belongs to.")
    parser.add_argument("action", choices=("bind", "unbind"))
    parser.add_argument("worker", help="the worker's name")
    parser.add_argument("--key", required=True, help="the hotkey: a key file, or WALLET/HOTKEY")
    given = parser.parse_args()
    try:
        keypair = signer(given.key)
    except KeyFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    time_ms = time.time_ns() // 1_000_000
    registration = Registration(given.action, given.worker, address(keypair), time_ms).signed(keypair)
    print(msgspec.json.encode(registration).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
