"""The settings of a node from all places that may say them: flags, environment, `.env`, the file, defaults.

In this order. Finds the file, puts what the other places say into what was read of it, and lets `settings` judge the
whole, so that one pass names every mistake with its line or variable. Remembers where each value came from, for
`mycelium config`. Never prints and never changes a file.

Some settings exclude each other: a hotkey is in a wallet, a file or a variable. Whichever is named at a stronger place
puts the others out of force. A variable of another program (WALLET_NAME) does not do that to a hotkey or a members
file: it would change who a node is without a word.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mycelium import redaction
from mycelium.errors import ConfigError
from mycelium.node import options
from mycelium.node.options import FLAG, INTEGER, REQUIRED, STRINGS, TABLE, Option
from mycelium.node.settings import Settings
from mycelium.tomlfile import TomlFile, nearest

if TYPE_CHECKING:
    from dotenv.parser import Original

NO_FILE: Final = "no configuration file is named, and none is at "
DEFAULT: Final = "default"
MISSING: Final = "missing"
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")
_FALLBACKS: Final = "BT_FALLBACK_ENDPOINTS"
# Kubernetes gives every container variables of these forms for a service called mycelium-node.
_OF_KUBERNETES: Final = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_WALLET: Final = ("identity.wallet", "identity.hotkey", "identity.wallet_path")
_CHAIN: Final = tuple(option.path for option in options.OPTIONS if option.section == "chain")


@dataclass(frozen=True, slots=True)
class _Choice:
    """Settings of which only one of several sets is meant. alone: a foreign variable cannot change which."""

    sets: tuple[tuple[str, ...], ...]
    alone: bool


_CHOICES: Final = (
    _Choice((_WALLET, ("identity.key_file",), ("identity.seed_env",)), alone=True),
    _Choice((_CHAIN, ("membership.file",)), alone=True),
    _Choice((("chain.endpoints",), ("chain.network",)), alone=False),
)


@dataclass(frozen=True, slots=True)
class Given:
    """A value that is not the file's. origin: what messages call its place. own: named as Mycelium names it."""

    path: str
    text: str
    origin: str
    own: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """One setting as it is in force. origin: a flag, `environment NAME`, `FILE:LINE`, "default" or "missing".

    used: whether it has a meaning here; a node without [rotation] has no period.
    """

    path: str
    value: Any
    origin: str
    option: Option
    used: bool = True


@dataclass
class Configuration:
    """What was read. `settings()` judges it; `values()` and `notes` are for people."""

    path: Path
    how: str
    file: TomlFile
    notes: list[str] = field(default_factory=list)

    def settings(self) -> Settings:
        """The settings. ConfigError with every mistake."""
        return Settings.parse(self.file)

    def values(self) -> list[Value]:
        """Every setting in the order of the table, with its origin. No secret is among them."""
        found: list[Value] = []
        for option in options.OPTIONS:
            if option.kind == TABLE and _get(self.file.data, (option.path,)):
                continue  # each of its entries is a setting of its own
            if "*" not in option.path:
                found.append(self._value(option, tuple(option.path.split("."))))
                continue
            head, _, last = option.path.partition(".*")
            names = self.file.data.get(head)
            found += [
                self._value(option, (head, name, *([last[1:]] if last else [])))
                for name in (names if isinstance(names, dict) else ())
            ]
        order = {name: at for at, name in enumerate(options.SECTIONS)}
        # What belongs to one table stands together.
        return sorted(
            found,
            key=lambda value: (
                order[value.option.section],
                value.path.rpartition(".")[0] if "*" in value.option.path else "",
            ),
        )

    def raw(self) -> dict[str, Any]:
        """Every value that some place gives, as it is there: to be compared, not to be shown."""
        found: dict[str, Any] = {}

        def walk(data: Mapping[str, Any], path: str) -> None:
            for name, value in data.items():
                here = f"{path}.{name}" if path else name
                if isinstance(value, dict) and options.find(here) is None:
                    walk(value, here)
                else:
                    found[here] = value

        for section, value in self.file.data.items():
            if isinstance(value, dict):
                walk(value, section)
        return found

    def secrets(self) -> set[str]:
        """The values of settings that are secret, for `logs.secrets_of`."""
        raw = self.raw()
        return {str(value) for path, value in raw.items() if (one := options.find(path)) and one.secret}

    def _value(self, option: Option, where: tuple[str, ...]) -> Value:
        present, value = _look(self.file.data, where)
        path = ".".join(where)
        if not present:
            origin = MISSING if option.default is REQUIRED and self._used(option) else DEFAULT
            return Value(
                path,
                None if option.default is REQUIRED else option.default,
                origin,
                option,
                self._used(option),
            )
        origin = self.file.origin_of(where) or f"{self.file.path}:{self.file.line_of(where)}"
        return Value(path, _discreet(option, value), origin, option, self._used(option))

    def _used(self, option: Option) -> bool:
        """Whether the setting has a meaning beside the others."""
        data = self.file.data
        if option.section == "chain":
            return "membership" not in data and not (
                option.path == "chain.network" and _get(data, ("chain", "endpoints"))
            )
        if option.section in ("membership", "rotation", "replica"):
            return option.section in data
        if option.section == "identity" and "replica" in data:
            return False
        chosen = [one for one in _CHOICES[0].sets if any(_get(data, tuple(path.split("."))) for path in one)]
        return option.section != "identity" or not chosen or any(option.path in one for one in chosen)


