"""How calls are dispatched: who may make them, how they fail, what they report. The pallets register theirs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from mycelium.devnet.chain.runtime.state import State, Subnet

Handler = Callable[..., None]


class DispatchError(Exception):
    """A call that is refused; everything it did is undone. `pallet` and `name` are of the module error.

    Without a pallet, `name` is a variant of `sp_runtime::DispatchError`, as BadOrigin. Internal to the chain.
    """

    def __init__(self, pallet: str, name: str) -> None:
        super().__init__(f"{pallet}.{name}" if pallet else name)
        self.pallet = pallet
        self.name = name


@dataclass(frozen=True, slots=True)
class Call:
    """One registered call. pays: whether its signer pays a fee."""

    handler: Handler
    pays: bool


CALLS: Final[dict[tuple[str, str], Call]] = {}
Guard = Callable[["Context", str, str, dict[str, Any]], None]
GUARDS: Final[list[Guard]] = []
"""What looks at every signed call before it is carried out, those within other calls too. Raises DispatchError."""


def call(pallet: str, name: str, *, pays: bool = True) -> Callable[[Handler], Handler]:
    """Register a handler: `(context, **parameters as in the metadata)`."""

    def register(handler: Handler) -> Handler:
        CALLS[pallet, name] = Call(handler, pays)
        return handler

    return register


@dataclass(slots=True)
class Context:
    """What a call acts on. signer: SS58, None for root. block_ms: how far blocks are apart."""

    state: State
    signer: str | None
    number: int
    timestamp_ms: int
    phase: Any
    block_ms: int

    def account(self) -> str:
        """The signer; BadOrigin for root."""
        if self.signer is None:
            raise DispatchError("", "BadOrigin")
        return self.signer

    def root(self) -> None:
        """BadOrigin unless the call is root's."""
        if self.signer is not None:
            raise DispatchError("", "BadOrigin")

    def subnet(self, netuid: int) -> Subnet:
        """A subnet that exists. SubnetNotExists."""
        subnet = Subnet(self.state, netuid)
        if not subnet.exists:
            self.refuse("SubnetNotExists")
        return subnet

    def owner(self, subnet: Subnet, *, or_root: bool = False) -> str | None:
        """The signer, who must own the subnet; None for root, where that may too. BadOrigin for all others."""
        if or_root and self.signer is None:
            return None
        signer = self.account()
        if subnet["SubnetOwner"] != signer:
            raise DispatchError("", "BadOrigin")
        return signer

    def refuse(self, name: str, pallet: str = "SubtensorModule") -> NoReturn:
        """Raise the module error of that name."""
        raise DispatchError(pallet, name)

    def deposit(self, pallet: str, name: str, attributes: Any = None) -> None:
        """Report an event in the block. Block 0 reports nothing."""
        if not self.number:
            return
        event = {pallet: name if attributes is None else {name: attributes}}
        record = {"phase": self.phase, "event": event, "topics": []}
        kind, _ = self.state.layout.entry("System", "Events")
        encoded = bytes(self.state.layout.codec.encode(kind, [record]))[1:]
        key = self.state.layout.key("System", "Events", ())
        self.state.raw.put(key, _appended(self.state.view.get(key) or b"\0", encoded))
        self.state.put("System", "EventCount", value=self.state.get("System", "EventCount") + 1)

    def dispatch(self, module: str, function: str, arguments: dict[str, Any]) -> None:
        """Carry out a call within this one. DispatchError; then nothing of it is left."""
        found = CALLS.get((module, function))
        if found is None:
            # Declared, so that clients can compose it, and not carried out by a development chain.
            raise DispatchError("System", "CallFiltered")
        if self.signer is not None:
            for guard in GUARDS:
                guard(self, module, function, arguments)
        outer = self.state
        self.state = outer.nested()
        try:
            found.handler(self, **arguments)
            self.state.raw.fold()
        finally:
            self.state = outer

    def as_signer(self, signer: str | None) -> Context:
        """The same block and state, another signer."""
        return Context(self.state, signer, self.number, self.timestamp_ms, self.phase, self.block_ms)


def pays(decoded: dict[str, Any]) -> bool:
    """Whether a decoded call costs its signer a fee."""
    found = CALLS.get((decoded["call_module"], decoded["call_function"]))
    return found is None or found.pays


def arguments(decoded: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a decoded call by name."""
    return {argument["name"]: argument["value"] for argument in decoded["call_args"]}


_KINDS: Final = {
    "Token": {"FundsUnavailable", "OnlyProvider", "BelowMinimum", "CannotCreate", "NotExpendable"},
    "Arithmetic": {"Overflow", "Underflow"},
}


def encoded_error(state: State, error: DispatchError) -> Any:
    """A DispatchError as the codec takes it: module errors by the numbers that the metadata gives them."""
    if not error.pallet:
        kind = next((kind for kind, names in _KINDS.items() if error.name in names), None)
        return {kind: error.name} if kind else error.name
    pallet, number = state.layout.module_error(error.pallet, error.name)
    return {"Module": {"index": pallet, "error": "0x" + bytes((number, 0, 0, 0)).hex()}}


def _appended(vector: bytes, item: bytes) -> bytes:
    """A SCALE vector with one more item at its end."""
    mode = vector[0] & 3
    width = (1, 2, 4)[mode]
    count = (int.from_bytes(vector[:width], "little") >> 2) + 1
    if count < 1 << 6:
        head = bytes((count << 2,))
    elif count < 1 << 14:
        head = (count << 2 | 1).to_bytes(2, "little")
    else:
        head = (count << 2 | 2).to_bytes(4, "little")
    return head + vector[width:] + item
