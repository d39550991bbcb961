"""Who is a member in an epoch, with what role and stake, and what that allows.

An epoch is a range of `tempo` blocks; membership never changes inside one, so that whether a batch is valid
is a pure function of the batch and its epoch (invariant 3). A `Source` answers for epochs and block times:
here from a file, elsewhere from the chain. Knows no socket, no store and no chain.

Units: stake in rao (10^-9 TAO); times in ms since the Unix epoch; accounts are raw 32 bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol
from urllib.parse import urlsplit

from mycelium.identity import account as accounts
from mycelium.tomlfile import Section, TomlFile

OWNER: Final = "owner"
VALIDATOR: Final = "validator"
MINER: Final = "miner"
OBSERVER: Final = "observer"
ROLES: Final = (OWNER, VALIDATOR, MINER, OBSERVER)

_WRITERS: Final = frozenset({OWNER, VALIDATOR})
_READERS: Final = frozenset({OWNER, VALIDATOR, OBSERVER})

BLOCK_MS: Final = 12_000
"""Time between blocks of a Bittensor chain."""
TEMPO: Final = 360
"""Blocks of an epoch: the tempo most subnets run with."""
_U64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """One account of the subnet, as an epoch knows it. uid: its place on chain, None for who holds none."""

    account: bytes
    role: str
    stake_rao: int = 0
    urls: tuple[str, ...] = ()
    uid: int | None = None
    permit: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """The membership of one range of blocks; immutable.

    policy: BLAKE3 digest of the access policy in force, 32 bytes; None for the default one.
    """

    number: int
    members: Mapping[bytes, Member]
    policy: bytes | None = None

    def role(self, account: bytes) -> str | None:
        """The account's role, None for a stranger."""
        member = self.members.get(account)
        return None if member is None else member.role

    def may_write(self, account: bytes) -> bool:
        """Whether batches of this account are valid in this epoch: the owner and validators."""
        return self.role(account) in _WRITERS

    def may_read(self, account: bytes) -> bool:
        """Whether this account may be sent the store: writers and observers, not strangers or miners."""
        return self.role(account) in _READERS


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How well a source knows the present. `problems`: what is wrong, in words, each with its remedy.

    head_age_s: time since the newest finalised block known, None without a chain. writes_allowed: whether that is
    recent enough to anchor new batches to it. block: that new batches refer to. head: the newest finalised one known.
    """

    epoch: int
    block: int
    head_age_s: float | None = None
    writes_allowed: bool = True
    problems: tuple[str, ...] = ()
    head: int = -1


class Source(Protocol):
    """Where epochs come from. Implementations are cheap to ask: the answers are cached, nothing blocks."""

    on_epoch: list[Callable[[Epoch], None]]
    """Called on the loop when another epoch is the present one."""
    on_known: list[Callable[[bool], None]]
    """Called on the loop when more is known than before; with True when it is something that was asked for."""

    @property
    def tempo(self) -> int:
        """Blocks of an epoch: block b lies in epoch b // tempo."""
        ...

    def epoch(self) -> Epoch:
        """The epoch of now."""
        ...

    def epoch_at(self, number: int) -> Epoch | None:
        """An epoch by its number; None when it is unknown as yet, and what depends on it is held."""
        ...

    def peek(self, number: int) -> Epoch | None:
        """Like `epoch_at`, of one that nobody needs: if it is unknown it stays so."""
        ...

    def block_now(self, now_ms: int) -> int:
        """The newest finalised block at `now_ms`."""
        ...

    def block_time_ms(self, block: int) -> int | None:
        """The timestamp of a block; None when the block is unknown as yet."""
        ...

    def status(self, now_ms: int) -> SourceStatus:
        """What an operator should know of it."""
        ...

    def explain(self, account: bytes) -> str | None:
        """Why the account may not write now, in one line with its remedy; None where it may."""
        ...

    async def start(self) -> None:
        """Begin to follow; returns when the present epoch is known. ConfigError, ChainError, MetagraphError."""
        ...

    async def close(self) -> None:
        """Stop; idempotent."""
        ...


def wall_ms() -> int:
    """The wall clock in ms since the Unix epoch."""
    return time.time_ns() // 1_000_000


