"""Port rotation, make before break, sans-IO: when a node listens on another port, and in what steps.

Owns the state of one node's rotation. Must not open a socket, sign or sleep: it takes what happened and the time, and
returns what to do next. The steps, each of which must be answered before the next:

    IDLE -> BINDING -> TESTING -> ANNOUNCING -> OVERLAP -> DRAINING -> IDLE

A new port of the range is bound (taken ones are skipped), dialled by ourselves, announced; both ports accept during the
overlap; then the old one accepts nobody more, what is in its handshake may finish, and it is closed. Sessions live in
the hub and survive. Whatever fails before the announcement closes the new port and keeps the old one; so at any time at
least one port both listens and is announced, and that one is never closed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from mycelium.config import HANDSHAKE_TIMEOUT_MS, ROTATION_JITTER, ROTATION_RETRY_MS
from mycelium.errors import UsageError


class State(Enum):
    """What is under way."""

    IDLE = "idle"
    BINDING = "binding"
    TESTING = "testing"
    ANNOUNCING = "announcing"
    OVERLAP = "overlap"
    DRAINING = "draining"


# --- what happens -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The operator wants a rotation now. UsageError while one is under way."""


@dataclass(frozen=True, slots=True)
class Bound:
    port: int


@dataclass(frozen=True, slots=True)
class BindFailed:
    """The port is taken, or not ours to bind."""

    port: int
    why: str


@dataclass(frozen=True, slots=True)
class Reached:
    port: int


@dataclass(frozen=True, slots=True)
class NotReached:
    port: int
    why: str


@dataclass(frozen=True, slots=True)
class Announced:
    """A record that names this port alone is signed, kept, and on its way to everybody."""

    port: int


@dataclass(frozen=True, slots=True)
class AnnounceFailed:
    """There is no such record: nobody can have heard of the port."""

    port: int
    why: str


Event = Tick | Asked | Bound | BindFailed | Reached | NotReached | Announced | AnnounceFailed


# --- what to do ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bind:
    """Listen on this port too; answered by Bound or BindFailed."""

    port: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Dial it, with a whole handshake, and find ourselves; answered by Reached or NotReached."""

    port: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Sign a record that names this port alone, and send it to our peers; answered by Announced or AnnounceFailed."""

    port: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no new connection on this port; those in their handshake may finish."""

    port: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the port, and what has no session there."""

    port: int


Effect = Bind | SelfTest | Announce | Drain | Close

