"""Who keeps sessions with whom: everybody with everybody, or in a large network a few with a few. Pure functions.

A partial mesh is the union of some rings through all members, each in an order that a hash draws: everyone's
neighbours are those before and after it in each ring. So it is the same whoever computes it, of two members both choose
the other or neither does, one ring alone connects all, and twelve random ones are an expander, in which no third of
silent members cuts anybody off. Each epoch draws one ring anew, so that sessions change slowly, and nobody can choose a
key that stays next to a victim.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from mycelium.config import MESH_FULL_MAX, MESH_NEIGHBOURS


@dataclass(frozen=True, slots=True)
class Mesh:
    """Up to full_max members everybody has a session with everybody, above it with about `degree`, an even number.

    The same for all members of a network: who computed it otherwise would wait for sessions that nobody dials.
    """

    full_max: int = MESH_FULL_MAX
    degree: int = MESH_NEIGHBOURS


MESH: Final = Mesh()


def neighbours(epoch: int, accounts: Collection[bytes], own: bytes, mesh: Mesh = MESH) -> frozenset[bytes]:
    """With whom `own` keeps sessions, of the accounts that hold the store in that epoch.

    All others up to full_max accounts; above it between 2 and `degree`. Nobody if `own` is not among them.
    """
    everyone = set(accounts)
    if own not in everyone:
        return frozenset()
    if len(everyone) <= mesh.full_max:
        return frozenset(everyone - {own})
    found: set[bytes] = set()
    rings = mesh.degree // 2
    for ring in range(rings):
        order = ring_order(epoch, everyone, ring, rings)
        at = order.index(own)
        found |= {order[at - 1], order[(at + 1) % len(order)]}
    return frozenset(found)


def ring_order(
    epoch: int, accounts: Collection[bytes], ring: int, rings: int = MESH_NEIGHBOURS // 2
) -> list[bytes]:
    """All accounts in the order of one ring. It is drawn anew every `rings` epochs, each ring in its turn."""
    drawn = (epoch + ring) // rings
    seed = blake3(b"mycelium/mesh" + ring.to_bytes(2, "big") + drawn.to_bytes(8, "big")).digest()
    return sorted(accounts, key=lambda account: blake3(account, key=seed).digest())