class StaticSource:
    """A membership that is the same in every epoch, over blocks that come at a fixed rate.

    Block n's time is genesis_time_ms + n * block_ms: a pure function, so that every node that shares the file
    decides the same about every batch. Changing the members takes a change of the file on every node.
    """

    def __init__(
        self,
        members: Mapping[bytes, Member],
        *,
        genesis_time_ms: int,
        block_ms: int = BLOCK_MS,
        tempo: int = TEMPO,
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.members: Mapping[bytes, Member] = MappingProxyType(dict(members))
        self.genesis_time_ms = genesis_time_ms
        self.block_ms = block_ms
        self._tempo = tempo
        self.on_epoch: list[Callable[[Epoch], None]] = []
        self.on_known: list[Callable[[bool], None]] = []
        self._clock_ms = clock_ms
        self._last = Epoch(0, self.members)

    @classmethod
    def load(cls, path: Path, *, clock_ms: Callable[[], int] = wall_ms) -> StaticSource:
        """Read a members file. Raises ConfigError that names each mistake with its line."""
        file = TomlFile(path, "members file")
        chain = file.root.section("chain", "a [chain] section with genesis_time_ms")
        genesis_time_ms = chain.integer("genesis_time_ms", 0, 2**48)
        block_ms = chain.integer("block_ms", 1, 3_600_000, BLOCK_MS)
        tempo = chain.integer("tempo", 1, 1_000_000, TEMPO)
        chain.finish()
        members: dict[bytes, Member] = {}
        lines: dict[bytes, int] = {}
        for section in file.root.array("member", "[[member]] tables with account and role"):
            member = _member(section)
            line = file.line_of((*section.where, "account"))
            if member.account in members:
                first = lines[member.account]
                section.mistake("account", f"is listed twice, first on line {first}", "keep one")
            elif member.account:
                members[member.account] = member
                lines[member.account] = line
            section.finish()
        file.root.finish()
        if not members:
            file.mistake(
                ("member",),
                "no member is listed",
                'add [[member]] with account = "5..." and role = "validator"',
            )
        file.check()
        return cls(
            members, genesis_time_ms=genesis_time_ms, block_ms=block_ms, tempo=tempo, clock_ms=clock_ms
        )

    @property
    def tempo(self) -> int:
        """Blocks of an epoch."""
        return self._tempo

    def epoch(self) -> Epoch:
        """The epoch of now."""
        return self.epoch_at(self.block_now(self._clock_ms()) // self._tempo)

    def epoch_at(self, number: int) -> Epoch:
        """Any epoch: the file speaks for all of them, so none is ever unknown."""
        if self._last.number != number:
            self._last = Epoch(number, self.members)
        return self._last

    def peek(self, number: int) -> Epoch:
        """Any epoch."""
        return self.epoch_at(number)

    def block_now(self, now_ms: int) -> int:
        """The block at `now_ms`; 0 before the genesis time."""
        return max(0, now_ms - self.genesis_time_ms) // self.block_ms

    def block_time_ms(self, block: int) -> int:
        """The time of a block, of the future too."""
        return self.genesis_time_ms + block * self.block_ms

    def status(self, now_ms: int) -> SourceStatus:
        """A file is always as recent as it can be."""
        block = self.block_now(now_ms)
        return SourceStatus(block // self._tempo, block, head=block)

    def explain(self, account: bytes) -> str | None:
        """By the file."""
        role = self.epoch().role(account)
        if role in _WRITERS:
            return None
        name = accounts.format(account)
        if role is None:
            return (
                f"{name} is no member, so it may not write and is sent nothing: list it in the members file"
            )
        return f"{name} is a {role}, which may not write: give it the role of a validator in the members file"

    async def start(self) -> None:
        """There is nothing to follow."""

    async def close(self) -> None:
        """There is nothing to stop."""


def _member(section: Section) -> Member:
    text = section.text("account", 'the account as SS58, account = "5..."')
    account = b""
    if text:
        account = section.parsed("account", text, accounts.parse, "write the SS58 address of the hotkey", b"")
    role = section.choice("role", ROLES)
    stake_rao = section.integer("stake_rao", 0, _U64, 0)
    urls = section.strings("urls", 'addresses like "ws://203.0.113.7:9090"')
    for url in urls:
        section.parsed("urls", url, check_url, 'write it like "ws://203.0.113.7:9090"', None)
    return Member(account, role, stake_rao, tuple(urls))


def check_url(url: str) -> None:
    """ValueError for what is no address of a node: ws or wss, host and port, no password."""
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"}:
        raise ValueError("not a WebSocket address")
    if not parts.hostname or parts.port is None:
        raise ValueError("has no host or no port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address carries no user or password")
