"""A runtime of a few lines, for tests of blocks, pool and server that need no Subtensor. No assertions live here.

An extrinsic is SCALE bytes around: account (32), nonce (u32), longevity (u32, 0 is for ever), priority (u32), then
`key=value` to put, or `!` to be refused with the kind that follows. Nothing is signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mycelium.devnet.chain.blocks import digest, sized
from mycelium.devnet.chain.core import Core
from mycelium.devnet.chain.validity import FOREVER, InvalidTransaction, UnknownRuntimeApi, Validity

ALICE, BOB = bytes([1]) * 32, bytes([2]) * 32
NOW_MS = 1_700_000_000_000


@dataclass(frozen=True)
class FakeRuntimeSpec:
    spec_version: int = 1
    grown: bool = False
    netuid_newtype: bool = False
    recent_items: bool = False


@dataclass(frozen=True)
class FakeSpec:
    name: str = "a fake chain"
    seed: int = 0
    block_ms: int = 250
    genesis_time_ms: int | None = NOW_MS
    runtime: FakeRuntimeSpec = field(default_factory=FakeRuntimeSpec)


def extrinsic(account=ALICE, nonce=0, text="a=1", *, longevity=0, priority=0):
    numbers = b"".join(number.to_bytes(4, "little") for number in (nonce, longevity, priority))
    return sized(account + numbers + text.encode())


def parse(raw):
    body = raw[1:] if raw[0] & 3 == 0 else raw[2:]
    if len(body) < 44:
        raise InvalidTransaction("Undecodable")
    numbers = [int.from_bytes(body[at : at + 4], "little") for at in (32, 36, 40)]
    return body[:32], *numbers, body[44:]


def tag(account, nonce):
    return account + nonce.to_bytes(4, "little")


class FakeRuntime:
    def __init__(self, spec):
        self.spec = spec
        self.version = {"specName": "fake", "specVersion": spec.spec_version, "apis": []}
        self.broken = False

    def genesis(self, spec):
        return {b"name": spec.name.encode(), b"n:" + ALICE: (0).to_bytes(4, "little")}

    def metadata(self, version):
        return b"meta" + bytes([version]) if version in (14, 15) else None

    def nonce(self, state, account):
        return int.from_bytes(state.get(b"n:" + account) or b"", "little")

    def initialise(self, state, number, parent_hash, timestamp_ms):
        state.put(b"number", number.to_bytes(4, "little"))
        state.put(b"now", timestamp_ms.to_bytes(8, "little"))
        return [sized(b"\x04" + timestamp_ms.to_bytes(8, "little"))]

    def validate(self, state, raw, chain):
        account, nonce, longevity, priority, text = parse(raw)
        if text.startswith(b"!"):
            raise InvalidTransaction(text[1:].decode())
        if text.startswith(b"?") and state.get(b"closed"):
            raise InvalidTransaction("Custom", 7)
        known = self.nonce(state, account)
        if nonce < known:
            raise InvalidTransaction("Stale")
        requires = (tag(account, nonce - 1),) if nonce > known else ()
        return Validity(
            digest(raw), account, nonce, requires, (tag(account, nonce),), longevity or FOREVER, priority
        )

    def apply(self, state, raw, index):
        account, nonce, *_, text = parse(raw)
        if text == b"boom":
            raise RuntimeError("a bug")
        if nonce != self.nonce(state, account):
            raise InvalidTransaction("Future")
        state.put(b"n:" + account, (nonce + 1).to_bytes(4, "little"))
        key, _, value = text.partition(b"=")
        state.put(b"kv:" + key, value)

    def finalise(self, state):
        if self.broken:
            raise RuntimeError("a bug at the end of the block")
        state.put(b"last", state.get(b"number"))

    def call(self, state, method, data):
        if method == "AccountNonceApi_account_nonce":
            return self.nonce(state, data).to_bytes(4, "little")
        if method == "Fake_echo":
            if data == b"bad":
                raise ValueError("cannot decode")
            return data
        raise UnknownRuntimeApi(method)

    def deregister(self, state, netuid, uid):
        state.put(b"gone", bytes([netuid, uid]))

    def begin(self, spec):
        self.begun = spec

    def give_permit(self, state, netuid, uid):
        state.delete(b"unpermitted")

    def remove_permit(self, state, netuid, uid):
        state.put(b"unpermitted", bytes([netuid, uid]))

    def dispatch_result(self, state, raw):
        return b"\x00"


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self, now_ms=NOW_MS):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


def make_core(*, clock=None, **keywords):
    spec = keywords.pop("spec", FakeSpec())
    keywords.setdefault("blocks", "manual")
    return Core(spec, clock=clock or Clock(), make_runtime=FakeRuntime, **keywords)
