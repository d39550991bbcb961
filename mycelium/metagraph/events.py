"""What the epoch tracker is told, and what it wants done. Values only.

An `endpoint` is its name: it stands in messages, so whoever makes these leaves out what is secret in an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mycelium.errors import ChainError
from mycelium.metagraph.membership import Epoch
from mycelium.metagraph.reading import Reading

# --- what comes in ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadSeen:
    """An endpoint says that a block is final.

    anchor: (number, hash) of the block that was the anchor when it was asked, as this endpoint knows it: None for its
    hash where it has no such block. None where there was no anchor.
    """

    number: int
    hash: str
    time_ms: int
    endpoint: str = ""
    anchor: tuple[int, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """The answer to an Ask: what another endpoint says of the block.

    endpoint: None where none could be asked. hash: None where the block is not final there yet; then `newest_ms` is
    the time of the newest block that is.
    """

    number: int
    endpoint: str | None = None
    hash: str | None = None
    newest_ms: int = 0


@dataclass(frozen=True, slots=True)
class EpochRead:
    """The answer to a ReadEpoch, of one endpoint."""

    reading: Reading
    endpoint: str


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """A ReadEpoch came to nothing at an endpoint."""

    number: int
    endpoint: str
    error: ChainError


@dataclass(frozen=True, slots=True)
class TimesRead:
    """The answer to a ReadTimes: block -> ms since 1970, without those that could not be had."""

    times_ms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Input = HeadSeen | Opinion | EpochRead | ReadFailed | TimesRead | Tick

# --- what goes out ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask an endpoint other than `exclude` what it knows of a block."""

    number: int
    exclude: str


@dataclass(frozen=True, slots=True)
class ReadEpoch:
    """Read an epoch, of none of the endpoints in `exclude`. known: the epoch whose first block's hash comes with it."""

    number: int
    exclude: frozenset[str] = frozenset()
    known: int | None = None


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """Read the timestamps of these blocks."""

    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entered:
    """Another epoch is the present one."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Leave:
    """Follow another endpoint than this one, if there is another."""

    endpoint: str
    why: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator should see, now."""

    text: str


Effect = Ask | ReadEpoch | ReadTimes | Entered | Leave | Alarm
