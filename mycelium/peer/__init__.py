"""Handshake, session, links, server, dialler, calls: everything about one other node."""
