"""What members think of each other in a run: proofs and when each member knew them, and who has no session with whom.

No honest member may ever be greylisted by an honest one, whatever the others do and claim; each sweep checks that.
"""

from __future__ import annotations

from collections.abc import Sequence

from mycelium.database.database import Database
from mycelium.database.proofs import Proven
from mycelium.sim.loop import VirtualLoop
from mycelium.sim.member import SimMember


class Standings:
    """Of the honest `members`, about each other and about the `hostile` accounts."""

    def __init__(self, loop: VirtualLoop, members: Sequence[SimMember], hostile: Sequence[bytes]) -> None:
        self._loop = loop
        self._members = members
        self._hostile = hostile
        self._proved_ns: dict[bytes, dict[int, int]] = {}
        """Account that is proved to have broken its word -> number of a member -> when it first knew."""

    def attach(self, member: SimMember, database: Database) -> None:
        """Take note of what this member proves from now on."""

        def proved(proven: Proven) -> None:
            known = self._proved_ns.setdefault(proven.origin.account, {})
            known.setdefault(member.number, self._loop.now_ns())

        database.engine.frozen.on_proof.append(proved)

    @property
    def proved(self) -> int:
        """How many members know a proof."""
        return len({number for known in self._proved_ns.values() for number in known})

    @property
    def frozen_ms(self) -> float:
        """From the first member that knew a proof to the last one, the longest of all proofs."""
        spans = [max(known.values()) - min(known.values()) for known in self._proved_ns.values()]
        return max(spans, default=0) / 1e6

    @property
    def blocking(self) -> int:
        """How many members that are up have no session with any of the hostile, by their own decision."""
        return sum(all(self._blocks(member, one) for one in self._hostile) for member in self._members)

    def wronged(self) -> str | None:
        """An honest member that another one has no session with by its own decision, in words; None: there is none."""
        for member in self._members:
            for other in self._members:
                if self._blocks(member, other.account):
                    machine = member.running.blacklisting.machine
                    why = machine.why(other.account, member.clock.now_ms())
                    return f"{member.host.name} has {other.host.name} {why}"
        return None

    @staticmethod
    def _blocks(member: SimMember, account: bytes) -> bool:
        return member.node is not None and member.node.blacklisting.is_blocked(account)
