"""substrate-interface 1.8 as its users write it."""

from __future__ import annotations

import threading

from scalecodec.exceptions import RemainingScaleBytesNotEmptyException
from scenarios import main
from substrateinterface import Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException
from websocket import WebSocketConnectionClosedException


def transfer(substrate, signer, to, rao, **parts):
    call = substrate.compose_call("Balances", "transfer_keep_alive", {"dest": to, "value": rao})
    return substrate.create_signed_extrinsic(call, Keypair.create_from_uri(signer), **parts)


def outcome(receipt):
    events = [(event.value["module_id"], event.value["event_id"]) for event in receipt.triggered_events]
    return {
        "success": receipt.is_success,
        "error": receipt.error_message,
        "fee": receipt.total_fee_amount,
        "block": receipt.block_hash,
        "identifier": receipt.get_extrinsic_identifier(),
        "events": [f"{module}.{name}" for module, name in events],
        "finalised": receipt.finalized,
    }


def reads(url, account, netuid):
    with SubstrateInterface(url) as substrate:
        substrate.init_runtime()
        keys = substrate.query_map("SubtensorModule", "Keys", [netuid], page_size=2)
        several = [
            substrate.create_storage_key("System", "Account", [account]),
            substrate.create_storage_key("SubtensorModule", "Tempo", [netuid]),
        ]
        block = substrate.get_block()
        return {
            "chain": substrate.chain,
            "spec_version": substrate.runtime_version,
            "token": [substrate.token_symbol, substrate.token_decimals, substrate.ss58_format],
            "pallets": len(substrate.get_metadata_modules()),
            "free": substrate.query("System", "Account", [account]).value["data"]["free"],
            "nonce": substrate.get_account_nonce(account),
            "keys": [(uid.value, hotkey.value) for uid, hotkey in keys],
            "several": [found.value for _, found in substrate.query_multi(several)],
            "deposit": substrate.get_constant("Balances", "ExistentialDeposit").value,
            "called": substrate.runtime_call("AccountNonceApi", "account_nonce", [account]).value,
            "version": substrate.runtime_call("Core", "version", []).value["spec_version"],
            "number": block["header"]["number"],
            "calls": [one.value["call"]["call_function"] for one in block["extrinsics"]],
            "head": substrate.get_chain_head(),
            "finalised": substrate.get_chain_finalised_head(),
        }


def moves(url, signer, to, rao):
    with SubstrateInterface(url) as substrate:
        mortal = transfer(substrate, signer, to, rao, era={"period": 64})
        immortal = transfer(substrate, signer, to, rao, nonce=mortal.value["nonce"] + 1)
        receipts = [
            substrate.submit_extrinsic(mortal, wait_for_inclusion=True),
            substrate.submit_extrinsic(immortal, wait_for_finalization=True),
        ]
        return [outcome(receipt) for receipt in receipts]


def fees(url, signer, to, rao):
    """What it costs, in each way of asking, and what it did cost."""
    keypair, refused = Keypair.create_from_uri(signer), None
    wanted = ("Balances", "transfer_keep_alive", {"dest": to, "value": rao})
    with SubstrateInterface(url) as substrate:
        extrinsic = transfer(substrate, signer, to, rao)
        asked = substrate.rpc_request("payment_queryInfo", [str(extrinsic.data)])["result"]
        try:
            substrate.get_payment_info(substrate.compose_call(*wanted), keypair)
        except RemainingScaleBytesNotEmptyException as error:
            refused = str(error)
    with SubstrateInterface(url, type_registry={"types": {"Balance": "u64"}}) as substrate:
        told = substrate.get_payment_info(substrate.compose_call(*wanted), keypair)
        receipt = substrate.submit_extrinsic(transfer(substrate, signer, to, rao), wait_for_inclusion=True)
        return {
            "asked": asked["partialFee"],
            "refused": refused,
            "told": told["partialFee"],
            "paid": receipt.total_fee_amount,
        }


def fails(url, signer, to, rao, hotkey, netuid):
    """A module's error, one of the tokens', and an extrinsic that is not taken at all."""
    with SubstrateInterface(url) as substrate:
        keypair = Keypair.create_from_uri(signer)
        stake = {"hotkey": hotkey, "netuid": netuid, "amount_staked": 10**9}
        call = substrate.compose_call("SubtensorModule", "add_stake", stake)
        module = substrate.submit_extrinsic(
            substrate.create_signed_extrinsic(call, keypair), wait_for_inclusion=True
        )
        token = substrate.submit_extrinsic(transfer(substrate, signer, to, rao), wait_for_inclusion=True)
        said = [event.value["attributes"] for event in token.triggered_events][-1]["dispatch_error"]
        stale = None
        try:
            substrate.submit_extrinsic(transfer(substrate, signer, to, 1, nonce=0), wait_for_inclusion=True)
        except SubstrateRequestException as error:
            stale = error.args[0]
        return {"module": outcome(module), "token": outcome(token), "said": said, "stale": stale}


def watches(url, signer, to, rao):
    """Heads as they come, and an account that changes meanwhile."""
    heads, frees = [], []

    def head(header, number, subscription):
        heads.append(header["header"]["number"])
        return heads if number == 3 else None

    def changed(account, number, subscription):
        frees.append(account.value["data"]["free"])
        if number == 0:
            threading.Thread(target=pay).start()
        return frees if number == 1 else None

    def pay():
        with SubstrateInterface(url) as other:
            other.submit_extrinsic(transfer(other, signer, to, rao), wait_for_inclusion=True)

    with SubstrateInterface(url) as substrate:
        substrate.subscribe_block_headers(head)
        substrate.query("System", "Account", [to], subscription_handler=changed)
    return {"heads": heads, "frees": frees}


def returns(url, account):
    """A connection that the node cuts: the request is lost, and another connection has the same answer."""
    lost = False
    with SubstrateInterface(url) as substrate, SubstrateInterface(f"{url}/dev") as operator:
        before = substrate.query("System", "Account", [account]).value
        dropped = operator.rpc_request("dev_dropConnections", [])["result"]
        try:
            substrate.query("System", "Account", [account])
        except (ConnectionError, WebSocketConnectionClosedException):
            lost = True
        substrate.connect_websocket()
        after = substrate.query("System", "Account", [account]).value
    return {"dropped": dropped, "lost": lost, "same": before == after}


def outlives(url, signer, to, rao, netuid):
    """A runtime upgrade between two transfers: the second is signed for the new version, what is old is read as old."""
    with SubstrateInterface(url) as substrate, SubstrateInterface(f"{url}/dev") as operator:
        before = substrate.submit_extrinsic(transfer(substrate, signer, to, rao), wait_for_inclusion=True)
        succeeded, versions = [before.is_success], [substrate.runtime_version]
        # Another version, structs that have grown, and netuid a type of its own.
        operator.rpc_request("dev_upgrade", [None, True, True])
        after = substrate.submit_extrinsic(transfer(substrate, signer, to, rao), wait_for_inclusion=True)
        succeeded.append(after.is_success)
        versions.append(substrate.runtime_version)
        tempos = [
            substrate.query("SubtensorModule", "Tempo", [netuid], block_hash=receipt.block_hash).value
            for receipt in (after, before)
        ]
        versions.append(substrate.runtime_version)
        return {"succeeded": succeeded, "versions": versions, "tempos": tempos}


main(reads, moves, fees, fails, watches, returns, outlives)
