"""What an account commits to on a subnet: a few bytes, or the hash of some, for anybody to read. Fiber's names.

Owns the form of a field, to the chain and back. What is read is plain Python, and works at any block whose state a node
has. A submission is never repeated, and the connection stays open.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from substrateinterface import Keypair, SubstrateInterface

from mycelium.chain import chain_utils
from mycelium.chain.answers import Plain, plain
from mycelium.chain.chain_utils import as_connection, format_error_message, wait_for
from mycelium.chain.dispatch import Subject, explain
from mycelium.chain.models import (
    CommitmentDataField,
    CommitmentDataFieldType,
    CommitmentQuery,
    RawCommitmentQuery,
)
from mycelium.chain.signer import address
from mycelium.constants import EMPTY_COMMITMENT_FIELD_TYPE
from mycelium.errors import ExtrinsicInvalid, UsageError

logger = logging.getLogger(__name__)

__all__ = [
    "EMPTY_COMMITMENT_FIELD_TYPE",
    "CommitmentDataField",
    "CommitmentDataFieldType",
    "CommitmentQuery",
    "Keypair",
    "RawCommitmentQuery",
    "SubstrateInterface",
    "format_error_message",
    "get_raw_commitment",
    "logger",
    "publish_raw_commitment",
    "query_commitment",
    "set_commitment",
]

PALLET: Final = "Commitments"
RAW_BYTES_MAX: Final = 128
"""Beyond it there is one variant for all lengths, which newer chains have."""
BIG_RAW_BYTES_MAX: Final = 512
HASH_BYTES: Final = 32
_RAW: Final = CommitmentDataFieldType.RAW
_BIG_RAW: Final = "BigRaw"


def _serialize_commitment_field(field: CommitmentDataField) -> dict[str, bytes]:
    """A field as a call takes it. UsageError for bytes that are too many, and for hashes that have not 32."""
    if not field:
        return {EMPTY_COMMITMENT_FIELD_TYPE: b""}
    kind, data = field
    if kind != _RAW:
        if len(data) != HASH_BYTES:
            raise UsageError(f"a hash of type {kind.value} has {HASH_BYTES} bytes, not {len(data)}")
        return {kind.value: data}
    if len(data) > BIG_RAW_BYTES_MAX:
        raise UsageError(f"a commitment holds {BIG_RAW_BYTES_MAX} bytes at most, not {len(data)}")
    return {f"{kind.value}{len(data)}" if len(data) <= RAW_BYTES_MAX else _BIG_RAW: data}


def _deserialize_commitment_field(field: Mapping[str, Any] | str) -> CommitmentDataField:
    """A field as a decoder gives it: hex, bytes, or numbers, also within a list. None for an empty one.

    ValueError for raw bytes of another length than the field says, and for kinds that have no name here.
    """
    if isinstance(field, str):
        field = {field: b""}
    name, value = next(iter(field.items()), (EMPTY_COMMITMENT_FIELD_TYPE, b""))
    if name == EMPTY_COMMITMENT_FIELD_TYPE:
        return None
    if name == _BIG_RAW:
        return _RAW, _text_or_hex(plain(value))
    data = _bytes(plain(value))
    length = name.removeprefix(_RAW.value)
    if length != name and length.isdecimal():
        if len(data) != int(length):
            raise ValueError(
                f"Got commitment raw field expecting {int(length)} data but got {len(data)} data"
            )
        return _RAW, data
    return CommitmentDataFieldType(name), data


def _text_or_hex(value: Any) -> bytes:
    """Bytes of any length, which come as text where they are UTF-8, and as hex otherwise."""
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
            data.decode()
        except UnicodeDecodeError:
            return data
        except ValueError:
            pass
        # Such bytes would have come as text: what looks like hex is the text itself.
        return value.encode()
    return _bytes(value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    if isinstance(value, list | tuple) and len(value) == 1 and not isinstance(value[0], int):
        return _bytes(value[0])
    return bytes(value)


def set_commitment(
    substrate: SubstrateInterface,
    keypair: Any,
    netuid: int,
    fields: list[CommitmentDataField],
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
) -> bool:
    """Commit a hotkey to these fields, in the place of what it committed to before; whether the chain took them.

    Waited for neither inclusion nor finalisation, True says that a node has. Why the chain refused is logged.
    UsageError for fields that cannot be; ChainUnreachable, ExtrinsicTimeout or another ChainError.
    """
    connection = as_connection(substrate)
    given = [_serialize_commitment_field(field) for field in fields]
    call = connection.compose(PALLET, "set_commitment", {"netuid": netuid, "info": {"fields": given}})
    subject = Subject("set_commitment", address(keypair), netuid)
    try:
        receipt = connection.submit(call, keypair, wait=wait_for(wait_for_inclusion, wait_for_finalization))
    except ExtrinsicInvalid as refused:
        logger.error("The commitment was not taken: %s", explain(connection, refused, subject))
        return False
    if receipt.error is not None:
        error = {"type": receipt.error.pallet, "name": receipt.error.name, "docs": [receipt.error.docs]}
        logger.error("The commitment was not taken: %s", format_error_message(error))
    return receipt.success


def publish_raw_commitment(
    substrate_interface: SubstrateInterface,
    keypair: Any,
    netuid: int,
    data: bytes,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = True,
) -> bool:
    """Commit a hotkey to up to 128 bytes (512 on newer chains); as `set_commitment`."""
    return set_commitment(
        substrate_interface, keypair, netuid, [(_RAW, data)], wait_for_inclusion, wait_for_finalization
    )


def _query_commitment(
    substrate: SubstrateInterface, netuid: int, hotkey: str, block: int | None = None
) -> Any:
    """What the chain keeps of a commitment: `.value`, or as it is; it is None where there is none. ChainError."""
    _, found = chain_utils.query_substrate(substrate, PALLET, "CommitmentOf", [netuid, hotkey], block=block)
    return Plain(plain(found))


def query_commitment(
    substrate: SubstrateInterface, netuid: int, hotkey: str, block: int | None = None
) -> CommitmentQuery | None:
    """What a hotkey has committed to, at the best block or at a given one; None for nothing.

    ValueError for fields of a kind that has no name here; ChainError.
    """
    found = _query_commitment(substrate, netuid, hotkey, block).value
    if not found:
        return None
    fields = [_deserialize_commitment_field(field) for field in _fields(found["info"]["fields"])]
    return CommitmentQuery(fields=fields, block=found["block"], deposit=found["deposit"])


def _fields(fields: Any) -> list[Any]:
    """The fields; some decoders put each, or all of them, into a list of its own."""
    found: list[Any] = []
    for field in fields:
        found += _fields(field) if isinstance(field, list | tuple) else [field]
    return found


def get_raw_commitment(
    substrate: SubstrateInterface, netuid: int, hotkey: str, block: int | None = None
) -> RawCommitmentQuery | None:
    """The bytes that a hotkey has committed to; None for nothing. ValueError where it is a hash; ChainError."""
    found = query_commitment(substrate, netuid, hotkey, block)
    if found is None or not found.fields or found.fields[0] is None:
        return None
    kind, data = found.fields[0]
    if kind != _RAW:
        raise ValueError(
            f"Commitment for {hotkey} in netuid {netuid} is of type {kind.value} and not {_RAW.value}"
        )
    return RawCommitmentQuery(data=data, block=found.block, deposit=found.deposit)
