"""A full refresh of a subnet of 256 neurons, `Metagraph.sync`, from a development chain in another process.

Everything is in it: the requests, the answers over loopback, their decoding, and the chain making the answer, which is
most of it. Every neuron has stake and an axon, every validator weights on all. Required: under 100 ms in the middle.

    python -m pytest bench/test_chain_refresh.py -s        or        python bench/test_chain_refresh.py
"""

from __future__ import annotations

import asyncio
import dataclasses
import multiprocessing
import statistics
import time

from mycelium.chain.connection import Connection
from mycelium.chain.metagraph import Metagraph

NEURONS = 256
VALIDATORS = 64
ROUNDS = 15
REFRESH_S_MAX = 0.1


def serve(ready) -> None:
    asyncio.run(serve_chain(ready))


async def serve_chain(ready) -> None:
    from mycelium.devnet.chain.core import MANUAL, Core
    from mycelium.devnet.chain.population import development
    from mycelium.devnet.chain.server import ChainServer, wall_ms

    chain = development(validators=VALIDATORS, miners=NEURONS - VALIDATORS)
    (subnet,) = chain.subnets
    neurons = tuple(
        dataclasses.replace(
            neuron, axon=("10.0.0.1", 9000 + at), stake_rao=neuron.stake_rao or (at + 1) * 10**9
        )
        for at, neuron in enumerate(subnet.neurons)
    )
    chain = dataclasses.replace(chain, subnets=(dataclasses.replace(subnet, neurons=neurons),))
    core = Core(chain, clock=wall_ms, blocks=MANUAL)
    weights = [(uid, 65_535 - uid) for uid in range(NEURONS)]

    def fill(view) -> None:
        for uid in range(VALIDATORS):
            core.runtime.state(view).put("SubtensorModule", "Weights", 1, uid, value=weights)

    core.edit(fill)
    async with ChainServer(core) as server:
        ready.send(server.url)
        await asyncio.Event().wait()


def measure() -> list[float]:
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=serve, args=(its,), daemon=True)
    process.start()
    try:
        assert mine.poll(20), "the chain did not start"
        with Connection(mine.recv(), cache_dir=None) as connection:
            metagraph = Metagraph(1, connection)
            metagraph.sync()
            assert (len(metagraph), len(metagraph.axons)) == (NEURONS, NEURONS)
            assert sum(map(len, metagraph.weights.values())) == VALIDATORS * NEURONS
            took = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                metagraph.sync()
                took.append(time.perf_counter() - began)
            return took
    finally:
        process.terminate()
        process.join()


def test_refresh():
    took = measure()
    middle = statistics.median(took)
    print(
        f"\na refresh of {NEURONS} neurons: {middle * 1000:.1f} ms in the middle, {min(took) * 1000:.1f} ms at best"
    )
    assert middle < REFRESH_S_MAX


if __name__ == "__main__":
    test_refresh()
