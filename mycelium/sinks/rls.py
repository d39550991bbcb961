"""The read rights of a policy as row-level security of PostgreSQL: a script for the tables that a sink writes.

`Rights.ranges` says what may be read; this writes it down. A role of the policy is a group role of PostgreSQL, an
account that rules name is one too, and a login is granted the two that it is. What rules allow together is the union of
what each allows, and so are PostgreSQL's permissive policies: a login that holds the group of its role and that of its
account sees exactly what `Rights(policy, role, account)` lets read. Keys are compared by their bytes.

The owner of the tables, which is who the sink connects as, is not held by any of it. Pure: policy and names to text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mycelium.database.access import Rights
from mycelium.database.policy import ROLES, Action, Policy
from mycelium.database.ranges import Ranges
from mycelium.errors import UsageError
from mycelium.identity import account as accounts
from mycelium.sinks.postgres.names import Relation
from mycelium.sinks.postgres.statements import qualified, quoted
from mycelium.sinks.source import Source

PREFIX: Final = "mycelium_"
"""Before the names of the groups, and of the policies that this makes."""
_NAME_BYTES_MAX: Final = 63
_MARK: Final = "A group of Mycelium's read rights"
_OURS: Final = "FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = '" + _MARK.replace("'", "''") + "'"
"""The groups that some run of the script made: roles of the same prefix may be somebody else's."""
_KEY: Final = 'key COLLATE "C"'
"""Whatever the collation of a table that somebody else made."""
_NO_ACCOUNT: Final = b""
"""No rule can name it, as it could `accounts.NOBODY`."""
_HEX: Final = "\\x"
_HEX_STOP: Final = "\\y"
"""The first text after all that begin with \\x."""


def group(name: str, prefix: str = PREFIX) -> str:
    """The group of a role or of an account's SS58 address. UsageError where PostgreSQL would cut it."""
    found = f"{prefix}{name}"
    if len(found.encode()) > _NAME_BYTES_MAX:
        raise UsageError(f"the role {found!r} has more than {_NAME_BYTES_MAX} bytes: use a shorter prefix")
    return found


def script(
    policy: Policy,
    tables: Sequence[tuple[Source, Relation]],
    logins: Mapping[str, tuple[str | None, bytes]] | None = None,
    prefix: str = PREFIX,
) -> str:
    """One transaction that makes the rights of these tables what the policy says, whatever they were.

    logins: role of PostgreSQL -> role and account of the policy; they must exist. Run it again when the policy changes
    or the sink has new tables: until then nobody but its owner sees a new one.
    """
    groups = _groups(policy, prefix)
    lines = [
        "-- Read rights of Mycelium's policy. For the owner of the tables, with CREATEROLE: psql -v ON_ERROR_STOP=1",
        "BEGIN;",
    ]
    lines += [_create_role(name) for name, _ in groups]
    for schema in sorted({relation.schema for _, relation in tables}):
        lines += [f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(name)};" for name, _ in groups]
    for source, relation in tables:
        lines += _table(source, relation, groups, prefix)
    for login, (role, account) in (logins or {}).items():
        lines += _login(login, role, account, groups, prefix)
    lines.append("COMMIT;")
    return "\n".join(lines) + "\n"


def _groups(policy: Policy, prefix: str) -> list[tuple[str, Rights]]:
    """Each group with the rights that it stands for: those of a role alone, those of an account alone."""
    named = sorted({rule.who for rule in policy.document.rules} - set(ROLES))
    return [
        *((group(role, prefix), Rights(policy, role, _NO_ACCOUNT)) for role in ROLES),
        *((group(name, prefix), Rights(policy, None, accounts.parse(name))) for name in named),
    ]


def _create_role(name: str) -> str:
    """A group, unless it is there; a role of this name that is somebody else's is left alone."""
    return (
        f"DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text(name)}) THEN "
        f"CREATE ROLE {quoted(name)} NOLOGIN; COMMENT ON ROLE {quoted(name)} IS {text(_MARK)}; "
        f"ELSIF NOT EXISTS (SELECT {_OURS} AND rolname = {text(name)}) THEN "
        f"RAISE EXCEPTION 'the role % is there and is no group of this script: use another prefix', {text(name)}; "
        "END IF; END $do$;"
    )


