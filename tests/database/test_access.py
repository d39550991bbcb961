"""Validity under policies: the same on every replica whatever comes first, and every path within what is allowed."""

from __future__ import annotations

import kit
import msgspec
import pytest
from database.accesskit import (
    EPOCH_MS,
    FIRST,
    Chain,
    Outcome,
    document,
    epoch,
    offer,
    picture,
    publish,
    replica,
    rule,
    settle,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import SEAL_EPOCHS
from mycelium.database import grants, value
from mycelium.database.access import POLICIES, SEALS, SYS, Rights
from mycelium.database.policy import Action, parse
from mycelium.database.ranges import prefixed
from mycelium.database.schema import TableSpec
from mycelium.errors import StoreError, Unauthorised
from mycelium.identity import account as accounts
from mycelium.identity.keys import digest
from mycelium.protocol.messages import MergeType, Op

A, B, C, D = "abcd"
NOW = kit.NOW_MS
EVERYTHING = ("read", "put", "delete")
ROLES = {A: "owner", B: "validator", C: "miner"}
NETWORK = grants.network_id(kit.NETUID, kit.GENESIS)


def batch_of(name, *keys, now_ms=NOW, author=None, table="scores", op=Op.PUT):
    """(raw, signature): the next batch of somebody whom nothing restricts."""
    author = author or kit.engine(name)
    changes = [(kit.TABLES[table], int(op), key.encode(), b"" if op == Op.DELETE else b"\0v") for key in keys]
    applied = author.originate("main", changes, now_ms)
    return applied.batch.raw, applied.signature


# --- the default, and documents ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("owner", Outcome.APPLIED),
        ("validator", Outcome.APPLIED),
        ("miner", "unauthorised"),
        ("observer", "unauthorised"),
    ],
)
def test_without_a_policy(role, expected):
    chain = Chain({FIRST: epoch(FIRST, {A: "validator", B: role})})
    assert offer(replica(A, chain), *batch_of(B, "k")) == expected


def test_an_epoch_that_is_not_known_holds_and_then_decides():
    chain = Chain({FIRST: epoch(FIRST, {A: "validator", B: "validator"})}, told=False)
    engine = replica(A, chain)
    assert offer(engine, *batch_of(B, "k")) is Outcome.HELD
    chain.known.add(FIRST)
    assert engine.release(NOW + 10_000) == 1


def test_what_becomes_known_is_decided_at_once():
    chain = Chain({FIRST: epoch(FIRST, {A: "validator", B: "validator"})}, told=False)
    engine = replica(A, chain)
    assert offer(engine, *batch_of(B, "k")) is Outcome.HELD
    assert engine.known(NOW) == 0
    assert engine.held == 1
    chain.known.add(FIRST)
    assert engine.known(NOW) == 1
    assert engine.held == 0


def test_a_policy_that_is_not_here_holds_and_then_decides():
    ruling = document(rule("miner", ["put"], keys={"prefix": "m/"}))
    chain = Chain({FIRST: epoch(FIRST, ROLES, ruling)})
    engine, writer = replica(A, chain), replica(B, chain)
    assert offer(engine, *batch_of(C, "m/1")) is Outcome.HELD
    assert engine.authority.policy_missing() == digest(ruling)
    with pytest.raises(StoreError, match="is not here yet"):
        writer.originate("main", [kit.put("k")], NOW)
    # What is in `sys` does not wait for it.
    published = publish(writer, ruling)
    # It is here now: and does not let validators write.
    with pytest.raises(Unauthorised, match="this node's account may not write"):
        writer.originate("main", [kit.put("k")], NOW)
    assert offer(engine, published.batch.raw, published.signature) is Outcome.APPLIED
    assert engine.release(NOW + 10_000) == 1
    assert engine.authority.policy_missing() is None
    author = kit.engine(C)
    assert offer(engine, *batch_of(C, "m/2", "n/1", author=author)) == "unauthorised"
    assert offer(engine, *batch_of(C, "m/2", author=author, op=Op.DELETE)) == "unauthorised"


def test_a_document_that_is_none_allows_nothing_and_can_be_replaced(caplog):
    chain = Chain({FIRST: epoch(FIRST, ROLES, b"nonsense"), FIRST + 1: epoch(FIRST + 1, ROLES)})
    engine = replica(A, chain)
    publish(engine, b"nonsense")
    assert offer(engine, *batch_of(B, "k")) == "unauthorised"
    assert "in force is none" in caplog.text
    assert offer(engine, *batch_of(B, "k", now_ms=NOW + EPOCH_MS), now_ms=NOW + EPOCH_MS) is Outcome.APPLIED


