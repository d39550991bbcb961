"""Judges what a fleet did by what its clients saw: a recorded history of calls, and what is in the store in the end.

Pure functions. A history is right if

- every fact that was acknowledged as appended is there once, one that was refused is not there, and one whose fate was
  not told is there once or not at all; the same of what was added to counters;
- what was put and read of each key could have happened one after another, each call at some moment between its call and
  its answer (linearizability): nothing acknowledged is lost, and no reader goes back, at whichever member.

The last is decided by zones, as in Gibbons and Korach, "Testing Shared Memories" (SIAM J. Comput. 26, 1997): where no
value is put twice, a history of one key is linearizable if the times in which its values must have stood do not cross.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client. Times in ms of one clock.

    what: `put` and `get` of a key's value (None: there is none), `add` to a counter, `append` of a fact. value: what
    was put, added or appended, or what a `get` was answered; no value is put to a key twice. outcome: REFUSED: surely
    not done. UNKNOWN: nobody knows, or it had no answer when the history ended.
    """

    what: Literal["put", "get", "add", "append"]
    key: str
    value: Hashable
    invoked_ms: float
    returned_ms: float
    outcome: str = OK
    member: str = ""
    slot: int = 0


class Final(NamedTuple):
    """What is in the store in the end: values by key, counters by key, facts by key, each as often as it is there."""

    values: Mapping[str, Hashable]
    counters: Mapping[str, int]
    facts: Mapping[str, Sequence[Hashable]]


class Violation(NamedTuple):
    """kind: `lost`, `twice`, `undone` (refused, and there), `invented` or `order` (no order explains it)."""

    kind: str
    key: str
    text: str


def check(calls: Sequence[Call], final: Final) -> list[Violation]:
    """Everything that is wrong; empty: nothing is."""
    found: list[Violation] = []
    by_kind: dict[str, dict[str, list[Call]]] = {"facts": {}, "counters": {}, "values": {}}
    kinds = {"append": "facts", "add": "counters", "put": "values", "get": "values"}
    for call in calls:
        by_kind[kinds[call.what]].setdefault(call.key, []).append(call)
    for key in sorted(by_kind["facts"].keys() | final.facts.keys()):
        found += check_facts(key, by_kind["facts"].get(key, []), final.facts.get(key, ()))
    for key in sorted(by_kind["counters"].keys() | final.counters.keys()):
        found += check_counter(key, by_kind["counters"].get(key, []), final.counters.get(key, 0))
    for key in sorted(by_kind["values"].keys() | final.values.keys()):
        found += check_register(key, by_kind["values"].get(key, []), final.values.get(key))
    return found


def check_facts(key: str, appends: Sequence[Call], there: Sequence[Hashable]) -> list[Violation]:
    """Of one key of an append table. Every fact is appended by one call."""
    found: list[Violation] = []
    counts = Counter(there)
    for call in appends:
        times = counts.pop(call.value, 0)
        if times > 1:
            found.append(Violation("twice", key, f"{call.value!r} is there {times} times"))
        if times == 0 and call.outcome == OK:
            found.append(
                Violation("lost", key, f"{call.value!r} was acknowledged at {call.returned_ms:.0f} ms")
            )
        if times > 0 and call.outcome == REFUSED:
            found.append(Violation("undone", key, f"{call.value!r} was refused, and is there"))
    return found + [Violation("invented", key, f"{value!r} was never appended") for value in counts]


def check_counter(key: str, adds: Sequence[Call], there: int) -> list[Violation]:
    """Of one counter, to which only positive amounts were added: then what is lost or counted twice is beyond these."""
    amounts: Counter[str] = Counter()
    for call in adds:
        amounts[call.outcome] += _amount(call)
    low, high = amounts[OK], amounts[OK] + amounts[UNKNOWN]
    if there < low:
        return [Violation("lost", key, f"{there} is less than the {low} that were acknowledged")]
    if there > high:
        return [Violation("twice", key, f"{there} is more than the {high} that can have been added")]
    return []


def _amount(call: Call) -> int:
    if not isinstance(call.value, int) or call.value <= 0:
        raise ValueError(f"{call.value!r} was added to {call.key}: only positive numbers can be judged")
    return call.value