def _table(
    source: Source, relation: Relation, groups: Sequence[tuple[str, Rights]], prefix: str
) -> list[str]:
    table = qualified(relation)
    # Groups and policies of an older document go too.
    lines = [
        f"\n-- {source}",
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;",
        f"DO $do$ DECLARE o record; t text := {text(table)}; BEGIN",
        f"  FOR o IN SELECT rolname {_OURS} LOOP",
        "    EXECUTE format('REVOKE ALL ON %s FROM %I', t, o.rolname); END LOOP;",
        "  FOR o IN SELECT polname FROM pg_policy",
        f"    WHERE polrelid = t::regclass AND starts_with(polname, {text(prefix)})",
        "  LOOP EXECUTE format('DROP POLICY %I ON %s', o.polname, t); END LOOP; END $do$;",
    ]
    for name, rights in groups:
        found = rights.ranges(Action.READ, source.space, source.table)
        if found:
            who = quoted(name)
            lines.append(f"GRANT SELECT ON {table} TO {who};")
            lines.append(f"CREATE POLICY {who} ON {table} FOR SELECT TO {who} USING ({condition(found)});")
    return lines


def _login(
    login: str, role: str | None, account: bytes, groups: Sequence[tuple[str, Rights]], prefix: str
) -> list[str]:
    """Make a login a member of exactly the groups that it is."""
    own = {group(accounts.format(account), prefix), *([group(role, prefix)] if role is not None else [])}
    return [
        f"\n-- {login}: {role or 'no role'}, {accounts.format(account)}",
        f"DO $do$ DECLARE o record; BEGIN FOR o IN SELECT rolname {_OURS}",
        f"  LOOP EXECUTE format('REVOKE %I FROM %I', o.rolname, {text(login)}); END LOOP; END $do$;",
        *(f"GRANT {quoted(name)} TO {quoted(login)};" for name, _ in groups if name in own),
    ]


def condition(ranges: Ranges) -> str:
    """Whether the column `key` is in the ranges, as SQL."""
    if ranges.whole:
        return "true"
    as_text = " OR ".join(_text_range(*pair) for pair in ranges)
    as_bytes = " OR ".join(_bytes_range(*pair) for pair in ranges)
    # Keys that are no text stand as \x and hex; `names.key_text` says why.
    return (
        f"CASE WHEN {_KEY} >= {text(_HEX)} AND {_KEY} < {text(_HEX_STOP)} THEN {as_bytes} ELSE {as_text} END"
    )


def _text_range(start: bytes, stop: bytes | None) -> str:
    """Text in the collation "C" is in the order of its bytes. A bound that is no text is compared with bytes."""
    parts = []
    if start:
        parts.append(_compared(">=", start))
    if stop is not None:
        parts.append(_compared("<", stop))
    return f"({' AND '.join(parts)})" if parts else "true"


def _compared(sign: str, bound: bytes) -> str:
    try:
        shown = bound.decode()
    except UnicodeDecodeError:
        shown = "\0"
    if "\0" in shown:
        return f"convert_to(key, 'UTF8') {sign} {_bytea(bound)}"
    return f"{_KEY} {sign} {text(shown)}"


def _bytes_range(start: bytes, stop: bytes | None) -> str:
    key = "decode(substr(key, 3), 'hex')"
    parts = [f"{key} >= {_bytea(start)}"] if start else []
    if stop is not None:
        parts.append(f"{key} < {_bytea(stop)}")
    return f"({' AND '.join(parts)})" if parts else "true"


def _bytea(data: bytes) -> str:
    return f"decode('{data.hex()}', 'hex')"


def text(content: str) -> str:
    """A text constant, whatever standard_conforming_strings is."""
    quoted_text = content.replace("'", "''")
    return f"'{quoted_text}'" if "\\" not in content else "E'" + quoted_text.replace("\\", "\\\\") + "'"


def login(asked: str, members: Mapping[bytes, str]) -> tuple[str, tuple[str | None, bytes]]:
    """NAME=SS58, or NAME=SS58:ROLE where the role is not the one that `members` gives. UsageError, AccountRefused."""
    name, _, rest = asked.partition("=")
    address, _, role = rest.partition(":")
    if not name or not address or (role and role not in ROLES):
        raise UsageError(
            f"{asked!r} is no login: write NAME=SS58, or NAME=SS58:ROLE with one of {', '.join(ROLES)}"
        )
    account = accounts.parse(address)
    return name, (role or members.get(account), account)
