"""A command that publishes where a hotkey's server is reached, with the options of Fiber's `fiber-post-ip`.

Owns the options and the exit code: 0 when the chain has the address, 1 when it has not, 2 for options that are wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from mycelium import constants as fcst
from mycelium.chain import chain_utils, interface, post_ip_to_chain
from mycelium.errors import MyceliumError

logger = logging.getLogger(__name__)

__all__ = ["argparse", "chain_utils", "fcst", "interface", "logger", "main", "post_ip_to_chain"]

_EXAMPLES = """\
examples:
  python -m mycelium.scripts.post_ip_to_chain --netuid 19 --external_ip 203.0.113.7 --external_port 8091
  python -m mycelium.scripts.post_ip_to_chain --netuid 176 --subtensor.network test \\
      --wallet.name mine --wallet.hotkey first --external_ip miner.example.org --external_port 8091
  python -m mycelium.scripts.post_ip_to_chain --netuid 1 --subtensor.chain_endpoint ws://127.0.0.1:9944 \\
      --external_ip 203.0.113.7 --external_port 8091

The address is published for ever, until another one is. The chain takes one in 50 blocks.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish an address as the options say, by default those of the command line; the exit code."""
    given = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        hotkey = chain_utils.load_hotkey_keypair(given["wallet.name"], given["wallet.hotkey"])
        coldkey = chain_utils.load_coldkeypub_keypair(given["wallet.name"])
        substrate = interface.get_substrate(given["subtensor.network"], given["subtensor.chain_endpoint"])
        try:
            done = post_ip_to_chain.post_node_ip_to_chain(
                substrate,
                hotkey,
                given["netuid"],
                given["external_ip"],
                given["external_port"],
                coldkey.ss58_address,
            )
        finally:
            substrate.close()
    except (MyceliumError, ValueError) as error:
        logger.error("%s", error)
        done = False
    where = f"{given['external_ip']}:{given['external_port']} for subnet {given['netuid']}"
    sys.stdout.write(f"{'published' if done else 'NOT published'}: {where}\n")
    return 0 if done else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Publish on the chain where a hotkey's server is reached.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--subtensor.chain_endpoint", metavar="URL", help="a chain's endpoint, instead of a network's")
    option(
        "--subtensor.network",
        default=fcst.FINNEY_NETWORK,
        metavar="NAME",
        help="finney, test, local or archive (default: %(default)s)",
    )
    option("--wallet.name", default="default", metavar="NAME", help="a wallet (default: %(default)s)")
    option("--wallet.hotkey", default="default", metavar="NAME", help="its hotkey (default: %(default)s)")
    option("--netuid", type=int, required=True, help="the subnet")
    option("--external_ip", required=True, metavar="IP", help="as others reach it: an address or a host name")
    option("--external_port", type=int, required=True, metavar="PORT", help="as others reach it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
