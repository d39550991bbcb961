"""The runtime's view of storage: items by pallet and name, values decoded. Accounts are SS58 text.

Reading what is not there gives the item's default, None for an optional one. Knows no rule of any pallet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import bittensor_core

from mycelium.devnet.chain.storage import Overlay, View

PALLET: Final = "SubtensorModule"
"""Bittensor's own pallet."""
MECHANISM_STEP: Final = 4_096
"""What a mechanism has of its own is kept under netuid + 4096 * mechanism (`GLOBAL_MAX_SUBNET_COUNT`)."""


class Layout:
    """Where items are and how they are encoded, for one runtime."""

    def __init__(self, codec: bittensor_core.Runtime) -> None:
        self.codec = codec
        self._entries: dict[tuple[str, str], tuple[str, Any]] = {}
        self._errors = {
            (pallet["name"], error["name"]): (pallet["index"], error["index"])
            for pallet in codec.metadata_ir()["pallets"]
            for error in pallet["errors"]
        }

    def module_error(self, pallet: str, name: str) -> tuple[int, int]:
        """The index of a pallet and of the error in it. KeyError for one that the metadata has not."""
        return self._errors[pallet, name]

    def entry(self, pallet: str, item: str) -> tuple[str, Any]:
        """The type of the value, and its default, encoded; None where there is none. KeyError: no such item."""
        found = self._entries.get((pallet, item))
        if found is None:
            entry = self.codec.storage_entry(pallet, item)
            default = bytes(entry.default_bytes) if entry.modifier == "Default" else None
            found = self._entries[pallet, item] = (entry.value_type, default)
        return found

    def key(self, pallet: str, item: str, keys: tuple[Any, ...]) -> bytes:
        """The raw key, or the prefix where fewer keys are given than the item has."""
        return bytes(self.codec.storage_key(pallet, item, list(keys)))


class State:
    """Reads through any view; writes need an `Overlay`."""

    def __init__(self, layout: Layout, view: View) -> None:
        self.layout = layout
        self.view = view

    def get(self, pallet: str, item: str, *keys: Any) -> Any:
        """The value, decoded; the default or None where there is none."""
        kind, default = self.layout.entry(pallet, item)
        raw = self.view.get(self.layout.key(pallet, item, keys))
        if raw is None:
            raw = default
        return None if raw is None else self.layout.codec.decode(kind, raw)

    def has(self, pallet: str, item: str, *keys: Any) -> bool:
        """Whether something is stored there."""
        return self.view.get(self.layout.key(pallet, item, keys)) is not None

    def put(self, pallet: str, item: str, *keys: Any, value: Any) -> None:
        """Encode and store."""
        kind, _ = self.layout.entry(pallet, item)
        self.raw.put(self.layout.key(pallet, item, keys), bytes(self.layout.codec.encode(kind, value)))

    def delete(self, pallet: str, item: str, *keys: Any) -> None:
        self.raw.delete(self.layout.key(pallet, item, keys))

    def map(self, pallet: str, item: str, *keys: Any) -> Iterator[tuple[Any, Any]]:
        """The entries of a map below `keys`: what is left of the key (one value, or a tuple), and the value."""
        kind, _ = self.layout.entry(pallet, item)
        codec = self.layout.codec
        for raw_key in list(self.view.keys(self.layout.key(pallet, item, keys))):
            raw = self.view.get(raw_key)
            if raw is not None:
                rest = codec.decode_storage_key_params(pallet, item, raw_key, len(keys))
                yield (rest[0] if len(rest) == 1 else tuple(rest)), codec.decode(kind, raw)

    @property
    def raw(self) -> Overlay:
        """The overlay that writes go to."""
        assert isinstance(self.view, Overlay), "this state can only be read"
        return self.view

    def nested(self) -> State:
        """A state on top of this one, whose changes `raw.fold()` moves down."""
        return State(self.layout, Overlay(self.view))


class Subnet:
    """A subnet's items in one state: `subnet["Tempo"]` reads SubtensorModule.Tempo of its netuid."""

    def __init__(self, state: State, netuid: int) -> None:
        self.state = state
        self.netuid = netuid

    def __getitem__(self, item: str) -> Any:
        return self.state.get(PALLET, item, self.netuid)

    def __setitem__(self, item: str, value: Any) -> None:
        self.state.put(PALLET, item, self.netuid, value=value)

    def default(self, item: str) -> Any:
        """What the item is where nothing was ever set."""
        kind, default = self.state.layout.entry(PALLET, item)
        return None if default is None else self.state.layout.codec.decode(kind, default)

    @property
    def exists(self) -> bool:
        return bool(self["NetworksAdded"])

    def uid(self, hotkey: str) -> int | None:
        """The uid of a registered hotkey."""
        uid: int | None = self.state.get(PALLET, "Uids", self.netuid, hotkey)
        return uid

    def hotkey(self, uid: int) -> str:
        hotkey: str = self.state.get(PALLET, "Keys", self.netuid, uid)
        return hotkey

    def hotkeys(self) -> list[str]:
        """All hotkeys, by uid."""
        return [self.hotkey(uid) for uid in range(self["SubnetworkN"])]

    def owner_uid(self) -> int | None:
        """The uid of the owner's hotkey, where it is registered."""
        owner = self["SubnetOwnerHotkey"]
        return None if owner is None else self.uid(owner)

    def mechanisms(self) -> list[int]:
        """Where each mechanism's weights, incentive and last updates are kept."""
        return [index_of(self.netuid, mecid) for mecid in range(self["MechanismCountCurrent"])]

    def vector(self, item: str, *, index: int | None = None) -> list[Any]:
        """A vector with a place for each uid, as long as there are neurons. index: of a mechanism."""
        found = list(self.state.get(PALLET, item, self.netuid if index is None else index))
        size = self["SubnetworkN"]
        zero: Any = False if item in ("ValidatorPermit", "Active") else 0
        return (found + [zero] * size)[:size]

    def set_in(self, item: str, uid: int, value: Any, *, index: int | None = None) -> None:
        """Change one uid's place in a vector."""
        found = self.vector(item, index=index)
        found[uid] = value
        self.state.put(PALLET, item, self.netuid if index is None else index, value=found)

    def stake(self, hotkey: str) -> int:
        """Alpha staked to a hotkey on this subnet, in rao."""
        stake: int = self.state.get(PALLET, "TotalHotkeyAlpha", hotkey, self.netuid)
        return stake

    def weight(self, hotkey: str) -> int:
        """The stake that counts: alpha, and TAO on the root subnet by `TaoWeight` (a fraction of u64::MAX)."""
        root: int = self.state.get(PALLET, "TotalHotkeyAlpha", hotkey, 0)
        tao_weight: int = self.state.get(PALLET, "TaoWeight")
        return self.stake(hotkey) + root * tao_weight // (2**64 - 1)


def index_of(netuid: int, mecid: int) -> int:
    """Where a mechanism's weights, incentive and last updates are kept."""
    return min(netuid + MECHANISM_STEP * mecid, 0xFFFF)


def as_bytes(value: Any) -> bytes:
    """Bytes as the codec gives them: text where they are UTF-8, else 0x text; or bytes, or a list of numbers."""
    if not isinstance(value, str):
        return bytes(value)
    if re.fullmatch(r"0x(?:[0-9a-f]{2})*", value):
        return bytes.fromhex(value[2:])
    return value.encode()
