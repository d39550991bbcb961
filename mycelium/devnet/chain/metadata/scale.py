"""SCALE as far as metadata needs it: integers, compact integers, text, sequences (docs.substrate.io, SCALE codec)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def compact(number: int) -> bytes:
    """A compact integer: the low two bits say how many bytes it takes."""
    if number < 1 << 6:
        return bytes((number << 2,))
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    if number < 1 << 30:
        return (number << 2 | 2).to_bytes(4, "little")
    length = (number.bit_length() + 7) // 8
    return bytes(((length - 4) << 2 | 3,)) + number.to_bytes(length, "little")


def sized(data: bytes) -> bytes:
    """Bytes with their length before them."""
    return compact(len(data)) + data


def text(value: str) -> bytes:
    """UTF-8 with its length before it."""
    return sized(value.encode())


def vector(items: Iterable[T], encode: Callable[[T], bytes]) -> bytes:
    """Items with their number before them."""
    parts = [encode(item) for item in items]
    return compact(len(parts)) + b"".join(parts)


def option(value: T | None, encode: Callable[[T], bytes]) -> bytes:
    """Zero, or one and the value."""
    return b"\0" if value is None else b"\1" + encode(value)
