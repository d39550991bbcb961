"""The [log] section of `node.toml`: how much the daemon says, and in which form. Parses; sets up nothing.

```toml
[log]                              # all of it may be left out
level = "warning"                  # debug, info, warning or error
format = "auto"                    # console on a terminal and JSON lines elsewhere; or "console", or "json"
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mycelium.tomlfile import Section

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "console", "json")
DEFAULT_LEVEL: Final = "warning"
DEFAULT_FORMAT: Final = "auto"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Checked values of the section."""

    level: str = DEFAULT_LEVEL
    format: str = DEFAULT_FORMAT


def parse(section: Section) -> LogSettings:
    """Read the section; mistakes are recorded in its file."""
    level = section.choice("level", LEVELS, DEFAULT_LEVEL)
    kind = section.choice("format", FORMATS, DEFAULT_FORMAT)
    section.finish()
    return LogSettings(level, kind)
