"""What PostgreSQL's errors mean for a sink: what passes by itself, what somebody must mend, and the line that says so.

SQLSTATE decides; errors of connecting have none, so for a few of them the text does. No text shows a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mycelium.errors import ConfigError, MyceliumError, SchemaConflict, SinkUnreachable
from mycelium.extras import load, need
from mycelium.redaction import Redactor

_PASSES: Final = {
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it takes no more connections",
    "53400": "a limit of its configuration is reached",
    "40001": "another transaction was in the way",
    "40P01": "a deadlock with another transaction",
    "55P03": "another transaction holds a lock",
    "57014": "a statement took longer than it allows, or was cancelled",
    "57P01": "it is shutting down",
    "57P02": "it crashed",
    "57P03": "it is starting or stopping",
    "25006": "it takes no writes: it is a standby",
    "42P01": "a table is not there any more",
    "3F000": "a schema is not there any more",
}
_PASSING_CLASSES: Final = ("08", "53", "58", "40", "XX")
_STOPS: Final = {
    "42501": (
        "may not do that",
        "GRANT it what the message names: a sink makes schemas and tables, and writes them",
    ),
    "28P01": ("is refused: its password is wrong", "mend --dsn, PGPASSWORD or ~/.pgpass"),
    "28000": ("is refused", "mend --dsn, or let it in in pg_hba.conf"),
    "3D000": ("has no such database", "CREATE DATABASE it, or mend --dsn"),
}
_REFUSALS: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
"""What the text of a refused connection has, where a wait does not help."""
_MEND_VALUE: Final = (
    "give the column a type that takes it, or strict = false to keep such values in _rest, and start again"
)
_MEND_TABLE: Final = "mend the table, or name another with `into`, and start again"


class Failures:
    """Turns errors of psycopg into those of sinks, with what the DSN keeps secret left out."""

    def __init__(self, dsn: str) -> None:
        psycopg = driver()
        try:
            parts = psycopg.conninfo.conninfo_to_dict(dsn)
        except psycopg.Error:
            # Its text quotes the DSN.
            raise ConfigError(
                "the DSN is none that PostgreSQL understands", "like postgresql://user@host:5432/database"
            ) from None
        secrets = [str(value) for name, value in parts.items() if "password" in name and value]
        self._redact = Redactor([*secrets, dsn])
        host = parts.get("host") or parts.get("hostaddr") or "local socket"
        self.where = f"PostgreSQL at {host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"

    @contextmanager
    def explained(self, doing: str = "", *, connecting: bool = False) -> Iterator[None]:
        """Raise SinkUnreachable, SchemaConflict or ConfigError for an error of psycopg within the block."""
        psycopg = driver()
        try:
            yield
        except psycopg.Error as error:
            raise self._meaning(error, doing, connecting) from None
        except (OSError, TimeoutError) as error:
            raise SinkUnreachable(f"{self.where}: {error or 'it does not answer in time'}") from None

    def _meaning(self, error: Any, doing: str, connecting: bool) -> MyceliumError:
        psycopg = driver()
        state = error.sqlstate or ""
        text = self._redact(" ".join(str(error).split()))
        if state in _STOPS:
            what, remedy = _STOPS[state]
            return SchemaConflict(f"{self.where}: the user {what}: {text}", remedy)
        if state in _PASSES or state.startswith(_PASSING_CLASSES):
            return SinkUnreachable(f"{self.where}: {_PASSES.get(state, 'it failed')} ({text})")
        if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            if connecting and any(one in text for one in _REFUSALS):
                return ConfigError(
                    f"{self.where} refuses the connection: {text}", "mend --dsn, or the server"
                )
            return SinkUnreachable(f"{self.where}: {text}")
        subject = f"{doing}: " if doing else ""
        remedy = _MEND_VALUE if state.startswith("22") else _MEND_TABLE
        return SchemaConflict(f"{subject}{text} (SQLSTATE {state or 'unknown'})", remedy)


def driver() -> Any:
    """psycopg. MissingExtra."""
    need("postgres", "psycopg")
    return load("psycopg", "postgres")
