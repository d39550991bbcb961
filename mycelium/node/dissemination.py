"""How this node's batches reach the others, and how it passes on theirs: the runtime of `peer.plumtree`.

A batch of this node's own is pushed once it is durable, to everybody or along its tree, as `peer.pushmode` decides. One
that comes along a tree goes on as soon as it is applied, before it is durable here: its origin has it on disk. What
came by sync, or straight from its origin, is not passed on.

Must not decide what is valid (the engine does) or repair what is lost (the replicator's sync does).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mycelium._core import codec, fanout
from mycelium._core.codec import Batch, decode_batch
from mycelium.config import GOSSIP_BYTES
from mycelium.config.peer import PASSED_OVER_BURST, PASSED_OVER_PER_S, TREE_HELD_MAX, UPLINK_MBIT
from mycelium.database.engine import Applied, Engine, Outcome
from mycelium.database.vector import Origin
from mycelium.errors import Equivocation, StaleMessage, StoreError, Unauthorised
from mycelium.node.absence import Absence
from mycelium.node.ratelimit import Quiet
from mycelium.peer.bucket import Allowances
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.plumtree import Effect, Plumtree, Push, Ref
from mycelium.peer.pushmode import Mode, PushMode
from mycelium.protocol.messages import MessageType, Tree

log = logging.getLogger(__name__)

Signed = tuple[bytes, bytes]
"""A batch's bytes and its signature."""


class _Way(NamedTuple):
    """How a batch came along a tree: over which link, and for how many hops more."""

    link: int
    hops: int


def ref_of(batch: Batch) -> Ref:
    """What the trees call a batch."""
    last = batch.seq_first + batch.count - 1
    return Ref(batch.space, batch.account, batch.generation, batch.seq_first, last)


