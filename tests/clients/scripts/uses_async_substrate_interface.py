"""async-substrate-interface 2.x as its users write it. It brings no keys: bittensor-core's sign here."""

from __future__ import annotations

import asyncio
import json

from async_substrate_interface import AsyncSubstrateInterface
from async_substrate_interface.errors import SubstrateRequestException
from bittensor_core import Keypair
from scenarios import main
from websockets.asyncio.client import connect


class Signer:
    """What the client asks of a keypair. It hands over a bytearray to sign, which bittensor-core's does not take."""

    crypto_type = 1
    ss58_format = 42

    def __init__(self, path):
        self._keypair = Keypair.create_from_uri(path)
        self.public_key = bytes(self._keypair.public_key)
        self.ss58_address = self._keypair.ss58_address

    def sign(self, data):
        return bytes(self._keypair.sign(bytes(data)))


def transfer_of(to, rao):
    return {
        "call_module": "Balances",
        "call_function": "transfer_keep_alive",
        "call_params": {"dest": to, "value": rao},
    }


async def transfer(substrate, signer, to, rao, **parts):
    call = await substrate.compose_call(**transfer_of(to, rao))
    return await substrate.create_signed_extrinsic(call, Signer(signer), **parts)


async def operate(url, method, *parameters):
    """What an operator of the chain does meanwhile, on a connection that faults spare."""
    async with connect(f"{url}/dev") as operator:
        await operator.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
        return json.loads(await operator.recv())["result"]


async def outcome(receipt):
    events = await receipt.triggered_events
    return {
        "success": await receipt.is_success,
        "error": await receipt.error_message,
        "fee": await receipt.total_fee_amount,
        "block": receipt.block_hash,
        "identifier": await receipt.get_extrinsic_identifier(),
        "events": [f"{event['module_id']}.{event['event_id']}" for event in events],
        "finalised": receipt.finalized,
    }


async def reads(url, account, netuid):
    async with AsyncSubstrateInterface(url) as substrate:
        keys = await substrate.query_map("SubtensorModule", "Keys", [netuid], page_size=2)
        several = [
            await substrate.create_storage_key("System", "Account", [account]),
            await substrate.create_storage_key("SubtensorModule", "Tempo", [netuid]),
        ]
        block = await substrate.get_block()
        metagraph = await substrate.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [netuid])
        lite = await substrate.runtime_call("NeuronInfoRuntimeApi", "get_neurons_lite", [netuid])
        chosen = await substrate.runtime_call(
            "SubnetInfoRuntimeApi", "get_selective_metagraph", [netuid, [0, 52]]
        )
        account_now = await substrate.query("System", "Account", [account])
        return {
            "chain": substrate.chain,
            "spec_version": (await substrate.init_runtime()).runtime_version,
            "pallets": len(await substrate.get_metadata_modules()),
            "free": account_now.value["data"]["free"],
            "nonce": await substrate.get_account_nonce(account),
            "next_nonce": await substrate.get_account_next_index(account),
            "keys": [(uid, hotkey) async for uid, hotkey in keys],
            "several": [found for _, found in await substrate.query_multi(several)],
            "deposit": (await substrate.get_constant("Balances", "ExistentialDeposit")).value,
            "number": block["header"]["number"],
            "head": await substrate.get_chain_head(),
            "finalised": await substrate.get_chain_finalised_head(),
            "metagraph": [metagraph["netuid"], metagraph["hotkeys"], metagraph["block"]],
            "lite": [(one["uid"], one["hotkey"], one["validator_permit"]) for one in lite],
            "chosen": [chosen["netuid"], chosen["hotkeys"]],
        }


async def moves(url, signer, to, rao):
    async with AsyncSubstrateInterface(url) as substrate:
        call = await substrate.compose_call(**transfer_of(to, rao))
        told = await substrate.get_payment_info(call, Signer(signer))
        mortal = await transfer(substrate, signer, to, rao, era={"period": 64})
        immortal = await transfer(substrate, signer, to, rao)
        receipts = [
            await substrate.submit_extrinsic(mortal, wait_for_inclusion=True),
            await substrate.submit_extrinsic(immortal, wait_for_finalization=True),
        ]
        return {
            "told": told["partial_fee"],
            "receipts": [await outcome(receipt) for receipt in receipts],
        }


