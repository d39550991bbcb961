"""Makes the messages a link sends and judges those it receives, by auth_mode. Owns the nonces and the replay
window.

`session`: the seal of the frame authenticates every message; signatures are empty.
`signed`: every message carries the sender's sr25519 signature as well (about 20,000 a second and core).
The order of checks is: size, shape, receiver (the session's binding), freshness, signature, replay,
authorisation.
"""

from __future__ import annotations

from typing import Final, Literal

from mycelium._core import codec, replay
from mycelium.config import (
    REPLAY_AHEAD_NS,
    REPLAY_ENTRIES_MAX,
    REPLAY_PER_SENDER_MAX,
    REPLAY_WINDOW_NS,
)
from mycelium.errors import (
    BadSignature,
    HandshakeFailed,
    MalformedMessage,
    ProtocolError,
    ReplayedMessage,
    ReplayTableFull,
    StaleMessage,
)
from mycelium.identity.signing import sign_message, verify_message
from mycelium.peer.greeting import Local
from mycelium.peer.session import Session

AuthMode = Literal["session", "signed"]

_HANDSHAKE_TYPES: Final = frozenset((0, 1))
_NONCE_MASK: Final = 2**64 - 1
_REFUSALS: Final[dict[int, tuple[type[ProtocolError], str]]] = {
    replay.STALE: (StaleMessage, "older than the freshness window"),
    replay.FUTURE: (StaleMessage, "stamped in the future"),
    replay.BEFORE_START: (StaleMessage, "stamped before this process started"),
    replay.REPLAYED: (ReplayedMessage, "its nonce was used before"),
    replay.FULL: (ReplayTableFull, "no room to remember its nonce"),
}


class Envelope:
    """One for all links of a node: nonces never repeat across them."""

    def __init__(self, local: Local, mode: AuthMode) -> None:
        self.signed = mode == "signed"
        self._local = local
        self._account = local.account
        self._now_ns = local.now_ns
        # What is signed must be fresh for its receiver; of others the stamp says what this machine's clock is.
        self._stamp_ns = local.now_ns if self.signed else local.machine_ns
        self._nonce = int.from_bytes(local.random(8), "little")
        self._window = (
            replay.ReplayWindow(
                REPLAY_ENTRIES_MAX, REPLAY_PER_SENDER_MAX, REPLAY_WINDOW_NS, REPLAY_AHEAD_NS, local.now_ns()
            )
            if self.signed
            else None
        )

    def wrap(self, session: Session, type: int, payload: bytes) -> bytes:
        """An encoded message for that session, in the encoding it negotiated.

        In mode `session` the result serves every session of the same version and encoding.
        """
        self._nonce = nonce = (self._nonce + 1) & _NONCE_MASK
        now_ns = self._stamp_ns()
        version = session.version
        signature = b""
        if self.signed:
            signature = sign_message(
                self._local.keypair, session.binding, version, type, now_ns, nonce, payload
            )
        return codec.encode_message(
            version, type, self._account, now_ns, nonce, payload, signature, session.encoding
        )

    def check(self, session: Session, message: codec.Message) -> None:
        """Raise the ProtocolError of the first check that the message fails. Nothing is kept of one that fails."""
        if message.sender_id != session.peer:
            raise MalformedMessage("its sender is not the account of this session")
        if message.version != session.version:
            raise MalformedMessage(f"version {message.version} in a session of version {session.version}")
        if message.type in _HANDSHAKE_TYPES:
            raise HandshakeFailed("a handshake message inside a session")
        if self._window is not None:
            self._check_signed(self._window, session, message)

    def _check_signed(self, window: replay.ReplayWindow, session: Session, message: codec.Message) -> None:
        now_ns = self._now_ns()
        # check stores nothing, so a message with a false signature costs no memory (design section 5).
        verdict = window.check(message.sender_id, message.nonce, message.timestamp, now_ns)
        if verdict != replay.OK:
            kind, text = _REFUSALS[verdict]
            raise kind(text)
        if not verify_message(message, session.binding):
            raise BadSignature("the sender did not sign it" if message.signature else "it is not signed")
        window.commit(message.sender_id, message.nonce, message.timestamp, now_ns)
