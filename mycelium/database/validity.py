"""Whether a batch is valid: a pure function of the batch and the chain state of its epoch (invariant 3).

The local clock and the peer that relayed it never enter. What cannot be decided yet (an epoch or a block this node
has not seen) is held, never rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mycelium._core.codec import Batch
from mycelium.config import ANCHOR_SKEW_MS
from mycelium.database.access import Rights, check_writes
from mycelium.database.clock import time_ms_of
from mycelium.errors import StaleMessage, Unauthorised, WrongNetwork
from mycelium.identity.account import format as format_account
from mycelium.protocol.messages import MergeType, Op

_ALLOWED = {
    MergeType.LWW: {Op.PUT, Op.DELETE},
    MergeType.OWN: {Op.PUT, Op.DELETE},
    MergeType.COUNTER: {Op.ADD},
    MergeType.SET: {Op.INSERT, Op.REMOVE},
    MergeType.APPEND: {Op.PUT},
}


class Authority(Protocol):
    """What the chain says. None means: not known here yet."""

    def rights(self, epoch: int, account: bytes, space: str) -> Rights | None: ...

    def present(self) -> int: ...

    def stakes(self, epoch: int, *, ask: bool = True) -> Mapping[bytes, int] | None:
        """Accounts that can write in an epoch, with their stake in rao."""
        ...

    def block_time_ms(self, block: int) -> int | None: ...

    def epoch_of(self, block: int) -> int | None: ...

    def anchor(self, now_ms: int) -> tuple[int, int]:
        """The epoch and the block that a batch made now refers to."""


def check(batch: Batch, netuid: int, genesis: bytes, authority: Authority) -> bool:
    """True: valid. False: cannot be decided yet. Raises WrongNetwork, Unauthorised, StaleMessage, MalformedMessage."""
    if batch.netuid != netuid or batch.genesis != genesis:
        raise WrongNetwork(f"a batch of netuid {batch.netuid}, genesis {batch.genesis.hex()[:16]}")
    rights = authority.rights(batch.epoch, batch.account, batch.space)
    if rights is None or not check_writes(batch, rights, authority):
        return False
    return objective(batch, authority)


def objective(batch: Batch, authority: Authority) -> bool:
    """The part of `check` that needs no members: the batch and the times of blocks. As `check`."""
    anchor_ms = authority.block_time_ms(batch.ref_block)
    if anchor_ms is None:
        return False
    if authority.epoch_of(batch.ref_block) != batch.epoch:
        raise StaleMessage(f"a batch of epoch {batch.epoch} whose block {batch.ref_block} lies in another")
    last = batch.hlc_first + batch.count - 1
    for hlc in (batch.hlc_first, last):
        if abs(time_ms_of(hlc) - anchor_ms) > ANCHOR_SKEW_MS:
            raise StaleMessage(f"a batch stamped more than an hour from its block {batch.ref_block}")
    if any(merge == MergeType.OWN for _, merge in batch.tables):
        _check_own(batch)
    return True


def own_key(account: bytes, key: bytes) -> bool:
    """The key is the account's SS58 text, alone or followed by `/` and anything."""
    owner = format_account(account).encode()
    return key == owner or key.startswith(owner + b"/")


def op_allowed(merge: MergeType, op: Op) -> bool:
    """Whether the merge type has the operation."""
    return op in _ALLOWED[merge]


def _check_own(batch: Batch) -> None:
    own = {index for index, (_, merge) in enumerate(batch.tables) if merge == MergeType.OWN}
    for table, _, key, _ in batch.changes():
        if table in own and not own_key(batch.account, key):
            raise Unauthorised(f"{format_account(batch.account)} may not write the key of another account")
