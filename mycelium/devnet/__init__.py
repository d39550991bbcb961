"""A local network of real node processes, for development and demonstration."""
