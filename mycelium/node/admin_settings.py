"""The [admin] section of `node.toml`: the HTTP port for health, metrics and the dashboard. Parses; opens nothing.

```toml
[admin]                            # all of it may be left out
enabled = true
listen = "127.0.0.1:9091"          # port 0 takes a free one. Without it 9091, or a free one where that is taken
token_file = "admin.token"         # requests must carry what is in it; needed for any address but this machine's own
hosts = ["node1.example.org"]      # names by which the port is asked for, beside localhost and its address
```
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mycelium.tomlfile import Section

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9091
TOKEN_CHARS_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """chosen: whether the address stands in the file; if not, another port is as good. hosts: in lower case."""

    enabled: bool = True
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    chosen: bool = False
    token_file: Path | None = None
    hosts: frozenset[str] = frozenset()


def parse(section: Section, base: Path) -> AdminSettings:
    """Read the section; mistakes are recorded in its file. base: where relative paths begin."""
    enabled = section.flag("enabled", True)
    listen = section.text("listen", f'HOST:PORT, like "{DEFAULT_HOST}:{DEFAULT_PORT}"', None)
    chosen = "listen" in section
    host, port = DEFAULT_HOST, DEFAULT_PORT
    if chosen:
        remedy = f'write HOST:PORT, like "{DEFAULT_HOST}:{DEFAULT_PORT}"'
        host, port = section.parsed("listen", listen, _address, remedy, (host, port))
    token = section.text("token_file", "the path of a file with the token", None)
    hosts = section.strings("hosts", 'names like "node1.example.org"')
    if not is_loopback(host) and not token:
        section.mistake(
            "listen",
            f"{host} can be reached from other machines, and no token is set",
            'add token_file = "admin.token", made by: openssl rand -hex 32 > admin.token; or listen on 127.0.0.1',
        )
    section.finish()
    return AdminSettings(
        enabled,
        host,
        port,
        chosen,
        base / Path(token).expanduser() if token else None,
        frozenset(name.lower() for name in hosts),
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost may be anything, so it is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(text: str) -> tuple[str, int]:
    from mycelium.node.settings import parse_listen  # it imports this module

    return parse_listen(text)