async def fails(url, signer, to, rao, hotkey, netuid):
    """A module's error, one of the tokens', and an extrinsic that is not taken at all."""
    async with AsyncSubstrateInterface(url) as substrate:
        call = await substrate.compose_call(
            "SubtensorModule", "add_stake", {"hotkey": hotkey, "netuid": netuid, "amount_staked": 10**9}
        )
        signed = await substrate.create_signed_extrinsic(call, Signer(signer))
        module = await substrate.submit_extrinsic(signed, wait_for_inclusion=True)
        much = await transfer(substrate, signer, to, rao)
        token = await substrate.submit_extrinsic(much, wait_for_inclusion=True)
        stale = None
        try:
            old = await transfer(substrate, signer, to, 1, nonce=0)
            await substrate.submit_extrinsic(old, wait_for_inclusion=True)
        except SubstrateRequestException as error:
            stale = str(error)
        return {"module": await outcome(module), "token": await outcome(token), "stale": stale}


async def watches(url, signer, to, rao):
    """Heads as they come, and an account that changes meanwhile."""
    heads, frees, changes = [], [], asyncio.Event()

    async def head(header):
        heads.append(header["header"]["number"])
        return heads if len(heads) == 4 else None

    async def changed(key, account, subscription):
        frees.append(account["data"]["free"])
        if len(frees) == 1:
            async with AsyncSubstrateInterface(url) as other:
                paid = await transfer(other, signer, to, rao)
                await other.submit_extrinsic(paid, wait_for_inclusion=True)
        else:
            changes.set()

    async with AsyncSubstrateInterface(url) as substrate:
        await substrate.subscribe_block_headers(head)
        key = await substrate.create_storage_key("System", "Account", [to])
        # Its own way to end a subscription, by an answer of the handler, fails inside the client on any chain.
        subscription = asyncio.create_task(substrate.subscribe_storage([key], changed))
        await asyncio.wait_for(changes.wait(), 60)
        subscription.cancel()
    return {"heads": heads, "frees": frees}


async def returns(url, account, netuid):
    """Connections that are cut while requests wait for their answers: it asks again on another one."""
    async with AsyncSubstrateInterface(url, max_retries=5) as substrate:
        before = await substrate.query("System", "Account", [account])
        await operate(url, "dev_neverAnswer", True)
        asked = [
            asyncio.create_task(substrate.rpc_request("system_accountNextIndex", [account])),
            asyncio.create_task(substrate.rpc_request("chain_getBlockHash", [0])),
        ]
        # A request that is dropped before the client has sent it is lost by the client, on any chain.
        while (await operate(url, "dev_status"))["unanswered"] < len(asked):
            await asyncio.sleep(0.01)
        # Before the drop: what it asks again must find a chain that answers.
        await operate(url, "dev_neverAnswer", False)
        dropped = await operate(url, "dev_dropConnections")
        answers = [answer["result"] for answer in await asyncio.wait_for(asyncio.gather(*asked), 60)]
        after = await substrate.query("System", "Account", [account])
        tempo = await substrate.query("SubtensorModule", "Tempo", [netuid])
    return {
        "dropped": dropped,
        "answers": answers,
        "same": before.value == after.value,
        "tempo": tempo.value,
    }


async def outlives(url, signer, to, rao, netuid):
    """A runtime upgrade between two transfers: the second is signed for the new version, what is old is read as old."""
    async with AsyncSubstrateInterface(url) as substrate:
        first = await transfer(substrate, signer, to, rao)
        before = await substrate.submit_extrinsic(first, wait_for_inclusion=True)
        # Another version, structs that have grown, and netuid a type of its own.
        version = await operate(url, "dev_upgrade", None, True, True)
        second = await transfer(substrate, signer, to, rao)
        after = await substrate.submit_extrinsic(second, wait_for_inclusion=True)
        grown = []
        for receipt in (before, after):
            metagraph = await substrate.runtime_call(
                "SubnetInfoRuntimeApi", "get_metagraph", [netuid], block_hash=receipt.block_hash
            )
            grown.append([metagraph["netuid"], "added_by_upgrade" in metagraph])
        return {
            "succeeded": [await before.is_success, await after.is_success],
            "version": version,
            "grown": grown,
        }


main(reads, moves, fails, watches, returns, outlives)
