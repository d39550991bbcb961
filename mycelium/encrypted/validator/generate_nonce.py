"""Nonces of signed requests: as in `mycelium.validator.generate_nonce`."""

from __future__ import annotations

from mycelium.http.signing import new_nonce as generate_nonce

__all__ = ["generate_nonce"]
