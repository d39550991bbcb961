"""Which block is believed to be final: what endpoints say of their newest ones, weighed before anything refers to it.

Sans-IO, a part of `tracker`. A head is believed by itself for nothing but its age. A block that batches may refer to is
confirmed first: another endpoint knows it too, if one can be asked. Owns no epoch and no anchor; it is told the anchor,
and an endpoint whose chain is not the anchor's is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mycelium.config import ANCHOR_SKEW_MS, EPOCH_ANCHOR_BLOCKS, EPOCH_ANCHOR_MS, EPOCH_BEHIND_MS
from mycelium.metagraph.events import Ask, Effect, HeadSeen, Leave, Opinion
from mycelium.metagraph.failures import Problems, Retry

_HEAD: Final = "head"
_DOUBT: Final = "doubt"
_NUMBERS: Final = range(1, 2**32)
"""Of blocks, on a chain whose numbers have 32 bits. Block 0 has no time, so nothing can refer to it."""


@dataclass(slots=True)
class Heads:
    """Of one subnet's chain. endpoints: how many there are; with one, nobody can confirm anything."""

    epoch_blocks: int
    endpoints: int
    problems: Problems
    newest: HeadSeen | None = None
    confirmed: HeadSeen | None = None
    _lagging_since_ms: int | None = None
    """Since when the endpoint that is followed has been behind the anchor."""
    _candidate: HeadSeen | None = None
    """To be confirmed; the same until that is decided, so that an endpoint which is slower reaches it."""
    asking: bool = False
    _again: Retry = field(default_factory=Retry)
    _leaving: Retry = field(default_factory=Retry)
    """When an endpoint may be left again for what it says."""
    _unknown_since_ms: int | None = None
    """Since when the candidate has not been final yet where it was asked for."""

    def seen(self, head: HeadSeen, anchor: HeadSeen | None, now_ms: int) -> list[Effect]:
        """An endpoint told of a final block. It is `newest` afterwards, if nothing speaks against it."""
        wrong = self._wrong(head, anchor, now_ms)
        if wrong is not None:
            return self._not_believed(_HEAD, wrong, head.endpoint, now_ms)
        if anchor is not None and head.number < anchor.number:
            return self._lagging(head, anchor, now_ms)
        self._lagging_since_ms = None
        self.problems.over(_HEAD)
        before, self.newest = self.newest, head
        target = self._target(before, head)
        if self._candidate is None or self._candidate.endpoint != head.endpoint:
            self._candidate = target if self._worth_it(target, anchor) else None
        return []

    def next_question(self, now_ms: int) -> list[Effect]:
        """What another endpoint is to be asked now, if anything."""
        block = self._candidate
        if block is None or self.asking or self._again.at_ms > now_ms:
            return []
        if self.endpoints == 1:
            self._confirm(block)
            return []
        self.asking = True
        return [Ask(block.number, block.endpoint)]

    def answered(self, opinion: Opinion, now_ms: int) -> list[Effect]:
        """Another endpoint was asked about the candidate."""
        self.asking = False
        block = self._candidate
        if block is None or block.number != opinion.number:
            return []  # of one that came to nothing meanwhile
        # Where none can be asked there is nobody to doubt it.
        if opinion.endpoint is None or opinion.hash == block.hash:
            self._confirm(block)
            return []
        if opinion.hash is None and opinion.newest_ms < block.time_ms:
            return self._not_there(block, opinion.newest_ms, now_ms)
        self._candidate = None
        self._again.later(now_ms)
        theirs = "does not know it" if opinion.hash is None else f"says it is {opinion.hash}"
        text = (
            f"{block.endpoint} says that block {block.number} is {block.hash}, and {opinion.endpoint} {theirs}: "
            "neither is believed; remove the one that is wrong from [chain] endpoints"
        )
        return self._not_believed(_DOUBT, text, block.endpoint, now_ms)

    def _not_believed(self, kind: str, text: str, endpoint: str, now_ms: int) -> list[Effect]:
        """Say so, and follow another endpoint; if that is no better, ever more rarely."""
        effects = self.problems.say(kind, text, f"{kind} {endpoint}")
        if self.endpoints > 1 and self._leaving.at_ms <= now_ms:
            self._leaving.later(now_ms)
            effects.append(Leave(endpoint, "its blocks are not believed"))
        return effects

    # --- heads ------------------------------------------------------------------------------------------

    def _lagging(self, seen: HeadSeen, anchor: HeadSeen, now_ms: int) -> list[Effect]:
        """After a change of endpoints that is as it should be, for a moment."""
        if self._lagging_since_ms is None:
            self._lagging_since_ms = now_ms
        if now_ms - self._lagging_since_ms < EPOCH_BEHIND_MS:
            return []
        return self.problems.say(
            _HEAD,
            f"{seen.endpoint} knows final blocks up to {seen.number} only, and block {anchor.number} was final before: "
            "name an endpoint that has caught up, or use a new data_dir if the chain was begun anew",
            f"lagging {seen.endpoint}",
        )

    def _wrong(self, seen: HeadSeen, anchor: HeadSeen | None, now_ms: int) -> str | None:
        """Why a block cannot be of the chain that was followed so far."""
        said = f"{seen.endpoint} says that block {seen.number}"
        if seen.number not in _NUMBERS:
            return f"{said} is final, and no chain has one: remove that endpoint"
        if not 0 < seen.time_ms <= now_ms + ANCHOR_SKEW_MS:
            return (
                f"{said} was made {(seen.time_ms - now_ms) // 1000} s from now: it is not believed; "
                "set this machine's clock right, or remove that endpoint"
            )
        if anchor is None:
            return None
        if seen.number > anchor.number and seen.time_ms <= anchor.time_ms:
            return f"{said} is older than block {anchor.number}: it is not believed; remove that endpoint"
        # Asked before the anchor moved, it says nothing.
        theirs = seen.anchor[1] if seen.anchor is not None and seen.anchor[0] == anchor.number else None
        if seen.number == anchor.number:
            theirs = seen.hash
        if theirs is not None and theirs != anchor.hash:
            return (
                f"{seen.endpoint} says that block {anchor.number} is {theirs}, and it was final as {anchor.hash}: "
                "it is not believed; remove that endpoint, or use a new data_dir if the chain was begun anew"
            )
        return None

    def _target(self, before: HeadSeen | None, seen: HeadSeen) -> HeadSeen:
        """The block to refer to: one behind the newest, as our peers would have to wait for that.

        The newest itself where it begins an epoch, which cannot come too soon, or comes after the chain stood still.
        """
        if (
            before is None
            or before.endpoint != seen.endpoint
            or before.number >= seen.number
            or self._number(before) != self._number(seen)
            or seen.time_ms - before.time_ms > EPOCH_ANCHOR_MS
        ):
            return seen
        return before

    def _worth_it(self, block: HeadSeen, anchor: HeadSeen | None) -> bool:
        """Whether to go on to this block: each that batches refer to is one more to look up."""
        last = self.confirmed
        if last is not None and block.number < last.number:
            # What was confirmed and is not the anchor yet may have been false; nothing depends on it.
            last = anchor
        return (
            last is None
            or self._number(block) > self._number(last)
            or block.number // EPOCH_ANCHOR_BLOCKS > last.number // EPOCH_ANCHOR_BLOCKS
            or (block.number > last.number and block.time_ms - last.time_ms > EPOCH_ANCHOR_MS)
        )

    def _number(self, block: HeadSeen) -> int:
        return block.number // self.epoch_blocks

    # --- what others say --------------------------------------------------------------------------------

    def _not_there(self, block: HeadSeen, newest_ms: int, now_ms: int) -> list[Effect]:
        """The one that was asked is behind: that is waited for. If it stands still, its silence is no objection."""
        if self._unknown_since_ms is None:
            self._unknown_since_ms = now_ms
        waited_ms = max(block.time_ms - newest_ms, now_ms - self._unknown_since_ms)
        # A false block of the future would be believed too, were it not for its time.
        if waited_ms >= EPOCH_BEHIND_MS and block.time_ms <= now_ms:
            self._confirm(block)
        else:
            self._again.later(now_ms)
        return []

    def _confirm(self, block: HeadSeen) -> None:
        self.confirmed = block
        self._candidate = None
        self._unknown_since_ms = None
        self._again = Retry()
        self._leaving = Retry()
        self.problems.over(_DOUBT)
