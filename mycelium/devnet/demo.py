"""What `make demo` shows: four nodes, a load, a node killed under it, a permit taken away on chain, and that all of
them end up the same.

Tells a listener what happens, step by step; prints nothing. The network is running when it begins and is left
running.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mycelium.devnet.layout import NETUID
from mycelium.devnet.load import Latency, Loaded, measure_latency, write_records
from mycelium.devnet.network import LocalNetwork, NodeState
from mycelium.errors import MyceliumError, Unauthorised

AGREE_S: Final = 60
VICTIM: Final = 2
"""Index of the node that is killed."""
PROBES: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, or (`done` False) is under way."""

    text: str
    result: str = ""
    done: bool = False


@dataclass(slots=True)
class Outcome:
    """What the demonstration measured. `agree`: all nodes hold byte-identical state."""

    written: int = 0
    rate: float = 0.0
    replicated_rate: float = 0.0
    latency: Latency = field(default_factory=Latency)
    caught_up_s: float | None = None
    refused_by: int = 0
    """Replicas that ended their sessions with the validator whose permit was taken away."""
    states: list[NodeState] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether every node answered with the same digest."""
        return agree(self.states)


def agree(states: list[NodeState]) -> bool:
    """Whether every node has a digest and they are all one."""
    digests = {state.digest for state in states}
    return len(digests) == 1 and None not in digests


async def demonstrate(
    network: LocalNetwork, listener: Callable[[Step], None], *, records: int, run: str | None = None
) -> Outcome:
    """Play it through. Raises MyceliumError when the nodes do not come to hold the same batches in a minute."""
    outcome = Outcome()
    run = run or secrets.token_hex(3)
    await _load(network, listener, outcome, records, run)
    others = [network.remote(index) for index in range(1, len(network.nodes))]
    name = network.nodes[0].place.name
    listener(Step(f"one record at a time at {name}, watched at the others"))
    outcome.latency = await measure_latency(network.remote(0), others, PROBES)
    outcome.written += PROBES
    fast, slow = outcome.latency.percentile(0.5), outcome.latency.percentile(0.99)
    listener(
        Step(f"a record put at {name} seen at the others", f"p50 {fast:.1f} ms, p99 {slow:.1f} ms", done=True)
    )
    await _kill(network, listener, outcome, records // 4, run)
    if network.chain is not None:
        await _permit(network, listener, outcome, run)
    listener(Step("comparing the whole state of all nodes"))
    outcome.states = await network.states()
    result = "byte-identical" if outcome.agree else "THEY DIFFER"
    listener(Step(f"the state of all {len(network.nodes)} nodes", result, done=True))
    return outcome


async def _load(
    network: LocalNetwork, listener: Callable[[Step], None], outcome: Outcome, records: int, run: str
) -> None:
    """Most records through the first node, a fiftieth through each of the others, at the same time."""
    name = network.nodes[0].place.name
    few = max(1, records // 50)
    main = records - few * (len(network.nodes) - 1)
    text = f"{records:,} records, most of them through {name}"
    listener(Step(text))
    began_s = time.perf_counter()
    loads = await asyncio.gather(
        *(
            write_records(network.remote(index), f"{run}/{node.place.name}", main if index == 0 else few)
            for index, node in enumerate(network.nodes)
        )
    )
    outcome.written += sum(load.records for load in loads)
    outcome.rate = loads[0].rate
    listener(
        Step(f"{main:,} records of 200 bytes written, durable at {name}", f"{outcome.rate:,.0f}/s", done=True)
    )
    listener(Step("waiting until every node holds them"))
    await _agree(network)
    outcome.replicated_rate = records / (time.perf_counter() - began_s)
    result = f"{outcome.replicated_rate:,.0f}/s in all"
    listener(Step(f"{records:,} with the others', held by all {len(network.nodes)} nodes", result, done=True))


async def _kill(
    network: LocalNetwork, listener: Callable[[Step], None], outcome: Outcome, records: int, run: str
) -> None:
    """SIGKILL one node while another is written to, start it again while that goes on, wait until it has it all."""
    victim = min(VICTIM, len(network.nodes) - 1)
    name = network.nodes[victim].place.name
    loaded = Loaded()
    listener(Step(f"killing {name} with SIGKILL under load"))
    load = asyncio.ensure_future(
        write_records(network.remote(0), f"{run}/meanwhile", records, rate=records / 3, done=loaded)
    )
    try:
        await asyncio.sleep(1.0)
        await network.kill(victim)
        listener(
            Step(f"{name} killed with SIGKILL under load", f"at {loaded.records:,} more records", done=True)
        )
        await asyncio.sleep(1.0)
        listener(Step(f"starting {name} again, the load goes on"))
        began_s = time.perf_counter()
        await network.start(victim)
        started_s = time.perf_counter() - began_s
        missed, outcome.caught_up_s = await _catch_up(network, victim)
        listener(
            Step(f"{name} started again under load, on the data it had", f"{started_s:.1f} s", done=True)
        )
        text = f"{name} fetched the {missed:,} records it had missed"
        listener(Step(text, f"{outcome.caught_up_s:.2f} s", done=True))
        listener(Step("waiting for the end of the load"))
        await load
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    outcome.written += loaded.records
    await _agree(network)


async def _catch_up(network: LocalNetwork, victim: int) -> tuple[int, float]:
    """How many changes the node lacks of what the first node holds now, and the seconds until it has as many."""
    began_s = time.perf_counter()
    wanted, have = await network.held(0), await network.held(victim)
    missed = max(0, wanted - have)
    while have < wanted:
        if time.perf_counter() - began_s > AGREE_S:
            raise MyceliumError(f"the restarted node did not catch up within {AGREE_S} s")
        await asyncio.sleep(0.02)
        have = await network.held(victim)
    return missed, time.perf_counter() - began_s


async def _permit(
    network: LocalNetwork, listener: Callable[[Step], None], outcome: Outcome, run: str
) -> None:
    """Take a validator's permit away on chain: from the next epoch on nobody takes its writes; then give it back."""
    victim = len(network.nodes) - 1
    name, others = network.nodes[victim].place.name, victim
    remote = network.remote(victim)
    account = network.nodes[victim].place.address
    await remote.database.table("records").put(f"{run}/permit/before", {"by": name})
    await network.fault("remove_permit", NETUID, victim)
    listener(Step(f"the permit of {name} (uid {victim}) removed on chain", done=True))
    listener(Step("waiting for the next epoch"))
    began_s = time.perf_counter()
    await _until(network, victim, account, writes=False)
    waited_s = time.perf_counter() - began_s
    outcome.refused_by = others
    text = f"next epoch: all {others} replicas ended their sessions with {name}"
    listener(Step(text, f"{waited_s:.1f} s", done=True))
    try:
        await remote.database.table("records").put(f"{run}/permit/refused", {"by": name})
    except Unauthorised:
        listener(Step(f"a write at {name}", "refused: no permit", done=True))
    else:
        raise MyceliumError(f"{name} wrote without a permit")
    for index in range(victim):
        await (
            network.remote(index).database.table("records").put(f"{run}/permit/without/{index}", {"n": index})
        )
    outcome.written += victim + 1
    if await network.wait_agreed(AGREE_S, without=victim) is None:
        raise MyceliumError("the other nodes did not come to hold the same records")
    states = await network.states()
    same, left_out = agree(states[:victim]), states[victim].digest != states[0].digest
    result = "identical" if same and left_out else "NOT SO"
    listener(Step(f"the other {others} go on, and are not sent to {name}", result, done=True))
    await network.fault("give_permit", NETUID, victim)
    listener(Step("the permit is given back, waiting for the next epoch"))
    began_s = time.perf_counter()
    await _until(network, victim, account, writes=True)
    await _agree(network)
    await remote.database.table("records").put(f"{run}/permit/after", {"by": name})
    outcome.written += 1
    waited_s = time.perf_counter() - began_s
    listener(Step(f"permit given back: {name} caught up and writes again", f"{waited_s:.1f} s", done=True))
    await _agree(network)


async def _until(network: LocalNetwork, victim: int, account: str, *, writes: bool) -> None:
    """Wait until every node has entered an epoch in which the victim may write, or may not."""
    began_s = time.perf_counter()
    while True:
        found = await asyncio.gather(*(network.status(index) for index in range(len(network.nodes))))
        own, others = found[victim], [status for at, status in enumerate(found) if at != victim]
        linked = [
            status is not None and any(peer["account"] == account for peer in status["peers"])
            for status in others
        ]
        may = own is not None and own["role"] in {"validator", "owner"}
        if may == writes and (all(linked) if writes else not any(linked)):
            return
        if time.perf_counter() - began_s > AGREE_S:
            raise MyceliumError(f"the nodes did not follow the chain within {AGREE_S} s")
        await asyncio.sleep(0.1)


async def _agree(network: LocalNetwork) -> float:
    waited_s = await network.wait_agreed(AGREE_S)
    if waited_s is None:
        raise MyceliumError(f"the nodes did not come to hold the same records within {AGREE_S} s")
    return waited_s
