"""The replay window as one dictionary: the oracle of `mycelium._core.replay`. Slow and obvious."""

from __future__ import annotations

OK, STALE, FUTURE, REPLAYED, FULL, BEFORE_START = range(6)
TICKS = 62
"""Ticks in the accepted span; entries are forgotten a whole tick at a time."""
MASK = 2**64 - 1


class ReplayWindow:
    """Same constructor, `check`, `commit` and `len` as the compiled one; `commit` returns the verdict."""

    def __init__(self, entries_max, per_sender_max, window_ns, ahead_ns, started_ns):
        self.entries_max = entries_max
        self.per_sender_max = per_sender_max
        self.window_ns = window_ns
        self.ahead_ns = ahead_ns
        self.started_ns = started_ns
        self.tick_ns = (window_ns + ahead_ns) // TICKS + 1
        self.accepted: dict[tuple[bytes, int], int] = {}
        self.newest_forgotten = -1

    def __len__(self):
        return len(self.accepted)

    def check(self, sender, nonce, timestamp_ns, now_ns):
        if timestamp_ns < self.started_ns:
            return BEFORE_START
        if timestamp_ns < now_ns - self.window_ns:
            return STALE
        if timestamp_ns > now_ns + self.ahead_ns:
            return FUTURE
        self._reclaim(now_ns)
        if timestamp_ns // self.tick_ns <= self.newest_forgotten:
            return STALE
        if (sender, nonce) in self.accepted:
            return REPLAYED
        if len(self.accepted) >= self.entries_max:
            return FULL
        if sum(1 for known, _ in self.accepted if known == sender) >= self.per_sender_max:
            return FULL
        return OK

    def commit(self, sender, nonce, timestamp_ns, now_ns):
        verdict = self.check(sender, nonce, timestamp_ns, now_ns)
        if verdict == OK:
            self.accepted[sender, nonce] = timestamp_ns // self.tick_ns
        return verdict

    def _reclaim(self, now_ns):
        oldest = max(0, now_ns - self.window_ns) // self.tick_ns
        for pair, tick in list(self.accepted.items()):
            if tick < oldest:
                del self.accepted[pair]
                self.newest_forgotten = max(self.newest_forgotten, tick)


def siphash13(key: bytes, data: bytes) -> int:
    """SipHash with one compression and three finalisation rounds, from the paper's definition."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(word, bits):
        return ((word << bits) | (word >> (64 - bits))) & MASK

    def mix():
        v[0] = (v[0] + v[1]) & MASK
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        mix()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        mix()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def colliding_nonces(seed: bytes, entries_max: int, count: int, sender: int = 0, homes: int = 8) -> list[int]:
    """Nonces of the table's `sender`-th sender whose probing starts in one of the first `homes` slots."""
    slots = 2 * entries_max
    found: list[int] = []
    nonce = 0
    while len(found) < count:
        hashed = siphash13(seed, sender.to_bytes(8, "little") + nonce.to_bytes(8, "little"))
        if ((hashed >> 32) * slots) >> 32 < homes:
            found.append(nonce)
        nonce += 1
    return found
