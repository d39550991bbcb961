"""What a miner signs about a worker, and whose a worker is after all that was signed. Both programs import it.

No validator is believed: each one checks the miners' signatures itself, and the store gives the facts about a worker in
the same order to everybody, so that all come to the same answer, however late a fact arrives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from mycelium.chain.signatures import sign_message, verify_signature


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """hotkey: the miner's, SS58. time_ms: the miner's clock; each of its registrations has a later one."""

    action: Literal["bind", "unbind"]
    worker: str
    hotkey: str
    time_ms: int
    signature: str = ""

    @property
    def text(self) -> str:
        """What is signed: all of it, so that nothing signed for one worker can be shown for another."""
        return f"{self.action} {self.worker} {self.hotkey} {self.time_ms}"

    def signed(self, keypair: object) -> Registration:
        """The same with the miner's signature."""
        return msgspec.structs.replace(self, signature=sign_message(keypair, self.text) or "")


def read(value: object) -> Registration | None:
    """A record as a registration; None for what is none, or not signed by its hotkey: others may write anything."""
    try:
        found = msgspec.convert(value, Registration)
    except msgspec.ValidationError:
        return None
    return found if verify_signature(found.text, found.signature, found.hotkey) else None


def owner(worker: str, facts: Iterable[object]) -> str | None:
    """Whose the worker is after these facts, in the order of the store: the first to bind it, until it unbinds it."""
    holder: str | None = None
    last_ms: dict[str, int] = {}
    for found in filter(None, map(read, facts)):
        # An old signature that somebody shows again counts for nothing.
        if found.worker != worker or found.time_ms <= last_ms.get(found.hotkey, 0):
            continue
        last_ms[found.hotkey] = found.time_ms
        if found.action == "bind" and holder is None:
            holder = found.hotkey
        elif found.action == "unbind" and holder == found.hotkey:
            holder = None
    return holder
