"""The `author_*` and `payment_*` methods and `system_dryRun`: extrinsics come in, are watched, and are priced."""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.blocks import digest
from mycelium.devnet.chain.pool import PoolRefusal
from mycelium.devnet.chain.rpc import RpcError, Table, add, anything, block_hash, hex_bytes, parameter
from mycelium.devnet.chain.rpc_state import call, hexed, runtime_at, state_of
from mycelium.devnet.chain.storage import Overlay
from mycelium.devnet.chain.subscriptions import EXTRINSIC, Session
from mycelium.devnet.chain.validity import KINDS, InvalidTransaction

_BAD_FORMAT: Final = 1001
_OTHER: Final = 1040


def submit(session: Session, extrinsic: bytes) -> str:
    try:
        return hexed(session.core.submit(extrinsic))
    except PoolRefusal as refusal:
        if refusal.code == _BAD_FORMAT:
            # Of the two ways to submit, the node reports this one as an error of the client library's.
            raise RpcError(_OTHER, "Client error: Not enough data to fill buffer") from None
        raise RpcError(refusal.code, refusal.message, refusal.data) from None


def submit_and_watch(session: Session, extrinsic: bytes) -> str:
    try:
        return session.hub.watch(session, extrinsic, digest(extrinsic))
    except PoolRefusal as refusal:
        raise RpcError(refusal.code, refusal.message, refusal.data) from None


def unwatch(session: Session, id: Any) -> bool:
    return session.hub.remove(session, (EXTRINSIC,), id)


def pending(session: Session) -> list[str]:
    return [hexed(extrinsic) for extrinsic in session.core.pool.pending()]


def query_info(session: Session, extrinsic: bytes, at: bytes | None) -> dict[str, Any]:
    """What an extrinsic would cost; fees are text in rao, as the node writes them."""
    info = _payment(session, "query_info", extrinsic, at)
    weight = info["weight"]
    return {
        "weight": {"ref_time": weight["ref_time"], "proof_size": weight["proof_size"]},
        "class": info["class"].lower()
        if isinstance(info["class"], str)
        else next(iter(info["class"])).lower(),
        "partialFee": str(info["partial_fee"]),
    }


def query_fee_details(session: Session, extrinsic: bytes, at: bytes | None) -> dict[str, Any]:
    inclusion = _payment(session, "query_fee_details", extrinsic, at)["inclusion_fee"]
    if inclusion is None:
        return {"inclusionFee": None}
    return {
        "inclusionFee": {
            "baseFee": hex(inclusion["base_fee"]),
            "lenFee": hex(inclusion["len_fee"]),
            "adjustedWeightFee": hex(inclusion["adjusted_weight_fee"]),
        }
    }


def _payment(session: Session, method: str, extrinsic: bytes, at: bytes | None) -> Any:
    arguments = extrinsic + len(extrinsic).to_bytes(4, "little")
    result = call(session, f"TransactionPaymentApi_{method}", arguments, at)
    codec = runtime_at(session, at).codec
    output = codec.runtime_api_map()["TransactionPaymentApi"][method]["output"]
    return codec.decode(output, result)


def dry_run(session: Session, extrinsic: bytes, at: bytes | None) -> str:
    """SCALE of `ApplyExtrinsicResult`: whether it would be let into a block, and what its call would give."""
    runtime = runtime_at(session, at)
    state = Overlay(state_of(session, at))
    context = session.core.chain.context()
    try:
        runtime.validate(state, extrinsic, context)
    except InvalidTransaction as why:
        if why.kind not in KINDS:
            raise RpcError(2, "Unable to dry run extrinsic", "Not enough data to fill buffer") from None
        variant = bytes((KINDS.index(why.kind),))
        custom = b"" if why.custom is None else bytes((why.custom,))
        return hexed(b"\x01\x00" + variant + custom)
    return hexed(b"\x00" + runtime.dispatch_result(state, extrinsic))


def register(table: Table) -> None:
    """Add the methods."""
    extrinsic, at = parameter("extrinsic", hex_bytes), parameter("at", block_hash, True)
    add(table, ["author_submitExtrinsic"], submit, extrinsic)
    add(table, ["author_submitAndWatchExtrinsic"], submit_and_watch, extrinsic)
    add(table, ["author_unwatchExtrinsic"], unwatch, parameter("subscription", anything))
    add(table, ["author_pendingExtrinsics"], pending)
    add(table, ["payment_queryInfo"], query_info, extrinsic, at)
    add(table, ["payment_queryFeeDetails"], query_fee_details, extrinsic, at)
    add(table, ["system_dryRun", "system_dryRunAt"], dry_run, extrinsic, at)
