"""Shared by tests of claims: who makes them, and claims that are right unless told otherwise. No assertions."""

from __future__ import annotations

import kit

from mycelium.identity.signing import CLAIM
from mycelium.peer.network import Network
from mycelium.protocol.messages import Claim

NETWORK = Network(7, bytes(range(32)))
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
SELF = kit.keypair("self")
OTHERS = [kit.keypair(f"claimant {number}") for number in range(29)]
PAIRS = [SELF, *OTHERS]


def signed(issuer, accused, issued_ms=NOW_MS, lifetime_ms=HOUR_MS, network=NETWORK, **wrong):
    fields = {
        "netuid": network.netuid,
        "genesis": network.genesis,
        "issuer": issuer.account,
        "accused": accused.account,
        "reason": "bad-signature",
        "issued": issued_ms * 10**6,
        "expires": (issued_ms + lifetime_ms) * 10**6,
    }
    raw = Claim(**(fields | wrong)).encode()
    return raw, issuer.sign(CLAIM, raw)
