"""Nonces of signed requests, under the name that programs know."""

from __future__ import annotations

from mycelium.http.signing import new_nonce as generate_nonce

__all__ = ["generate_nonce"]
