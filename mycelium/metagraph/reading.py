"""What was read of one epoch from one endpoint, and by how much two member sets differ. Pure.

Owns the canonical bytes of a member set, by which two readings are compared and sets are stored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from mycelium.errors import MetagraphError
from mycelium.metagraph.membership import OBSERVER, ROLES, Epoch, Member


@dataclass(frozen=True, slots=True)
class Reading:
    """An epoch as an endpoint gives it: the finalised state of its first block.

    block_hash: of that block, 0x and hex. time_ms: its timestamp, None for block 0, which has none. known_hash: what
    the same endpoint says is the hash of the block at which the newest epoch known before begins; None if not asked.
    """

    epoch: Epoch
    block_hash: str
    time_ms: int | None
    known_hash: str | None = None

    def agrees(self, other: Reading) -> bool:
        """Whether both say the same of the epoch."""
        return (
            self.block_hash == other.block_hash
            and self.time_ms == other.time_ms
            and self.epoch.policy == other.epoch.policy
            and encode(self.epoch.members) == encode(other.epoch.members)
        )


def change_percent(old: Epoch, new: Epoch) -> int:
    """How much of the right to write changed hands, rounded up: by accounts, or by stake, whichever is more.

    0: the same writers. 100: not one of the old ones is left. Stake is what each had where it could write, so that
    who grows does not count, and who comes or goes does.
    """
    before = {
        member.account: member.stake_rao for member in old.members.values() if old.may_write(member.account)
    }
    after = {
        member.account: member.stake_rao for member in new.members.values() if new.may_write(member.account)
    }
    moved = before.keys() ^ after.keys()
    if not moved:
        return 0
    by_accounts = _percent(len(moved), len(before.keys() | after.keys()))
    stake_moved = sum(before.get(account, 0) or after.get(account, 0) for account in moved)
    stake_stayed = sum(max(before[account], after[account]) for account in before.keys() & after.keys())
    return max(by_accounts, _percent(stake_moved, stake_moved + stake_stayed))


def _percent(part: int, whole: int) -> int:
    return -(-100 * part // whole) if whole else 0


def encode(members: Mapping[bytes, Member]) -> bytes:
    """The members in an order and encoding that depend on nothing else. Observers are left out: they are of one node's
    settings, not of the chain."""
    rows = [
        (member.account, member.role, member.stake_rao, member.urls, member.uid, member.permit)
        for _, member in sorted(members.items())
        if member.role != OBSERVER
    ]
    return msgspec.msgpack.encode(rows)


_Row = tuple[bytes, str, int, tuple[str, ...], int | None, bool]


def decode(data: bytes) -> dict[bytes, Member]:
    """The members of `encode`. Raises MetagraphError for what it did not write."""
    try:
        rows = msgspec.msgpack.decode(data, type=list[_Row])
    except msgspec.DecodeError as error:
        raise MetagraphError(f"a stored member set is unreadable: {error}") from None
    members = {row[0]: Member(*row) for row in rows}
    if any(len(account) != 32 or member.role not in ROLES for account, member in members.items()):
        raise MetagraphError("a stored member set holds what is no member")
    return members
