"""Calls, and extrinsics that carry them: composed, signed, and judged by the events of their block.

Owns the bytes. Sends nothing. A call remembers what it was made of, since its bytes mean something only to the
runtime that it was composed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import bittensor_core

from mycelium.chain.header import uncompact
from mycelium.chain.runtime import Codec
from mycelium.errors import ChainError, ExtrinsicFailed, UsageError

SR25519: Final = 1
"""The variant of `MultiSignature`."""
IMMORTAL: Final = "00"
IMMORTAL_BLOCKS: Final = 64
"""How long the nonce of an extrinsic without an era counts as taken; it has no end of its own."""
_ERA_MIN, _ERA_MAX = 4, 65_536


class Call(bytes):
    """Bytes of a call, for the runtime of `spec_version`. pallet, function, params: what it was composed of."""

    pallet: str
    function: str
    params: Mapping[str, Any]
    spec_version: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event of one extrinsic. attributes: a dict, a tuple or one value, as the event was declared."""

    pallet: str
    name: str
    attributes: Any


@dataclass(frozen=True, slots=True)
class DispatchError:
    """Why a call failed. pallet: "" for errors of no pallet, such as BadOrigin. docs: what its declaration says."""

    pallet: str
    name: str
    docs: str = ""

    def __str__(self) -> str:
        name = f"{self.pallet}.{self.name}" if self.pallet else self.name
        return f"{name}: {self.docs}" if self.docs else name


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an extrinsic. hash, block_hash: 0x and hex. fee_rao: what was paid, or for a dry run would be.

    block_hash and block_number are None when inclusion was not waited for, and for a dry run; success is then
    whether a node took it, or would.
    """

    hash: str
    block_hash: str | None
    block_number: int | None
    success: bool
    error: DispatchError | None = None
    events: list[Event] = field(default_factory=list)
    fee_rao: int = 0

    def check(self) -> Receipt:
        """Itself. ExtrinsicFailed when the call failed."""
        if self.error is None:
            return self
        raise ExtrinsicFailed(
            f"the call failed: {self.error}", pallet=self.error.pallet, name=self.error.name
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """An extrinsic that is ready. since: a block before any that may hold it.

    death: the first block that is too late for it; if it is not mortal, only for its nonce to count as taken.
    """

    raw: bytes
    account: bytes
    nonce: int
    death: int
    mortal: bool
    since: int
    spec_version: int
    fresh: bool
    """Whether its nonce was chosen here."""

    @property
    def hash(self) -> str:
        return f"0x{blake2b(self.raw, digest_size=32).hexdigest()}"

    @property
    def hex(self) -> str:
        return f"0x{self.raw.hex()}"


def compose(codec: Codec, pallet: str, function: str, params: Mapping[str, Any]) -> Call:
    """A call's bytes. UnknownToChain for a call it has not, UsageError for parameters that do not fit."""
    names = codec.parameters(pallet, function)
    if sorted(params) != sorted(names):
        raise UsageError(
            f"{pallet}.{function} takes ({', '.join(names)}), not ({', '.join(map(str, params))})"
        )
    try:
        call = Call(codec.runtime.compose_call(pallet, function, dict(params)))
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{pallet}.{function} cannot be composed: {error}") from None
    call.pallet, call.function, call.params = pallet, function, dict(params)
    call.spec_version = codec.version.spec
    return call


def period_of(era_blocks: int | None) -> int | None:
    """The era's length: a power of two from 4 to 65,536, the next one that is no shorter. None: for ever."""
    if era_blocks is None:
        return None
    if not 0 < era_blocks <= _ERA_MAX:
        raise UsageError(f"an era of {era_blocks} blocks is not possible: {_ERA_MIN} to {_ERA_MAX} are")
    return max(_ERA_MIN, 1 << (era_blocks - 1).bit_length())


_PRIVATE: Final = object()


def account_of(keypair: Any) -> bytes:
    """The 32 bytes of a keypair's public key: ours, substrate-interface's or Bittensor's. UsageError."""
    public = getattr(keypair, "account", None)
    if public is None:
        public = getattr(keypair, "public_key", None)
    if isinstance(public, str):
        try:
            public = bytes.fromhex(public.removeprefix("0x"))
        except ValueError:
            public = None
    if not isinstance(public, bytes | bytearray) or len(public) != 32:
        raise UsageError(f"a {type(keypair).__name__} is no keypair that can sign an extrinsic")
    return bytes(public)


