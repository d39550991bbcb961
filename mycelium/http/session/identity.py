"""A keypair of whatever library as one that signs for a session."""

from __future__ import annotations

from typing import Any

from mycelium.chain.extrinsics import account_of, signature_of
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair, preimage
from mycelium.identity.signing import Signer


def signer_of(keypair: Any) -> Signer:
    """keypair: ours, substrate-interface's or Bittensor's. UsageError for what is none."""
    return keypair if isinstance(keypair, Keypair) else _Foreign(keypair)


class _Foreign:
    """A keypair of another library."""

    def __init__(self, keypair: Any) -> None:
        self._keypair = keypair
        self._account = account_of(keypair)

    @property
    def account(self) -> bytes:
        return self._account

    def sign(self, domain: bytes, data: bytes) -> bytes:
        return signature_of(self._keypair, preimage(domain, data))

    def __repr__(self) -> str:
        return f"<Keypair {accounts.format(self._account)}>"
