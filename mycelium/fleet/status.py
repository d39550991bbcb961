"""What a member says of itself and its fleet, as JSON. Reads; decides nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mycelium.fleet.member import Member


def member_status(member: Member) -> dict[str, Any]:
    """`members`: all that this one knows of. `spaces`: of each how many shards there are, and who has them."""
    placement = member.placement
    view = placement.view
    held = Counter(holder for place in view.slots if (holder := view.holder(*place)) is not None)
    return {
        "id": member.settings.id,
        "generation": f"{member.node.generation:016x}",
        "incarnation": member.incarnation,
        "servers": member.broker.servers,
        "problem": member.problem() or member.leases.problem or member.origins.problem,
        "displaced": placement.displaced,
        "lease_ms": member.settings.lease_ms,
        "serving": sum(member.leases.serves(*place) for place in placement.serving()),
        "in_flight": member.slots.flying,
        "batches": member.writer.batches,
        "changes": member.writer.changes,
        "forwarded": member.forwarding.forwarded,
        "members": {
            name: {
                "url": one.url,
                "generation": one.generation,
                "version": one.version,
                "spaces": sorted(one.spaces),
                "holds": list(one.holds),
                "shards": held[name],
                "leaving": one.leaving,
                "gone": one.gone,
            }
            for name, one in sorted(view.members.items())
        },
        "spaces": {
            space: {
                "shards": shards,
                "owners": [view.holder(space, slot) or "" for slot in range(shards)],
                "plans": {
                    str(slot): plan
                    for (one, slot), plan in sorted(view.plans.items())
                    if one == space and plan
                },
            }
            for space, shards in sorted(view.shapes.items())
        },
        "streams": member.following.status(),
    }


def problems(member: Member) -> str:
    """What an operator should do something about, "" for nothing."""
    found = []
    if member.placement.displaced:
        found.append(
            f"another process is the member {member.settings.id!r} of this fleet: give each an id of its own"
        )
    why = member.problem() or member.leases.problem or member.origins.problem
    if why:
        found.append(f"nothing can be written by way of this member: {why}")
    for space, lacks in sorted(member.following.lacking.items()):
        found.append(
            f"no shard of {space} is served here, as something of it is missing: {lacks}; give this node a session "
            "with the mesh, or restore a backup of another member into its data_dir"
        )
    return "; ".join(found)
