"""The composition root: where machines meet sockets, disk and time."""
