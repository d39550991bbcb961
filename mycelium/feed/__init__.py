"""The change feed of one node: every batch in the order in which the node applied it, for whoever may read it."""
