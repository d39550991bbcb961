"""The [nats] section of `node.toml`: where JetStream is, who one is there, how much it keeps. Parses; opens nothing.

For the bridge, replicas and fleets; a node alone has no use for it. Passwords and tokens are in variables or files, and
the settings say which.

```toml
[nats]                             # all of it may be left out
urls = ["nats://10.0.0.1:4222"]    # one or more servers of a cluster; tls:// for TLS
creds_file = "mycelium.creds"      # who one is: this, or nkey_file, or user and password_env, or token_env
tls_ca = "ca.pem"                  # with tls_cert and tls_key where the server wants a certificate
monitors = ["http://10.0.0.1:8222"]    # monitoring of every server: whether each syncs before it acknowledges
system_creds_file = "system.creds" # or a user of the system account, who may ask all servers over NATS itself
accept_unsynced = false            # true: go on although a server may lose what it acknowledged
replicas = 3                       # servers that hold each stream
keep_hours = 168                   # what a stream keeps; 0: for good. keep_bytes and keep_messages alike
discard = "old"                    # what a full stream does: drop the oldest, or refuse what is "new"
duplicate_window_s = 120           # for so long the server knows a batch again
snapshot_hours = 24                # between two snapshots for new replicas; 0: only where they would lack something
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from mycelium.errors import ConfigError
from mycelium.tomlfile import Section

DEFAULT_URL: Final = "nats://127.0.0.1:4222"
DISCARDS: Final = ("old", "new")
REPLICAS_MAX: Final = 5
"""A stream's copies, as the server has it."""
KEEP_HOURS: Final = 168
DUPLICATE_WINDOW_S: Final = 120
"""As the server itself has it. A longer one costs the server some 150 bytes for each batch in it."""
SNAPSHOT_HOURS: Final = 24
URLS_MAX: Final = 64
_HOURS_MAX: Final = 100 * 366 * 24
_COUNT_MAX: Final = 2**62
_WINDOW_MAX_S: Final = 7 * 86_400
_SCHEMES: Final = ("nats", "tls")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAID: Final = f'addresses like "{DEFAULT_URL}"'
_MONITOR_SAID: Final = 'addresses like "http://127.0.0.1:8222"'


@dataclass(frozen=True, slots=True)
class Login:
    """Who one is at a server. At most one way is given. password_env, token_env: the names of variables."""

    creds_file: Path | None = None
    nkey_file: Path | None = None
    user: str = ""
    password_env: str = ""
    token_env: str = ""

    def __bool__(self) -> bool:
        return bool(self.creds_file or self.nkey_file or self.user or self.token_env)


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """urls: may carry a password, so that no repr shows them. system: a user of the system account, for the check.

    keep_*: None keeps for good. snapshot_hours: None makes one only where a new replica would lack something.
    """

    urls: tuple[str, ...] = field(default=(DEFAULT_URL,), repr=False)
    login: Login = field(default_factory=Login)
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    monitors: tuple[str, ...] = field(default=(), repr=False)
    system: Login = field(default_factory=Login)
    accept_unsynced: bool = False
    replicas: int = 1
    keep_hours: int | None = KEEP_HOURS
    keep_bytes: int | None = None
    keep_messages: int | None = None
    discard: str = DISCARDS[0]
    duplicate_window_s: int = DUPLICATE_WINDOW_S
    snapshot_hours: int | None = SNAPSHOT_HOURS

    def secret_texts(self, environ: Mapping[str, str]) -> frozenset[str]:
        """Passwords and tokens as text, for `redaction` alone. Files that cannot be read are left out."""
        found = set()
        for url in (*self.urls, *self.monitors):
            parts = urlsplit(url)
            # A user without a password is a token.
            secret = parts.password or parts.username or ""
            found |= {secret, unquote(secret)}
        for login in (self.login, self.system):
            found |= {environ.get(name, "") for name in (login.password_env, login.token_env) if name}
            for file in (login.creds_file, login.nkey_file):
                found |= _lines(file) if file else set()
        return frozenset(found - {""})


