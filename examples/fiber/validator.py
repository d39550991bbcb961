"""A validator that asks every miner that has published an address. Its settings are environment variables."""

import asyncio
import os

import httpx
from cryptography.fernet import Fernet

from mycelium.chain.chain_utils import load_hotkey_keypair
from mycelium.chain.fetch_nodes import get_nodes_for_netuid
from mycelium.chain.interface import get_substrate
from mycelium.encrypted.validator import client, handshake


async def main() -> None:
    me = load_hotkey_keypair(os.environ["WALLET_NAME"], os.environ["HOTKEY_NAME"])
    substrate = get_substrate(subtensor_address=os.environ["SUBTENSOR_ADDRESS"])
    nodes = await asyncio.to_thread(get_nodes_for_netuid, substrate, int(os.environ["NETUID"]))
    async with httpx.AsyncClient() as http:
        for node in (node for node in nodes if node.port):
            address = client.construct_server_address(node, replace_with_localhost=True)
            key, uuid = await handshake.perform_handshake(http, address, me, node.hotkey)
            parties = (http, address, me.ss58_address, node.hotkey, me, Fernet(key), uuid)
            answer = await client.make_non_streamed_post(*parties, "/reverse", {"text": "mycelium"})
            print(node.node_id, answer.status_code, answer.json()["text"])
    substrate.close()


asyncio.run(main())
