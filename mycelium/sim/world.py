"""One world of one scenario and seed: its machines, members, hostile ones, load and checkers, wired together."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable

from mycelium._core.codec import Message
from mycelium.database import rows
from mycelium.database.database import Database
from mycelium.database.engine import Applied
from mycelium.database.policy import WRITE, Action
from mycelium.database.store import Column
from mycelium.identity.account import format as format_account
from mycelium.identity.keys import Keypair, digest
from mycelium.metagraph import membership
from mycelium.peer.link import Link
from mycelium.peer.mesh import Mesh
from mycelium.sim.checkers import Checkers
from mycelium.sim.hostile import Hostile
from mycelium.sim.load import Driver
from mycelium.sim.loop import VirtualLoop
from mycelium.sim.measure import Trace
from mycelium.sim.member import (
    TABLES,
    NodeClock,
    Shared,
    SimMember,
    name_of,
    task_factory,
    url_of,
)
from mycelium.sim.network import Conditions, Network
from mycelium.sim.places import PLACES
from mycelium.sim.randomness import Streams
from mycelium.sim.scenario import Hostile as HostileKind
from mycelium.sim.scenario import Scenario
from mycelium.sim.standings import Standings

_RAO = 10**9
SYNC_NS = (200_000, 5_000_000)
"""A sync of the disk takes between these, as measured on NVMe and on network disks."""


class World:
    """replay: the command that repeats it. Make it and use it under `crypto.signing_with`."""

    def __init__(self, scenario: Scenario, seed: int, replay: str) -> None:
        self.scenario = scenario
        self.streams = Streams(seed)
        self.events_rng = self.streams.rng("events")
        disks = self.streams.rng("disks")
        self.loop = VirtualLoop(lambda: disks.randrange(*SYNC_NS))
        self.loop.set_task_factory(task_factory)
        self.loop.set_exception_handler(self._unexpected)
        weather = scenario.weather
        conditions = Conditions(
            uplink_bps=weather.uplink_mbit * 125_000,
            loss=weather.loss_per_mille / 1000,
            jitter=weather.jitter_percent / 100,
            spread=weather.world,
        )
        self.network = Network(self.loop, self.streams.rng("network"), conditions)
        self.trace = Trace()
        self.network.on_frame.append(
            lambda source, target, kind, size: self.trace.frame(
                self.loop.now_ns(), source, target, kind, size
            )
        )
        self.messages = 0
        kinds = _kinds(scenario)
        honest = scenario.nodes - sum(one.kind != "stranger" for one in kinds)
        keys = [self._key(number) for number in range(honest + len(kinds))]
        self._numbers = {pair.account: number for number, pair in enumerate(keys)}
        listed = [
            pair
            for number, pair in enumerate(keys)
            if number < honest or kinds[number - honest].kind != "stranger"
        ]
        self.private = (
            frozenset(range(max(2, honest * scenario.private_percent // 100)))
            if (scenario.private_percent)
            else frozenset(range(honest))
        )
        stakes = [scenario.stake_tao] * honest + [one.stake_tao for one in kinds]
        members = _members(listed, self._numbers, stakes)
        mesh = Mesh(2, weather.neighbours) if weather.neighbours else Mesh()
        shared = Shared(self.loop, members, self._policy(keys), scenario.auth_mode, weather.uplink_mbit, mesh)
        self.members = [self._member(shared, number, keys[number]) for number in range(honest)]
        self.hostile = [
            self._hostile(shared, honest + at, keys[honest + at], one.kind) for at, one in enumerate(kinds)
        ]
        bad = [one.keypair.account for one in self.hostile if one.kind != "stranger"]
        self.standings = Standings(self.loop, self.members, bad)
        writers = self.members[: scenario.load.writers or None]
        self.driver = Driver(scenario.load, writers, self.streams.rng("load"), self.private)
        self.checkers = Checkers(
            self.loop,
            self.network,
            self.members,
            writers=frozenset(shared.members),
            may_read=self.may_read,
            split=bool(scenario.private_percent),
            seed=seed,
            replay=replay,
        )
        self.loop.stops.append(self.checkers.stop)
        for member in self.members:
            member.attached += [self.checkers.attach, self._attach, self.standings.attach]
            member.tap = self._tap

    def close(self) -> None:
        """End what is still running, which after a failure is everything, and the loop."""
        self.loop.stops.clear()
        self.loop.set_exception_handler(lambda loop, context: None)
        self.loop.run_until_complete(self._drain())
        self.loop.close()

    @staticmethod
    async def _drain() -> None:
        # What is on its way in the network still arrives meanwhile, and may begin something new.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- who is there -----------------------------------------------------------------------------------

    def may_read(self, account: bytes, space: str) -> bool:
        """What the scenario says, and not what the nodes think."""
        number = self._numbers.get(account)
        return space != "private" or not self.scenario.private_percent or number in self.private

    def up(self) -> list[SimMember]:
        return [member for member in self.members if member.node is not None]

    def connected(self) -> bool:
        """Whether each member that is up has a session with each other one, or with each of its neighbours."""
        up = {member.account: member for member in self.up()}
        if not self.scenario.weather.neighbours:
            return all(
                sum(link.account in up for link in member.running.replicator.members()) >= len(up) - 1
                for member in up.values()
            )
        return all(
            member.running.hub.link_of(account) is not None
            for member in up.values()
            for account in member.running.roster.near
            if account in up
        )

    def agreed(self, whole: bool) -> bool:
        """Whether all members that are up hold the same batches; of honest origins only unless `whole`."""
        honest = self.checkers.honest
        for space in self.up()[0].running.database.spaces:
            seen: set[object] = set()
            for member in self.up():
                if not self.may_read(member.account, space):
                    continue
                engine = member.running.database.engine
                if whole:
                    seen.add(engine.vector_digest(space))
                else:
                    held = engine.vector(space)
                    seen.add(frozenset((origin, held[origin]) for origin in held if origin.account in honest))
                if len(seen) > 1:
                    return False
        return True

    # --- how it is made ---------------------------------------------------------------------------------

    def _key(self, number: int) -> Keypair:
        return Keypair.from_seed(self.streams.material(f"key {number}"))

    def _place(self, number: int) -> int:
        return self.streams.rng(f"place {number}").randrange(len(PLACES))

    def _member(self, shared: Shared, number: int, keypair: Keypair) -> SimMember:
        rng = self.streams.rng(f"node {number}")
        weather = self.scenario.weather
        clock = NodeClock(
            self.loop,
            rng.randint(-weather.skew_ms, weather.skew_ms),
            rng.randint(-weather.drift_ppm, weather.drift_ppm),
        )
        host = self.network.add(number, name_of(number), self._place(number))
        return SimMember(shared, host, keypair, clock, rng)

    def _hostile(self, shared: Shared, number: int, keypair: Keypair, kind: str) -> Hostile:
        rng: random.Random = self.streams.rng(f"hostile {number}")
        host = self.network.add(number, name_of(number), self._place(number))
        hostile = Hostile(shared, host, keypair, rng, kind)
        hostile.victims = [(member.number, member.account) for member in self.members]
        return hostile

    def _policy(self, keys: list[Keypair]) -> tuple[bytes, bytes] | None:
        """Everybody writes `main`; `private` is of some, each named."""
        if not self.scenario.private_percent:
            return None
        may = ["read", "put", "delete"]
        rules = [{"who": "validator", "tables": "main/*", "may": may}]
        rules += [
            {"who": format_account(keys[number].account), "tables": "private/*", "may": may}
            for number in sorted(self.private)
        ]
        document = json.dumps({"version": 1, "rules": rules}).encode()
        return digest(document), document

    # --- what is seen -----------------------------------------------------------------------------------

    def _attach(self, member: SimMember, database: Database) -> None:
        number, trace, loop = member.number, self.trace, self.loop
        propagation, first_put_ns = self.checkers.propagation, self.driver.first_put_ns

        def applied(one: Applied) -> None:
            now_ns = loop.now_ns()
            name = digest(one.batch.raw)
            trace.applied(now_ns, number, name)
            if one.own:
                propagation.born(name, first_put_ns.pop(number, now_ns))
            else:
                propagation.reached(name, now_ns)

        database.engine.on_applied.append(applied)

    def _tap(self, member: SimMember, link: Link, message: Message, size_bytes: int) -> None:
        self.messages += 1
        source = self._numbers.get(link.account, 0)
        self.trace.message(self.loop.now_ns(), source, member.number, message.type, size_bytes)
        self.checkers.tap(member, link, message)

    def nobody_is_wronged(self) -> None:
        """No honest member has another one greylisted or blacklisted."""
        wronged = self.standings.wronged()
        if wronged is not None:
            self.checkers.fail(wronged)

    def evidence(self) -> int:
        """How many members hold a proof of an equivocation."""
        return sum(any(True for _ in one.store.scan(Column.EVIDENCE, b"", None)) for one in self.up())

    def promises_are_kept(self) -> None:
        """Invariant 1 as a program sees it: at every member each counter is at least what was acknowledged and at most
        what was tried, and each acknowledged fact is there once."""
        said = self.driver.promises
        for member in self.up():
            store = member.store
            for key, tried in said.tried.items():
                total = rows.read(store, TABLES["hits"], key.encode()) or 0
                least = 0 if said.forfeited else said.added.get(key, 0)
                if not least <= total <= tried:
                    what = f"counter {key} is {total}; {least} were acknowledged and {tried} tried"
                    self.checkers.fail(f"{member.host.name}: {what}", 1)
            held = Counter(
                fact for key in sorted(set(said.facts.values())) for fact in self._facts_of(member, key)
            )
            for fact, key in said.facts.items():
                times = held[fact]
                if times > 1 or (times == 0 and not said.forfeited):
                    self.checkers.fail(
                        f"{member.host.name} holds a fact of {key} {times} times: {fact[:16]}", 1
                    )

    @staticmethod
    def _facts_of(member: SimMember, key: str) -> list[str]:
        found = rows.read(member.store, TABLES["events"], key.encode())
        return found if isinstance(found, list) else []

    def scans_are_within_rights(self) -> None:
        """Invariant 6 for reading: what the node's own decision lets an account scan, against the scenario."""
        for member in self.up():
            for account in self._numbers:
                rights = member.running.authority.rights_now(account)
                for spec in member.running.database.tables.values():
                    read = rights is not None and bool(rights.ranges(Action.READ, spec.space, spec.name))
                    write = rights is not None and rights.whole(WRITE, spec.space)
                    if (read or write) and not self.may_read(account, spec.space):
                        self.checkers.fail(
                            f"{member.host.name} lets {account.hex()[:16]} into {spec.space!r}", 6
                        )

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        del loop
        error = context.get("exception")
        self.checkers.fail(f"an error that nobody expected: {context.get('message')}: {error!r}")


class Unexpected(logging.Handler):
    """Errors with a traceback that nodes log: nothing in a scenario makes one, so each is a bug."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._fail(f"a node logged an error: {record.getMessage()}: {record.exc_info[1]!r}")


def _kinds(scenario: Scenario) -> list[HostileKind]:
    """What each of the hostile ones is, members first."""
    kinds = [one for one in scenario.hostile for _ in range(one.of(scenario.nodes))]
    return sorted(kinds, key=lambda one: one.kind == "stranger")


def _members(
    keys: list[Keypair], numbers: dict[bytes, int], stakes: list[int]
) -> dict[bytes, membership.Member]:
    return {
        pair.account: membership.Member(
            pair.account,
            membership.VALIDATOR,
            stake_rao=stakes[numbers[pair.account]] * _RAO,
            urls=(url_of(numbers[pair.account]),),
        )
        for pair in keys
    }
