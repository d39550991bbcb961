"""The development chain's runtime metadata, generated from declarations of its pallets: `build(spec)`."""

from mycelium.devnet.chain.metadata.build import Metadata, build
from mycelium.devnet.chain.metadata.declared import GROWN_FIELD, RuntimeSpec

__all__ = ["GROWN_FIELD", "Metadata", "RuntimeSpec", "build"]
