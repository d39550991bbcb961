"""What accounts commit to on a subnet (pallet-commitments): any neuron, a few bytes, for anybody to read."""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import Subnet

FIELDS_MAX: Final = 3


@call("Commitments", "set_commitment", pays=False)
def set_commitment(context: Context, netuid: int, info: Any) -> None:
    """Replaces what the account committed to before."""
    account = context.account()
    if Subnet(context.state, netuid).uid(account) is None:
        context.refuse("AccountNotAllowedCommit", "Commitments")
    if len(info["fields"]) > FIELDS_MAX:
        context.refuse("TooManyFieldsInCommitmentInfo", "Commitments")
    held = {"deposit": 0, "block": context.number, "info": info}
    context.state.put("Commitments", "CommitmentOf", netuid, account, value=held)
    context.state.put("Commitments", "LastCommitment", netuid, account, value=context.number)
    context.deposit("Commitments", "Commitment", {"netuid": netuid, "who": account})
