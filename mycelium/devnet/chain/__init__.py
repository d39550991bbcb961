"""A development chain: a Subtensor that clients cannot tell from the real one, in this process, in under a second."""
