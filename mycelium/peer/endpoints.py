"""Where accounts can be reached, by their own signed word: the record book of one node, sans-IO.

Owns which record of an account is kept, and what a record may say. Must not dial, store or send: it takes records and
the time, and says what it did.

**Which record wins.** One record is kept for an account: the one with the greatest `(record_seq, digest)`, whatever its
generation. Generations are random and have no order, so none can be the newest; instead an account's numbers never go
back, as the next one is the time in ms or the last one + 1, whichever is greater. After a restored backup that is above
all earlier ones, and where the clock was restored too, peers show the node its own newer record and it goes above that.
So a book is the greatest record of each account of all that were ever offered to it, in whatever order: it depends on
nothing else but on what a rate limit or a clock made it leave for later, which is offered again.

A record past its validity is kept as a mark, and gives no address: it keeps an older record from coming back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from mycelium.config import (
    ENDPOINT_ADDRESSES_MAX,
    ENDPOINT_BYTES_MAX,
    ENDPOINT_CLOCK_SLACK_MS,
    ENDPOINT_HOST_CHARS_MAX,
    ENDPOINT_LIFETIME_MS,
    ENDPOINT_UPDATE_MS,
    ENDPOINT_UPDATES_MAX,
    ENDPOINTS_MAX,
)
from mycelium.errors import BadSignature, MalformedMessage, OversizedMessage, UsageError
from mycelium.identity.keys import digest, verify
from mycelium.identity.signing import ENDPOINT, Signer
from mycelium.protocol.messages import EndpointRecord

SEQ_MAX: Final = 2**63
NO_DIGEST: Final = bytes(32)
MARK_BYTES: Final = 16
"""Of a record's digest, in a `Head`: enough to tell two records of one number apart."""

_MS: Final = 1_000_000
_ADDRESS: Final = re.compile(r"ws://(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):([1-9][0-9]{0,4})")


class Signed(NamedTuple):
    """A record as it travels, with what was read from it. digest: of `raw`, 32 bytes."""

    raw: bytes
    signature: bytes
    record: EndpointRecord
    digest: bytes

    @property
    def rank(self) -> tuple[int, bytes]:
        """Of two records of one account the greater is kept."""
        return self.record.record_seq, self.digest[:MARK_BYTES]


class Head(NamedTuple):
    """Which record of an account a book holds."""

    account: bytes
    record_seq: int
    mark: bytes


class Verdict(Enum):
    """What became of a record that was offered."""

    NEW = "kept"
    OLD = "not newer than the one that is kept"
    STRANGER = "of an account that is no member"
    LATER = "too early by our clock, or too soon after the one before it: to be offered again"


