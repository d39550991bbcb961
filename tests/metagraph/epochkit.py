"""Epochs, readings and an archive for tests."""

from __future__ import annotations

from mycelium.metagraph.epochfile import EpochFile
from mycelium.metagraph.events import Ask, Effect, HeadSeen, Input, Opinion
from mycelium.metagraph.membership import MINER, OWNER, VALIDATOR, Epoch, Member
from mycelium.metagraph.reading import Reading
from mycelium.metagraph.tracker import EpochTracker

BLOCKS = 10
A, B, C, D = "ws://a", "ws://b", "ws://c", "ws://d"


def account(number: int) -> bytes:
    return number.to_bytes(32, "big")


def members(*stakes: int, role: str = VALIDATOR, first: int = 1) -> dict[bytes, Member]:
    """Members 1, 2, ... with these stakes in TAO; 0 makes a miner."""
    return {
        account(number): Member(
            account(number), role if stake else MINER, stake * 10**9, (), number, bool(stake)
        )
        for number, stake in enumerate(stakes, first)
    }


def epoch(number: int, *stakes: int, policy: bytes | None = None) -> Epoch:
    return Epoch(number, members(*stakes), policy)


def hash_of(block: int, fork: str = "") -> str:
    return f"0x{block:064x}{fork}"


def time_of(block: int) -> int:
    return 1_000_000 + block * 12_000


def reading(
    number: int, *stakes: int, known: int | None = None, fork: str = "", policy: bytes | None = None
) -> Reading:
    first = number * BLOCKS
    known_hash = None if known is None else hash_of(known * BLOCKS, fork)
    time_ms = time_of(first) if first else None
    return Reading(epoch(number, *stakes, policy=policy), hash_of(first, fork), time_ms, known_hash)


def seen(block: int, fork: str = "", endpoint: str = A, anchor: tuple | None = None) -> HeadSeen:
    return HeadSeen(block, hash_of(block, fork), time_of(block), endpoint, anchor)


def tracker(endpoints: int = 2, **keywords) -> EpochTracker:
    options = {"epoch_blocks": BLOCKS, "change_percent_max": 50, "outage_max_ms": 3_000_000} | keywords
    return EpochTracker(EpochFile(None, BLOCKS), endpoints=endpoints, **options)


def hear(machine: EpochTracker, what: Input, now_ms: int) -> list[Effect]:
    """Handle it, with another endpoint that says the same of every block; what else is to be done."""
    effects, done = machine.handle(what, now_ms), []
    while effects:
        effect = effects.pop(0)
        if isinstance(effect, Ask):
            effects += machine.handle(Opinion(effect.number, B, hash_of(effect.number)), now_ms)
        else:
            done.append(effect)
    return done


__all__ = [
    "BLOCKS",
    "OWNER",
    "A",
    "B",
    "C",
    "D",
    "account",
    "epoch",
    "hash_of",
    "hear",
    "members",
    "reading",
    "seen",
    "time_of",
    "tracker",
]
