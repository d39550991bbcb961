"""Seen-set and outbound queues on lists: the oracle of `mycelium._core.fanout`. Slow and obvious."""

from __future__ import annotations

CONTROL, REPAIR, PUSH, BULK = range(4)
MASK = 2**64 - 1


class SeenSet:
    def __init__(self, entries_max):
        self.entries_max = entries_max
        self.ids: list[bytes] = []

    def __len__(self):
        return len(self.ids)

    def __contains__(self, id):
        return id in self.ids

    def add(self, id):
        if id in self.ids:
            return False
        self.ids = [*self.ids, id][-self.entries_max :]
        return True


class Fanout:
    """Same methods as the compiled one; `send` answers None where that one raises Overloaded."""

    def __init__(self, queue_bytes_max, queue_messages_max, control_bytes_max):
        self.queue_bytes_max = queue_bytes_max
        self.queue_messages_max = queue_messages_max
        self.control_bytes_max = control_bytes_max
        self.queued: dict[int, list[tuple[int, bytes]]] = {}
        self.drops: dict[int, int] = {}
        self.lag: set[int] = set()
        self.gained: list[int] = []

    def add_peer(self, peer):
        self.queued[peer] = []
        self.drops[peer] = 0

    def remove_peer(self, peer):
        self.queued.pop(peer, None)
        self.lag.discard(peer)
        if peer in self.gained:
            self.gained.remove(peer)

    def peers(self):
        return list(self.queued)

    def publish(self, message, klass, peers):
        return [peer for peer in peers if self.send(peer, message, klass) is not True]

    def send(self, peer, message, klass):
        if peer not in self.queued:
            return False
        beside = [m for k, m in self.queued[peer] if (k == CONTROL) == (klass == CONTROL)]
        bytes_max = self.control_bytes_max if klass == CONTROL else self.queue_bytes_max
        if len(beside) >= self.queue_messages_max or framed([*beside, message]) > bytes_max:
            if klass == PUSH:
                self.drops[peer] += 1
                self.lag.add(peer)
            return None if klass == CONTROL else False
        self.queued[peer].append((klass, message))
        if peer not in self.gained:
            self.gained.append(peer)
        return True

    def take(self, peer, bytes_max):
        if not self.queued.get(peer):
            return None
        # sorted is stable: within a class the order of arrival stays.
        waiting = sorted(self.queued[peer], key=lambda item: item[0])
        count = 1
        while count < len(waiting) and framed([m for _, m in waiting[: count + 1]]) <= bytes_max:
            count += 1
        for item in waiting[:count]:
            self.queued[peer].remove(item)
        return b"".join(len(m).to_bytes(4, "little") + m for _, m in waiting[:count])

    def pending_bytes(self, peer):
        return framed([m for _, m in self.queued.get(peer, [])])

    def pending(self, peer):
        return bool(self.queued.get(peer))

    def lagging(self, peer):
        return peer in self.lag

    def clear_lagging(self, peer):
        self.lag.discard(peer)

    def dropped(self, peer):
        return self.drops[peer] if peer in self.queued else 0

    def ready(self):
        ready, self.gained = self.gained, []
        return ready

    def pick(self, peers, count, seed):
        """Fisher-Yates over SplitMix64; a draw is refused while it lies in the uneven remainder of 2^64."""
        chosen = list(peers)
        count = min(count, len(chosen))
        draws = splitmix(seed)
        for at in range(count):
            left = len(chosen) - at
            drawn = next(draw for draw in draws if draw >= 2**64 % left)
            other = at + drawn % left
            chosen[at], chosen[other] = chosen[other], chosen[at]
        return chosen[:count]


def framed(messages):
    return sum(4 + len(message) for message in messages)


def splitmix(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        yield mixed ^ (mixed >> 31)
