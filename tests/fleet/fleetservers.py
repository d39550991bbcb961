"""The servers of a fleet in virtual time: one linearizable bucket, one stream; and what of a member survives it."""

from __future__ import annotations

from collections import Counter, defaultdict

from mycelium.fleet import publishing
from mycelium.fleet.publishing import Accepted, Conflict, Found, Nothing
from mycelium.jetstream import layout

SPACE = "main"


class Broken(AssertionError):
    """A promise of the fleet that was not kept."""


class Bucket:
    """first: the revision of its first entry. One that is made anew must not give the numbers of the last again."""

    def __init__(self, first=1):
        self.first, self.name = first, f"{first:016x}"
        self.entries = {}
        self.log = []
        self.writes = Counter()
        self.bytes = Counter()

    def put(self, key, expected, value):
        """The new revision; None where the entry has another than expected."""
        if self.entries.get(key, (0, b""))[0] != expected:
            return None
        revision = self.first + len(self.log)
        self.entries[key] = (revision, value)
        self.log.append((key, revision, value))
        self.writes[key.partition(".")[0]] += 1
        self.bytes[key.partition(".")[0]] += len(value)
        return revision


class Stream:
    def __init__(self, world):
        self.world = world
        self.messages = []
        self.lasts = {}
        self.closed = {}

    def send(self, message, expected):
        known = message.headers.get(layout.MESSAGE_ID)
        if known is not None and self.world.deduplicates:
            for seq, found, _ in self.messages:
                if found.headers.get(layout.MESSAGE_ID) == known:
                    return Accepted(seq, duplicate=True)
        if self.lasts.get(message.subject, 0) != expected:
            return Conflict()
        seq = len(self.messages) + 1
        self.messages.append((seq, message, self.world.now))
        self.lasts[message.subject] = seq
        self.world.accepted(seq, message)
        return Accepted(seq)

    def read(self, ask, behind=0):
        """behind: messages that the server which answers has not got yet."""
        upto = max(0, len(self.messages) - behind)
        if isinstance(ask, publishing.Last):
            seq = self.lasts.get(ask.subject, 0)
            if seq > upto:
                seq = max(
                    (seq for seq, one, _ in self.messages[:upto] if one.subject == ask.subject), default=0
                )
            return self._found(seq) if seq else Nothing()
        after = (seq for seq, one, _ in self.messages[ask.after : upto] if one.subject == ask.subject)
        seq = next(after, 0)
        return self._found(seq) if seq else Nothing()

    def _found(self, seq):
        return Found(seq, self.messages[seq - 1][1].headers)


class Store:
    """What of a member survives its process."""

    def __init__(self):
        self.position = 0
        self.known = defaultdict(set)
        self.own = 0
        """How many batches of this member's own it has: the number of the last."""