READS = ["read"]


@pytest.mark.parametrize(
    ("role", "rules", "expected"),
    [
        ("owner", [], True),
        ("validator", [], True),
        ("observer", [], True),
        ("miner", [], False),
        (None, [], False),
        ("miner", [("miner", "audit/*", READS, None)], True),
        ("miner", [("miner", "*", READS, None)], True),
        (None, [("its own", "audit/*", READS, None)], True),
        (None, [("another's", "audit/*", READS, None)], False),
        (None, [("its own", "audit/results", READS, None)], False),
        (None, [("its own", "audit/*", READS, {"prefix": "a"})], False),
        (None, [("its own", "audit/*", ["put"], None)], False),
        (None, [("validator", "audit/*", READS, None)], False),
    ],
    ids=list("abcdefghijklm"),
)
def test_who_holds_a_space_reads_by_what_it_is_judged(role, rules, expected):
    account, other = kit.keypair("reader").account, kit.keypair("another").account
    named = {"its own": accounts.format(account), "another's": accounts.format(other)}
    ruling = parse(
        msgspec.json.encode(
            {
                "version": 1,
                "rules": [
                    {
                        "who": named.get(who, who),
                        "tables": tables,
                        "may": may,
                        **({"keys": keys} if keys else {}),
                    }
                    for who, tables, may, keys in rules
                ],
            }
        )
    )
    rights = Rights(ruling, role, account)
    assert rights.whole(Action.READ, SYS) is expected
    for table in (POLICIES, SEALS):
        assert bool(rights.ranges(Action.READ, SYS, table.name)) is expected
    if role not in ("owner", "validator"):
        assert not rights.ranges(Action.PUT, SYS, POLICIES.name)


# --- the space sys ----------------------------------------------------------------------------------------


def sys_batch(name, table, key, payload, op=Op.PUT):
    """Signed by whoever, checked by nobody."""
    changes = [(0, int(op), key, payload)]
    return kit.forge(kit.engine(name), changes, space=SYS, tables=[(table.name, int(table.merge))])


def seal_key(of=D, at=FIRST - 1, by=B):
    """What B says of D, which had a place until the epoch before this one."""
    by, of = (accounts.format(kit.keypair(name).account) for name in (by, of))
    return f"{by}/{of}/{at}".encode()


SEAL_KEY, NONE = seal_key(), value.value_bytes({})
TEXT = document()


@pytest.mark.parametrize(
    ("name", "table", "key", "payload", "op", "expected"),
    [
        (B, POLICIES, digest(TEXT).hex().encode(), value.value_bytes(TEXT), Op.PUT, Outcome.APPLIED),
        (B, POLICIES, digest(TEXT).hex().encode(), value.value_bytes(TEXT.decode()), Op.PUT, Outcome.APPLIED),
        (B, POLICIES, b"0" * 64, value.value_bytes(TEXT), Op.PUT, "unauthorised"),
        (B, POLICIES, digest(b"x" * 70_000).hex().encode(), b"\0" + b"x" * 70_000, Op.PUT, "unauthorised"),
        (B, POLICIES, digest(TEXT).hex().encode(), b"", Op.DELETE, "unauthorised"),
        (C, POLICIES, digest(TEXT).hex().encode(), value.value_bytes(TEXT), Op.PUT, "unauthorised"),
        (B, SEALS, SEAL_KEY, NONE, Op.PUT, Outcome.APPLIED),
        (A, SEALS, SEAL_KEY, NONE, Op.PUT, "unauthorised"),
        (B, SEALS, SEAL_KEY, b"", Op.DELETE, "unauthorised"),
        (B, SEALS, SEAL_KEY + b"x", NONE, Op.PUT, "unauthorised"),
        (B, SEALS, SEAL_KEY + b"0" * 30, NONE, Op.PUT, "unauthorised"),
        (B, SEALS, SEAL_KEY.replace(b"/", b"/x/", 1), NONE, Op.PUT, "unauthorised"),
        (B, SEALS, seal_key(at=f"0{FIRST - 1}"), NONE, Op.PUT, "unauthorised"),
        (B, SEALS, seal_key(at=FIRST - SEAL_EPOCHS - 1), NONE, Op.PUT, "unauthorised"),
        (B, SEALS, seal_key(at=FIRST), NONE, Op.PUT, "unauthorised"),
        # Who is there, who never had a place, and an epoch in which D had not departed, or long before.
        (B, SEALS, seal_key(of=A), NONE, Op.PUT, "unauthorised"),
        (B, SEALS, seal_key(of="nobody"), NONE, Op.PUT, "unauthorised"),
        (B, SEALS, seal_key(at=FIRST - 2), NONE, Op.PUT, "unauthorised"),
        # An epoch that is not known yet: it waits.
        (B, SEALS, seal_key(at=FIRST - 4), NONE, Op.PUT, Outcome.HELD),
        (B, TableSpec("other", SYS, MergeType.LWW), b"k", b"\0v", Op.PUT, "unauthorised"),
        (B, TableSpec("policy", SYS, MergeType.SET), b"k", b"\0v", Op.INSERT, "unauthorised"),
    ],
)
def test_what_the_space_sys_takes(name, table, key, payload, op, expected):
    with_d = ROLES | {D: "validator"}
    epochs = {FIRST: ROLES, FIRST - 1: ROLES, FIRST - 2: with_d, FIRST - 3: with_d}
    chain = Chain({number: epoch(number, roles) for number, roles in epochs.items()})
    assert offer(replica("reader", chain), *sys_batch(name, table, key, payload, op)) == expected


