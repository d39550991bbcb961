"""The bodies of the calls between a node and the programs that use it: one place, shared by both ends.

Bodies are msgpack arrays. Keys travel as bytes and read as text again where they are UTF-8, exactly as in the
store. Values travel as themselves: bytes stay bytes, objects stay objects. A counter's sum is an integer of up to
128 bits, above 64 bits as the extension below. A stream is a run of bytes cut anywhere: records of a u32
little-endian length and a body, so that a row of any size passes through messages of a bounded one.

Knows no socket, no table. Raises MalformedMessage for a body that does not parse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from mycelium.config import CALL_BYTES_MAX
from mycelium.errors import MalformedMessage, ValueRefused
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import OWNER, VALIDATOR, Epoch

T = TypeVar("T")

GET: Final = "get"
FETCH: Final = "fetch"
"""`get` as a stream, for a value that is larger than one answer: the list of a set or of appended facts."""
WRITE: Final = "write"
COUNT: Final = "count"
SCAN: Final = "scan"
WATCH: Final = "watch"
TABLES: Final = "tables"
STATUS: Final = "status"
DIGESTS: Final = "digests"
CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy"
ROTATE: Final = "rotate"
BLACKLIST: Final = "blacklist"
TRIM: Final = "trim"
REACH: Final = "reach"
EPOCH: Final = "epoch"
HISTORY: Final = "history"

BLACKLIST_LIST: Final = "list"
BLACKLIST_EXPLAIN: Final = "explain"
BLACKLIST_ADD: Final = "add"
BLACKLIST_REMOVE: Final = "remove"
BLACKLIST_CHANGES: Final = frozenset({BLACKLIST_ADD, BLACKLIST_REMOVE})

PUT: Final = "put"
DELETE: Final = "delete"
ADD: Final = "add"
INSERT: Final = "insert"
REMOVE: Final = "remove"
OPS: Final = (PUT, DELETE, ADD, INSERT, REMOVE)

STREAM_CHUNK_BYTES: Final = 64 * 1024
"""A message of a stream is sent at this size; a larger one costs latency, a smaller one calls."""

RECORD_BYTES_MAX: Final = 256 * 1024 * 1024
"""One row of a scan: the list of an append key has no bound of its own."""

_WRITERS: Final = frozenset({OWNER, VALIDATOR})
_BIG_INTEGER: Final = 1
_LENGTH_BYTES: Final = 4


class Write(msgspec.Struct, array_like=True, frozen=True):
    """Changes that are made together or not at all, as (op, table, key, value). `ack` as in `Table.put`."""

    changes: list[tuple[str, str, bytes, Any]]
    ack: str | int


class Get(msgspec.Struct, array_like=True, frozen=True):
    table: str
    key: bytes


class Got(msgspec.Struct, array_like=True, frozen=True):
    """`value` is None for a key that is not there. With `large`, ask again by FETCH."""

    value: Any
    large: bool = False


class Scan(msgspec.Struct, array_like=True, frozen=True):
    """Bounds as in `Table.scan`; None is no bound."""

    table: str
    prefix: bytes | None
    start: bytes | None
    end: bytes | None
    limit: int | None
    reverse: bool


class Watch(msgspec.Struct, array_like=True, frozen=True):
    """`after` None starts now; the first record of the stream is then the cursor of now."""

    table: str
    prefix: bytes | None
    after: int | None


class Started(msgspec.Struct, array_like=True, frozen=True):
    """The first record of a watch: every change after `cursor` follows, none before it."""

    cursor: int


class Row(msgspec.Struct, array_like=True, frozen=True):
    key: bytes
    value: Any
    account: bytes
    hlc: int


class Change(msgspec.Struct, array_like=True, frozen=True):
    cursor: int
    table: str
    key: bytes
    op: str
    value: Any
    account: bytes
    hlc: int


class Count(msgspec.Struct, array_like=True, frozen=True):
    table: str


class TableInfo(msgspec.Struct, array_like=True, frozen=True):
    name: str
    space: str
    merge: str


class Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """`path` is absolute, on the node's own machine."""

    path: str


class Blacklist(msgspec.Struct, array_like=True, frozen=True):
    """what: BLACKLIST_LIST, or one of the others about an account. never: add it to those that are never listed."""

    what: str
    account: bytes = b""
    why: str = ""
    never: bool = False


