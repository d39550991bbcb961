"""Greylist, blacklist, claims and proofs between real nodes, over sockets of 127.0.0.1."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import kit
import pytest
from claimkit import signed
from nodekit import NETWORK, Author, Hostile, Mesh, agreed, evidence, places, run, until

from mycelium._core import codec
from mycelium.config import peer as limits
from mycelium.database.database import wall_ms
from mycelium.errors import Unauthorised, UsageError
from mycelium.identity import signing
from mycelium.identity.account import format as format_account
from mycelium.node import calls
from mycelium.node.remote import connect
from mycelium.peer.blacklist import Rules, Standing
from mycelium.protocol.messages import BlacklistSync, Call, MessageType, Proof, ProofHead

MALLORY = kit.keypair("mallory")
CLAIMANTS = [kit.keypair(f"claimant {number}") for number in range(12)]


@asynccontextmanager
async def network(tmp_path, count=2, extra=(), stakes=None, rules=None):
    """Nodes that dial each other, with members that have none."""
    found = places(tmp_path, count, extra=[MALLORY, *extra])
    for place in found:
        members = place.directory / "members.toml"
        text = members.read_text()
        for account, stake in (stakes or {}).items():
            line = f'account = "{format_account(account)}"\n'
            assert line in text
            text = text.replace(line, f"{line}stake_rao = {stake}\n")
        members.write_text(text)
    async with Mesh(found) as mesh:
        mesh.changes = {number: {"blacklist": rules or Rules()} for number in range(count)}
        await mesh.start()
        await mesh.connected()
        yield mesh


def standing(node, pair):
    return node.blacklisting.machine.standing(pair.account, node.now_ms())


async def tell(hostile, claims=(), proofs=()):
    payload = BlacklistSync(list(claims), list(proofs)).encode()
    await hostile.send(hostile.message(MessageType.BLACKLIST_SYNC, payload))


def claim(issuer, accused, **wrong):
    return signed(issuer, accused, wall_ms(), **wrong)


async def offend(node, pair=MALLORY):
    async with Hostile.open(node, pair) as hostile:
        await tell(hostile, [(b"\7" * 64, bytes(64))])
        return await hostile.closing()


# --- failures ---------------------------------------------------------------------------------------------


def test_who_breaks_rules_is_greylisted_comes_back_and_is_blacklisted_in_the_end(tmp_path):
    rules = Rules(failures=2, greylist_ms=300, greylistings=2)

    async def main():
        async with network(tmp_path, rules=rules) as mesh:
            node = mesh[0]
            for _ in range(2):
                assert (await offend(node))[0] == 4001
            assert standing(node, MALLORY) is Standing.GREYLISTED
            assert standing(mesh[1], MALLORY) is Standing.GOOD, "one claim alone is nothing"
            await until(lambda: len(mesh[1].blacklisting.machine.claims) == 1, "the claim")
            with pytest.raises(Unauthorised):
                await offend(node)
            await until(lambda: not node.blacklisting.is_blocked(MALLORY.account), "an end")
            for _ in range(2):
                await offend(node)
            assert standing(node, MALLORY) is Standing.BLACKLISTED
            await mesh.stop(0)
            node = await mesh.start(0)
            await until(lambda: node.blacklisting.is_blocked(MALLORY.account), "after a restart")
            with pytest.raises(Unauthorised):
                await offend(node)
            found = node.blacklisting.explain(MALLORY.account)
            assert (found["standing"], found["greylistings"]) == ("blacklisted", 2)
            assert found["failures"] == {"malformed": 2}

    run(main())


def test_a_stake_pardons(tmp_path):
    async def main():
        async with network(
            tmp_path, stakes={MALLORY.account: limits.PARDON_RAO}, rules=Rules(failures=1)
        ) as mesh:
            for _ in range(3):
                await offend(mesh[0])
            assert standing(mesh[0], MALLORY) is Standing.GOOD
            assert mesh[0].status()["rejects"]["malformed"] == 3
            assert mesh[0].blacklisting.explain(MALLORY.account)["score"] < 0

    run(main())


# --- claims -----------------------------------------------------------------------------------------------


def test_a_poisoner_that_accuses_everybody_harms_nobody_else(tmp_path):
    async def main():
        async with network(tmp_path, 3, extra=CLAIMANTS) as mesh:
            nodes = [place.keypair for place in mesh.places]
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                await tell(hostile, [claim(MALLORY, one) for one in (*nodes, *CLAIMANTS)])
                await until(lambda: mesh[2].blacklisting.counts["claim-new"] >= 10, "the claims everywhere")
                await mesh[0].database.table("scores").put("still", 1, ack=2)
                assert all(
                    standing(node, one) is Standing.GOOD
                    for node in mesh.nodes
                    for one in (*nodes, *CLAIMANTS)
                )
                assert all(len(node.replicator.members()) >= 2 for node in mesh.nodes)
                assert len(mesh[0].blacklisting.machine.claims) <= limits.CLAIMS_PER_ISSUER_MAX

    run(main())


def test_a_quorum_of_small_accounts_is_none(tmp_path):
    """Ten of fifteen members, with less than a third of the stake."""

    async def main():
        small = {pair.account: 1 for pair in CLAIMANTS} | {MALLORY.account: 9}
        big = {kit.keypair(f"node {number}").account: 10 for number in range(2)}
        async with network(tmp_path, extra=CLAIMANTS, stakes=small | big) as mesh:
            async with Hostile.open(mesh[0], CLAIMANTS[0]) as hostile:
                await tell(hostile, [claim(one, MALLORY) for one in CLAIMANTS[:12]])
                for node in mesh.nodes:
                    await until(lambda node=node: len(node.blacklisting.machine.claims) == 12, "the claims")
            assert all(standing(node, MALLORY) is Standing.GOOD for node in mesh.nodes)

    run(main())


def test_a_quorum_greylists_everywhere_for_as_long_as_it_lasts(tmp_path):
    async def main():
        async with network(tmp_path, extra=CLAIMANTS) as mesh:
            async with (
                Hostile.open(mesh[1], MALLORY) as accused,
                Hostile.open(mesh[0], CLAIMANTS[0]) as teller,
            ):
                said = [claim(one, MALLORY, lifetime_ms=4_000) for one in CLAIMANTS[:6]]
                await tell(teller, said)
                code, text = await accused.closing()
            assert code == 4017
            assert text == "blacklisted: greylisted by the claims of 5 members"
            assert all(standing(node, MALLORY) is Standing.CLAIMED for node in mesh.nodes)
            with pytest.raises(Unauthorised):
                await offend(mesh[0])
            for node in mesh.nodes:
                await until(lambda node=node: not node.blacklisting.is_blocked(MALLORY.account), "an end")
                assert len(node.blacklisting.machine.claims) == 0
            async with Hostile.open(mesh[0], MALLORY):
                assert standing(mesh[0], MALLORY) is Standing.GOOD

    run(main())


def test_at_most_a_tenth_at_a_time_and_nobody_that_is_pardoned(tmp_path):
    """Fifteen members: one at most."""

    async def main():
        rich = CLAIMANTS[11]
        stakes = {rich.account: limits.PARDON_RAO} | {
            pair.account: limits.PARDON_RAO - 1 for pair in CLAIMANTS[:11]
        }
        async with network(tmp_path, extra=CLAIMANTS, stakes=stakes) as mesh:
            accused = [MALLORY, CLAIMANTS[10], rich]
            async with Hostile.open(mesh[0], CLAIMANTS[0]) as hostile:
                await tell(hostile, [claim(one, other) for one in CLAIMANTS[:10] for other in accused])
                for node in mesh.nodes:
                    await until(lambda node=node: len(node.blacklisting.machine.claims) == 30, "the claims")
            for node in mesh.nodes:
                found = [one for one in accused if standing(node, one) is not Standing.GOOD]
                assert len(found) == 1
                assert found != [rich]

    run(main())


def other_domain(issuer, accused):
    raw, _ = claim(issuer, accused)
    return raw, issuer.sign(signing.ENDPOINT, raw)


LIES = {
    "forged": (lambda: (claim(CLAIMANTS[0], CLAIMANTS[1])[0], bytes(64)), "bad-signature", 4006),
    "another domain": (lambda: other_domain(CLAIMANTS[0], CLAIMANTS[1]), "bad-signature", 4006),
    "expired": (
        lambda: signed(CLAIMANTS[0], CLAIMANTS[1], wall_ms() - 2 * 3_600_000, lifetime_ms=1_000),
        "stale",
        4003,
    ),
    "another network": (
        lambda: claim(CLAIMANTS[0], CLAIMANTS[1], network=replace(NETWORK, netuid=8)),
        "wrong-network",
        4008,
    ),
    "garbage": (lambda: (b"\7" * 64, bytes(64)), "malformed", 4001),
}


@pytest.mark.parametrize("name", LIES)
def test_who_passes_on_what_nobody_may_loses_its_session_and_points(tmp_path, name):
    make, reason, code = LIES[name]

    async def main():
        async with network(tmp_path, extra=CLAIMANTS) as mesh:
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                await tell(hostile, [make()])
                got, text = await hostile.closing()
            assert (got, text.split(":")[0]) == (code, reason)
            found = mesh[0].blacklisting.explain(MALLORY.account)
            assert found["failures"] == {reason: 1}
            assert found["score"] == pytest.approx(-1, abs=0.01)
            assert len(mesh[0].blacklisting.machine.claims) == 0
            assert mesh[0].replicator.members()[0].account == mesh[1].account

    run(main())


def test_the_word_of_a_stranger_costs_whoever_passes_it_on(tmp_path):
    async def main():
        async with network(tmp_path, extra=CLAIMANTS) as mesh:
            machine = mesh[0].blacklisting.machine
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                await tell(hostile, [claim(kit.keypair("stranger"), CLAIMANTS[0])])
                await until(lambda: machine.scores.points(MALLORY.account, wall_ms()) > 0, "counted")
                assert mesh[0].hub.link_of(MALLORY.account) is not None
            assert len(machine.claims) == 0

    run(main())


# --- proofs -----------------------------------------------------------------------------------------------


def test_an_equivocator_is_frozen_everywhere_within_seconds_and_after_a_restart(tmp_path):
    """Two histories of 20 batches, one at each of two nodes, and a third node that saw neither."""

    async def main():
        async with network(tmp_path, 3) as mesh:
            left, right = Author(mesh[0], MALLORY), Author(mesh[0], MALLORY)
            common = left.batch("common")
            right.seq, right.digest = left.seq, left.digest
            started = wall_ms()
            async with Hostile.open(mesh[0], MALLORY) as one, Hostile.open(mesh[1], MALLORY) as other:
                await one.gossip(common, *(left.batch(f"l{n}") for n in range(20)))
                await other.gossip(common, *(right.batch(f"r{n}") for n in range(20)))
                for node in mesh.nodes:
                    frozen = node.database.engine.frozen
                    await until(
                        lambda frozen=frozen: (
                            (found := frozen.get("main", left.origin)) is not None and found.at == 2
                        ),
                        "frozen where they part",
                    )
            assert wall_ms() - started < 20_000
            await agreed(mesh.nodes)
            assert all(node.database.engine.head("main", left.origin) == 1 for node in mesh.nodes)
            await until(
                lambda: all(node.blacklisting.is_blocked(MALLORY.account) for node in mesh.nodes),
                "greylisted",
            )
            await mesh[0].database.table("scores").put("together", 1, ack=2)
            await mesh.stop(2)
            node = await mesh.start(2)
            await mesh.connected()
            assert node.database.engine.frozen.get("main", left.origin).at == 2
            assert node.blacklisting.is_blocked(MALLORY.account)
            raw, signature = left.batch("later")
            node.database.engine.receive(raw, signature, wall_ms())
            assert node.database.engine.head("main", left.origin) == 1
            (found,) = node.blacklisting.explain(MALLORY.account)["frozen"]
            assert (found["space"], found["from"], found["why"]) == ("main", 2, "equivocation")
            # Another generation of it is another origin: once it is let in again, it may go on.
            node.database.engine.receive(*Author(node, MALLORY, generation=5).batch("anew"), wall_ms())
            assert await node.database.table("scores").get("anew") == b"anew"

    run(main())


def test_a_restored_backup_is_no_equivocator(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            first, restored = Author(mesh[0], MALLORY, generation=1), Author(mesh[0], MALLORY, generation=2)
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                await hostile.gossip(
                    first.batch("a"), first.batch("b"), restored.batch("a"), restored.batch("c")
                )
                await until(lambda: mesh[1].database.engine.head("main", restored.origin) == 2, "replicated")
            await agreed(mesh.nodes)
            assert all(evidence(node) == [] for node in mesh.nodes)
            assert standing(mesh[0], MALLORY) is Standing.GOOD

    run(main())


def test_a_batch_that_breaks_a_rule_is_proved_to_all(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            author = Author(mesh[0], MALLORY)
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                await hostile.gossip(author.batch("good"))
                await until(lambda: mesh[1].database.engine.head("main", author.origin) == 1, "replicated")
                await hostile.gossip(author.batch("bad", epoch=1))
                assert (await hostile.closing())[0] == 4003
            await until(lambda: len(mesh[1].database.engine.frozen) == 1, "the proof")
            await agreed(mesh.nodes)
            assert mesh[1].database.engine.frozen.get("main", author.origin).at == 2

    run(main())


async def lie_about_a_proof(mesh, answer, head=None):
    """Mallory announces a proof and answers with something else; the close frame."""
    author = Author(mesh[0], CLAIMANTS[0])
    async with Hostile.open(mesh[0], MALLORY) as hostile:
        await tell(hostile, proofs=[head or ProofHead("main", *author.origin, 1)])
        asked = await hostile.receive(MessageType.REQUEST)
        while Call.decode(asked.payload).method != "blacklist.proof":
            asked = await hostile.receive(MessageType.REQUEST)
        call = Call.decode(asked.payload)
        assert codec.decode(codec.PROOF_HEAD, call.body)[1] == author.origin.account
        body = Call(call.id, "", 0, 0, True, answer(author)).encode()
        await hostile.send(hostile.message(MessageType.RESPONSE, body))
        return await hostile.closing()


FALSE_PROOFS = {
    "forged": (
        lambda author: Proof(
            (author.batch("a", keep=True)[0], bytes(64)), author.batch("b", keep=True)
        ).encode(),
        "bad-signature",
    ),
    "signed by another": (
        lambda author: Proof(
            author.batch("a", keep=True), author.batch("b", keep=True, signer=MALLORY)
        ).encode(),
        "bad-signature",
    ),
    "no contradiction": (lambda author: Proof(author.batch("a"), author.batch("b")).encode(), "malformed"),
    "of itself": (
        lambda author: Proof(
            Author.batch(author, "a", keep=True, account=MALLORY.account, signer=MALLORY),
            Author.batch(author, "b", keep=True, account=MALLORY.account, signer=MALLORY),
        ).encode(),
        "malformed",
    ),
    "another network": (
        lambda author: Proof(
            author.batch("a", keep=True, netuid=8), author.batch("b", keep=True, netuid=8)
        ).encode(),
        "wrong-network",
    ),
    "garbage": (lambda author: b"\7" * 500, "malformed"),
}


@pytest.mark.parametrize("name", FALSE_PROOFS)
def test_a_false_proof_ends_the_session_of_who_announced_it(tmp_path, name):
    answer, reason = FALSE_PROOFS[name]

    async def main():
        async with network(tmp_path, extra=CLAIMANTS[:1]) as mesh:
            _, text = await lie_about_a_proof(mesh, answer)
            assert text.split(":")[0] == reason
            assert mesh[0].blacklisting.explain(MALLORY.account)["failures"] == {reason: 1}
            assert all(evidence(node) == [] for node in mesh.nodes)
            assert standing(mesh[0], CLAIMANTS[0]) is Standing.GOOD

    run(main())


def test_a_proof_as_large_as_two_batches_travels(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            author = Author(mesh[0], MALLORY)
            two = [
                author.batch((0, 0, b"big", b"\0" + bytes([side]) * 500_000), keep=True) for side in (1, 2)
            ]
            async with Hostile.open(mesh[0], MALLORY) as hostile:
                for one in two:
                    await hostile.gossip(one)
                await hostile.closing()
            await until(lambda: len(mesh[1].database.engine.frozen) == 1, "the proof")
            assert len(evidence(mesh[1])[0][1]) > 1_000_000
            await agreed(mesh.nodes)

    run(main())


# --- the operator -----------------------------------------------------------------------------------------


def test_the_operator_adds_removes_and_pardons_across_restarts(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            place, node = mesh.places[0], mesh[0]
            async with connect(node.url, place.keypair) as remote, Hostile.open(node, MALLORY) as hostile:
                ask = calls.Blacklist("add", MALLORY.account, "does not answer")
                assert (await remote.blacklist(ask))["standing"] == "blacklisted"
                assert await hostile.closing() == (
                    4017,
                    "blacklisted: blacklisted by the operator: does not answer",
                )
            assert node.status()["blacklist"]["blacklisted"] == 1
            await mesh.stop(0)
            node = await mesh.start(0)
            with pytest.raises(Unauthorised):
                await offend(node)
            async with connect(node.url, place.keypair) as remote:
                (found,) = await remote.blacklist(calls.Blacklist("list"))
                assert (found["why"], found["by"]) == (
                    "blacklisted by the operator: does not answer",
                    "operator",
                )
                found = await remote.blacklist(calls.Blacklist("remove", MALLORY.account))
                assert found["standing"] == "good"
                with pytest.raises(UsageError):
                    await remote.blacklist(calls.Blacklist("remove", mesh[1].account))
                with pytest.raises(UsageError):
                    await remote.blacklist(calls.Blacklist("frown at", mesh[1].account))
                with pytest.raises(UsageError):
                    await remote.blacklist(calls.Blacklist("explain", b"short"))
                async with Hostile.open(node, MALLORY):
                    await remote.blacklist(calls.Blacklist("add", MALLORY.account, "", True))
            await mesh.stop(0)
            node = await mesh.start(0)
            for _ in range(7):
                await offend(node)
            assert standing(node, MALLORY) is Standing.GOOD, "it is on the list of those that never are"

    run(main())


def test_two_nodes_that_do_not_want_each_other_any_more_do_again(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            await mesh[0].blacklisting.call(calls.Blacklist("add", mesh[1].account))
            await until(lambda: not mesh[0].replicator.members(), "the end of the session")
            assert mesh[0].status()["unreachable"] == {}, "it does not dial"
            await mesh[0].blacklisting.call(calls.Blacklist("remove", mesh[1].account))
            await mesh.connected()
            await mesh[0].database.table("scores").put("again", 1, ack=1)

    run(main())


def test_programs_may_look_and_only_the_node_itself_may_change(tmp_path):
    async def main():
        async with network(tmp_path) as mesh:
            client = kit.keypair("client")
            mesh.changes[0]["clients"] = frozenset({client.account})
            await mesh.stop(0)
            node = await mesh.start(0)
            async with connect(node.url, client) as remote:
                assert await remote.blacklist(calls.Blacklist("list")) == []
                with pytest.raises(Unauthorised, match="own account"):
                    await remote.blacklist(calls.Blacklist("add", MALLORY.account))

    run(main())
