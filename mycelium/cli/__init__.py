"""The `mycelium` command."""