def signature_of(keypair: Any, payload: bytes) -> bytes:
    """64 bytes over exactly the payload. UsageError for a keypair that only knows its public half."""
    # Ours signs under a domain by `sign`; only `sign_preimage` signs what it is given.
    sign = getattr(keypair, "sign_preimage", None) or getattr(keypair, "sign", None)
    if not callable(sign):
        raise UsageError(f"a {type(keypair).__name__} cannot sign")
    if getattr(keypair, "private_key", _PRIVATE) is None:
        # substrate-interface says so by an exception of its own.
        raise UsageError("the keypair cannot sign: it has only its public half")
    try:
        signature = sign(payload)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the keypair cannot sign: {error or type(error).__name__}") from None
    if isinstance(signature, str):
        signature = bytes.fromhex(signature.removeprefix("0x"))
    if len(signature) != 64:
        raise UsageError(f"the keypair made a signature of {len(signature)} bytes; one has 64")
    return bytes(signature)


def scheme_of(keypair: Any) -> int:
    """The variant of `MultiSignature` for its scheme: 0 ed25519, 1 sr25519."""
    scheme = getattr(keypair, "crypto_type", SR25519)
    if scheme not in (0, SR25519):
        raise UsageError(f"keys of crypto type {scheme} cannot sign: ed25519 and sr25519 (0, 1) can")
    return int(scheme)


def sign(
    codec: Codec,
    call: bytes,
    keypair: Any,
    *,
    nonce: int,
    genesis: bytes,
    period: int | None,
    born: int,
    born_hash: bytes,
) -> bytes:
    """The extrinsic's bytes. born, born_hash: where its era begins; for an immortal one, genesis."""
    era: Any = IMMORTAL if period is None else {"period": period, "current": born}
    parts = {"era": era, "nonce": nonce, "tip": 0, "tip_asset_id": None}
    try:
        payload = bytes(
            codec.runtime.signature_payload(
                bytes(call), genesis_hash=genesis, era_block_hash=born_hash, **parts
            )
        )
        raw, _ = codec.runtime.encode_signed_extrinsic(
            bytes(call),
            public_key=account_of(keypair),
            signature=signature_of(keypair, payload),
            signature_version=scheme_of(keypair),
            **parts,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"the extrinsic cannot be signed for this chain: {error}") from None
    return bytes(raw)


def birth(period: int, current: int) -> int:
    """The block at which an era that is current at `current` began."""
    return int(bittensor_core.era_birth(period, current))


def timestamp_ms(codec: Codec, extrinsics: list[bytes]) -> int:
    """A block's time, from its own `timestamp.set`. ChainError when it has none, as block 0."""
    index = bytes(codec.runtime.compose_call("Timestamp", "set", {"now": 0}))[:2]
    for raw in extrinsics:
        try:
            _, width = uncompact(raw)
            # After the length comes the version; bare ones have no signature in between.
            if raw[width + 1 : width + 3] == index and raw[width] < 0x80:
                time_ms, _ = uncompact(raw[width + 3 :])
                if time_ms < 2**63:
                    return time_ms
        except ValueError:
            continue  # cut short
    raise ChainError("the block has no timestamp", "block 0 has none; ask for a later one")


def events_of(codec: Codec, raw: bytes, index: int) -> list[Event]:
    """The events of one extrinsic of a block. raw: `System.Events`. ChainError when they cannot be decoded."""
    kind = codec.runtime.storage_entry("System", "Events").value_type
    try:
        records = codec.runtime.decode(kind, raw)
    except ValueError as error:
        raise ChainError(f"the block's events cannot be decoded: {error}") from None
    return [
        Event(record["module_id"], record["event_id"], record["attributes"])
        for record in records
        if record.get("extrinsic_idx") == index
    ]


def outcome(codec: Codec, events: list[Event]) -> tuple[bool, DispatchError | None, int]:
    """Whether an extrinsic succeeded, why not, and its fee in rao."""
    fee = 0
    success, error = False, None
    for event in events:
        if (event.pallet, event.name) == ("TransactionPayment", "TransactionFeePaid"):
            fee = int(event.attributes["actual_fee"])
        elif (event.pallet, event.name) == ("System", "ExtrinsicSuccess"):
            success = True
        elif (event.pallet, event.name) == ("System", "ExtrinsicFailed"):
            error = dispatch_error(codec, event.attributes["dispatch_error"])
    return success and error is None, error, fee


def dispatch_error(codec: Codec, error: Any) -> DispatchError:
    """A decoded `DispatchError` by name."""
    if not isinstance(error, dict):
        return DispatchError("", str(error))
    kind, value = next(iter(error.items()))
    if kind != "Module":
        return DispatchError("", f"{kind}.{value}" if isinstance(value, str) else kind)
    code = value["error"]
    number = code[0] if isinstance(code, bytes | list | tuple) else bytes.fromhex(code.removeprefix("0x"))[0]
    try:
        name, docs = codec.runtime.module_error(value["index"], number)
        pallet = codec.pallet_name(value["index"])
    except ValueError:
        return DispatchError("", f"Module.{value['index']}.{number}")
    return DispatchError(pallet, name, " ".join(line.strip() for line in docs).strip())
