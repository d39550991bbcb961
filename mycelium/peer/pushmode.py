"""Whether a node pushes its batches to everybody itself, or along a tree: a decision with hysteresis. Sans-IO.

DIRECT --a member that lives is out of reach, or there are too many for a full mesh,
         or pushing to all would take more than its share of the uplink, or one push too long--> TREE, at once
TREE   --none of that for PUSH_CALM_MS, at half of the thresholds-----------------------------> DIRECT

What direct pushing would cost is measured in either mode, so that the tree's own thrift does not end it. Direct is one
copy and one hop for each delivery, and no relay can withhold anything: it is the mode to be in.
"""

from __future__ import annotations

import math
from enum import Enum

from mycelium.config.peer import (
    PUSH_CALM_MS,
    PUSH_MS_MAX,
    PUSH_UPLINK_PERCENT,
    PUSH_WINDOW_MS,
    TREE_EAGER,
    UPLINK_MBIT,
)

_BYTES_S_PER_MBIT = 125_000


class Mode(Enum):
    """How a node's own batches go out."""

    DIRECT = "direct"
    TREE = "tree"


class PushMode:
    """mode: as of the last decision. why: the reason it is TREE, in words; "" while it is DIRECT."""

    def __init__(self, uplink_mbit: int = UPLINK_MBIT) -> None:
        self.mode = Mode.DIRECT
        self.why = ""
        self.uplink_bytes_s = 0
        self.allow(uplink_mbit)
        self._level_bytes = 0.0
        self._measured_ms = 0
        self._reason_ms = 0

    def allow(self, uplink_mbit: int) -> None:
        """So wide is the uplink, from the next decision on."""
        self.uplink_bytes_s = max(1, uplink_mbit) * _BYTES_S_PER_MBIT

    def relayed(self, size_bytes: int, now_ms: int) -> None:
        """What was sent for others takes its part of the uplink too."""
        self._add(size_bytes, now_ms)

    def decide(self, size_bytes: int, readers: int, out_of_reach: str, now_ms: int) -> Mode:
        """The mode for a push of so many bytes to so many links. out_of_reach: why the links are not all, or ""."""
        whole_bytes = size_bytes * readers
        self._add(whole_bytes, now_ms)
        budget_bytes = self.uplink_bytes_s * PUSH_UPLINK_PERCENT // 100 * PUSH_WINDOW_MS // 1000
        push_bytes_max = self.uplink_bytes_s * PUSH_MS_MAX // 1000
        share = 1 if self.mode is Mode.DIRECT else 2
        why = out_of_reach
        # A tree begins with as many links: to so few it would be no cheaper, and slower.
        many = readers > TREE_EAGER
        if many and not why and self._level_bytes * share > budget_bytes:
            why = f"pushing to all takes more than {PUSH_UPLINK_PERCENT} % of the uplink"
        if many and not why and whole_bytes * share > push_bytes_max:
            why = f"a push to all takes the uplink more than {PUSH_MS_MAX} ms"
        if why:
            self.mode, self.why, self._reason_ms = Mode.TREE, why, now_ms
        elif self.mode is Mode.TREE and now_ms - self._reason_ms >= PUSH_CALM_MS:
            self.mode, self.why = Mode.DIRECT, ""
        return self.mode

    def _add(self, size_bytes: int, now_ms: int) -> None:
        passed_ms = max(0, now_ms - self._measured_ms)
        self._level_bytes = self._level_bytes * math.exp(-passed_ms / PUSH_WINDOW_MS) + size_bytes
        self._measured_ms = now_ms
