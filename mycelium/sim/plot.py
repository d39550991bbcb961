"""Draws propagation as an SVG, by hand: how long until which share of the members had a change.

For each share of the members it draws, over all changes of a run, the median time until so many had it, and the bands
from the 5th to the 95th and the 25th to the 75th percentile of the changes. Owns the picture; measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from mycelium.sim.measure import Propagation, percentile

WIDTH: Final = 860
HEIGHT: Final = 480
LEFT: Final = 70
RIGHT: Final = 30
TOP: Final = 76
BOTTOM: Final = 62
_STEPS: Final = (1, 2, 5)
_TICKS_MAX: Final = 8
_BANDS: Final = ((0.05, 0.95, "#dbe7f5", "5th to 95th percentile"), (0.25, 0.75, "#a9c8e8", "25th to 75th"))
_INK: Final = "#1f2d3d"
_PALE: Final = "#6b7a8c"


def curve(reached: Sequence[Sequence[float]], members: int, share: float) -> list[tuple[float, float]]:
    """(ms, share of members) for k = 1 to `members`: the time at which `share` of the changes had reached k of them.

    reached: for each change the times at which members got it, ascending. Changes that never reached k do not count.
    """
    points = []
    for k in range(1, members + 1):
        times = sorted(one[k - 1] for one in reached if len(one) >= k)
        if times:
            points.append((percentile(times, share), k / members))
    return points


def svg(propagation: Propagation, members: int, title: str, subtitle: str) -> str:
    """The picture. members: how many receive each change. With nothing measured it says so."""
    reached = [sorted(spread.reached_ms) for spread in propagation.spreads.values() if spread.reached_ms]
    parts = [_head(title, subtitle)]
    if not reached:
        parts.append(_text(WIDTH / 2, HEIGHT / 2, "no change reached another member", 15, "middle", _PALE))
        return "\n".join([*parts, "</svg>", ""])
    latencies = propagation.latencies_ms()
    width_ms = _round_up(max(percentile(latencies, 0.995), 1.0))
    parts.append(_axes(width_ms))
    for low, high, colour, _ in _BANDS:
        fast, slow = curve(reached, members, low), curve(reached, members, high)
        ring = _path(fast, width_ms) + " L " + _path(slow[::-1], width_ms)[2:] + " Z"
        parts.append(f'<path d="{ring}" fill="{colour}" clip-path="url(#area)"/>')
    middle = _path(curve(reached, members, 0.5), width_ms)
    parts.append(
        f'<path d="{middle}" fill="none" stroke="#1764ab" stroke-width="2.4" stroke-linejoin="round" '
        'clip-path="url(#area)"/>'
    )
    parts += _marks(latencies, width_ms)
    parts.append(_legend())
    return "\n".join([*parts, "</svg>", ""])


def _head(title: str, subtitle: str) -> str:
    area = f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<defs><clipPath id="area">{area}/></clipPath></defs>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'{area} fill="#f7f9fc"/>',
            _text(LEFT, 32, title, 18, "start", _INK, weight=600),
            _text(LEFT, 54, subtitle, 12.5, "start", _PALE),
        ]
    )


def _axes(width_ms: float) -> str:
    parts = []
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e9f1"/>')
        parts.append(_text(LEFT - 10, y + 4, f"{tenth * 10} %", 12, "end", _PALE))
    step = _step(width_ms)
    at = 0.0
    while at <= width_ms + step / 1000:
        x = _x(at, width_ms)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#edf1f7"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 20, f"{at:g}", 12, "middle", _PALE))
        at += step
    parts.append(
        _text(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "ms after the change was written", 12.5, "middle", _INK
        )
    )
    x, y = 20, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{x}" y="{y}" font-size="12.5" fill="{_INK}" text-anchor="middle" '
        f'transform="rotate(-90 {x} {y})">share of the members that have it</text>'
    )
    return "\n".join(parts)


def _marks(latencies: list[float], width_ms: float) -> list[str]:
    """Median and p99 of all deliveries, as vertical lines."""
    parts = []
    for share, name, row in ((0.5, "p50", 0), (0.99, "p99", 1)):
        at = percentile(latencies, share)
        if at > width_ms:
            continue
        x = _x(at, width_ms)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#c2571a" '
            'stroke-width="1.2" stroke-dasharray="4 4"/>'
        )
        anchor, shift = ("end", -6) if x > WIDTH * 0.75 else ("start", 6)
        parts.append(_text(x + shift, TOP + 18 + 16 * row, f"{name} {at:.0f} ms", 12, anchor, "#a34612"))
    return parts


def _legend() -> str:
    x, y = WIDTH - RIGHT - 200, HEIGHT - BOTTOM - 62
    parts = [
        f'<rect x="{x - 12}" y="{y - 16}" width="204" height="66" rx="6" fill="#ffffff" fill-opacity="0.94"/>'
    ]
    rows = [(f'fill="{colour}"', label) for _, _, colour, label in _BANDS]
    for at, (fill, label) in enumerate([*rows, ('fill="#1764ab"', "median change")]):
        height = 10 if at < 2 else 3
        top = y + 19 * at - (5 if at < 2 else 1.5)
        parts.append(f'<rect x="{x}" y="{top}" width="22" height="{height}" {fill}/>')
        parts.append(_text(x + 30, y + 19 * at + 4, label, 12, "start", _INK))
    return "\n".join(parts)


def _path(points: Sequence[tuple[float, float]], width_ms: float) -> str:
    return "M " + " L ".join(f"{_x(ms, width_ms):.1f} {_y(share):.1f}" for ms, share in points)


def _text(x: float, y: float, text: str, size: float, anchor: str, colour: str, weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _x(ms: float, width_ms: float) -> float:
    # What is far outside would only make large numbers; the clip hides it anyway.
    return LEFT + (WIDTH - LEFT - RIGHT) * min(ms / width_ms, 2.0)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _step(width_ms: float) -> float:
    scale = 0.1
    while True:
        for step in _STEPS:
            if width_ms / (step * scale) <= _TICKS_MAX:
                return step * scale
        scale *= 10


def _round_up(ms: float) -> float:
    step = _step(ms)
    return step * -(-ms // step)
