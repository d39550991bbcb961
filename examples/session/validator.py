"""A validator that asks every miner that has published an address, over one encrypted connection with each."""

import asyncio
import os

import httpx

from mycelium.chain.chain_utils import Keypair, load_hotkey_keypair
from mycelium.chain.fetch_nodes import get_nodes_for_netuid
from mycelium.chain.interface import get_substrate
from mycelium.chain.models import Node
from mycelium.errors import MyceliumError
from mycelium.validator.client import construct_server_address
from mycelium.validator.handshake import connect


async def ask(http: httpx.AsyncClient, me: Keypair, node: Node) -> list[str]:
    """What a miner answers; why it does not."""
    address = construct_server_address(node, replace_with_localhost=True)
    try:
        async with await connect(http, address, me, node.hotkey) as connection:
            answer = await connection.post("/reverse", {"text": "mycelium"})
            letters = [line async for line in connection.lines("/letters", {"text": "abc"})]
            told = " ".join([str(answer.status_code), answer.json()["text"], *letters[1:]])
            return [f"{node.node_id} {told}", str(connection.agreed)]
    except (httpx.HTTPError, MyceliumError) as error:
        return [f"{node.node_id} does not answer: {error or type(error).__name__}"]


async def main() -> None:
    me = load_hotkey_keypair(os.environ["WALLET_NAME"], os.environ["HOTKEY_NAME"])
    substrate = get_substrate(subtensor_address=os.environ["SUBTENSOR_ADDRESS"])
    nodes = await asyncio.to_thread(get_nodes_for_netuid, substrate, int(os.environ["NETUID"]))
    substrate.close()
    # Validators may have published an address too, that of their Mycelium node.
    miners = [node for node in nodes if node.port and node.stake < float(os.environ["MIN_STAKE_THRESHOLD"])]
    async with httpx.AsyncClient() as http:
        for lines in await asyncio.gather(*(ask(http, me, node) for node in miners)):
            print(*lines, sep="\n")


asyncio.run(main())
