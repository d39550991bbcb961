"""Pulses of the real drand beacon (pallet-drand), for commits that are sealed to it.

The real chain fetches them itself and checks their signatures. This one dials nobody and checks nothing: root may bring
a pulse (`Sudo.sudo` around `write_pulse`), and a wrong one opens no commit.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import State

_PALLET: Final = "Drand"


def keep_pulse(state: State, round_number: int, signature: bytes) -> None:
    """Keep a round's pulse. Its randomness is the hash of its signature, as the beacon's is."""
    pulse = {"round": round_number, "randomness": sha256(signature).digest(), "signature": signature}
    state.put(_PALLET, "Pulses", round_number, value=pulse)


@call(_PALLET, "write_pulse")
def write_pulse(context: Context, pulses_payload: Any, signature: Any) -> None:
    """Of any round, in any order: the real chain takes only the next ones, which have their time here all the same."""
    context.root()
    pulses = list(pulses_payload["pulses"])
    for pulse in pulses:
        context.state.put(_PALLET, "Pulses", pulse["round"], value=pulse)
    context.deposit(_PALLET, "NewPulse", {"rounds": [pulse["round"] for pulse in pulses]})
