"""Row-level security by the policy, asked of PostgreSQL by SET ROLE: what it lets see is what `Rights.ranges` says."""

from __future__ import annotations

import asyncio
import json

import hypothesis.strategies as st
import kit
import nodekit
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from pgsinkkit import query, sinking
from sinkkit import FakeNode

from mycelium.database.access import Rights
from mycelium.database.policy import DEFAULT, ROLES, Action, parse
from mycelium.errors import PolicyRefused, UsageError
from mycelium.identity import account as accounts
from mycelium.sinks import rls
from mycelium.sinks.postgres import report
from mycelium.sinks.source import key_bytes

ACCOUNTS = [kit.keypair(f"reader {number}").account for number in range(2)]
ADDRESSES = [accounts.format(account) for account in ACCOUNTS]
KEYS = [
    b"a",
    b"ab",
    b"b",
    b"team/1",
    b"team/2",
    b"\\x61",
    b"\\",
    b"]",
    b"\xff\xfe",
    b"\x80",
    b"n\0l",
    "é".encode(),
    b"z",
    b"\x7f",
    b"\xc3",
]
TABLES = [("main", "scores"), ("main", "tags"), ("other", "scores")]
LOGINS = {
    f"l_{role or 'nobody'}_{number}": (role, account)
    for role in (*ROLES, None)
    for number, account in enumerate(ACCOUNTS)
}


@pytest.fixture(scope="module")
def filled(pg):
    """A database that a sink filled, and logins."""
    dsn = pg.database()

    async def main():
        node = FakeNode()
        for key in KEYS:
            node.set("scores", key, {"score": 1})
            node.insert("tags", key, "x")
            node.set("scores", key, {"score": 2}, space="other")
        node.set("policy", "p", "x", space="sys")
        spaces = ["main", "other", "sys"]
        async with sinking(node, dsn, spaces=spaces, wanted="all") as sink:
            await sink.caught_up(node)

    nodekit.run(main())
    for login in LOGINS:
        query(dsn, f"CREATE ROLE {login} LOGIN")
    yield dsn
    for login in LOGINS:
        query(dsn, f"DROP OWNED BY {login}; DROP ROLE {login}")


def seen(dsn: str, login: str) -> dict[tuple[str, str], set[bytes] | None]:
    """The keys that a login sees of each table; None where it may not ask."""
    found = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET ROLE {login}")
        for source, relation in report.tables(dsn, "main"):
            try:
                rows = connection.execute(f'SELECT key FROM "{relation.schema}"."{relation.name}"').fetchall()
                found[source.space, source.table] = {key_bytes(key) for (key,) in rows}
            except psycopg.errors.InsufficientPrivilege:
                found[source.space, source.table] = None
    return found


def agrees(dsn: str, policy) -> None:
    """Every login sees of every table what the one function of access control lets its account read."""
    query(dsn, rls.script(policy, report.tables(dsn, "main"), LOGINS))
    for login, (role, account) in LOGINS.items():
        rights = Rights(policy, role, account)
        for (space, table), keys in seen(dsn, login).items():
            ranges = rights.ranges(Action.READ, space, table)
            there = [b"p"] if space == "sys" else KEYS
            allowed = {key for key in there if key in ranges}
            assert keys == (allowed if ranges else None), (login, space, table)


BOUND = st.sampled_from(
    ["", "a", "b", "team/", "é", "0x80", "0xff", "0x5c", "0x5c78", "0xc3", "0x6e00", "it's", "~"]
)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.sampled_from([*ROLES, *ADDRESSES]),
            "tables": st.sampled_from(["*", "main/*", "main/scores", "main/tags", "other/*"]),
            "may": st.sampled_from([["read"], ["put"], ["read", "put"]]),
        },
        optional={
            "keys": st.one_of(
                st.fixed_dictionaries({"prefix": BOUND}),
                st.fixed_dictionaries({"from": BOUND}, optional={"to": BOUND}),
                st.fixed_dictionaries({"to": BOUND}),
            )
        },
    ),
    max_size=6,
)


@given(RULES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_policy(filled, rules):
    try:
        policy = parse(json.dumps({"version": 1, "rules": rules}).encode())
    except PolicyRefused:
        return
    agrees(filled, policy)


def test_the_default_policy_and_then_a_narrower_one(filled):
    agrees(filled, DEFAULT)
    narrow = {"who": ADDRESSES[0], "tables": "main/scores", "keys": {"prefix": "team/"}, "may": ["read"]}
    agrees(filled, parse(json.dumps({"version": 1, "rules": [narrow]}).encode()))
    agrees(filled, parse(json.dumps({"version": 1, "rules": []}).encode()))


def test_nobody_writes(filled):
    query(filled, rls.script(DEFAULT, report.tables(filled, "main"), LOGINS))
    for statement in ("DELETE FROM mycelium_main.scores", "UPDATE mycelium_main.scores SET score = 0"):
        with psycopg.connect(filled) as connection:
            connection.execute("SET ROLE l_owner_0")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_new_table_is_nobodys_until_the_script_runs_again(dsn):
    async def main():
        node = FakeNode()
        node.set("scores", "a", 1)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            script = rls.script(DEFAULT, report.tables(dsn, "main"))
            await asyncio.to_thread(query, dsn, script)
            node.set("scores", "b", 2)
            node.set("profile", "p", 1)
            await sink.caught_up(node)
        return node

    nodekit.run(main())
    assert seen(dsn, "mycelium_validator") == {("main", "scores"): {b"a", b"b"}, ("main", "profile"): None}
    query(dsn, rls.script(DEFAULT, report.tables(dsn, "main")))
    assert seen(dsn, "mycelium_validator")["main", "profile"] == {b"p"}


def test_a_name_that_postgresql_would_cut():
    with pytest.raises(UsageError, match="use a shorter prefix"):
        rls.group(ADDRESSES[0], "a_prefix_that_is_long_")


@pytest.mark.parametrize(
    "content", ["it's", "back\\slash", "\\'", ""], ids=["quote", "backslash", "both", "empty"]
)
def test_text_constants(dsn, content):
    assert query(dsn, f"SELECT {rls.text(content)}") == [(content,)]


def test_a_role_that_is_somebody_elses_is_left_alone(dsn):
    query(dsn, "CREATE ROLE their_owner")
    try:
        with pytest.raises(psycopg.errors.RaiseException, match="the role their_owner is there"):
            query(dsn, rls.script(DEFAULT, [], prefix="their_"))
    finally:
        query(dsn, "DROP ROLE their_owner")
