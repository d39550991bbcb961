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
