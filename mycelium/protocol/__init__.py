"""Message types, their encodings and framing. Sans-IO; knows no socket, key or store."""
