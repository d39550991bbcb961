"""Sessions of a protocol version, recorded byte for byte: how they are played, and the program that recorded them.

    PYTHONPATH=tests python tests/peer/recordkit.py      writes tests/peer/recorded/protocol1.json, once and never again

A recording is what a peer of that version says for ever, whatever becomes of this code. Its keys are well known, its
randomness comes from a seed, and its sr25519 signatures, which are made with randomness of their own, are in the file:
so either side can be this version's code, and must answer with the very bytes that were recorded.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mycelium import config
from mycelium._core import codec
from mycelium.errors import Unauthorised
from mycelium.identity import signing
from mycelium.identity.keys import Keypair, preimage
from mycelium.identity.signing import sign_message
from mycelium.peer.cookie import CookieJar
from mycelium.peer.handshake import Initiator, Responder
from mycelium.peer.network import Network
from mycelium.peer.session import Limits, Session
from mycelium.protocol import frame
from mycelium.protocol.messages import (
    BatchRefs,
    BlacklistSync,
    Branch,
    Call,
    MessageType,
    NodeStatus,
    OriginVersion,
    Ping,
    ProofHead,
    SpaceAck,
    SpaceDigest,
    Sync,
    SyncRequest,
    SyncResponse,
    Tree,
)  # fmt: skip

VERSION = 1
FILE = Path(__file__).with_name("recorded") / f"protocol{VERSION}.json"
NETWORK = Network(7, bytes(range(32)))
NOW_NS = 1_700_000_000 * 10**9
SOFTWARE = "mycelium/recorded"
KEYS = {"I": Keypair.development("//Alice"), "R": Keypair.development("//Bob")}
GENERATIONS = {"I": 11, "R": 22}
REMOTE = b"192.0.2.1"
GOODBYE = Unauthorised("recorded: the session is over")
CASES: list[dict[str, Any]] = [
    {"name": "flatbuffers, AES", "mode": "session", "encoding": 2, "suite": 1, "cookie": False},
    {"name": "flatbuffers, ChaCha20", "mode": "session", "encoding": 2, "suite": 2, "cookie": False},
    {"name": "JSON", "mode": "session", "encoding": 1, "suite": 1, "cookie": False},
    {"name": "signed", "mode": "signed", "encoding": 2, "suite": 1, "cookie": False},
    {"name": "cookie", "mode": "session", "encoding": 2, "suite": 1, "cookie": True},
]


class Stream:
    """Randomness of a side: the n-th draw is SHAKE256(seed | n as u64, little-endian)."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._draws = 0

    def __call__(self, size: int) -> bytes:
        self._draws += 1
        return hashlib.shake_256(self._seed + struct.pack("<Q", self._draws)).digest(size)


@dataclass
class Signer:
    """An account whose signatures are known: by what is signed, in hex. keypair: makes those that are missing."""

    account: bytes
    known: dict[str, str]
    keypair: Keypair | None = None

    def sign(self, domain: bytes, data: bytes) -> bytes:
        """AssertionError for what was not signed when the session was recorded: this version says another thing."""
        signed = preimage(domain, data).hex()
        if signed not in self.known:
            assert self.keypair is not None, "a session of this protocol version signs what none did before"
            self.known[signed] = self.keypair.sign(domain, data).hex()
        return bytes.fromhex(self.known[signed])


def stream(case: dict[str, Any], side: str) -> Stream:
    return Stream(f"{case['name']}/{side}")


@dataclass
class Player:
    """One side of a recorded session, played by this version's code. `say` is the next thing that it says by itself."""

    case: dict[str, Any]
    name: str
    signer: Signer
    outbox: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        random = stream(self.case, self.name)
        options = {
            "encodings": (self.case["encoding"],),
            "suites": (self.case["suite"],),
            "versions": (VERSION,),
        }
        self.machine: Initiator | Responder
        if self.name == "I":
            self.machine = Initiator(
                self.signer, NETWORK, KEYS["R"].account, GENERATIONS["I"], random, features=1, **options
            )
        else:
            self.machine = Responder(
                self.signer, NETWORK, GENERATIONS["R"], lambda account: "validator",
                CookieJar(stream(self.case, "cookies")), lambda: self.case["cookie"], random, REMOTE,
                features=3, **options,
            )  # fmt: skip
        self.machine._me = replace(self.machine._me, software=SOFTWARE)

    @property
    def session(self) -> Session:
        assert self.machine.session is not None
        return self.machine.session

    def say(self, what: str, body: bytes | None) -> bytes:
        """The frame that this side sends now. body: of a frame with messages."""
        if what == "handshake":
            return self.outbox.pop(0) if self.outbox else self.machine.hello()
        if what == "rekey":
            if not self.outbox and not self.session.has_control:
                self.session.tick(0)
                self.session.tick(Limits().age_ns)
            self.outbox += self.session.take_control()
            return self.outbox.pop(0)
        if what == "goodbye":
            return self.session.farewell(GOODBYE)
        assert body is not None
        return self.session.seal(body)

    def hear(self, what: str, data: bytes) -> bytes | None:
        """The body of a frame of the other side; None for the handshake and for session control."""
        if what != "handshake":
            return self.session.open(data)
        answer = self.machine.receive(data, NOW_NS)
        if answer is not None:
            self.outbox.append(answer)
        return None


