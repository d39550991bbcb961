"""What an operator writes into a fleet's bucket: where a shard should be, and nothing else.

A plan is a wish: the member that has the shard gives it to the one that is named, if that one lives and offers to have
it; until then, or when that one is gone, it is where hashing prefers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mycelium.config.fleet import FLEET_DIAL_S
from mycelium.errors import BrokerUnreachable, FleetError, UsageError
from mycelium.fleet.bucket import Bucket, Seen
from mycelium.fleet.records import Plan, Shape, encode, layout_key, plan_key
from mycelium.fleet.view import View
from mycelium.jetstream import durability, streams
from mycelium.jetstream.client import Session
from mycelium.jetstream.layout import Network
from mycelium.node.fleet_settings import FleetSettings
from mycelium.node.nats_settings import NatsSettings

_TRIES = 8


async def read(session: Session, name: str) -> View:
    """What is in a fleet's bucket now. BrokerError; StreamGone where there is no such fleet."""
    view = View()
    done = asyncio.Event()

    def seen(entry: Seen | None) -> None:
        if entry is not None:
            view.take(entry.key, entry.revision, entry.value)
        if entry is None or entry.whole:
            done.set()

    watching = asyncio.create_task(_bucket(name).watch(session, seen))
    whole = asyncio.create_task(done.wait())
    try:
        await asyncio.wait((watching, whole), timeout=4 * FLEET_DIAL_S, return_when=asyncio.FIRST_COMPLETED)
        if not done.is_set():
            if watching.done():
                await watching
            raise BrokerUnreachable(f"the fleet's bucket {name} is not shown in time")
    finally:
        for task in (watching, whole):
            task.cancel()
        await asyncio.gather(watching, whole, return_exceptions=True)
    return view


async def move(session: Session, name: str, space: str, wanted: Mapping[int, str]) -> int:
    """Wish shards to be at members; "" takes a wish back. How many wishes changed. UsageError, BrokerError."""
    bucket = _bucket(name)
    for _ in range(_TRIES):
        view = await read(session, name)
        _check(view, space, wanted)
        left = {slot: to for slot, to in wanted.items() if view.plans.get((space, slot), "") != to}
        if not left:
            return 0
        refused = 0
        for slot, to in left.items():
            key = plan_key(space, slot)
            revision = view.revisions.get(key, 0)
            refused += await bucket.put(session, key, revision, encode(Plan(to))) is None
        if not refused:
            return len(left)
    raise FleetError("somebody else goes on changing the same wishes; nothing more was changed: try again")


async def make(
    session: Session,
    network: Network,
    account: bytes,
    nats: NatsSettings,
    fleet: FleetSettings,
    spaces: Sequence[str],
) -> dict[str, int]:
    """The bucket and the streams of a fleet, made where they are not there. Of each space how many shards it has.

    BrokerUnsafe for a server that would lose what it acknowledges; other BrokerErrors.
    """
    if not nats.accept_unsynced:
        (await durability.ask(nats, session)).require()
    for space in spaces:
        await streams.ensure(session, network, space, nats)
    name = network.fleet(account)
    bucket = Bucket(name, nats.replicas, check=lambda config: None)
    await bucket.ensure(session)
    shapes = (await read(session, name)).shapes
    for space in spaces:
        if space not in shapes:
            await bucket.put(session, layout_key(space), 0, encode(Shape(fleet.slots_of(space))))
    shapes = (await read(session, name)).shapes
    return {space: shapes[space] for space in spaces}


def _check(view: View, space: str, wanted: Mapping[int, str]) -> None:
    shards = view.shapes.get(space)
    if shards is None:
        known = ", ".join(sorted(view.shapes)) or "none"
        raise UsageError(f"the fleet has no space {space[:60]!r}; it has {known}")
    for slot, to in wanted.items():
        if not 0 <= slot < shards:
            raise UsageError(f"the space {space!r} has shards 0 to {shards - 1}, and no {slot}")
        member = view.members.get(to)
        if to and (member is None or member.gone):
            alive = ", ".join(sorted(name for name, one in view.members.items() if not one.gone)) or "none"
            raise UsageError(f"the fleet has no member {to[:60]!r} that lives; it has {alive}")
        if to and member is not None and space not in member.holds:
            raise UsageError(f"the member {to!r} does not hold the space {space!r}: see [fleet] holds there")


def _bucket(name: str) -> Bucket:
    return Bucket(name, 1, check=lambda config: None)
