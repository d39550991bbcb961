"""examples/tasks on real nodes: the same tasks, seed and table at every validator, whoever is late or killed."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
from examplekit import Program, module, network, once
from hypothesis import given
from hypothesis import strategies as st
from nodekit import run

from mycelium.database.rows import Row
from mycelium.identity.account import format as ss58

EXAMPLE = "tasks"
rounds = module(EXAMPLE, "rounds")


def validator(node):
    return Program(EXAMPLE, "validator.py", "--config", node.config)


async def told(node, name, epoch, kind):
    """What validators wrote for an epoch, as one node has it."""
    stakes = (await node.epoch()).stakes
    rows = [row async for row in node.database.table(name).scan()]
    return rounds.of_epoch(rows, epoch, kind, stakes), stakes


async def written(node, name, epoch, kind, count):
    """Wait until so many validators wrote for an epoch, as one node has it."""
    async with asyncio.timeout(20):
        while len((await told(node, name, epoch, kind))[0]) < count:
            await asyncio.sleep(0.02)


async def reach(nodes, watcher, block):
    """Make as many blocks as bring this one into finality, and wait until a node knows it."""
    await nodes.fault("stall_head", False)
    await nodes.fault("step", block - (await watcher.epoch()).block)
    await nodes.fault("stall_head", True)
    async with asyncio.timeout(20):
        while (await watcher.epoch()).block < block:
            await asyncio.sleep(0.02)


def test_all_agree_though_one_is_late_and_another_is_killed(tmp_path):
    async def main():
        async with network(tmp_path, EXAMPLE, 3, block_ms=1_000) as (nodes, prepared):
            # From here on blocks come when the test makes them: an epoch lasts as long as this machine needs.
            await nodes.fault("stall_head", True)
            places, second, third = prepared.nodes, nodes.remote(1), nodes.remote(2)
            now = await third.epoch()
            assert set(now.stakes) == {place.address for place in places}
            first, after = now.number + 1, now.number + 2
            start, next_start = first * now.epoch_blocks, after * now.epoch_blocks
            # The third validator proposes, and says itself that it was in the epoch for which it does.
            late = {"block": start, "tasks": ["late"]}
            await third.database.table("proposals").put(f"{third.address}/{first}", late)
            one, two, three = map(validator, places)
            async with one, two:
                await written(second, "proposals", first, rounds.Proposal, 3)
                await reach(nodes, third, start + rounds.VOTE_AT)
                for program in (one, two):
                    await program.says(rf"epoch {first}: the proposal of {third.address[:6]} came too late")
                await written(second, "votes", first, rounds.Vote, 2)
                await reach(nodes, third, start + rounds.SEED_AT)
                seeds = [(await program.says(rf"epoch {first}: (seed .*)"))[1] for program in (one, two)]
                assert seeds[0] == seeds[1]
                assert seeds[0].endswith("from 4 tasks")
                await written(second, "scores", first, rounds.Scores, 2)
                await reach(nodes, third, start + 3 * now.epoch_blocks // 4)
                for program in (one, two):
                    await program.says(rf"epoch {first}: 2 validators say ")
                    await program.says(rf"epoch {first}: set_weights would work")
                async with three:
                    await three.says(rf"epoch {first}: 3 validators say ")
                    await written(second, "proposals", after, rounds.Proposal, 3)
                    await reach(nodes, third, next_start + rounds.VOTE_AT)
                    await written(second, "votes", after, rounds.Vote, 3)
                    # The first one dies with its node when it has voted, and goes on where it was.
                    await one.kill()
                    await nodes.kill(0)
                    await one.start()
                    await one.says("waiting: ")
                    await nodes.start(0)
                    await reach(nodes, third, next_start + rounds.SEED_AT)
                    said = [await program.says(rf"epoch {after}: (seed .*)") for program in (one, two, three)]
                    assert len({found[1] for found in said}) == 1
                    assert said[0][1].endswith("from 6 tasks")
                    said = [
                        await program.says(rf"epoch {after}: 3 validators say (.*)")
                        for program in (one, two, three)
                    ]
                    assert len({found[1] for found in said}) == 1
                    for program in (one, two, three):
                        await program.says(rf"epoch {after}: set_weights would work")
            votes, stakes = await told(second, "votes", after, rounds.Vote)
            assert rounds.decided(votes, stakes) == votes[places[0].address].tasks
            scores, _ = await told(second, "scores", after, rounds.Scores)
            table = rounds.combined(scores, stakes)
            assert set(table) == {wallet.address for wallet in prepared.miners}
            assert ", ".join(f"{miner[:6]} {score:.4f}" for miner, score in table.items()) == said[0][1]

    run(main())


def test_what_is_wrong_with_the_settings_is_said(tmp_path):
    async def main():
        (tmp_path / "members.toml").write_text("")
        (tmp_path / "node.toml").write_text(
            '[node]\ndata_dir = "data"\n[identity]\nseed_env = "SEED"\n[network]\nnetuid = 1\n'
            f'genesis = "0x{"01" * 32}"\n[membership]\nfile = "members.toml"\n[tables.votes]\nmerge = "own"\n'
        )
        said = await once(EXAMPLE, "validator.py", "--config", tmp_path / "node.toml", code=2)
        assert "weights need a chain" in said

    run(main())


# --- how tasks and scores follow from what was written ------------------------------------------------------------

WHO = [ss58(bytes((number,)) * 32) for number in range(1, 6)]
STAKES = st.dictionaries(st.sampled_from(WHO), st.integers(1, 9), min_size=1)


def row(key, value):
    return Row(key, value, b"", 0)


def test_what_others_wrote_is_data():
    ann, bob, eve = WHO[:3]
    rows = [
        row(f"{ann}/7", {"block": 1, "tasks": ["a"]}),
        row(f"{ann}/8", {"block": 1, "tasks": ["b"]}),
        row(f"{bob}/7", {"block": "x"}),
        row(f"{bob}/7/more", {"block": 1, "tasks": []}),
        row(bob, b"\0"),
        row(b"\xff\xfe", None),
        row(f"{eve}/7", {"block": 1, "tasks": ["e"]}),
    ]
    found = rounds.of_epoch(rows, 7, rounds.Proposal, {ann: 1, bob: 1})
    assert found == {ann: rounds.Proposal(1, ["a"])}


def test_proposals_made_in_the_epoch_are_late_and_nobody_crowds_out_the_others():
    many = [f"t{number:02}" for number in range(20)]
    proposals = {
        WHO[0]: rounds.Proposal(39, ["b", "a"]),
        WHO[1]: rounds.Proposal(40, ["c"]),
        WHO[2]: rounds.Proposal(0, many),
    }
    assert rounds.ballot(proposals, 40) == (["a", "b", *many[: rounds.TASKS_MAX]], [WHO[1]])


@given(STAKES, st.data())
def test_a_majority_is_of_all_stake_and_there_is_one_at_most(stakes, data):
    lists = st.sampled_from([["a"], ["a", "b"], []])
    votes = {
        who: rounds.Vote(data.draw(lists)) for who in data.draw(st.sets(st.sampled_from(sorted(stakes))))
    }
    found = rounds.decided(votes, stakes)
    held = Counter()
    for who, vote in votes.items():
        held[msgspec.json.encode(vote.tasks)] += stakes[who]
    winners = [
        msgspec.json.decode(tasks) for tasks, stake in held.items() if stake > sum(stakes.values()) / 2
    ]
    assert ([] if found is None else [found]) == winners


@given(st.lists(st.text(max_size=3), unique=True), st.text(max_size=5), st.integers(0, 5))
def test_the_draw_is_the_same_whatever_the_order(tasks, seed, count):
    drawn = rounds.drawn(tasks, seed, count)
    assert rounds.drawn(tasks[::-1], seed, count) == drawn
    assert len(drawn) == min(count, len(tasks))
    assert set(drawn) <= set(tasks)


@given(STAKES, st.data())
def test_the_median_is_that_of_each_unit_of_stake(stakes, data):
    measures = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    scores = {who: rounds.Scores({"m": data.draw(measures)}) for who in stakes}
    units = sorted(scores[who].scores["m"] for who in stakes for _ in range(stakes[who]))
    assert rounds.combined(scores, stakes) == {"m": units[(len(units) - 1) // 2]}


def test_who_did_not_measure_says_nothing_good():
    scores = {WHO[0]: rounds.Scores({"m": 1.0}), WHO[1]: rounds.Scores({}), WHO[2]: rounds.Scores({"n": 1.0})}
    assert rounds.combined(scores, dict.fromkeys(WHO[:3], 1)) == {"m": 0.0, "n": 0.0}
    assert rounds.combined({}, {}) == {}
