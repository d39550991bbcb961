"""A node watched over HTTP: health, status, metrics and the dashboard. Reads a node and changes nothing of it."""