# --- grants -----------------------------------------------------------------------------------------------


GRANTED = prefixed(b"g/")


def granted(holder=C, issuer=A, keys=GRANTED, may=Action.PUT, **more):
    return grants.issue(
        kit.keypair(issuer),
        kit.keypair(holder).account,
        "main",
        "*",
        may,
        network=NETWORK,
        keys=keys,
        epochs=(FIRST, FIRST),
        **more,
    )


def test_a_grant_lets_its_holder_write_and_nobody_else():
    chain = Chain({FIRST: epoch(FIRST, ROLES), FIRST + 1: epoch(FIRST + 1, ROLES)})
    engine, writer = replica(B, chain), replica(C, chain)
    with pytest.raises(Unauthorised):
        writer.originate("main", [kit.put("g/1")], NOW)
    writer.grants.append(granted())
    applied = writer.originate("main", [kit.put("g/1")], NOW)
    assert applied.batch.count == 2
    assert offer(engine, applied.batch.raw, applied.signature) is Outcome.APPLIED
    with pytest.raises(Unauthorised, match="may not put the key b'h/1'"):
        writer.originate("main", [kit.put("h/1")], NOW)
    with pytest.raises(Unauthorised):
        writer.originate("main", [kit.put("g/1")], NOW + EPOCH_MS)
    # The token alone, in a batch of somebody else.
    other = kit.engine("d")
    other.grants.append(granted())
    other._authority = chain_rights = kit.FixedAuthority()
    del chain_rights
    change = (TableSpec(grants.TABLE, "main", MergeType.LWW), int(Op.PUT), b"", b"")
    token = granted()
    change = (change[0], change[1], grants.read(token, NETWORK).id.hex().encode(), value.value_bytes(token))
    with pytest.raises(Unauthorised, match="of another account"):
        other.originate("main", [change, kit.put("g/1")], NOW)


def test_a_grant_of_what_its_issuer_may_not_grant_is_worth_nothing():
    chain = Chain({FIRST: epoch(FIRST, ROLES)})
    writer = replica(C, chain)
    writer.grants.append(granted(issuer=B))
    with pytest.raises(Unauthorised):
        writer.originate("main", [kit.put("g/1")], NOW)


def test_a_grant_handed_on_and_revoked():
    first = granted(holder=B)
    second = grants.issue(
        kit.keypair(B),
        kit.keypair(C).account,
        "main",
        "scores",
        Action.PUT,
        network=NETWORK,
        epochs=(0, FIRST + 5),
        parent=first,
    )
    revoking = document(rule("owner", [*EVERYTHING, "admin"]), revoked=[grants.read(first, NETWORK).id.hex()])
    chain = Chain({FIRST: epoch(FIRST, ROLES)})
    writer = replica(C, chain)
    writer.grants.append(second)
    writer.originate("main", [kit.put("g/1")], NOW)
    later = Chain({FIRST: epoch(FIRST, ROLES, revoking)})
    writer = replica(C, later)
    publish_as_owner = publish(replica(A, later), revoking)
    offer(writer, publish_as_owner.batch.raw, publish_as_owner.signature)
    writer.grants.append(second)
    with pytest.raises(Unauthorised, match="is revoked"):
        writer.originate("main", [kit.put("g/1")], NOW)