def _lines(file: Path) -> set[str]:
    """The long lines of a credentials file: its token and its seed."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return set()
    return {line.strip() for line in text.splitlines() if len(line) > 40 and "-----" not in line}


def parse(section: Section, base: Path) -> NatsSettings:
    """Read the section; mistakes are recorded in its file. base: where relative paths begin."""
    urls = _urls(section, "urls", _SAID, check_url) or [DEFAULT_URL]
    login = _login(section, base, "", nkey=True)
    tls_ca, tls_cert, tls_key = (
        _file(section, base, name, f"the path of a PEM file, {name} = ...")
        for name in ("tls_ca", "tls_cert", "tls_key")
    )
    if (tls_cert is None) != (tls_key is None):
        absent = "tls_key" if tls_key is None else "tls_cert"
        section.mistake(absent, "is missing", "tls_cert and tls_key are both needed, or neither")
    settings = NatsSettings(
        urls=tuple(urls),
        login=login,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
        monitors=tuple(_urls(section, "monitors", _MONITOR_SAID, check_monitor)),
        system=_login(section, base, "system_", nkey=False),
        accept_unsynced=section.flag("accept_unsynced", False),
        replicas=section.integer("replicas", 1, REPLICAS_MAX, 1),
        keep_hours=section.integer("keep_hours", 0, _HOURS_MAX, KEEP_HOURS) or None,
        keep_bytes=section.integer("keep_bytes", 0, _COUNT_MAX, 0) or None,
        keep_messages=section.integer("keep_messages", 0, _COUNT_MAX, 0) or None,
        discard=section.choice("discard", DISCARDS, DISCARDS[0]),
        duplicate_window_s=section.integer("duplicate_window_s", 1, _WINDOW_MAX_S, DUPLICATE_WINDOW_S),
        snapshot_hours=section.integer("snapshot_hours", 0, _HOURS_MAX, SNAPSHOT_HOURS) or None,
    )
    if settings.keep_hours is not None and settings.duplicate_window_s > settings.keep_hours * 3600:
        section.mistake(
            "duplicate_window_s", "is longer than a stream keeps anything", "make it shorter than keep_hours"
        )
    section.finish()
    return settings


def check_url(text: str) -> SplitResult:
    """The parts of a server's address. ConfigError that shows no password."""
    return _checked(text, _SCHEMES)


def check_monitor(text: str) -> SplitResult:
    """The parts of a monitoring address. ConfigError that shows no password."""
    return _checked(text, ("http", "https"))


def given_urls(text: str) -> tuple[str, ...]:
    """Servers as an option gives them, with commas between. ConfigError."""
    urls = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    for url in urls:
        try:
            check_url(url)
        except ConfigError as error:
            raise ConfigError(f"--nats: {error.what}", f"write {_SAID}") from None
    if not 1 <= len(urls) <= URLS_MAX:
        raise ConfigError(
            f"{len(urls)} addresses of NATS servers", f"give 1 to {URLS_MAX}, like {DEFAULT_URL}"
        )
    return urls


def given_monitors(text: str) -> tuple[str, ...]:
    """Monitoring addresses as an option gives them, with commas between. ConfigError."""
    urls = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    for url in urls:
        try:
            check_monitor(url)
        except ConfigError as error:
            raise ConfigError(f"--monitors: {error.what}", f"write {_MONITOR_SAID}") from None
    if not 1 <= len(urls) <= URLS_MAX:
        raise ConfigError(f"{len(urls)} monitoring addresses", f"give 1 to {URLS_MAX}: {_MONITOR_SAID}")
    return urls


def _checked(text: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError("the address does not parse") from None
    if parts.scheme not in schemes:
        raise ConfigError(f"the address begins with none of {', '.join(f'{name}://' for name in schemes)}")
    if not parts.hostname or port == 0 or any(character.isspace() for character in text):
        raise ConfigError("the address has no host, or a port that is none")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError("the address goes on after host and port")
    return parts


def _urls(section: Section, key: str, said: str, check: Callable[[str], SplitResult]) -> list[str]:
    urls = section.strings(key, said)
    for url in urls:
        section.parsed(key, url, check, f"write {said}", urlsplit(""))
    if len(urls) > URLS_MAX:
        section.mistake(key, f"has {len(urls)} addresses", f"name at most {URLS_MAX}")
    return urls


def _login(section: Section, base: Path, prefix: str, *, nkey: bool) -> Login:
    creds = _file(section, base, f"{prefix}creds_file", "the path of a .creds file")
    seed = _file(section, base, f"{prefix}nkey_file", "the path of an NKey seed") if nkey else None
    user = section.text(f"{prefix}user", "a user's name", None)
    password_env = _variable(section, f"{prefix}password_env")
    token_env = _variable(section, f"{prefix}token_env") if nkey else ""
    given = [
        prefix + name
        for name, value in (
            ("creds_file", creds),
            ("nkey_file", seed),
            ("user", user or password_env),
            ("token_env", token_env),
        )
        if value
    ]
    if len(given) > 1:
        section.mistake(
            given[1], f"is set beside {given[0]}", "say in one way who one is, and remove the others"
        )
    elif password_env and not user:
        section.mistake(f"{prefix}user", "is missing", f"{prefix}password_env is a user's: name the user")
    return Login(creds, seed, user, password_env, token_env)


def _file(section: Section, base: Path, key: str, said: str) -> Path | None:
    text = section.text(key, said, None)
    return base / Path(text).expanduser() if text else None


def _variable(section: Section, key: str) -> str:
    name = section.text(key, "the name of an environment variable", None)
    # The variable's value is the secret; one written here by accident must not be printed back.
    if name and not _VARIABLE.fullmatch(name):
        section.mistake(key, "is not the name of a variable", "name the variable that holds the secret")
        return ""
    return name