def locate(config: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The configuration file, and how it was found. ConfigError when none is named and none is where one may be."""
    if config is not None:
        named = environ.get("MYCELIUM_CONFIG") == str(config)
        return config.expanduser().absolute(), "MYCELIUM_CONFIG" if named else "--config"
    if environ.get("MYCELIUM_CONFIG"):
        return Path(environ["MYCELIUM_CONFIG"]).expanduser().absolute(), "MYCELIUM_CONFIG"
    places = default_places(environ)
    for place in places:
        if _may_be_there(place):
            return place.absolute(), "found"
    raise ConfigError(
        NO_FILE + ", ".join(map(str, places)),
        "write one with `mycelium init`, or give --config FILE",
    )


def default_places(environ: Mapping[str, str]) -> list[Path]:
    """Where a configuration file is looked for when none is named, the first place first."""
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return [
        Path("node.toml"),
        Path(home).expanduser() / "mycelium" / "config.toml",
        Path("/etc/mycelium/config.toml"),
    ]


def _may_be_there(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:
        return True  # a directory that may not be searched: reading the file says so, with the remedy


def read(
    config: Path | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    named: Mapping[str, str] | None = None,
) -> Configuration:
    """Read everything; `settings()` of what is returned has the mistakes.

    flags: paths of settings and their text, as `--set` has them. named: what a message calls a flag that is no `--set`.
    environ: os.environ where it is None. ConfigError for a file that cannot be read or is no TOML.
    """
    environ = os.environ if environ is None else environ
    name = env_file or (Path(environ["MYCELIUM_ENV_FILE"]) if environ.get("MYCELIUM_ENV_FILE") else None)
    loaded = {} if name is None else read_env_file(name)
    known = {key: text for key, (text, _) in loaded.items()}
    path, how = locate(config, {**known, **environ})
    called = {key: f"environment variable {key}" for key in environ}
    called_there = {key: f"{name}:{line} {key}" for key, (_, line) in loaded.items()}
    places = [
        [Given(key, text, (named or {}).get(key, f"--set {key}")) for key, text in (flags or {}).items()],
        _from_environment(environ, called),
        _from_environment(known, called_there),
    ]
    notes: list[str] = []

    def amend(file: TomlFile, data: dict[str, Any]) -> None:
        _merge(file, data, places, notes)
        _unknown(file, data, {**called_there, **called}, notes)

    file = TomlFile(path, "configuration file", amend)
    if environ is os.environ:
        _hand_over(file.data, known)
    return Configuration(path, how, file, notes)


def _hand_over(data: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Put a secret that the settings name by its variable into the environment, where an `.env` alone has it."""
    for name in _named_variables(data):
        if name in known:
            os.environ.setdefault(name, known[name])


def _named_variables(data: Mapping[str, Any]) -> set[str]:
    """The variables that settings name, as `identity.seed_env` does."""
    paths = (option.path for option in options.OPTIONS if option.path.endswith("_env"))
    return {name for path in paths if isinstance(name := _get(data, tuple(path.split("."))), str)}


def load(
    config: Path | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """`read`, and its settings. ConfigError."""
    return read(config, flags, environ, env_file).settings()


def read_env_file(path: Path) -> dict[str, tuple[str, int]]:
    """The variables of a `.env`, each with its line. ConfigError that never shows what is in the file."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    path = path.expanduser()
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
        wrong = next((_line(one.original) for one in bindings if one.error), None)
        if wrong is not None:
            raise ConfigError(f"{path}:{wrong}: is no NAME=VALUE", "write one variable a line, as in .env")
        values = dotenv_values(path, encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the environment file: {error.strerror}",
            "mend --env-file or MYCELIUM_ENV_FILE",
        ) from None
    lines = {one.key: _line(one.original) for one in bindings if one.key}
    return {key: (text, lines.get(key, 0)) for key, text in values.items() if text}


def _line(original: Original) -> int:
    """Where a line of a `.env` stands. To its parser the empty lines above are a part of it."""
    blank = len(original.string) - len(original.string.lstrip())
    return original.line + original.string.count("\n", 0, blank)


# --- the places ---------------------------------------------------------------------------------------------


def _from_environment(environ: Mapping[str, str], called: Mapping[str, str]) -> list[Given]:
    """What variables say, for each setting the strongest name alone. An empty variable counts as none."""
    found: list[Given] = []
    for option in options.OPTIONS:
        for name in (option.variable, *option.aliases):
            if not name or not environ.get(name):
                continue
            text, path = environ[name], option.path
            if name == "BT_CHAIN_ENDPOINT" and environ.get(_FALLBACKS):
                text = f"{text},{environ[_FALLBACKS]}"
            if path == "chain.network" and text.startswith(("ws://", "wss://")):
                path = "chain.endpoints"  # both families take an address where they take a name
            if all(other.path != path for other in found):
                found.append(Given(path, text, called[name], own=name == option.variable))
            break
    return found


def _merge(file: TomlFile, data: dict[str, Any], places: list[list[Given]], notes: list[str]) -> None:
    """Put what the places say into `data`, the strongest last, and out of it what they exclude."""
    dropped = set()
    for choice in _CHOICES:
        dropped |= _excluded(choice, data, places, notes)
    for path in dropped:
        _remove(data, path)
    for place in reversed(places):
        for given in place:
            option = options.find(given.path)
            if option is None:
                known = (one.path for one in options.OPTIONS if "*" not in one.path)
                file.mistake_elsewhere(f"{given.origin}: is not known", nearest(given.path, known))
            elif given.path not in dropped:
                where = _parts(option, given.path)
                if _put(data, where, convert(option, given.text)):
                    file.origins[where] = given.origin


def _excluded(
    choice: _Choice, data: Mapping[str, Any], places: list[list[Given]], notes: list[str]
) -> set[str]:
    """The paths of a choice that are out of force: all but those of the strongest place that names any."""
    own = [({given.path for given in place if given.own}, False) for place in places]
    foreign = [({given.path for given in place if not given.own}, True) for place in places]
    in_file = ({path for one in choice.sets for path in one if _look(data, tuple(path.split(".")))[0]}, False)
    levels = [level for pair in zip(own, foreign, strict=True) for level in pair]
    for paths, is_foreign in [*own, in_file, *foreign] if choice.alone else [*levels, in_file]:
        chosen = [one for one in choice.sets if paths & set(one)]
        if not chosen:
            continue
        # Two of one place contradict each other, and the settings say so; but Fiber and the SDK let an address
        # count before a name, and the first set is theirs.
        kept = {path for one in (chosen[:1] if is_foreign else chosen) for path in one}
        out = {path for one in choice.sets for path in one} - kept
        notes += [
            f"{given.origin} is not used: {min(paths & kept)} is set"
            for place in places
            for given in place
            if given.path in out
        ]
        return out
    return set()


def _unknown(file: TomlFile, data: Mapping[str, Any], called: Mapping[str, str], notes: list[str]) -> None:
    """Variables that begin as ours do and are none. called: each with what messages call its place."""
    named = _named_variables(data)
    ours = tuple(f"{options.PREFIX}{section.upper()}_" for section in options.SECTIONS)
    for name in sorted(called):
        if not name.startswith(options.PREFIX) or name in options.BY_VARIABLE or name in named:
            continue
        if name in options.PROGRAM_VARIABLES or _OF_KUBERNETES.fullmatch(name):
            continue
        if name.startswith(ours):
            file.mistake_elsewhere(f"{called[name]}: is not known", nearest(name, options.BY_VARIABLE))
        else:
            notes.append(f"{called[name]} means nothing to a node")


# --- values -------------------------------------------------------------------------------------------------


def convert(option: Option, text: str) -> Any:
    """A variable's or flag's text as TOML would have it; the text itself where it is no such value."""
    text = text.strip()
    if option.kind == INTEGER and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if option.kind == FLAG and text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    if option.kind == STRINGS and not text.startswith("["):
        return [part for part in (part.strip() for part in text.split(",")) if part]
    if option.kind in (STRINGS, TABLE):
        try:
            found = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            return text
        whole = found.keys() == {"value"} and isinstance(
            found["value"], list if option.kind == STRINGS else dict
        )
        return found["value"] if whole else text
    return text


def _discreet(option: Option, value: Any) -> Any:
    """What may be shown of a value."""
    if option.secret:
        return redaction.HIDDEN
    if option.path.endswith("_env") and not (isinstance(value, str) and _VARIABLE_NAME.fullmatch(value)):
        return redaction.HIDDEN  # somebody wrote the secret where its variable's name belongs
    if isinstance(value, list):
        return [_discreet(option, item) for item in value]
    return redaction.masked(value) if isinstance(value, str) else value


def _parts(option: Option, path: str) -> tuple[str, ...]:
    if "*" not in option.path:
        return tuple(path.split("."))
    if option.section == "tables":
        head, _, last = path.rpartition(".")
        return (*head.split(".", 1), last)
    return tuple(path.split(".", 1))


def _look(data: Any, where: tuple[str, ...]) -> tuple[bool, Any]:
    for part in where:
        if not isinstance(data, dict) or part not in data:
            return False, None
        data = data[part]
    return True, data


def _get(data: Any, where: tuple[str, ...]) -> Any:
    return _look(data, where)[1]


def _put(data: dict[str, Any], where: tuple[str, ...], value: Any) -> bool:
    """Whether there was a place for it: a file with `node = 3` has none, and is reported for that."""
    for part in where[:-1]:
        below = data.setdefault(part, {})
        if not isinstance(below, dict):
            return False
        data = below
    data[where[-1]] = value
    return True


def _remove(data: dict[str, Any], path: str) -> None:
    head, _, last = path.partition(".")
    section = data.get(head)
    if isinstance(section, dict):
        section.pop(last, None)
        if not section and head in ("membership", "chain"):
            del data[head]
