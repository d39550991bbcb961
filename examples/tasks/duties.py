"""What a validator does in an epoch: proposes tasks for the next one, votes, scores, and reads all scores as one table.

All that it has said is in the store, so that its program may be killed and started again at any moment.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import rounds

from mycelium.chain.connection import Connection
from mycelium.node.calls import EpochInfo
from mycelium.node.remote import RemoteNode
from mycelium.validator.client import ValidatorClient

DRAWN = 3
KEEP_EPOCHS = 5


class Duties:
    """One validator's. dry_run: weights are not set, only tried."""

    def __init__(self, chain: Connection, client: ValidatorClient, *, dry_run: bool) -> None:
        self.chain, self.client, self.dry_run = chain, client, dry_run
        self.told: set[tuple[int, str]] = set()

    async def step(self, node: RemoteNode) -> None:
        """Do what is due now. Called again and again: what is in the store already is not done twice."""
        now, me = await node.epoch(), node.address
        if me not in now.stakes:
            self.tell(now.number, "this hotkey is no validator in it")
            return
        tasks = [f"{me[:6]}'s {name} of {now.number + 1}" for name in ("sum", "proof")]
        await self.once(node, "proposals", now.number + 1, {"block": now.block, "tasks": tasks})
        at = now.block - now.first_block
        if at >= rounds.VOTE_AT:
            proposals = await self.read(node, "proposals", now, rounds.Proposal)
            ballot, late = rounds.ballot(proposals, now.first_block)
            for account in late:
                self.tell(now.number, f"the proposal of {account[:6]} came too late")
            await self.once(node, "votes", now.number, {"tasks": ballot})
        if at >= rounds.SEED_AT:
            await self.score(node, now)
            await self.weigh(node, now, last=at >= 3 * now.epoch_blocks // 4)

    async def score(self, node: RemoteNode, now: EpochInfo) -> None:
        """Measure the miners by the tasks that a majority voted for, drawn by a seed that nobody could choose."""
        tasks = rounds.decided(await self.read(node, "votes", now, rounds.Vote), now.stakes)
        seed = await asyncio.to_thread(self.chain.hash_of, now.first_block + rounds.SEED_AT)
        if not tasks or seed is None:
            return  # votes or that block may still come; the next step looks again
        drawn = rounds.drawn(tasks, seed, DRAWN)
        self.tell(now.number, f"seed {seed[2:10]} draws {', '.join(drawn)} from {len(tasks)} tasks")
        miners = [member.address for member in now.members if member.role == "miner"]
        scores = {miner: measured(miner, drawn, node.address) for miner in miners}
        await self.once(node, "scores", now.number, {"scores": scores})

    async def weigh(self, node: RemoteNode, now: EpochInfo, *, last: bool) -> None:
        """The scores of all validators as one table, and the weights that follow; when all have come, or at last."""
        scores = await self.read(node, "scores", now, rounds.Scores)
        if not last and len(scores) < len(now.stakes):
            return
        table = rounds.combined(scores, now.stakes)
        said = ", ".join(f"{miner[:6]} {score:.4f}" for miner, score in table.items())
        if not scores:
            self.tell(now.number, "no tasks were agreed on, so there are no scores")
        elif self.tell(now.number, f"{len(scores)} validators say {said}", once="table"):
            result = await asyncio.to_thread(self.client.set_weights, table, dry_run=self.dry_run)
            outcome = f"weights refused: {result.reason}"
            if result.success:
                outcome = f"{result.path} would work" if result.dry_run else f"{result.path} sent"
            self.tell(now.number, outcome)
            for name in ("proposals", "votes", "scores"):
                old = f"{node.address}/{now.number - KEEP_EPOCHS}"
                if await node.database.table(name).get(old) is not None:
                    await node.database.table(name).delete(old)

    async def once(self, node: RemoteNode, table: str, epoch: int, value: dict[str, Any]) -> None:
        """Give our word on an epoch, unless it is given: that may have been before a restart, and must not change."""
        key = f"{node.address}/{epoch}"
        if await node.database.table(table).get(key) is None:
            await node.database.table(table).put(key, value)

    async def read(
        self, node: RemoteNode, table: str, now: EpochInfo, kind: type[rounds.T]
    ) -> dict[str, rounds.T]:
        """What each validator wrote for this epoch."""
        rows = [row async for row in node.database.table(table).scan()]
        return rounds.of_epoch(rows, now.number, kind, now.stakes)

    def tell(self, epoch: int, text: str, once: str = "") -> bool:
        """Print what is new about an epoch. Whether it was."""
        one = (epoch, once or text)
        news = one not in self.told
        self.told = {told for told in self.told if told[0] >= epoch - 1} | {one}
        if news:
            print(f"epoch {epoch}: {text}", flush=True)
        return news


def measured(miner: str, tasks: list[str], me: str) -> float:
    """Stands for asking the miner, as examples/fiber does: what it answers, seen with an error of our own."""
    digests = [sha256(f"{miner}/{task}".encode()).digest() for task in tasks]
    error = sha256(f"{me}/{miner}/{tasks}".encode()).digest()[0] / 256 - 0.5
    return round(sum(one[0] / 256 for one in digests) / len(digests) * 0.9 + 0.05 + error / 20, 4)