def address(host: str, port: int) -> str:
    """The address of a node as records write it. UsageError for what is no host or no port."""
    try:
        bare = host.strip("[]").lower()
        text = f"ws://[{ipaddress.IPv6Address(bare)}]:{port}" if ":" in bare else f"ws://{bare}:{port}"
        parse_address(text)
    except (ValueError, MalformedMessage) as error:
        raise UsageError(f"{host!r}:{port} is not an address that others could dial: {error}") from None
    return text


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of an address in a record, written in the one way there is. MalformedMessage."""
    found = _ADDRESS.fullmatch(text) if len(text) <= ENDPOINT_HOST_CHARS_MAX + 16 else None
    if found is None:
        raise MalformedMessage(f"{text[:64]!r} is not ws://host:port")
    host, port = found[1], int(found[2])
    if port > 65_535 or len(host) > ENDPOINT_HOST_CHARS_MAX:
        raise MalformedMessage(f"{text[:64]!r} has a port or host out of bounds")
    if host.startswith("["):
        try:
            plain = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            plain = ""
        if plain != host:
            raise MalformedMessage(f"{text[:64]!r} is not an IPv6 address in its shortest form")
    return host, port


def is_local(text: str) -> bool:
    """Whether an address leads to the machine that dials it, or to nobody in particular.

    A member could name it to let others knock at what listens there. Names are not looked up.
    """
    host, _ = parse_address(text)
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(found, "ipv4_mapped", None) or found
    return mapped.is_loopback or mapped.is_unspecified or mapped.is_multicast or mapped.is_link_local


def check(record: EndpointRecord) -> None:
    """What is wrong with a record whoever looks at it, and whenever. MalformedMessage."""
    if not 0 < record.record_seq < SEQ_MAX:
        raise MalformedMessage(f"an endpoint record with number {record.record_seq}")
    if not record.valid_from < record.valid_until <= record.valid_from + ENDPOINT_LIFETIME_MS * _MS:
        raise MalformedMessage("an endpoint record that is valid for no time, or for too long")
    if len(record.addresses) > ENDPOINT_ADDRESSES_MAX:
        raise MalformedMessage(
            f"an endpoint record with {len(record.addresses)} addresses, at most {ENDPOINT_ADDRESSES_MAX}"
        )
    for text in record.addresses:
        parse_address(text)
    if len(set(record.addresses)) < len(record.addresses):
        raise MalformedMessage("an endpoint record that names an address twice")


def read(raw: bytes, signature: bytes) -> Signed:
    """A record from what travelled; its signature is not looked at. MalformedMessage, OversizedMessage."""
    if len(raw) > ENDPOINT_BYTES_MAX:
        raise OversizedMessage(f"an endpoint record of {len(raw)} bytes, at most {ENDPOINT_BYTES_MAX}")
    record = EndpointRecord.decode(raw)
    check(record)
    return Signed(raw, signature, record, digest(raw))


class _Bucket:
    """Tokens for updates of one account: ENDPOINT_UPDATES_MAX at most, one more every ENDPOINT_UPDATE_MS."""

    def __init__(self, now_ms: int) -> None:
        self._tokens = float(ENDPOINT_UPDATES_MAX)
        self._at_ms = now_ms

    def has(self, now_ms: int) -> bool:
        # A clock that was set back must not empty it for good, so only what passes counts.
        passed_ms = max(0, now_ms - self._at_ms)
        self._at_ms = now_ms
        self._tokens = min(float(ENDPOINT_UPDATES_MAX), self._tokens + passed_ms / ENDPOINT_UPDATE_MS)
        return self._tokens >= 1

    def take(self) -> None:
        self._tokens -= 1


class EndpointBook:
    """The records that one node knows. is_member: whose records are kept, our own account's too.

    Times are wall-clock ms, which the caller passes: validity is a matter of time of day.
    """

    def __init__(self, account: bytes, is_member: Callable[[bytes], bool]) -> None:
        self._account = account
        self._is_member = is_member
        self._kept: dict[bytes, Signed] = {}
        self._buckets: dict[bytes, _Bucket] = {}
        self._digest: bytes | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, account: bytes) -> Signed | None:
        """The record of an account, valid now or not."""
        return self._kept.get(account)

    def addresses(self, account: bytes, now_ms: int) -> tuple[str, ...] | None:
        """Where the account says it listens now; () if nowhere, None if no record of now is known."""
        kept = self._kept.get(account)
        if kept is None:
            return None
        slack_ns = ENDPOINT_CLOCK_SLACK_MS * _MS
        record = kept.record
        if not record.valid_from - slack_ns <= now_ms * _MS < record.valid_until + slack_ns:
            return None
        return tuple(record.addresses)

    # --- taking records -----------------------------------------------------------------------------------

    def offer(self, raw: bytes, signature: bytes, now_ms: int) -> tuple[Signed, Verdict]:
        """Look at a record that somebody passed on, and keep it if it is newer.

        Raises MalformedMessage, OversizedMessage or BadSignature for one that nobody may pass on. What would not be
        kept is not verified: a repeat costs no public-key work.
        """
        signed = read(raw, signature)
        account = signed.record.account
        if not self._is_member(account):
            return signed, Verdict.STRANGER
        kept = self._kept.get(account)
        if kept is not None and signed.rank <= kept.rank:
            return signed, Verdict.OLD
        if signed.record.valid_from > (now_ms + ENDPOINT_CLOCK_SLACK_MS) * _MS:
            return signed, Verdict.LATER
        bucket = self._buckets.get(account)
        if bucket is not None and not bucket.has(now_ms):
            return signed, Verdict.LATER
        if kept is None and len(self._kept) >= ENDPOINTS_MAX:
            return signed, Verdict.LATER
        if not verify(account, ENDPOINT, raw, signature):
            raise BadSignature("an endpoint record that its account did not sign")
        if bucket is None:
            bucket = self._buckets[account] = _Bucket(now_ms)
        bucket.take()
        self._keep(signed)
        return signed, Verdict.NEW

    def load(self, raw: bytes, signature: bytes) -> bool:
        """Take a record that this node kept before; False for one that is damaged, whose account is as if unknown."""
        try:
            signed = read(raw, signature)
        except (MalformedMessage, OversizedMessage):
            return False
        if not verify(signed.record.account, ENDPOINT, raw, signature):
            return False
        kept = self._kept.get(signed.record.account)
        if kept is None or signed.rank > kept.rank:
            self._keep(signed)
        return True

    def _keep(self, signed: Signed) -> None:
        self._kept[signed.record.account] = signed
        self._digest = None

    def make(
        self, signer: Signer, generation: int, addresses: Sequence[str], now_ms: int, features: int = 0
    ) -> Signed:
        """A new record of our own, kept at once; its number is above all that we know of ours.

        Raises UsageError: an address that is none, too many, or the numbers are used up (somebody with our key did it).
        """
        before = self._kept.get(self._account)
        last = 0 if before is None else before.record.record_seq
        record = EndpointRecord(
            account=self._account,
            generation=generation,
            record_seq=max(last + 1, now_ms),
            valid_from=now_ms * _MS,
            valid_until=(now_ms + ENDPOINT_LIFETIME_MS) * _MS,
            addresses=list(addresses),
            features=features,
            prev_digest=NO_DIGEST if before is None else before.digest,
        )
        try:
            check(record)
            raw = record.encode()
            signed = read(raw, signer.sign(ENDPOINT, raw))
        except (MalformedMessage, OversizedMessage) as error:
            raise UsageError(f"no endpoint record can be made: {error}") from None
        self._keep(signed)
        return signed

    def retain(self) -> list[bytes]:
        """Forget the records of who is no member any more, and return whose they were."""
        gone = [account for account in self._kept if not self._is_member(account)]
        for account in gone:
            del self._kept[account]
        for account in [account for account in self._buckets if not self._is_member(account)]:
            del self._buckets[account]
        if gone:
            self._digest = None
        return gone

    # --- comparing books ----------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """The same, 16 bytes, for books that hold the same records."""
        if self._digest is None:
            parts = [account + self._kept[account].digest for account in sorted(self._kept)]
            self._digest = digest(b"".join(parts))[:MARK_BYTES]
        return self._digest

    def heads(self) -> list[Head]:
        """Which record is held of each account."""
        return [Head(account, *signed.rank) for account, signed in self._kept.items()]

    def beyond(self, heads: Iterable[Head]) -> tuple[list[Signed], list[bytes]]:
        """(what we hold that a book with these heads lacks, of whom it holds newer ones than we)."""
        theirs = {head.account: (head.record_seq, head.mark) for head in heads}
        newer = [
            signed
            for account, signed in self._kept.items()
            if account not in theirs or signed.rank > theirs[account]
        ]
        wanted = [
            account
            for account, rank in theirs.items()
            if self._is_member(account) and ((kept := self._kept.get(account)) is None or rank > kept.rank)
        ]
        return newer, wanted