PORT_MAX: Final = 65_535
_DOUBLINGS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operator sets. ports: the range. Times in ms. enabled: rotate by time, and not only when asked."""

    ports: Sequence[int]
    period_ms: int
    overlap_ms: int
    enabled: bool = True
    drain_ms: int = HANDSHAKE_TIMEOUT_MS


@dataclass(frozen=True, slots=True)
class _Step:
    """One state with what belongs to it. due_ms: when time ends it, None while an answer ends it."""

    state: State
    due_ms: float | None = None
    fresh: int = 0
    left: tuple[int, ...] = ()


class Rotation:
    """The machine of one node. port: where it listens and is announced. Times are monotonic ms.

    rng: the source of jitter and of the order in which ports are tried.
    """

    def __init__(self, plan: Plan, port: int, rng: random.Random, now_ms: float) -> None:
        self._plan = plan
        self._rng = rng
        self.port = port
        self.old: int | None = None
        self.rotations = 0
        self.failures = 0
        self.last_error = ""
        self._step = _Step(State.IDLE, self._next(now_ms))

    @property
    def state(self) -> State:
        return self._step.state

    @property
    def due_ms(self) -> float | None:
        """When the next Tick is due; None while an answer is awaited, or nothing is to happen by time."""
        return self._step.due_ms

    @property
    def fresh(self) -> int | None:
        """The port that is being made ready, None where there is none."""
        ready = self.state in {State.BINDING, State.TESTING, State.ANNOUNCING}
        return self._step.fresh if ready else None

    def handle(self, event: Event, now_ms: float) -> list[Effect]:
        """What to do, in this order. An answer to a question that is no longer open changes nothing."""
        if isinstance(event, Asked):
            if self.state is not State.IDLE:
                raise UsageError(f"a rotation is under way: {self.state.value}")
            return self._begin(now_ms)
        if isinstance(event, Tick):
            return self._passed(now_ms)
        if self.fresh != event.port:
            return []
        if self.state is State.BINDING:
            return self._bound(event, now_ms)
        if self.state is State.TESTING:
            return self._tested(event, now_ms)
        return self._announced(event, now_ms)

    # --- by time ------------------------------------------------------------------------------------------

    def _passed(self, now_ms: float) -> list[Effect]:
        due_ms = self._step.due_ms
        if due_ms is None or now_ms < due_ms:
            return []
        if self.state is State.IDLE:
            return self._begin(now_ms)
        assert self.old is not None, "only what follows an announcement ends by time"
        if self.state is State.OVERLAP:
            self._step = _Step(State.DRAINING, now_ms + self._plan.drain_ms)
            return [Drain(self.old)]
        closed, self.old = self.old, None
        self._step = _Step(State.IDLE, self._next(now_ms))
        return [Close(closed)]

    def _next(self, now_ms: float) -> float | None:
        if not self._plan.enabled:
            return None
        return now_ms + self._plan.period_ms * self._rng.uniform(1 - ROTATION_JITTER, 1 + ROTATION_JITTER)

    # --- by answers ---------------------------------------------------------------------------------------

    def _begin(self, now_ms: float) -> list[Effect]:
        candidates = [port for port in self._plan.ports if port != self.port]
        self._rng.shuffle(candidates)
        return self._try(tuple(candidates), "there is no other port in the range", now_ms)

    def _try(self, candidates: tuple[int, ...], why: str, now_ms: float) -> list[Effect]:
        if not candidates:
            return self._failed(why, now_ms)
        self._step = _Step(State.BINDING, fresh=candidates[0], left=candidates[1:])
        return [Bind(candidates[0])]

    def _bound(self, event: Event, now_ms: float) -> list[Effect]:
        if isinstance(event, BindFailed):
            return self._try(self._step.left, f"no port of the range can be had: {event.why}", now_ms)
        if isinstance(event, Bound):
            self._step = replace(self._step, state=State.TESTING)
            return [SelfTest(event.port)]
        return []

    def _tested(self, event: Event, now_ms: float) -> list[Effect]:
        if isinstance(event, NotReached):
            return [Close(event.port), *self._failed(f"port {event.port}: {event.why}", now_ms)]
        if isinstance(event, Reached):
            self._step = replace(self._step, state=State.ANNOUNCING)
            return [Announce(event.port)]
        return []

    def _announced(self, event: Event, now_ms: float) -> list[Effect]:
        if isinstance(event, AnnounceFailed):
            return [Close(event.port), *self._failed(f"port {event.port}: {event.why}", now_ms)]
        if isinstance(event, Announced):
            self.old, self.port = self.port, event.port
            self.rotations += 1
            self.failures = 0
            self.last_error = ""
            self._step = _Step(State.OVERLAP, now_ms + self._plan.overlap_ms)
        return []

    def _failed(self, why: str, now_ms: float) -> list[Effect]:
        """Nothing has changed for anybody: try again by and by."""
        self.failures += 1
        self.last_error = why
        due_ms = None
        if self._plan.enabled:
            wait_ms = ROTATION_RETRY_MS << min(self.failures - 1, _DOUBLINGS_MAX)
            bound_ms = min(wait_ms, self._plan.period_ms)
            due_ms = now_ms + bound_ms * self._rng.uniform(1 - ROTATION_JITTER, 1)
        self._step = _Step(State.IDLE, due_ms)
        return []
