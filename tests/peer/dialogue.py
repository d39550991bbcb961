"""Two sides of a handshake and what carries their bytes. No assertions live here."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from mycelium.errors import ProtocolError
from mycelium.identity.keys import Keypair
from mycelium.peer.cookie import CookieJar
from mycelium.peer.handshake import Initiator, Responder
from mycelium.peer.network import Network
from mycelium.peer.session import Session

ALICE = Keypair.development("//Alice")
BOB = Keypair.development("//Bob")
MALLORY = Keypair.development("//Mallory")
NETWORK = Network(7, bytes(range(32)))
NOW = 1_700_000_000 * 10**9
REMOTE = b"192.0.2.1:4000"
ENCODINGS = {"flatbuffers": (2, 1), "json": (1,)}


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def initiator(
    seed: int = 1, keypair: Any = ALICE, expected: bytes | None = BOB.account, **options: Any
) -> Initiator:
    network = options.pop("network", NETWORK)
    return Initiator(keypair, network, expected, 11, entropy(seed), **options)


def responder(
    seed: int = 2,
    keypair: Any = BOB,
    *,
    role: str | None = "validator",
    load: bool = False,
    jar: CookieJar | None = None,
    remote: bytes = REMOTE,
    kind: type[Responder] = Responder,
    **options: Any,
) -> Responder:
    network = options.pop("network", NETWORK)
    jar = jar or CookieJar(entropy(3))
    return kind(
        keypair, network, 22, lambda account: role, jar, lambda: load, entropy(seed), remote, **options
    )


def run(
    left: Initiator, right: Responder, change: Callable[[int, bytes], bytes] = lambda step, data: data
) -> list[bytes]:
    """Carry messages until one side is silent; `change(step, data)` is the wire. What travelled, before changes."""
    sent = [left.hello()]
    while True:
        side = right if len(sent) % 2 else left
        answer = side.receive(change(len(sent), sent[-1]), NOW)
        if answer is None:
            return sent
        sent.append(answer)


def attempt(left: Initiator, right: Responder, change: Callable[[int, bytes], bytes]) -> ProtocolError | None:
    try:
        run(left, right, change)
    except ProtocolError as error:
        return error
    return None


def sessions(left: Initiator | None = None, right: Responder | None = None) -> tuple[Session, Session]:
    left, right = left or initiator(), right or responder()
    run(left, right)
    assert left.session is not None
    assert right.session is not None
    return left.session, right.session
