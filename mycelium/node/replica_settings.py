"""The [replica] section of a configuration file: it is that of a read replica, and of no node. Parses; opens nothing.

```toml
[replica]                          # instead of [identity]: no hotkey, but a key of its own in data_dir
writes_at = "ws://10.0.0.5:9090"   # told to whoever tries to write here
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mycelium.metagraph.membership import check_url
from mycelium.tomlfile import TomlFile

KEY_FILE: Final = "replica.key"
"""In the data directory."""


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """key_file: made at the first start, no hotkey and on no chain. writes_at: the address of a node, "" for none."""

    key_file: Path
    writes_at: str = ""


def parse(file: TomlFile, data_dir: Path) -> ReplicaSettings | None:
    """The section of a file; None where it has none. Mistakes are recorded in the file."""
    if "replica" not in file.root:
        return None
    section = file.root.section("replica", "a [replica] section")
    writes_at = section.text("writes_at", 'the address of a node, like "ws://10.0.0.5:9090"', "")
    if writes_at:
        section.parsed("writes_at", writes_at, check_url, 'write it like "ws://10.0.0.5:9090"', None)
    section.finish()
    identity = file.root.section("identity", "no [identity] section", required=False)
    # A variable of the environment may name a wallet for other programs.
    if any(not file.origin_of((*identity.where, name)) for name in identity.names()):
        file.mistake(
            ("identity",), "a replica has no hotkey", "remove [identity], or [replica] if it is a node"
        )
    return ReplicaSettings(data_dir / KEY_FILE, writes_at)
