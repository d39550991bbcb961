"""A node of the metagraph together with the symmetric key that was exchanged with it."""

from __future__ import annotations

from typing import Any, ClassVar

from cryptography.fernet import Fernet
from pydantic import ConfigDict

from mycelium.chain.models import Node

__all__ = ["Fernet", "NodeWithFernet"]


class NodeWithFernet(Node):
    """Both are None until a key was exchanged. uuid: 64 hex digits that name the key to the node."""

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    fernet: Fernet | None = None
    symmetric_key_uuid: str | None = None

    def __repr_args__(self) -> Any:
        """Without the key."""
        return [(name, value) for name, value in super().__repr_args__() if name != "fernet"]
