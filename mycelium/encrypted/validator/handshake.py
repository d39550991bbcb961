"""The handshake of encrypted calls in the shape of the Fiber library. Reserved: holds no code in this version.

The sessions between nodes are always encrypted, and live in `mycelium.peer`.
"""
