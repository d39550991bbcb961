"""Compiled hot paths: decoding, replay checks, merging, fan-out. No IO, no clock, no logging."""
