"""The [rotation] section of `node.toml`. Parses; opens nothing.

```toml
[rotation]                         # without this section the port stays
range = "9090-9100"                # the ports this node may listen on; a firewall must let all of them through
period_s = 14400                   # between two rotations, a quarter more or less
overlap_s = 600                    # for so long the old port accepts too
enabled = true                     # false: only when `mycelium rotate now` asks for it
```
"""

from __future__ import annotations

from mycelium.config import ROTATION_OVERLAP_S, ROTATION_PERIOD_S, ROTATION_PORTS, ROTATION_PORTS_MAX
from mycelium.peer.rotation import PORT_MAX, Plan
from mycelium.tomlfile import Section

_PERIOD_MAX_S = 30 * 86_400
_DEFAULT_RANGE = f"{ROTATION_PORTS[0]}-{ROTATION_PORTS[1]}"


def parse(section: Section) -> Plan:
    """Read the section; mistakes are recorded in its file."""
    text = section.text("range", f'the ports, range = "{_DEFAULT_RANGE}"', _DEFAULT_RANGE)
    ports = section.parsed("range", text, parse_range, f'write it like "{_DEFAULT_RANGE}"', range(0))
    period_s = section.integer("period_s", 60, _PERIOD_MAX_S, ROTATION_PERIOD_S)
    overlap_s = section.integer("overlap_s", 1, 86_400, min(ROTATION_OVERLAP_S, period_s // 2))
    if overlap_s >= period_s:
        section.mistake(
            "overlap_s",
            f"is {overlap_s}, no less than period_s",
            "let the overlap end before the next rotation",
        )
    enabled = section.flag("enabled", True)
    section.finish()
    return Plan(ports, period_s * 1000, overlap_s * 1000, enabled)


def parse_range(text: str) -> range:
    """FIRST-LAST, both in it. ValueError."""
    first, dash, last = text.partition("-")
    if not dash or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last)):
        raise ValueError("not two ports with a - between")
    ports = range(int(first), int(last) + 1)
    if not 2 <= len(ports) <= ROTATION_PORTS_MAX:
        raise ValueError(f"a range has 2 to {ROTATION_PORTS_MAX} ports")
    if ports[0] < 1024 or ports[-1] > PORT_MAX:
        raise ValueError(f"ports are from 1024 to {PORT_MAX}")
    return ports