def check_register(key: str, calls: Sequence[Call], there: Hashable) -> list[Violation]:
    """Of one key with puts and gets; what is there in the end is one more get. None is what is there before any put."""
    end = max((call.returned_ms for call in calls if math.isfinite(call.returned_ms)), default=0.0)
    last = Call("get", key, there, end, end)
    puts = {call.value: call for call in calls if call.what == "put"}
    if len(puts) != sum(call.what == "put" for call in calls) or None in puts:
        raise ValueError(f"a value was put to {key} twice, or None was: such a history cannot be judged")
    gets: dict[Hashable, list[Call]] = defaultdict(list)
    for call in [*(call for call in calls if call.what == "get" and call.outcome == OK), last]:
        gets[call.value].append(call)
    found: list[Violation] = []
    zones: list[_Zone] = []
    for value in [None, *puts]:
        put, reads = puts.get(value), gets.pop(value, [])
        if put is not None and put.outcome == REFUSED and reads:
            found.append(Violation("undone", key, f"{value!r} was refused, and was read"))
        if put is not None and put.outcome != OK and not reads:
            continue  # it may as well not have happened
        if put is not None and any(read.returned_ms < put.invoked_ms for read in reads):
            found.append(Violation("order", key, f"{value!r} was read before it was put"))
        zones.append(_Zone.of(value, put, reads))
    found += [Violation("invented", key, f"{value!r} was read, and nobody put it") for value in gets]
    return found + [Violation("order", key, text) for text in _crossing(zones)]


class _Zone(NamedTuple):
    """When a value stood. early: the first answer that tells of it; late: the last call that does.

    early before late: it must have stood all that time (forward). Else any moment between them is enough (backward).
    """

    value: Hashable
    early: float
    late: float

    @classmethod
    def of(cls, value: Hashable, put: Call | None, reads: Iterable[Call]) -> _Zone:
        invoked = [read.invoked_ms for read in reads]
        returned = [read.returned_ms for read in reads]
        if put is None:
            invoked, returned = [*invoked, -math.inf], [*returned, -math.inf]
        else:
            invoked.append(put.invoked_ms)
            # A put whose answer never came may have been done at any time after.
            returned.append(put.returned_ms if put.outcome == OK else math.inf)
        return cls(value, min(returned), max(invoked))


def _crossing(zones: Iterable[_Zone]) -> list[str]:
    """Forward zones that overlap, and backward ones that lie within a forward one."""
    zones = sorted(zones, key=lambda zone: min(zone.early, zone.late))
    forward = [zone for zone in zones if zone.early < zone.late]
    found = [
        f"{after.value!r} stood at {after.early:.0f} ms, and {before.value!r} still at {before.late:.0f} ms"
        for before, after in itertools.pairwise(forward)
        if after.early < before.late
    ]
    found += [
        f"{zone.value!r} stood between {zone.late:.0f} and {zone.early:.0f} ms only, when {around.value!r} did"
        for zone in zones
        if zone.early >= zone.late
        for around in forward
        if around.early < zone.late and zone.early < around.late
    ]
    return found


# --- fail-over --------------------------------------------------------------------------------------------


def outages(calls: Iterable[Call]) -> dict[int, float]:
    """Of each slot, the longest time in ms in which calls were waiting and none of them was answered with OK."""
    spans: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        spans[call.slot].append(call)
    return {
        slot: _longest(sorted(of_slot, key=lambda call: call.invoked_ms)) for slot, of_slot in spans.items()
    }


def _longest(calls: Sequence[Call]) -> float:
    answered = sorted(call.returned_ms for call in calls if call.outcome == OK)
    longest, at, previous = 0.0, 0, -math.inf
    for done in [*answered, math.inf]:
        # The first call that was made after the last good answer begins to wait.
        while at < len(calls) and calls[at].invoked_ms < previous:
            at += 1
        if at < len(calls) and calls[at].invoked_ms < done:
            until = done if math.isfinite(done) else max(call.returned_ms for call in calls[at:])
            longest = max(longest, until - calls[at].invoked_ms)
        previous = done
    return longest


def failovers(calls: Iterable[Call], killed_ms: float, slots: Iterable[int]) -> dict[int, float]:
    """Of each slot, how long after a moment the first call was answered with OK that had been made after it.

    math.inf where none was.
    """
    found = dict.fromkeys(slots, math.inf)
    for call in calls:
        if call.slot in found and call.outcome == OK and call.invoked_ms >= killed_ms:
            found[call.slot] = min(found[call.slot], call.returned_ms - killed_ms)
    return found
