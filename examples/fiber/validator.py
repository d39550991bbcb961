"""A validator that asks every miner that has published an address. Its settings are environment variables."""

import asyncio
import os

import httpx
from cryptography.fernet import Fernet

from mycelium.chain.chain_utils import Keypair, load_hotkey_keypair
from mycelium.chain.fetch_nodes import get_nodes_for_netuid
from mycelium.chain.interface import get_substrate
from mycelium.chain.models import Node
from mycelium.encrypted.validator import client, handshake


async def ask(http: httpx.AsyncClient, me: Keypair, node: Node) -> str:
    """What a miner answers; why it does not."""
    address = client.construct_server_address(node, replace_with_localhost=True)
    try:
        key, uuid = await handshake.perform_handshake(http, address, me, node.hotkey)
        parties = (http, address, me.ss58_address, node.hotkey, me, Fernet(key), uuid)
        answer = await client.make_non_streamed_post(*parties, "/reverse", {"text": "mycelium"})
    except httpx.HTTPError as error:
        return f"does not answer: {type(error).__name__}"
    return f"{answer.status_code} {answer.json()['text']}" if answer.is_success else str(answer.status_code)


async def main() -> None:
    me = load_hotkey_keypair(os.environ["WALLET_NAME"], os.environ["HOTKEY_NAME"])
    substrate = get_substrate(subtensor_address=os.environ["SUBTENSOR_ADDRESS"])
    nodes = await asyncio.to_thread(get_nodes_for_netuid, substrate, int(os.environ["NETUID"]))
    substrate.close()
    # Validators may have published an address too, that of their Mycelium node.
    miners = [node for node in nodes if node.port and node.stake < float(os.environ["MIN_STAKE_THRESHOLD"])]
    async with httpx.AsyncClient() as http:
        for miner, said in zip(
            miners, await asyncio.gather(*(ask(http, me, node) for node in miners)), strict=True
        ):
            print(miner.node_id, said)


asyncio.run(main())
