"""The one place that states the version of the distribution `mycelium-node`."""

__version__ = "0.1.0"
