"""Until an extrinsic is in a block: by what the node tells of it, or by looking through the blocks of its era.

Owns the waiting, which always ends: at its deadline, at the end of the era, or with the extrinsic found. Submits
nothing. A block that a reorganisation took away does not count.
"""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

from mycelium.chain.access import Access
from mycelium.chain.extrinsics import Signed
from mycelium.chain.header import head_of
from mycelium.chain.socket import Socket
from mycelium.chain.subscription import Subscription
from mycelium.errors import ChainRefused, ChainUnreachable, ExtrinsicTimeout

INCLUDED: Final = "included"
FINALISED: Final = "finalised"
_GIVEN_UP: Final = ("invalid", "dropped", "usurped")


class Found(NamedTuple):
    """The block that holds it; or, where `why` is not empty, that the node gave it up."""

    block_hash: str
    why: str = ""


class Watch:
    """A submission's own subscription."""

    def __init__(self, socket: Socket, subscription: Subscription) -> None:
        self._socket = socket
        self._subscription = subscription

    def until(self, wait: str, signed: Signed, deadline_s: float) -> Found | None:
        """None when the watch is lost, or ended without saying. ExtrinsicTimeout."""
        try:
            while True:
                try:
                    notice = self._subscription.next(max(0.0, deadline_s - time.monotonic()))
                except TimeoutError:
                    raise timed_out(signed, wait) from None
                found = self._heard(notice, wait)
                if found is not None:
                    return found if found.block_hash or found.why else None
        except ChainUnreachable:
            return None
        finally:
            self._socket.unsubscribe(self._subscription)

    @staticmethod
    def _heard(notice: Any, wait: str) -> Found | None:
        """None to go on waiting. A retraction is one of those: the extrinsic is in the pool again."""
        name, value = notice, None
        if isinstance(notice, dict) and notice:
            name, value = next(iter(notice.items()))
        name = str(name).lower()
        if name == "inblock" and wait == INCLUDED:
            return Found(str(value))
        if name == "finalized":
            return Found(str(value))
        if name == "finalitytimeout":
            return Found("")
        if name in _GIVEN_UP:
            return Found("", f"it is {name}" + (f" by {value}" if value else ""))
        return None


class Search:
    """Looking for an extrinsic by its bytes, in the blocks in which it may be."""

    def __init__(self, access: Access, signed: Signed, scan_s: float) -> None:
        self._access = access
        self._signed = signed
        self._scan_s = scan_s
        self._empty: dict[int, str] = {}
        """Number -> hash of a block that has it not; another block of that number is looked at again."""

    def until(self, wait: str, deadline_s: float) -> Found:
        """The block that holds it. ExtrinsicTimeout at the deadline, or when its era is over without it."""
        while True:
            try:
                found = self.look()
                if found is not None and (wait == INCLUDED or self._final(found)):
                    return Found(found[1])
                if found is None and self._over():
                    raise expired(self._signed)
            except ChainUnreachable:
                if time.monotonic() >= deadline_s:
                    raise
            self._rest(wait, deadline_s)

    def until_seen(self, deadline_s: float) -> None:
        """Until a node has it, in its pool or in a block. ExtrinsicTimeout."""
        while True:
            try:
                if self.pending() or self.look() is not None:
                    return
                if self._over():
                    raise expired(self._signed)
            except ChainUnreachable:
                if time.monotonic() >= deadline_s:
                    raise
            self._rest("taken by a node", deadline_s)

    def look(self) -> tuple[int, str] | None:
        """Number and hash of the block of the best chain that holds it."""
        signed = self._signed
        best = head_of(self._access.request("chain_getHeader", [])).number
        last = min(best, signed.death - 1) if signed.mortal else best
        numbers = list(range(signed.since + 1, last + 1))
        if not numbers:
            return None
        hashes = self._access.batch([("chain_getBlockHash", [number]) for number in numbers])
        for number, block_hash in zip(numbers, hashes, strict=True):
            if block_hash is None or self._empty.get(number) == block_hash:
                continue
            block = self._access.request("chain_getBlock", [block_hash])
            if block is not None and signed.hex in block["block"]["extrinsics"]:
                return number, str(block_hash)
            self._empty[number] = str(block_hash)
        return None

    def pending(self) -> bool:
        """Whether it waits in the node's pool."""
        try:
            return self._signed.hex in self._access.request("author_pendingExtrinsics")
        except ChainRefused:
            return False  # some nodes do not tell

    def _final(self, found: tuple[int, str]) -> bool:
        final = self._access.request("chain_getFinalizedHead")
        return head_of(self._access.request("chain_getHeader", [final])).number >= found[0]

    def _over(self) -> bool:
        """Whether no later block can have it: the last of its era is final."""
        if not self._signed.mortal:
            return False
        final = self._access.request("chain_getFinalizedHead")
        return head_of(self._access.request("chain_getHeader", [final])).number >= self._signed.death - 1

    def _rest(self, wait: str, deadline_s: float) -> None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise timed_out(self._signed, wait)
        time.sleep(min(self._scan_s, left_s))


def timed_out(signed: Signed, wait: str) -> ExtrinsicTimeout:
    until = f" until block {signed.death - 1}" if signed.mortal else ""
    return ExtrinsicTimeout(
        f"extrinsic {signed.hash} was not {wait} in time",
        f"it may still be{until}: look for it before submitting anew",
    )


def expired(signed: Signed) -> ExtrinsicTimeout:
    return ExtrinsicTimeout(
        f"extrinsic {signed.hash} is in no block, and its era ended with block {signed.death - 1}",
        "it can no more be included: submit anew",
    )
