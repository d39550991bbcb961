from typing import Final, final

OK: Final[int]
STALE: Final[int]
FUTURE: Final[int]
REPLAYED: Final[int]
FULL: Final[int]
BEFORE_START: Final[int]

@final
class ReplayWindow:
    def __new__(
        cls,
        entries_max: int,
        per_sender_max: int,
        window_ns: int,
        ahead_ns: int,
        started_ns: int,
        seed: bytes | None = None,
    ) -> ReplayWindow: ...
    def __len__(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def check(self, sender: bytes, nonce: int, timestamp_ns: int, now_ns: int) -> int: ...
    def commit(self, sender: bytes, nonce: int, timestamp_ns: int, now_ns: int) -> None: ...
