"""A validator that asks every miner that has published an address, over one encrypted connection with each."""

import asyncio
import os

import httpx

from mycelium.chain.chain_utils import load_hotkey_keypair
from mycelium.chain.fetch_nodes import get_nodes_for_netuid
from mycelium.chain.interface import get_substrate
from mycelium.validator.client import construct_server_address
from mycelium.validator.handshake import connect


async def main() -> None:
    me = load_hotkey_keypair(os.environ["WALLET_NAME"], os.environ["HOTKEY_NAME"])
    substrate = get_substrate(subtensor_address=os.environ["SUBTENSOR_ADDRESS"])
    nodes = await asyncio.to_thread(get_nodes_for_netuid, substrate, int(os.environ["NETUID"]))
    async with httpx.AsyncClient() as http:
        for node in (node for node in nodes if node.port):
            address = construct_server_address(node, replace_with_localhost=True)
            async with await connect(http, address, me, node.hotkey) as connection:
                answer = await connection.post("/reverse", {"text": "mycelium"})
                letters = [line async for line in connection.lines("/letters", {"text": "abc"})]
                print(node.node_id, answer.status_code, answer.json()["text"], *letters[1:])
                print(connection.agreed)
    substrate.close()


asyncio.run(main())
