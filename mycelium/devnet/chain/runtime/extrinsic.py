"""Extrinsics (version 4): taken apart, and their signatures checked over the bytes that travelled.

The parts between signature and call are those of the signed extensions, in the order that the metadata declares: era,
nonce, tip, whether a metadata hash is signed. All others are empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import bittensor_core

from mycelium.devnet.chain.metadata.scale import compact
from mycelium.devnet.chain.validity import InvalidTransaction
from mycelium.identity.keys import verify_preimage

SIGNED: Final = 0x84
UNSIGNED: Final = 0x04
_ACCOUNT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_HASHED_ABOVE_BYTES: Final = 256
"""A longer payload is signed as its blake2b-256 hash."""


@dataclass(frozen=True, slots=True)
class Extrinsic:
    """A signed extrinsic. extra: the bytes between signature and call. period 0: immortal."""

    account: bytes
    signature: bytes
    scheme: int
    extra: bytes
    period: int
    phase: int
    nonce: int
    tip: int
    metadata_hash: bool
    call: bytes

    def payload(self, spec_version: int, transaction_version: int, genesis: bytes, era_block: bytes) -> bytes:
        """What was signed: call, extra, and what is signed without being sent."""
        implied = spec_version.to_bytes(4, "little") + transaction_version.to_bytes(4, "little")
        payload = self.call + self.extra + implied + genesis + era_block + b"\0"
        if len(payload) > _HASHED_ABOVE_BYTES:
            return blake2b(payload, digest_size=32).digest()
        return payload

    def signed_by_account(self, payload: bytes) -> bool:
        """Whether the signature is the account's. Only sr25519, which Bittensor's keys are."""
        if self.scheme != 1:
            return False
        return verify_preimage(self.account, payload, self.signature)

    def birth(self, current: int) -> int:
        """The block that the era is counted from, seen from block `current` (sp_runtime `Era::birth`)."""
        if not self.period:
            return 0
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase

    def death(self, current: int) -> int:
        """The first block in which it is no longer valid."""
        return self.birth(current) + self.period if self.period else 2**64 - 1


def parse(raw: bytes) -> Extrinsic:
    """Take a signed extrinsic apart. InvalidTransaction "Undecodable" for anything else."""
    try:
        return _parse(raw)
    except (IndexError, ValueError):
        raise InvalidTransaction("Undecodable") from None


def size_of(data: bytes) -> int:
    """How many of the bytes are the extrinsic that they begin with. ValueError when they are too few."""
    try:
        length, at = _compact(data, 0)
    except IndexError:
        raise ValueError("no extrinsic") from None
    if length > len(data) - at:
        raise ValueError("an extrinsic that is cut short")
    return at + length


def _parse(raw: bytes) -> Extrinsic:
    length, at = _compact(raw, 0)
    if length != len(raw) - at or raw[at] != SIGNED or raw[at + 1] != 0:
        raise ValueError("not a signed extrinsic of an account")
    at += 2
    account, at = raw[at : at + _ACCOUNT_BYTES], at + _ACCOUNT_BYTES
    scheme, at = raw[at], at + 1
    size = _SIGNATURE_BYTES + (scheme == 2)
    signature, at = raw[at : at + size], at + size
    start = at
    period, phase, at = _era(raw, at)
    nonce, at = _compact(raw, at)
    tip, at = _compact(raw, at)
    mode, at = raw[at], at + 1
    if scheme > 2 or mode > 1 or at >= len(raw):
        raise ValueError("cut short, or no known signature")
    return Extrinsic(
        account, signature, scheme, raw[start:at], period, phase, nonce, tip, bool(mode), raw[at:]
    )


def _era(raw: bytes, at: int) -> tuple[int, int, int]:
    if raw[at] == 0:
        return 0, 0, at + 1
    encoded = int.from_bytes(raw[at : at + 2], "little")
    period = 2 << (encoded % 16)
    phase = (encoded >> 4) * max(1, period >> 12)
    if period < 4 or phase >= period:
        raise ValueError("no era")
    return period, phase, at + 2


def _compact(raw: bytes, at: int) -> tuple[int, int]:
    mode = raw[at] & 3
    if mode == 3:
        width = (raw[at] >> 2) + 4
        number, end = int.from_bytes(raw[at + 1 : at + 1 + width], "little"), at + 1 + width
    else:
        width = (1, 2, 4)[mode]
        number, end = int.from_bytes(raw[at : at + width], "little") >> 2, at + width
    if end > len(raw):
        raise IndexError("cut short")
    return number, end


def decode_call(codec: bittensor_core.Runtime, call: bytes) -> dict[str, Any]:
    """The call by name. InvalidTransaction "Undecodable" for bytes that are none of this runtime's."""
    try:
        decoded: dict[str, Any] = codec.decode_call(call)
        # A decoder that stops early would leave bytes that were signed and do nothing.
        composed = recomposed(codec, decoded)
    except (ValueError, TypeError, KeyError):
        raise InvalidTransaction("Undecodable") from None
    if composed != call:
        raise InvalidTransaction("Undecodable")
    return decoded


def recomposed(codec: bittensor_core.Runtime, decoded: dict[str, Any]) -> bytes:
    """The bytes of a decoded call; calls within it are composed first."""

    def value(given: Any) -> Any:
        if isinstance(given, dict) and "call_module" in given:
            return recomposed(codec, given)
        return [value(one) for one in given] if isinstance(given, list) else given

    parameters = {argument["name"]: value(argument["value"]) for argument in decoded["call_args"]}
    return bytes(codec.compose_call(decoded["call_module"], decoded["call_function"], parameters))


def inherent(call: bytes) -> bytes:
    """An unsigned extrinsic around a call."""
    body = bytes((UNSIGNED,)) + call
    return compact(len(body)) + body
