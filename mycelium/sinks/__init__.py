"""Sinks: where the change feed of a node is written to, so that other programs can query it as they are used to."""
