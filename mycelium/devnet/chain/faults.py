"""Faults on demand: what a client of a chain must survive, each switched on and off by a method.

Owns the switches and the operator's actions on the chain; the server looks at the switches. The same methods are
`dev_*` in JSON-RPC (`rpc_dev`), `ThreadedChain.faults` in tests, and `mycelium devnet fault` in a shell. A
connection to the path `/dev`, and any `dev_*` request, is spared, so that a fault can be taken back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mycelium.devnet.chain.core import INSTANT, Core
from mycelium.devnet.chain.rpc import TOO_MANY_REQUESTS, RpcError
from mycelium.devnet.chain.storage import Overlay
from mycelium.errors import UsageError

OFF: Final = "off"
HTTP: Final = "http"
RPC: Final = "rpc"

GARBAGE: Final = b'{"jsonrpc":"2.0","id":"\xe2\x98\xa0","result":{"0x'
"""Half an answer: neither JSON nor to any question."""
_DEV: Final = '"dev_'


@dataclass(slots=True)
class Switches:
    """What is wrong with the connections and answers now.

    refusing: new connections are closed at once. too_many_requests: OFF, HTTP (the upgrade is answered with
    status 429) or RPC (every request with error -32029). delay_ms: every answer comes that much later. silent:
    no answer comes. garbage: what comes is no JSON. methods: delay, silence and garbage concern only these.
    mute: subscriptions begin as ever, and tell of nothing new. unanswered: requests that were met with silence so far.
    """

    refusing: bool = False
    too_many_requests: str = OFF
    delay_ms: int = 0
    silent: bool = False
    garbage: bool = False
    mute: bool = False
    methods: tuple[str, ...] = ()
    unanswered: int = 0

    @property
    def answers(self) -> bool:
        """Whether answers are to be looked at: kept cheap, for it is asked for each request."""
        return self.delay_ms > 0 or self.silent or self.garbage or self.too_many_requests == RPC

    def concern(self, request: str) -> bool:
        """Whether they concern this request, by what it says anywhere."""
        if _DEV in request:
            return False
        return not self.methods or any(f'"{method}"' in request for method in self.methods)


def busy() -> RpcError:
    """What a gateway says to a client that asks too often."""
    return RpcError(TOO_MANY_REQUESTS, "Too many requests", "rate limit exceeded, try again later")


class Faults:
    """The faults of one chain. drop: closes all connections abruptly, and says how many there were."""

    def __init__(self, core: Core, drop: Callable[[], int]) -> None:
        self.switches = Switches()
        self._core = core
        self._drop = drop

    # --- the chain ------------------------------------------------------------------------------------------

    def stall_head(self, on: bool = True) -> None:
        """Make no more blocks, until switched off."""
        core = self._core
        core.head_stalled = on
        while not on and core.blocks == INSTANT and core.pool.pending():
            core.author()

    def stall_finality(self, on: bool = True) -> None:
        """Make no more blocks final; switched off, all that are due become so at once."""
        self._core.finality_stalled = on
        self._core.catch_up_finality()

    def reorg(self, count: int = 1, forced: bool = False, blocks: int | None = None) -> str:
        """Replace the newest `count` blocks by others; their extrinsics are back in the pool. The new head's hash.

        forced: finalised ones may go too. blocks: how many others, by default as many.
        """
        try:
            return f"0x{self._core.reorganise(count, forced=forced, blocks=blocks).hash.hex()}"
        except LookupError as error:
            raise UsageError(f"{error}; stall finality first, or force it") from None

    def upgrade(
        self,
        spec_version: int | None = None,
        grown: bool | None = None,
        netuid_newtype: bool | None = None,
        recent_items: bool | None = None,
    ) -> int:
        """Change the runtime in a new block; its spec version, by default one more.

        grown: structs that runtime APIs return have one more field (by default they get it). netuid_newtype:
        netuid is the type `NetUid` instead of a plain u16. recent_items: what newer clients ask for is there.
        """
        now = self._core.runtime_spec
        new = dataclasses.replace(
            now,
            spec_version=now.spec_version + 1 if spec_version is None else spec_version,
            grown=True if grown is None else grown,
            netuid_newtype=now.netuid_newtype if netuid_newtype is None else netuid_newtype,
            recent_items=now.recent_items if recent_items is None else recent_items,
        )
        self._core.upgrade(new)
        return int(new.spec_version)

    def deregister(self, netuid: int, uid: int) -> None:
        """Remove a neuron from a subnet, in a new block."""
        runtime = self._core.runtime
        self._core.edit(lambda state: runtime.deregister(state, netuid, uid))

    def remove_permit(self, netuid: int, uid: int) -> None:
        """Take a validator's permit away, in a new block; epochs do not give it back."""
        runtime = self._core.runtime
        self._core.edit(lambda state: runtime.remove_permit(state, netuid, uid))

    def give_permit(self, netuid: int, uid: int) -> None:
        """Give a permit, or one taken back, in a new block."""
        runtime = self._core.runtime
        self._core.edit(lambda state: runtime.give_permit(state, netuid, uid))

    def set_storage(self, key: bytes, value: bytes | None) -> None:
        """Put a raw value into the state (None deletes it), in a new block."""

        def change(state: Overlay) -> None:
            if value is None:
                state.delete(key)
            else:
                state.put(key, value)

        self._core.edit(change)

    def set_item(self, pallet: str, item: str, params: Sequence[Any], value: Any) -> None:
        """Put a value into a storage item by name, encoded by the metadata, in a new block; None deletes it."""
        codec = self._core.runtime.codec
        try:
            entry = codec.storage_entry(pallet, item)
            key = bytes(codec.storage_key(pallet, item, list(params)))
            encoded = None if value is None else bytes(codec.encode(entry.value_type, value))
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{pallet}.{item} cannot be set so: {error}") from None
        self.set_storage(key, encoded)

    def shift_time(self, by_ms: int) -> None:
        """Move the chain's clock, forwards or backwards; a block is still later than its parent."""
        self._core.shift_time(by_ms)

    def step(self, count: int = 1) -> str:
        """Make so many blocks at once; the new head's hash."""
        if not 0 < count <= STEPS_MAX:
            raise UsageError(f"{count} blocks at once are not possible: 1 to {STEPS_MAX} are")
        return f"0x{self._core.step(count).hash.hex()}"

    def new_genesis(self) -> str:
        """Begin again at block 0 of another chain, and drop all connections; its genesis hash."""
        self._core.restart()
        return f"0x{self._core.chain.genesis.hex()}"

    # --- connections and answers ----------------------------------------------------------------------------

    def drop_connections(self, refuse: bool | None = None) -> int:
        """Close all connections abruptly; how many there were. refuse: as `refuse_connections`, if given."""
        if refuse is not None:
            self.switches.refusing = refuse
        return self._drop()

    def refuse_connections(self, on: bool = True) -> None:
        """Close new connections as they come."""
        self.switches.refusing = on

    def too_many_requests(self, how: str = HTTP) -> None:
        """Answer 429. how: "http" to new connections, "rpc" to requests, "off"."""
        if how not in (OFF, HTTP, RPC):
            raise UsageError(f"{how!r} is no way to answer 429: give http, rpc or off")
        self.switches.too_many_requests = how

    def delay(self, ms: int, methods: Sequence[str] = ()) -> None:
        """Answer that much later; 0 ends it. methods: only to these."""
        if ms < 0:
            raise UsageError("an answer cannot come before its question: give a delay of 0 or more")
        self.switches.delay_ms = ms
        self.switches.methods = tuple(methods)

    def never_answer(self, on: bool = True, methods: Sequence[str] = ()) -> None:
        """Take requests and answer none. methods: only of these."""
        self.switches.silent = on
        self.switches.methods = tuple(methods)

    def garbage(self, on: bool = True, methods: Sequence[str] = ()) -> None:
        """Answer what is no JSON. methods: only to these."""
        self.switches.garbage = on
        self.switches.methods = tuple(methods)

    def mute(self, on: bool = True) -> None:
        """Tell subscribers nothing new; what stands when a subscription begins is told as ever."""
        self.switches.mute = on

    def clear(self) -> None:
        """End all faults. What they did to the chain stays."""
        self.switches = Switches()
        self.stall_head(False)
        self.stall_finality(False)

    def status(self) -> dict[str, Any]:
        """What is switched on."""
        core = self._core
        return {
            "head_stalled": core.head_stalled,
            "finality_stalled": core.finality_stalled,
            **dataclasses.asdict(self.switches),
        }


STEPS_MAX: Final = 1_000_000
"""Blocks made in one go; nothing else is answered meanwhile."""