@pytest.mark.parametrize("payload", [b"", b"\0junk", b"\1\xc1", value.value_bytes("text")])
def test_what_is_no_grant_is_refused_of_whoever_sends_it(payload):
    author = kit.engine("author", authority=kit.FixedAuthority(writers=set()))
    table = TableSpec(grants.TABLE, "main", MergeType.LWW)
    with pytest.raises(Unauthorised, match="a grant that is none"):
        author.grants.append(granted(holder="author"))
        author.originate("main", [(table, int(Op.PUT), b"k", payload), kit.put("k")], NOW)


# --- in any order -----------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "ab", "b", "c"])
RULES = st.lists(
    st.builds(
        lambda who, tables, may, keys: rule(who, sorted(may), tables, **({"keys": keys} if keys else {})),
        st.sampled_from(["owner", "validator", "miner"]),
        st.sampled_from(["*", "main/*", "main/scores", "main/hits"]),
        st.sets(st.sampled_from(EVERYTHING), min_size=1),
        st.none() | st.sampled_from([{"prefix": "a"}, {"from": "b"}, {"from": "a", "to": "b"}]),
    ),
    max_size=4,
)
QUOTAS = st.lists(
    st.builds(
        lambda who, most: {"who": who, "spaces": "*", "changes_per_epoch": most},
        st.sampled_from(["validator", "miner"]),
        st.integers(0, 6),
    ),
    max_size=2,
)
WRITES = st.lists(
    st.tuples(
        st.sampled_from([A, B, C]),
        st.integers(0, 2),
        st.lists(st.tuples(KEYS, st.sampled_from(["put", "delete", "add"])), min_size=1, max_size=3),
    ),
    max_size=10,
)


def allows(rules, role, key, op):
    table, action = ("hits", "put") if op == "add" else ("scores", op)
    for one in rules:
        keys = one.get("keys", {})
        if (
            one["who"] == role
            and one["tables"] in {"*", "main/*", f"main/{table}"}
            and action in one["may"]
            and key.startswith(keys.get("prefix", ""))
            and keys.get("from", "") <= key
            and ("to" not in keys or key < keys["to"])
        ):
            return True
    return False


def made(writes):
    """The batches of three accounts whom nothing restricts, each with its epoch."""
    authors = {name: kit.engine(name) for name in ROLES}
    found = []
    for name, epoch_at, changes in sorted(writes, key=lambda write: write[1]):
        encoded = [
            (kit.TABLES["hits"], int(Op.ADD), key.encode(), (1).to_bytes(8, "big"))
            if op == "add"
            else (
                kit.TABLES["scores"],
                int(Op.PUT if op == "put" else Op.DELETE),
                key.encode(),
                b"\0v" if op == "put" else b"",
            )
            for key, op in changes
        ]
        applied = authors[name].originate("main", encoded, NOW + epoch_at * EPOCH_MS)
        found.append((name, epoch_at, changes, applied.batch.raw, applied.signature))
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(RULES, QUOTAS), min_size=3, max_size=3), WRITES, st.randoms(use_true_random=False))
def test_replicas_accept_the_same_in_any_order(policies, writes, random):
    texts = [document(*rules, quotas=quotas) for rules, quotas in policies]
    epochs = {FIRST + at: epoch(FIRST + at, ROLES, text) for at, text in enumerate(texts)}
    batches = made(writes)
    publisher = replica(B, Chain(dict(epochs)))
    published = [publish(publisher, text) for text in dict.fromkeys(texts)]
    end = NOW + 3 * EPOCH_MS

    def order(count):
        # Drawn before anything can fail, so that a failing example is the same example when it runs again.
        places = list(range(count))
        random.shuffle(places)
        return places

    pictures = []
    for name in ("one", "two", "three"):
        chain = Chain(dict(epochs), told=False)
        engine = replica(name, chain)
        events = [("batch", raw, signature) for *_, raw, signature in batches]
        events += [("batch", one.batch.raw, one.signature) for one in published]
        events += [("epoch", number, None) for number in epochs]
        events = [events[at] for at in order(len(events))]
        for kind, what, signature in events:
            if kind == "epoch":
                chain.known.add(what)
                engine.release(end)
            else:
                offer(engine, what, signature, end)
        everything = [(raw, signature) for *_, raw, signature in batches]
        everything += [(one.batch.raw, one.signature) for one in published]
        settle(engine, everything, end + 60_000)
        pictures.append(picture(engine))
        if not any(quotas for _, quotas in policies):
            for author, at, changes, raw, signature in batches:
                fine = all(allows(policies[at][0], ROLES[author], key, op) for key, op in changes)
                assert (offer(engine, raw, signature, end + 60_000) is Outcome.DUPLICATE) == fine
    assert pictures[0] == pictures[1] == pictures[2]
