"""Places for strangers when every address asks for only one: nobody who is idle keeps a newcomer out."""

from __future__ import annotations

import asyncio

from peer.linkkit import Counts, Node, Raw, attacked, local, run, until

from mycelium.peer import admission as admission_module
from mycelium.peer.admission import address_group


def test_idle_connections_from_many_addresses_give_way_to_a_new_one(monkeypatch):
    monkeypatch.setattr(admission_module, "HANDSHAKES_PENDING_MAX", 8)

    async def main():
        async with attacked() as alice:
            idle = []
            for number in range(8):
                source = (f"127.0.0.{2 + number}", 0)
                idle.append(
                    Raw(*await asyncio.open_connection("127.0.0.1", alice.server.port, local_addr=source))
                )
            await until(lambda: alice.server.pending == 8)
            async with Node("//Bob") as bob:
                link = await bob.dial(alice)
                assert await idle[0].end() == b""  # the oldest, which had the most time
                assert alice.server.pending == 7
                assert alice.counts.reasons == {"handshakes-full": 1}
                link.close()
                await until(lambda: len(alice.hub.links()) == 1)
            for raw in idle:
                await raw.aclose()

    run(main())


def test_an_address_that_has_a_place_takes_none_from_another(monkeypatch):
    monkeypatch.setattr(admission_module, "HANDSHAKES_PENDING_MAX", 3)

    async def main():
        async with attacked() as alice:
            idle = []
            for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.4"):
                idle.append(
                    Raw(*await asyncio.open_connection("127.0.0.1", alice.server.port, local_addr=(host, 0)))
                )
                await until(lambda: alice.server.pending == min(len(idle), 3))
            assert await idle[3].end() == b""
            assert alice.counts.reasons == {"handshakes-full": 1}
            assert alice.server.pending == 3
            for raw in idle:
                await raw.aclose()

    run(main())


class Knock:
    """A connection that only stands at the door."""

    def __init__(self, address):
        self.address = address
        self.dropped = False

    def drop(self):
        self.dropped = True


def test_an_address_that_comes_too_often_is_let_in_again_later(monkeypatch):
    monkeypatch.setattr(admission_module, "ARRIVALS_PER_S", 10)
    monkeypatch.setattr(admission_module, "ARRIVALS_BURST", 5)
    now_ns, counts = 10**12, Counts()
    admission = admission_module.Admission(local("//Alice"), counts, lambda: now_ns)

    def knocks(address, count):
        let_in = 0
        for _ in range(count):
            one = Knock(address)
            if admission.arrive(one):
                let_in += 1
                admission.leave(one)
        return let_in

    assert knocks("192.0.2.1", 20) == 5
    assert counts.reasons["address-rate"] == 15
    assert knocks("192.0.2.2", 20) == 5, "others are not concerned"
    assert knocks("127.0.0.1", 100) == knocks(address_group("::1"), 100) == knocks("", 100) == 100
    now_ns += 3 * 10**9
    assert 0 < knocks("192.0.2.1", 20) <= 5
    monkeypatch.setattr(admission_module, "ARRIVAL_ADDRESSES_MAX", 3)
    for number in range(50):
        knocks(f"198.51.100.{number}", 1)
    assert len(admission._arrivals) <= 3
