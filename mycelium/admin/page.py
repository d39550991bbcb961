"""The dashboard's files: read once from the package, served from memory by their exact names, and nothing else is.

They load nothing from elsewhere, and the browser is told to allow nothing else.
"""

from __future__ import annotations

from importlib import resources
from typing import Final, NamedTuple

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
    "/mesh.js": ("mesh.js", "text/javascript; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
}


class File(NamedTuple):
    """What is answered at a path."""

    body: bytes
    type: str


def files() -> dict[str, File]:
    """Path to file."""
    folder = resources.files("mycelium.admin") / "dashboard"
    return {path: File((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
