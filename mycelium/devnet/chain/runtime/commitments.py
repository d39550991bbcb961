"""What accounts commit to on a subnet (pallet-commitments): any neuron, a few bytes, for anybody to read.

No deposit is taken, as on the real chain today. Timelocked commitments are kept, and never opened.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import Subnet, as_bytes

FIELDS_MAX: Final = 3
SPACE_MIN: Final = 100
"""What the smallest commitment counts as, in bytes, against `MaxSpace` in each epoch."""
_PALLET: Final = "Commitments"


@call(_PALLET, "set_commitment", pays=False)
def set_commitment(context: Context, netuid: int, info: Any) -> None:
    """Replaces what the account committed to before."""
    account, state = context.account(), context.state
    subnet = Subnet(state, netuid)
    if subnet.uid(account) is None:
        context.refuse("AccountNotAllowedCommit", _PALLET)
    fields = list(info["fields"])
    if len(fields) > FIELDS_MAX:
        context.refuse("TooManyFieldsInCommitmentInfo", _PALLET)
    epoch: int = subnet["SubnetEpochIndex"]
    usage = state.get(_PALLET, "UsedSpaceOf", netuid, account)
    used = usage["used_space"] if usage is not None and usage["last_epoch"] == epoch else 0
    used += max(SPACE_MIN, sum(len(field_bytes(field)) for field in fields))
    if used > state.get(_PALLET, "MaxSpace"):
        context.refuse("SpaceLimitExceeded", _PALLET)
    state.put(_PALLET, "UsedSpaceOf", netuid, account, value={"last_epoch": epoch, "used_space": used})
    held = {"deposit": 0, "block": context.number, "info": info}
    state.put(_PALLET, "CommitmentOf", netuid, account, value=held)
    state.put(_PALLET, "LastCommitment", netuid, account, value=context.number)
    rounds = [field["TimelockEncrypted"]["reveal_round"] for field in fields if "TimelockEncrypted" in field]
    if rounds:
        event = {"netuid": netuid, "who": account, "reveal_round": rounds[0]}
        context.deposit(_PALLET, "TimelockCommitment", event)
    else:
        context.deposit(_PALLET, "Commitment", {"netuid": netuid, "who": account})


def field_bytes(field: Any) -> bytes:
    """The bytes that a field of a commitment carries, none for one that carries no bytes."""
    if not isinstance(field, dict):
        return b""
    value: Any = next(iter(field.values()))
    if isinstance(value, dict):
        value = value.get("encrypted", b"")
    return as_bytes(value) if isinstance(value, str | bytes | list | tuple) else b""