def batch(signer: Signer, seq: int) -> tuple[bytes, bytes]:
    values = (
        NETWORK.netuid, NETWORK.genesis, "main", signer.account, GENERATIONS["I"], seq, bytes(32), 812, 292_320,
        1_700_000_000_000 << 16, [("scores", 0)], [(0, 0, b"5F3s", b'\0{"score":0.93}'), (0, 1, b"gone", b"")],
    )  # fmt: skip
    raw = codec.encode_batch(*values)
    return raw, signer.sign(signing.BATCH, raw)


def script(signer: Signer) -> list[tuple[str, list[tuple[MessageType, bytes]]]]:
    """What is said after the handshake: (side, messages of one frame), and an empty list for a change of keys."""
    vector = [OriginVersion(KEYS["I"].account, 11, 2, [(5, 6)])]
    status = NodeStatus(SOFTWARE, NOW_NS, NOW_NS, NOW_NS, True, "ready", 3, 1000, 990, 45_000, 2**28, 125)
    refs = BatchRefs("main", KEYS["I"].account, 11, [(1, 2)], 300)
    kind = MessageType
    return [
        ("I", [(kind.PING, Ping(1, NOW_NS, [SpaceDigest("main", bytes(range(16)))]).encode())]),
        ("R", [(kind.PONG, Ping(1, NOW_NS, []).encode()),
               (kind.SYNC, Sync([SpaceAck("main", vector)], status).encode())]),
        ("I", [(kind.GOSSIP, codec.encode(codec.GOSSIP, ([batch(signer, 1)], 0)))]),
        ("I", [(kind.DB_SYNC_REQ, SyncRequest(9, "main", vector, 2**20, NOW_NS).encode())]),
        ("R", [(kind.DB_SYNC_RESP, SyncResponse(9, "main", [batch(signer, 3)], False, True, vector).encode())]),
        ("R", []),
        ("I", [(kind.REQUEST, Call(2, "status", 0, 0, True, b"{}").encode())]),
        ("R", [(kind.RESPONSE, Call(2, "", 200, 0, False, b"first").encode()),
               (kind.STREAM, Call(2, "", 0, 1, True, b"last").encode())]),
        ("I", [(kind.TREE, Tree([refs], [refs], [Branch("main", KEYS["I"].account)]).encode()),
               (kind.BLACKLIST_SYNC, BlacklistSync([], [ProofHead("main", KEYS["R"].account, 22, 7)]).encode())]),
    ]  # fmt: skip


def body_of(player: Player, messages: list[tuple[MessageType, bytes]], nonce: int) -> bytes:
    encoded = []
    for at, (kind, payload) in enumerate(messages):
        head = (VERSION, kind, NOW_NS, nonce + at, payload)
        signed = player.case["mode"] == "signed"
        signature = sign_message(player.signer, player.session.binding, *head) if signed else b""
        encoded.append(
            codec.encode_message(
                VERSION,
                kind,
                player.signer.account,
                NOW_NS,
                nonce + at,
                payload,
                signature,
                player.case["encoding"],
            )
        )
    return frame.join(encoded)


def record(case: dict[str, Any], known: dict[str, str]) -> list[dict[str, Any]]:
    """Both sides by this version's code."""
    sides = {name: Player(case, name, Signer(KEYS[name].account, known, KEYS[name])) for name in "IR"}
    frames: list[dict[str, Any]] = []

    def pass_on(name: str, what: str, body: bytes | None = None) -> None:
        data = sides[name].say(what, body)
        frames.append(
            {"from": name, "what": what, "frame": data.hex(), "body": None if body is None else body.hex()}
        )
        if what != "goodbye":
            assert sides["R" if name == "I" else "I"].hear(what, data) == body

    for name in "IRIRI" if case["cookie"] else "IRI":
        pass_on(name, "handshake")
    pass_on("R", "messages", b"")
    for number, (name, messages) in enumerate(script(sides["I"].signer)):
        if messages:
            pass_on(name, "messages", body_of(sides[name], messages, 100 * number))
        else:
            for who in "RIIR":  # an offer, an offer with the switch to the new key, and the other switch
                pass_on(who, "rekey")
    pass_on("R", "goodbye")
    return frames


def main() -> None:
    assert VERSION in config.PROTOCOL_VERSIONS
    known: dict[str, str] = {}
    sessions = [{**case, "frames": record(case, known)} for case in CASES]
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("x") as file:  # a recording is never made again
        json.dump({"protocol": VERSION, "signatures": known, "sessions": sessions}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
