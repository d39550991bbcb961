"""Read a TOML file that an operator wrote and report every mistake in it at once, each with its line.

Owns nothing but the reading: which keys exist and what they mean is said by the callers (`node.settings`,
`metagraph.membership`). Never prints, never changes a file, never shows a value that a caller marks secret.

Raises: ConfigError, whose lines are `FILE:LINE: KEY what is wrong -- how to mend it`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from mycelium.errors import ConfigError, MyceliumError
from mycelium.redaction import masked

T = TypeVar("T")
Amend = Callable[["TomlFile", dict[str, Any]], None]

_REQUIRED: Final = object()
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_PART: Final = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*\.?""")
_KEY: Final = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*(?:=|\.)""")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ", did you mean X?" for the closest of `names`, or the list of them when none is close."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"remove it, or use one of: {', '.join(known)}" if known else "remove it"


def _shown(value: object) -> str:
    text = masked(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


class TomlFile:
    """One parsed file and the mistakes found in it so far.

    Read it through `root`, then call `check()`: it raises one ConfigError that lists every mistake.
    """

    def __init__(self, path: Path, what: str, amend: Amend | None = None) -> None:
        """Parse `path`; `what` names the kind of file in messages, for example "configuration file".

        amend: changes what was read before anything asks for it, and says whence the values it put there came.
        """
        self.path = path
        self.asked: dict[tuple[str | int, ...], tuple[str, Any]] = {}
        """Every key that a caller asked for: the kind of value, and the default."""
        self.origins: dict[tuple[str | int, ...], str] = {}
        """Where a value came from that is not the file's."""
        self._mistakes: list[tuple[int, str, str]] = []
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such {what}", "create it, or name another file") from None
        except IsADirectoryError:
            raise ConfigError(f"{path}: is a directory, not a {what}", "name the file itself") from None
        except OSError as error:
            remedy = (
                "make it readable for this user" if isinstance(error, PermissionError) else "check the path"
            )
            raise ConfigError(f"{path}: cannot read the {what}: {error.strerror}", remedy) from None
        try:
            self.text = raw.decode("utf-8")
            data = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: is not UTF-8 text", "save it as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(*_syntax(path, str(error), self.text)) from None
        self._lines = self.text.splitlines()
        if amend is not None:
            amend(self, data)
        self.data = data
        self.root = Section(self, "", data, ())

    def mistake(self, where: tuple[str | int, ...], what: str, remedy: str) -> None:
        """Record that the key at `where` (section names, indices of array tables, key) is wrong."""
        origin = self.origin_of(where)
        if origin:
            self._mistakes.append((0, f"{origin}: {what}", remedy))
            return
        line = self.line_of(where)
        self._mistakes.append(
            (line, f"{self.path}:{line}: {what}" if line else f"{self.path}: {what}", remedy)
        )

    def mistake_elsewhere(self, what: str, remedy: str) -> None:
        """Record a mistake that is in no key of this file: `what` names the place."""
        self._mistakes.append((0, what, remedy))

    @property
    def mistakes(self) -> list[tuple[str, str]]:
        """What is wrong, with its place, and the remedy; in the order of the file, what is not of it first."""
        return [(what, remedy) for _, what, remedy in sorted(self._mistakes, key=lambda mistake: mistake[0])]

    def origin_of(self, where: tuple[str | int, ...]) -> str:
        """Whence the value of a key came that is not the file's; "" for one that is."""
        for depth in range(len(where), 0, -1):
            if where[:depth] in self.origins:
                return self.origins[where[:depth]]
        return ""

    def check(self) -> None:
        """Raise a ConfigError with every mistake recorded, in the order of the file, if there are any."""
        texts = self.mistakes
        if not texts:
            return
        if len(texts) == 1:
            raise ConfigError(*texts[0])
        raise ConfigError("\n".join(f"{what} -- {remedy}" if remedy else what for what, remedy in texts))

    def line_of(self, where: tuple[str | int, ...]) -> int:
        """Return the 1-based line of a key or of its section, 0 when neither can be found (inline tables)."""
        best = (0, 0)
        section: tuple[str | int, ...] = ()
        counts: dict[str, int] = {}
        for number, line in enumerate(self._lines, start=1):
            if header := _HEADER.match(line):
                section = tuple(part[0] or part[1] or part[2] for part in _PART.findall(header[2]))
                if header[1] == "[[":
                    name = header[2]
                    section += (counts.get(name, 0),)
                    counts[name] = counts.get(name, 0) + 1
                here = section
            elif key := _KEY.match(line):
                here = (*section, key[1] or key[2] or key[3])
            else:
                continue
            depth = len(here)
            if depth > best[0] and here == where[:depth]:
                best = (depth, number)
        return best[1]


def _syntax(path: Path, text: str, content: str) -> tuple[str, str]:
    end = " (at end of document)"
    if text.endswith(end):
        line = content.rstrip("\n").count("\n") + 1
        return f"{path}:{line}: {text.removesuffix(end)}: the file ends here", "write the rest of it, as TOML"
    found = re.search(r"\s*\(at line (\d+), column \d+\)$", text)
    if found:
        return f"{path}:{found[1]}: {text[: found.start()]}", "write it as TOML (https://toml.io)"
    return f"{path}: {text}", "write it as TOML (https://toml.io)"


