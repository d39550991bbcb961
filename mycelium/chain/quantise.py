"""Relative weights to what the chain takes: u16 values of which the largest is 65,535, none beyond the subnet's limit.

Owns the arithmetic. Values are scaled and rounded as Bittensor's SDK does, so that both give the same vector; a limit
is met exactly, by water-filling over rationals: what is cut from the largest goes to all others in proportion. Pure.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from mycelium.errors import UsageError

U16_MAX: Final = 65_535


def pairs(
    weights: Mapping[Any, Any] | Sequence[Any], values: Sequence[Any] | None
) -> list[tuple[int, float]]:
    """(uid, weight), by uid, of a mapping uid -> weight, or of uids and values apart. UsageError says what is wrong."""
    if isinstance(weights, Mapping):
        if values is not None:
            raise UsageError("give weights as {uid: weight}, or uids and values; not both")
        given = list(weights.items())
    else:
        if values is None:
            raise UsageError("give weights as {uid: weight}, or uids and as many values")
        if len(weights) != len(values):
            raise UsageError(f"there are {len(weights)} uids and {len(values)} values")
        given = list(zip(weights, values, strict=True))
    found = [(_uid(uid), number(weight, f"the weight of uid {uid}")) for uid, weight in given]
    if len({uid for uid, _ in found}) != len(found):
        raise UsageError("a uid is named twice")
    return sorted(found)


def _uid(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)  # as JSON gives keys
    try:
        uid = operator.index(value)
    except TypeError:
        uid = -1
    if isinstance(value, bool) or not 0 <= uid <= U16_MAX:
        raise UsageError(f"{value!r} is not a uid: uids are 0 to {U16_MAX}")
    return uid


def number(value: Any, what: str) -> float:
    """A weight as a finite number that is not negative. UsageError."""
    try:
        found = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise UsageError(f"{what} is {value!r}: weights are finite and not negative")
    return found


def is_number(value: Any) -> bool:
    """Whether it can be a weight at all."""
    try:
        number(value, "it")
    except UsageError:
        return False
    return True


def quantise(weighed: Sequence[tuple[int, float]], limit: int = U16_MAX) -> tuple[list[int], list[int]]:
    """uids and u16 values, zeros left out; no value is more than limit/65,535 of their sum, where that can be.

    Where it cannot - there are too few uids - the values are even, and `exceeds` says that the chain will refuse them.
    """
    positive = [(uid, weight) for uid, weight in weighed if weight > 0]
    if not positive:
        return [], []
    given = [weight for _, weight in positive]
    clipped = _clipped([Fraction(weight) for weight in given], limit)
    # Unclipped in floats, as the SDK does, so that ties round alike.
    weights: Sequence[float | Fraction] = given if clipped is None else clipped
    top = max(weights)
    scaled = [weight / top * U16_MAX for weight in weights]
    values = [round(weight) for weight in scaled]
    if exceeds(values, limit):
        # Rounding took from the sum; rounded up, nothing is ever taken from it.
        values = [math.ceil(weight) for weight in scaled]
    kept = [(uid, value) for (uid, _), value in zip(positive, values, strict=True) if value]
    return [uid for uid, _ in kept], [value for _, value in kept]


def exceeds(values: Sequence[int], limit: int) -> bool:
    """Whether the largest value is a larger part of all than the limit: the chain's `MaxWeightExceeded`."""
    return limit < U16_MAX and bool(values) and max(values) * U16_MAX > limit * sum(values)


def needed(limit: int) -> int:
    """The least number of uids whose weights can keep within a limit."""
    return -(-U16_MAX // limit) if limit else U16_MAX + 1


def _clipped(weights: list[Fraction], limit: int) -> list[Fraction] | None:
    """The weights cut to the limit; None where they keep it already."""
    rest, count = sum(weights, Fraction(0)), len(weights)
    if limit >= U16_MAX or max(weights) * U16_MAX <= limit * rest:
        return None
    if count * limit <= U16_MAX:
        return [Fraction(1)] * count
    part = Fraction(limit, U16_MAX)
    ordered = sorted(weights, reverse=True)
    for cut in range(1, count):
        rest -= ordered[cut - 1]
        # With `cut` weights at the ceiling c: c = part * (cut * c + rest).
        ceiling = part * rest / (1 - part * cut)
        if ceiling >= ordered[cut]:
            return [min(weight, ceiling) for weight in weights]
    raise AssertionError("where count * part > 1, a ceiling is found before all weights are cut")
