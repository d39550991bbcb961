"""Whether the compiled extensions are those of the sources. Imports nothing of the project."""

from __future__ import annotations

import re
from pathlib import Path

CIMPORT = re.compile(r"^\s*from mycelium\._core\.(\w+) cimport\b", re.MULTILINE)


def sources(core: Path, module: str, suffixes: tuple[str, ...] = (".pyx", ".pxd")) -> set[Path]:
    """The .pyx and .pxd files that an extension is compiled from, with the headers it cimports."""
    found: set[Path] = set()
    for path in (core / f"{module}{suffix}" for suffix in suffixes):
        if path.exists():
            found.add(path)
            for name in CIMPORT.findall(path.read_text()):
                if name != module:
                    found |= sources(core, name, (".pxd",))
    return found


def stale(core: Path) -> list[str]:
    """One line for each extension that is missing, or older than a file it is compiled from."""
    problems = []
    for pyx in sorted(core.glob("*.pyx")):
        built = list(core.glob(f"{pyx.stem}.*.so")) + list(core.glob(f"{pyx.stem}.so"))
        if not built:
            problems.append(f"{pyx.stem} is not compiled")
            continue
        compiled_ns = max(path.stat().st_mtime_ns for path in built)
        newer = [p.name for p in sorted(sources(core, pyx.stem)) if p.stat().st_mtime_ns > compiled_ns]
        if newer:
            problems.append(f"{pyx.stem} is older than {', '.join(newer)}")
    return problems