class Publish(msgspec.Struct, array_like=True, frozen=True):
    """A policy document to put into the store; None only asks."""

    document: bytes | None


class PolicyInfo(msgspec.Struct, array_like=True, frozen=True):
    """digest: of the policy that was published, or else of the one in force; None where there is none. epoch: now."""

    epoch: int
    digest: bytes | None
    document: bytes | None


class MemberInfo(msgspec.Struct, array_like=True, frozen=True):
    """An account that has a place in an epoch. stake_rao: 10^-9 TAO each. uid: None for who holds none on chain."""

    account: bytes
    role: str
    stake_rao: int
    uid: int | None

    @property
    def address(self) -> str:
        """The account as SS58."""
        return format_account(self.account)


class EpochInfo(msgspec.Struct, array_like=True, frozen=True):
    """The present epoch as the node knows it. block: the newest finalised one that it has heard of."""

    number: int
    block: int
    epoch_blocks: int
    members: list[MemberInfo]

    @property
    def first_block(self) -> int:
        """The block at which it began, and of which its members are."""
        return self.number * self.epoch_blocks

    @property
    def stakes(self) -> dict[str, int]:
        """SS58 account -> stake in rao, of the owner and validators: those whose word counts."""
        return {member.address: member.stake_rao for member in self.members if member.role in _WRITERS}


def epoch_info(epoch: Epoch, block: int, epoch_blocks: int) -> EpochInfo:
    """As the node's source of epochs has it. block: the newest finalised one that is known."""
    members = [
        MemberInfo(member.account, member.role, member.stake_rao, member.uid)
        for _, member in sorted(epoch.members.items())
    ]
    return EpochInfo(epoch.number, block, epoch_blocks, members)


class History(msgspec.Struct, array_like=True, frozen=True):
    """account None: of everybody."""

    space: str
    account: bytes | None


class SignedBatch(msgspec.Struct, array_like=True, frozen=True):
    raw: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()


def _extension(code: int, data: memoryview) -> Any:
    if code != _BIG_INTEGER:
        raise ValueError("an extension that is not known")
    return int.from_bytes(data, "big", signed=True)


def wire_value(value: Any) -> Any:
    """A value of the store as it travels: itself, but for integers beyond 64 bits, which msgpack has not."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(
            _BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        )
    return value


def encode(body: Any) -> bytes:
    """A body's bytes. ValueRefused for a value that has no encoding."""
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueRefused(f"a value is bytes or a JSON-like object: {error}") from None


def request(body: Any) -> bytes:
    """Like `encode`, for what must fit one call. ValueRefused above CALL_BYTES_MAX."""
    encoded = encode(body)
    if len(encoded) > CALL_BYTES_MAX:
        raise ValueRefused(f"the call has {len(encoded)} bytes; at most {CALL_BYTES_MAX} go together")
    return encoded


def decode(body: bytes, kind: type[T]) -> T:
    """The body as `kind`. MalformedMessage when it is not one."""
    try:
        return msgspec.msgpack.decode(body, type=kind, ext_hook=_extension)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"the body is not a {getattr(kind, '__name__', kind)}: {error}") from None


def record(body: Any) -> bytes:
    """One record of a stream, with its length."""
    encoded = encode(body)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def cut(records: bytes | bytearray) -> Iterator[bytes]:
    """The messages that carry `records`, none above STREAM_CHUNK_BYTES."""
    view = memoryview(records)
    for at in range(0, len(view), STREAM_CHUNK_BYTES):
        yield bytes(view[at : at + STREAM_CHUNK_BYTES])


class Records:
    """Puts the records of a stream together again. Holds at most one incomplete record and one message."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._left = bytearray()

    def feed(self, message: bytes) -> list[bytes]:
        """The records that `message` completes. MalformedMessage for one longer than `bytes_max`."""
        self._left += message
        records = []
        at = 0
        while len(self._left) - at >= _LENGTH_BYTES:
            size = int.from_bytes(self._left[at : at + _LENGTH_BYTES], "little")
            if size > self._bytes_max:
                raise MalformedMessage(f"a record of {size} bytes; at most {self._bytes_max} are accepted")
            end = at + _LENGTH_BYTES + size
            if len(self._left) < end:
                break
            records.append(bytes(self._left[at + _LENGTH_BYTES : end]))
            at = end
        del self._left[:at]
        return records

    @property
    def whole(self) -> bool:
        """Whether no record is incomplete."""
        return not self._left