class Dissemination:
    """One node's pushes, its own and others'.

    members: the sessions with members. may_read: whether one's member may be sent a space. passed_over: batches that
    broke a rule by their origin's fault and not that of who passed them on, by reason. absence: None where every
    member is taken to have a session.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        members: Callable[[], list[Link]],
        may_read: Callable[[int, str], bool],
        rng: random.Random | None = None,
        uplink_mbit: int = UPLINK_MBIT,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._members = members
        self._may_read = may_read
        self._rng = rng or random.Random(os.urandom(16))  # noqa: S311 - whom to push to, not a secret
        self._links: dict[int, Link] = {}
        self._way: _Way | None = None
        self._held: dict[Ref, _Way] = {}
        self._faults = Allowances(PASSED_OVER_PER_S, PASSED_OVER_BURST)
        self._going: list[tuple[Push, Signed]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._closed = False
        self._quiet = Quiet(log, interval_s=10)
        self.passed_over: Counter[str] = Counter()
        self.pushed_changes = 0
        """Own ones that were queued for peers, counted once for each peer."""
        self.pushmode = PushMode(uplink_mbit)
        self.plumtree = Plumtree(may_read, self._holds, self._rng, self.pushmode.uplink_bytes_s)
        self.absence: Absence | None = None
        engine.on_applied.append(self._applied)

    def _clock_ms(self) -> int:
        return self._hub.clock_ns() // 1_000_000

    def allow(self, uplink_mbit: int) -> None:
        """The operator says that the uplink is so wide."""
        self.pushmode.allow(uplink_mbit)
        self.plumtree.uplink_bytes_s = self.pushmode.uplink_bytes_s

    # --- links ------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A member's session is up."""
        sharing = next((one.id for one in self._links.values() if one.account == link.account), None)
        self._links[link.id] = link
        self._faults.opened(link.account)
        self.plumtree.link_up(link.id, sharing)

    def link_closed(self, link: Link) -> None:
        """It ended."""
        if self._links.pop(link.id, None) is not None:
            self._faults.closed(link.account)
        self.plumtree.link_down(link.id)

    def tick(self) -> None:
        """Once every PING_INTERVAL_MS."""
        if self.absence is not None:
            self.absence.tick(self._clock_ms())

    def close(self) -> None:
        """Say no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.absence is not None:
            self.absence.close()

    # --- this node's own --------------------------------------------------------------------------------

    def push(self, ready: Sequence[Applied]) -> None:
        """Batches of this node's own that are durable now, in order."""
        for space in dict.fromkeys(applied.batch.space for applied in ready):
            links = [link for link in self._members() if self._may_read(link.id, space)]
            if links:
                self._push_space([applied for applied in ready if applied.batch.space == space], links)

    def _push_space(self, ready: list[Applied], links: list[Link]) -> None:
        now_ms = self._clock_ms()
        size = sum(len(applied.batch.raw) for applied in ready)
        far = "" if self.absence is None else self.absence.why(ready[0].batch.space, now_ms)
        before = self.pushmode.mode
        mode = self.pushmode.decide(size, len(links), far, now_ms)
        if mode is not before:
            log.info(
                "batches of this node go out %s now%s",
                mode.value,
                self.pushmode.why and f": {self.pushmode.why}",
            )
        if mode is Mode.DIRECT:
            self.pushed_changes += len(links) * sum(applied.batch.count for applied in ready)
            self._publish([(applied.batch.raw, applied.signature) for applied in ready], links, 0)
            return
        for applied in ready:
            raw = applied.batch.raw
            pushes = self.plumtree.publish(ref_of(applied.batch), len(raw), now_ms)
            self.pushed_changes += applied.batch.count * sum(len(push.links) for push in pushes)
            self._going += [(push, (raw, applied.signature)) for push in pushes]
        self._go()

    def _publish(
        self, batches: list[Signed], links: Sequence[Link], hops: int
    ) -> list[tuple[Link, int, int]]:
        """Returns what was refused: the link, and the first and the end of the batches."""
        refused = []
        first = size = 0
        for at, (raw, _) in enumerate(batches):
            if at > first and size + len(raw) > GOSSIP_BYTES:
                refused += [(link, first, at) for link in self._post(batches[first:at], links, hops)]
                first, size = at, 0
            size += len(raw)
        return refused + [(link, first, len(batches)) for link in self._post(batches[first:], links, hops)]

    def _post(self, group: list[Signed], links: Sequence[Link], hops: int) -> list[Link]:
        return self._hub.post(MessageType.GOSSIP, codec.encode_gossip(group, hops), fanout.PUSH, links)

    # --- others' ----------------------------------------------------------------------------------------

    def gossip(self, link: Link, payload: bytes, now_ms: int) -> None:
        """Batches that a member pushed. Raises the ProtocolError of what is that member's own fault.

        now_ms: the wall clock's.
        """
        batches, hops = codec.decode_gossip(payload)
        way = _Way(link.id, hops) if hops else None
        try:
            for raw, signature in batches:
                self._take(link, raw, signature, way, now_ms)
        finally:
            self._go()

    def _take(self, link: Link, raw: bytes, signature: bytes, way: _Way | None, now_ms: int) -> None:
        self._way = way
        try:
            outcome = self._engine.receive(raw, signature, now_ms)
        except StoreError as error:
            # Not the peer's fault. What is dropped here is missing in the vector and will be asked for.
            self._quiet.error("cannot store what peers send: %s", error)
            return
        except (Equivocation, Unauthorised, StaleMessage) as error:
            # Its origin signed it. Whoever passes it on may not know what makes it wrong here.
            flood = self._faults.take(link.account, 1, self._hub.clock_ns())
            if decode_batch(raw).account == link.account or flood:
                raise
            self.passed_over[error.reason] += 1
            return
        finally:
            self._way = None
        if way is None or outcome is Outcome.APPLIED:
            return
        if outcome is Outcome.DUPLICATE:
            self.plumtree.repeated(link.id, ref_of(decode_batch(raw)), self._clock_ms())
        elif outcome is Outcome.HELD:
            self._held.setdefault(ref_of(decode_batch(raw)), way)
            if len(self._held) > TREE_HELD_MAX:
                # Some are never applied, and so never taken out: the oldest gives way.
                del self._held[next(iter(self._held))]

    def _applied(self, applied: Applied) -> None:
        """Pass on at once what came along a tree, now or when it was not due yet."""
        if applied.own:
            return
        way = self._way
        if self._held:
            held = self._held.pop(ref_of(applied.batch), None)
            way = way or held
        if way is None:
            return
        batch, now_ms = applied.batch, self._clock_ms()
        pushes = self.plumtree.received(way.link, ref_of(batch), len(batch.raw), way.hops, now_ms)
        for push in pushes:
            self._going.append((push, (batch.raw, applied.signature)))
            self.pushmode.relayed(len(batch.raw) * len(push.links), now_ms)
        if self._way is None:
            self._go()

    def _go(self) -> None:
        """Send what is to be pushed: in one message what has the same way before it."""
        going, self._going = self._going, []
        groups: dict[tuple[tuple[int, ...], int], list[tuple[Ref, Signed]]] = {}
        for push, signed in going:
            groups.setdefault((push.links, push.hops), []).append((push.ref, signed))
        for (numbers, hops), batches in groups.items():
            links = [self._links[link] for link in numbers if link in self._links]
            for link, first, end in self._publish([signed for _, signed in batches], links, hops):
                for ref, _ in batches[first:end]:
                    self.plumtree.unsent(link.id, ref, self._clock_ms())
        self._arm()

    # --- the trees' upkeep ------------------------------------------------------------------------------

    def tree(self, link: Link, payload: bytes) -> None:
        """A member's Tree message. MalformedMessage."""
        self._carry_out(self.plumtree.heard(link.id, Tree.decode(payload), self._clock_ms()))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Push):
                signed = self._logged(effect.ref)
                if signed is not None:
                    self._going.append((effect, signed))
            else:
                links = [self._links[link] for link in effect.links if link in self._links]
                # One that is dropped, as its peer reads nothing, costs no more than a push that is.
                self._hub.post(MessageType.TREE, effect.tree.encode(), fanout.REPAIR, links)
        self._go()

    def _logged(self, ref: Ref) -> Signed | None:
        origin = Origin(ref.account, ref.generation)
        try:
            for _, raw, signature in self._engine.log_records(ref.space, origin, ref.first, ref.first):
                return raw, signature
        except StoreError as error:
            self._quiet.error("cannot read what a peer asked for: %s", error)
        return None

    def _holds(self, ref: Ref) -> bool:
        origin = Origin(ref.account, ref.generation)
        if ref.last <= self._engine.head(ref.space, origin):
            return True
        held = self._engine.vector(ref.space).get(origin)
        return held is not None and any(
            first <= ref.first and ref.last <= last for first, last in held.ranges
        )

    def _arm(self) -> None:
        """Have the trees' timers run when the first is due; an idle node has none."""
        due_ms = self.plumtree.due_ms
        if self._closed or due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        wait_s = max(0, due_ms - self._clock_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            # A timer may fire within the last fraction of the millisecond before.
            self._carry_out(self.plumtree.tick(max(self._clock_ms(), self._timer_ms)))
        except Exception:
            log.exception("the upkeep of the trees failed; it goes on")

    # --- what is shown ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For people: the mode, and why it is not direct."""
        return {"mode": self.pushmode.mode.value, "why": self.pushmode.why, **self.plumtree.remembered}
