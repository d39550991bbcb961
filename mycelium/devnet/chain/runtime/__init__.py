"""What the blocks of the development chain do: its pallets, and the `Runtime` that puts them together."""

from mycelium.devnet.chain.runtime.runtime import Runtime

__all__ = ["Runtime"]
