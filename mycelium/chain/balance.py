"""Amounts: rao, as whole numbers, everywhere; TAO only as text at the edges. Floats are refused: 0.1 is no float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final, NewType

Rao = NewType("Rao", int)
"""10^-9 TAO."""
RAO_PER_TAO: Final = 10**9
U64_MAX: Final = 2**64 - 1


def rao(tao: str | int | Decimal) -> Rao:
    """An amount of TAO in rao, exactly. ValueError for one that is no number, negative, too fine or too large.

    TypeError for a float: write "0.1" and not 0.1.
    """
    if isinstance(tao, bool) or not isinstance(tao, str | int | Decimal):
        raise TypeError(f'an amount of TAO is text, a whole number or a Decimal, as in "0.5"; not {tao!r}')
    try:
        exact = Decimal(tao) * RAO_PER_TAO
    except InvalidOperation:
        raise ValueError(f"{tao!r} is not an amount of TAO") from None
    if not exact.is_finite() or exact != int(exact):
        raise ValueError(f"{tao} TAO is not a whole number of rao (10^-9 TAO)")
    return check(int(exact))


def check(amount: int) -> Rao:
    """An amount that is in rao already. TypeError for what is no whole number, ValueError outside 0..2^64-1."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise TypeError(f"an amount in rao is a whole number, not {amount!r}; `rao()` makes one of TAO")
    if not 0 <= amount <= U64_MAX:
        raise ValueError(f"{amount} rao is no amount: it must be 0 to {U64_MAX}")
    return Rao(amount)


def format_tao(amount: int) -> str:
    """Rao as TAO, without an exponent and without zeros at the end: "0.5", "1000"."""
    text = f"{Decimal(amount) / RAO_PER_TAO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
