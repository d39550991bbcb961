"""The bittensor SDK 11.x as its users write it."""

from __future__ import annotations

import json

import bittensor as bt
from bittensor.sp_core import Keypair
from scenarios import main
from websockets.asyncio.client import connect


class Keys:
    """A wallet of development keys, in the shape that the SDK asks of one."""

    def __init__(self, coldkey, hotkey):
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(coldkey)
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(hotkey)


def outcome(result):
    return {
        "success": result.success,
        "message": result.message,
        "fee": None if result.fee is None else result.fee.rao,
        "events": [f"{event['module_id']}.{event['event_id']}" for event in result.events],
        "error": None if result.error is None else [result.error.code.value, str(result.error)],
        "data": result.data,
    }


async def tried(client, intent, wallet):
    """Execute; what its own checks refuse before anything is signed is an outcome too."""
    try:
        return outcome(await client.execute(intent, wallet))
    except bt.ChainError as error:
        return {"success": False, "refused": error.code.value, "said": str(error)}


async def reads(url, coldkey, hotkey, netuid):
    async with bt.Subtensor(url) as client:
        metagraph = await client.subnets.metagraph(netuid)
        stake = await client.staking.get(coldkey, hotkey, netuid)
        hyperparameters = await client.subnets.subnet_hyperparameters(netuid)
        return {
            "spec_version": await client.spec_version(),
            "block": await client.block(),
            "block_time": await client.block_time(),
            "balance": (await client.balances.get(coldkey)).rao,
            "stake": stake.rao,
            "uid": await client.neurons.uid(hotkey, netuid),
            "commit_reveal": await client.subnets.commit_reveal_enabled(netuid),
            "tempo": hyperparameters["tempo"],
            "metagraph": [metagraph.netuid, metagraph.block, metagraph.tempo, metagraph.owner_hotkey],
            "neurons": [
                [one.uid, one.hotkey, one.coldkey, one.validator_permit, one.alpha_stake.rao, one.axon]
                for one in metagraph.neurons
            ],
        }


async def reads_everything(url, given):
    """Every read that the SDK has a name for; which of them the chain has nothing to answer from, and why."""
    missing = {}
    async with bt.Subtensor(url) as client:
        for name, read in bt.reads.REGISTRY.items():
            arguments = {key: given[key] for key in read.params}
            try:
                await client.read(name, **arguments)
            except ValueError as error:
                missing[name] = str(error)
    return {"count": len(bt.reads.REGISTRY), "missing": missing}


async def sets_weights(url, coldkey, hotkey, stranger, netuid, uids, weights):
    """Once, again at once, and for a hotkey that is not registered."""
    intent = bt.SetWeights(netuid=netuid, uids=uids, weights=weights)
    async with bt.Subtensor(url) as client:
        plan = await client.plan(intent, Keys(coldkey, hotkey))
        return {
            "block": await client.block(),
            "effects": plan.effects,
            "first": await tried(client, intent, Keys(coldkey, hotkey)),
            "second": await tried(client, intent, Keys(coldkey, hotkey)),
            "stranger": await tried(client, intent, Keys(coldkey, stranger)),
        }


async def serves(url, coldkey, hotkey, netuid, ip, port):
    async with bt.Subtensor(url) as client:
        intent = bt.ServeAxon(netuid=netuid, ip=ip, port=port)
        first = await tried(client, intent, Keys(coldkey, hotkey))
        metagraph = await client.subnets.metagraph(netuid)
        axons = {one.hotkey: one.axon for one in metagraph.neurons}
        return {"first": first, "axon": axons[Keypair.create_from_uri(hotkey).ss58_address]}


async def stakes(url, coldkey, hotkey, netuid, more, less):
    """Amounts in TAO and alpha, as the SDK takes them."""
    wallet = Keys(coldkey, hotkey)
    target = wallet.hotkey.ss58_address
    async with bt.Subtensor(url) as client:
        found = []
        for intent in (
            bt.AddStake(hotkey_ss58=target, netuid=netuid, amount_tao=more),
            bt.RemoveStake(hotkey_ss58=target, netuid=netuid, amount_alpha=less),
            bt.AddStake(hotkey_ss58=target, netuid=netuid, amount_tao=10**7),
        ):
            done = await tried(client, intent, wallet)
            stake = await client.staking.get(wallet.coldkey.ss58_address, target, netuid)
            found.append([done, stake.rao, (await client.balances.get(wallet.coldkey.ss58_address)).rao])
        return found


async def registers(url, coldkey, hotkey, netuid):
    """By its raw call: the SDK's own intent goes through MEV Shield, which a chain must have keys for."""
    wallet = Keys(coldkey, hotkey)
    async with bt.Subtensor(url) as client:
        shielded = await tried(client, bt.BurnedRegister(netuid=netuid), wallet)
        call = bt.calls.SubtensorModule.burned_register(netuid=netuid, hotkey=wallet.hotkey.ss58_address)
        plain = outcome(await client.submit_call(call, wallet))
        uid = await client.neurons.uid(wallet.hotkey.ss58_address, netuid)
        return {"shielded": shielded, "plain": plain, "uid": uid}


async def outlives(url, coldkey, hotkey, to, netuid):
    """Reads and transfers: as they are, after a runtime upgrade, and on a connection that the node cuts."""
    wallet = Keys(coldkey, hotkey)

    async def looked(client):
        metagraph = await client.subnets.metagraph(netuid)
        done = await tried(client, bt.Transfer(dest_ss58=to, amount_tao=1), wallet)
        return [done["success"], metagraph.hotkeys, await client.spec_version()]

    async with bt.Subtensor(url) as client:
        found = [await looked(client)]
    # A client trusts for 12 s, which is a block of the public chain, what version it saw: this is another one.
    await operate(url, "dev_upgrade", None, True, True)
    async with bt.Subtensor(url) as client:
        found.append(await looked(client))
        await operate(url, "dev_dropConnections")
        found.append(await looked(client))
    return found


async def operate(url, method, *parameters):
    """What an operator of the chain does meanwhile, on a connection that faults spare."""
    async with connect(f"{url}/dev") as operator:
        await operator.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
        await operator.recv()


def signs_from_files(url, path, name, to, rao):
    """With a wallet's files, and the client that is not asynchronous."""
    wallet = bt.Wallet(name, path=path)
    with bt.SyncClient(url) as client:
        result = client.execute(bt.Transfer(dest_ss58=to, amount_tao=bt.rao(rao).tao), wallet)
        return {
            "coldkey": wallet.coldkeypub.ss58_address,
            "hotkey": wallet.hotkey.ss58_address,
            "transfer": outcome(result),
        }


main(reads, reads_everything, sets_weights, serves, stakes, registers, outlives, signs_from_files)
