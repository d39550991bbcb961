"""What a validator does: `client` has its operations on the chain."""
