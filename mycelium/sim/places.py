"""Where nodes are, and how long light and routers take between there.

One-way latencies in ms, half the round trips usual between cloud regions, rounded. A table, as a formula over distances
is wrong where cables make detours.
"""

from __future__ import annotations

from typing import Final

PLACES: Final = (
    "virginia",
    "oregon",
    "frankfurt",
    "london",
    "singapore",
    "tokyo",
    "sydney",
    "sao-paulo",
    "mumbai",
)

_MS: Final = (
    (1, 34, 45, 38, 108, 73, 99, 57, 93),
    (34, 1, 72, 66, 82, 49, 70, 88, 108),
    (45, 72, 1, 8, 82, 112, 142, 102, 56),
    (38, 66, 8, 1, 87, 106, 136, 95, 59),
    (108, 82, 82, 87, 1, 34, 46, 162, 29),
    (73, 49, 112, 106, 34, 1, 52, 128, 63),
    (99, 70, 142, 136, 46, 52, 1, 156, 76),
    (57, 88, 102, 95, 162, 128, 156, 1, 151),
    (93, 108, 56, 59, 29, 63, 76, 151, 1),
)
_WITHIN_A_PLACE_NS: Final = 600_000


def one_way_ns(a: int, b: int) -> int:
    """Between two of PLACES, by number; within one of them 0.6 ms."""
    return _WITHIN_A_PLACE_NS if a == b else _MS[a][b] * 1_000_000
