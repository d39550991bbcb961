"""A deterministic simulator: many real nodes in one process, over virtual time and a network made of a seed."""