class Section:
    """One table of the file. Each getter removes its key from what `finish()` reports as unknown."""

    def __init__(self, file: TomlFile, name: str, data: dict[str, Any], where: tuple[str | int, ...]) -> None:
        self.file = file
        self.name = name
        self.where = where
        self._data = data
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def names(self) -> list[str]:
        """Return the keys of this section, for one whose keys are names of the operator's own."""
        return list(self._data)

    def label(self, key: str) -> str:
        """Return `section.key` as messages name it."""
        return f"{self.name}.{key}" if self.name else key

    def mistake(self, key: str, what: str, remedy: str) -> None:
        """Record a mistake in one key of this section."""
        self.file.mistake((*self.where, key), f"{self.label(key)} {what}", remedy)

    def _get(self, key: str, kind: type[T], said: str, default: Any) -> T | None:
        self._asked.add(key)
        self.file.asked[(*self.where, key)] = (kind.__name__, None if default is _REQUIRED else default)
        if key not in self._data:
            if default is _REQUIRED:
                self.mistake(key, "is missing", f"add it: {said}")
                return None
            return default  # type: ignore[no-any-return]
        value = self._data[key]
        # A TOML boolean is a Python int; `netuid = true` must not read as 1.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.mistake(key, f"is {_shown(value)}", f"write {said}")
            return None
        return value

    def text(self, key: str, said: str, default: Any = _REQUIRED) -> str:
        """Return a text value, "" after recording a mistake. `said` says in words what belongs there."""
        value = self._get(key, str, said, default)
        if value == "" and default is not value:
            self.mistake(key, "is empty", f"write {said}")
        return value or ""

    def integer(self, key: str, low: int, high: int, default: Any = _REQUIRED) -> int:
        """Return an integer of low..high, `low` after recording a mistake."""
        said = f"a whole number from {low} to {high}"
        value = self._get(key, int, said, default)
        if value is None:
            return low
        if not low <= value <= high:
            self.mistake(key, f"is {value}", f"write {said}")
            return low
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value, the default after recording a mistake."""
        value = self._get(key, bool, "true or false", default)
        return default if value is None else value

    def choice(self, key: str, allowed: tuple[str, ...], default: Any = _REQUIRED) -> str:
        """Return one of `allowed`, its first after recording a mistake."""
        said = "one of " + ", ".join(f'"{name}"' for name in allowed)
        value = self._get(key, str, said, default)
        if value is None:
            return allowed[0]
        if value not in allowed:
            close = difflib.get_close_matches(value, allowed, n=1)
            remedy = f"write {said}" + (f"; did you mean {close[0]!r}?" if close else "")
            self.mistake(key, f"is {_shown(value)}", remedy)
            return allowed[0]
        return value

    def strings(self, key: str, said: str) -> list[str]:
        """Return a list of texts, [] when absent or after recording a mistake."""
        value: list[Any] = self._get(key, list, f"a list of {said}", []) or []
        if not all(isinstance(item, str) for item in value):
            self.mistake(key, "has an item that is not text", f"write a list of {said}")
            return []
        return value

    def parsed(self, key: str, text: str, parse: Callable[[str], T], remedy: str, failed: T) -> T:
        """Return `parse(text)`; a ValueError or MyceliumError of it is recorded and gives `failed`."""
        try:
            return parse(text)
        except MyceliumError as error:
            self.mistake(key, f"is wrong: {error}", remedy)
        except ValueError as error:
            self.mistake(key, f"is {_shown(text)}: {error}", remedy)
        return failed

    def section(self, key: str, said: str, *, required: bool = True) -> Section:
        """Return a sub-table, an empty one when it is absent or is no table."""
        default = _REQUIRED if required else {}
        value = self._get(key, dict, said, default)
        # The keys of a section that is missing would each be reported again; one mistake is enough.
        kind = MissingSection if value is None else Section
        return kind(self.file, self.label(key), value or {}, (*self.where, key))

    def subsections(self) -> list[tuple[str, Section]]:
        """Return every key of this section as a sub-table, recording those that are none."""
        return [(key, self.section(key, f"[{self.label(key)}]")) for key in self.names()]

    def array(self, key: str, said: str) -> list[Section]:
        """Return the tables of `[[key]]`, in the order of the file."""
        value: list[Any] = self._get(key, list, said, []) or []
        if not all(isinstance(item, dict) for item in value):
            self.mistake(key, "holds something that is not a table", f"write {said}")
            return []
        label = self.label(key)
        return [Section(self.file, label, item, (*self.where, key, at)) for at, item in enumerate(value)]

    def finish(self) -> None:
        """Record every key that nobody asked for as unknown, with the nearest name that exists."""
        for key in self._data:
            if key not in self._asked:
                self.mistake(key, "is not known", nearest(key, self._asked))


class MissingSection(Section):
    """Stands for a section whose absence is recorded already: stays silent about the keys it lacks."""

    def mistake(self, key: str, what: str, remedy: str) -> None:
        """Record nothing."""
