"""Epochs: who is a member, with what role and stake. Never imports `chain`."""
