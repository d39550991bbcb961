"""Encryption on a validator's side."""
