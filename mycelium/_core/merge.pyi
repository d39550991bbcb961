from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, final

LIVE: Final[int]
DEAD: Final[int]

@final
class Index:
    def __new__(cls, entries_max: int, seed: bytes) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def complete(self) -> bool: ...
    @property
    def memory_bytes(self) -> int: ...
    def load(self, rows: Iterable[tuple[bytes, bytes]], dead: bool) -> int: ...
    def clear(self) -> None: ...

@final
class Plan:
    @property
    def winners(self) -> bytes: ...
    @property
    def ops(self) -> list[tuple[int, bytes, bytes | None]]: ...
    def __len__(self) -> int: ...
    def emit(
        self,
        put: Callable[[bytes, bytes, Any], object],
        delete: Callable[[bytes, Any], object],
        columns: tuple[Any, Any],
    ) -> int: ...

def resolve(
    index: Index,
    raw: bytes,
    spans: bytes,
    prefixes: Sequence[bytes],
    merges: bytes,
    account: bytes,
    generation: int,
    seq_first: int,
    hlc_first: int,
    get: Callable[[int, list[bytes]], list[bytes | None]],
) -> Plan: ...
def row_key(
    merge: int,
    prefix: bytes,
    key: bytes,
    hlc: int = 0,
    account: bytes = ...,
    generation: int = 0,
    seq: int = 0,
) -> bytes: ...
def escape(key: bytes) -> bytes: ...
def unescape(row_key: bytes, at: int) -> tuple[bytes, int]: ...
def keyed_hash(seed: bytes, data: bytes) -> bytes: ...
