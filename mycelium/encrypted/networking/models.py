"""The same as `mycelium.networking.models`: one class under both names."""

from __future__ import annotations

from cryptography.fernet import Fernet

from mycelium.networking.models import NodeWithFernet

__all__ = ["Fernet", "NodeWithFernet"]
