"""A node together with the key that was exchanged with it."""
