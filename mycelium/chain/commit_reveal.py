"""Weights that are committed before they are shown: sealed until a drand round, or on older chains by their hash.

Owns what is committed. The payload and its round are bittensor-drand's, with every argument read from the chain; a
development chain's commit holds the same payload for the same round, sealed to that chain's own key (`timelock`).
Chooses no path and submits nothing.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import bittensor_drand

from mycelium.chain import timelock
from mycelium.chain.header import uncompact
from mycelium.errors import ChainError, UsageError

if TYPE_CHECKING:
    from mycelium.chain.weights_state import WeightsState

HOTKEY_VERSION: Final = 4
"""Of `CommitRevealWeightsVersion`: since then the payload names its hotkey."""
SALT_NUMBERS: Final = 8
COMMIT_BYTES_MAX: Final = 5_000
"""A longer one does not decode (`MAX_CRV3_COMMIT_SIZE_BYTES`)."""


class Commit(NamedTuple):
    """A sealed commit, and the drand round with which it opens."""

    sealed: bytes
    reveal_round: int


def sealed_commit(
    state: WeightsState, hotkey: bytes, uids: list[int], values: list[int], version_key: int
) -> Commit:
    """Weights sealed until the epoch in which the chain reveals them. hotkey: 32 bytes.

    ChainError where the chain's beacon is unknown or its subnet has no epochs, UsageError where it gets too long.
    """
    schedule = state.schedule
    key = timelock.development_key(state.beacon)
    try:
        commit, reveal_round = bittensor_drand.get_encrypted_commit_v2(
            uids=uids,
            weights=values,
            version_key=version_key,
            last_epoch_block=schedule.last_epoch,
            pending_epoch_at=schedule.pending,
            subnet_epoch_index=schedule.epoch,
            tempo=schedule.tempo,
            blocks_since_last_step=schedule.since_step,
            current_block=schedule.number,
            subnet_reveal_period_epochs=schedule.reveal_epochs,
            block_time=state.block_s,
            hotkey=hotkey,
        )
        if key is not None:
            # A development chain's time need not be this machine's. It takes no round that it has already passed, and
            # by the block that holds the commit it may have passed one more than when it was asked.
            reveal_round = max(reveal_round, state.last_round + 1)
            commit = timelock.seal(timelock.payload(uids, values, version_key, hotkey), reveal_round, key)
        elif state.commit_version < HOTKEY_VERSION:
            commit = _at_round(timelock.payload(uids, values, version_key, None), reveal_round)
    except ValueError as error:
        why = error.args[-1] if error.args else error
        raise ChainError(f"the weights cannot be sealed: {why}", "look at the subnet's tempo") from None
    if len(commit) > COMMIT_BYTES_MAX:
        raise UsageError(f"the sealed weights have {len(commit)} bytes, and a chain takes {COMMIT_BYTES_MAX}")
    return Commit(bytes(commit), int(reveal_round))


def _at_round(data: bytes, reveal_round: int) -> bytes:
    """Data sealed to the real beacon. The library wraps it: the length before, the round behind."""
    wrapped, _ = bittensor_drand.encrypt_at_round(data, reveal_round)
    length, width = uncompact(wrapped)
    return bytes(wrapped[width : width + length])


def commit_hash(
    hotkey: bytes, index: int, uids: list[int], values: list[int], salt: list[int], version_key: int
) -> bytes:
    """The hash that `commit_weights` takes: BLAKE2b-256 of all of them in SCALE. index: of subnet and mechanism."""
    parts = (hotkey, index.to_bytes(2, "little"), *map(timelock.numbers, (uids, values, salt)))
    return blake2b(b"".join(parts) + version_key.to_bytes(8, "little"), digest_size=32).digest()
