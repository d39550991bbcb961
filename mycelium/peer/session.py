"""A session: sealed frames between two accounts that the handshake has proved, and their changes of keys.

Sans-IO. A frame is the ciphertext of one body and its 16-byte tag, nothing else. Its nonce is the count of
frames sealed before it under the same key, which both sides keep: over an ordered transport, a frame that was
replayed, dropped, reordered, truncated or changed does not decrypt, and the session is over.

A body starts with the length of its first message (`protocol.frame`), which is far below 2^32 - 1. A body
that starts with four bytes 0xff is the session's own: OFFER, SWITCH or CLOSE.

Change of keys. Either side, or both at once, starts it after REKEY_S, REKEY_BYTES or REKEY_FRAMES:

    IDLE      --we want it: send OFFER(our ephemeral)-----------------> OFFERED
    IDLE      --OFFER heard: send our OFFER, derive, send SWITCH------> AGREED
    OFFERED   --OFFER heard: derive, send SWITCH----------------------> AGREED
    AGREED    --our SWITCH sealed: we seal under the new key    } both, in
    AGREED    --their SWITCH opened: we open under the new key  } any order --> IDLE

SWITCH is the last frame under the old key of its direction, so each direction changes at one point of an
ordered stream: frames in flight are read with the key they were sealed with, nobody waits, and no frame is
tried with two keys. The new keys mix both fresh ephemerals into the old chain secret, and the old ones are
forgotten, so that a key found later opens nothing earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from mycelium import config
from mycelium.errors import BrokenSeal, MalformedMessage, OversizedMessage, ProtocolError, Silence
from mycelium.peer import refusal
from mycelium.peer.cipher import (
    EPHEMERAL_BYTES,
    IV_BYTES,
    TAG_BYTES,
    DirectionKeys,
    Ephemeral,
    Random,
    SessionKeys,
    aead,
    derive_session,
)

_CONTROL: Final = b"\xff\xff\xff\xff"
_OFFER: Final = _CONTROL + b"\x01"
_SWITCH: Final = _CONTROL + b"\x02"
_CLOSE: Final = _CONTROL + b"\x03"


@dataclass(frozen=True, slots=True)
class Limits:
    """When keys are changed, and how many frames one key may ever seal.

    bytes_max and frames_max are looked at in `tick`, and so overshot by what a tick's time carries;
    frames_hard_max is a wall that every frame is held against.
    """

    bytes_max: int = config.REKEY_BYTES
    frames_max: int = config.REKEY_FRAMES
    age_ns: int = config.REKEY_S * 10**9
    answer_ns: int = config.REKEY_ANSWER_S * 10**9
    frames_hard_max: int = config.FRAMES_PER_KEY_MAX


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the handshake settled about a session, and whom it proved to be on the other side."""

    initiator: bool
    peer: bytes
    peer_generation: int
    peer_software: str
    role: str
    version: int
    encoding: int
    suite: int
    features: int
    frame_max: int
    binding: bytes


class Session:
    """One side of a session. `seal` and `take_control` must be called in the order in which frames are sent.

    After `tick`, and after an `open` that returned None, send what `take_control` gives; it is never wrong to
    ask more often. Any ProtocolError that `open` or `tick` raises ends the session.

    peer: the other side's account, 32 bytes. peer_generation: of its database. role: what `authorise` said of
    it ("" if a dialler asked nobody). version, encoding (1 JSON, 2 FlatBuffers), suite: negotiated. features:
    bits that both sides have. frame_max: bytes of the largest sealed frame, either way. binding: 32 bytes,
    equal on both sides and in no other session (`identity.signing.message_bytes`).
    """

    __slots__ = (
        "_chain",
        "_decrypt",
        "_encrypt",
        "_epoch",
        "_frames_hard_max",
        "_initiator",
        "_keyed_ns",
        "_limits",
        "_next",
        "_now_ns",
        "_offer",
        "_offered_ns",
        "_offers_heard",
        "_outbox",
        "_random",
        "_receive_iv",
        "_received",
        "_send_iv",
        "_sent",
        "_sent_bytes",
        "_switched_receive",
        "_switched_send",
        "binding",
        "encoding",
        "features",
        "frame_max",
        "peer",
        "peer_generation",
        "peer_software",
        "role",
        "suite",
        "version",
    )

    _sent: int
    _sent_bytes: int
    _received: int
    _encrypt: Callable[[bytes, bytes, bytes | None], bytes]
    _decrypt: Callable[[bytes, bytes, bytes | None], bytes]

    def __init__(
        self, agreed: Agreed, keys: SessionKeys, random: Random, limits: Limits | None = None
    ) -> None:
        self.peer = agreed.peer
        self.peer_generation = agreed.peer_generation
        self.peer_software = agreed.peer_software
        self.role = agreed.role
        self.version = agreed.version
        self.encoding = agreed.encoding
        self.suite = agreed.suite
        self.features = agreed.features
        self.frame_max = agreed.frame_max
        self.binding = agreed.binding
        self._initiator = agreed.initiator
        self._limits = limits or Limits()
        self._frames_hard_max = self._limits.frames_hard_max
        self._random = random
        self._now_ns = 0
        self._keyed_ns: int | None = None
        self._epoch = 0
        self._chain = keys.chain
        self._offer: Ephemeral | None = None
        self._next: SessionKeys | None = None
        self._offered_ns = 0
        self._offers_heard = 0
        self._switched_send = self._switched_receive = False
        self._outbox: list[bytes] = []
        self._use_to_send(self._ours(keys))
        self._use_to_receive(self._theirs(keys))

    def __repr__(self) -> str:
        return f"<Session with {self.peer.hex()[:16]} role={self.role!r} epoch={self._epoch}>"

    @property
    def epoch(self) -> int:
        """How often both directions have changed keys."""
        return self._epoch

    # --- frames -------------------------------------------------------------------------------------------

    def seal(self, body: bytes) -> bytes:
        """The next frame to send. ValueError if the body is too large, or would pass for session control."""
        count = self._sent
        size = len(body)
        if size > self.frame_max - TAG_BYTES or count >= self._frames_hard_max or body.startswith(_CONTROL):
            raise ValueError(self._why_not(body))
        self._sent = count + 1
        self._sent_bytes += size
        return self._encrypt((self._send_iv ^ count).to_bytes(IV_BYTES, "big"), body, None)

    def open(self, frame: bytes) -> bytes | None:
        """The body of the next frame received; None if it was session control.

        Raises BrokenSeal, OversizedMessage, MalformedMessage (control that breaks the rules above), or the
        error that the other side gave as its reason to close.
        """
        count = self._received
        if len(frame) > self.frame_max:
            raise OversizedMessage(f"a sealed frame of {len(frame)} bytes; {self.frame_max} were agreed")
        if count >= self._frames_hard_max:
            raise BrokenSeal("the other side never changed its key")
        try:
            body = self._decrypt((self._receive_iv ^ count).to_bytes(IV_BYTES, "big"), frame, None)
        except InvalidTag:
            self._decrypt = _over
            raise BrokenSeal("a frame was changed, replayed, dropped or reordered") from None
        self._received = count + 1
        if body.startswith(_CONTROL):
            self._hear(body)
            return None
        return body

    # --- control ------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Time has passed (call about once a second). Starts a change of keys when it is due.

        now_ns: of a clock that never goes back; its start does not matter, the first tick sets ours. Raises
        Silence when the other side left an offer unanswered, or the change that it agreed to unfinished.
        """
        self._now_ns = now_ns
        self._offers_heard = 0
        if self._keyed_ns is None:
            self._keyed_ns = self._offered_ns = now_ns
        if self._next is not None or self._offer is not None:
            # An offer heard and never switched to would keep these keys for ever as well.
            if now_ns - self._offered_ns > self._limits.answer_ns:
                raise Silence("a change of keys was not answered")
            return
        if (
            self._sent_bytes >= self._limits.bytes_max
            or self._sent >= self._limits.frames_max
            or now_ns - self._keyed_ns >= self._limits.age_ns
        ):
            self._make_offer()

    @property
    def has_control(self) -> bool:
        """Whether `take_control` has something."""
        return bool(self._outbox)

    def take_control(self) -> list[bytes]:
        """Sealed frames of the session's own, to send now and in this order; usually none."""
        if not self._outbox:
            return []
        frames = []
        for body in self._outbox:
            frames.append(self._seal_control(body))
            if body == _SWITCH:
                assert self._next is not None
                self._use_to_send(self._ours(self._next))
                self._switched_send = True
                self._finish_change()
        self._outbox = []
        return frames

    def farewell(self, error: ProtocolError) -> bytes:
        """The last frame: tells the other side, sealed, why the connection will close."""
        return self._seal_control(_CLOSE + refusal.write(error).encode("ascii"))

    def _hear(self, body: bytes) -> None:
        kind, value = body[: len(_OFFER)], body[len(_OFFER) :]
        if kind == _OFFER and len(value) == EPHEMERAL_BYTES and self._next is None:
            self._hear_offer(value)
        elif kind == _SWITCH and not value and self._next is not None and not self._switched_receive:
            self._use_to_receive(self._theirs(self._next))
            self._switched_receive = True
            self._finish_change()
        elif kind == _CLOSE:
            raise refusal.read(value.decode("utf-8", "replace"))
        else:
            raise MalformedMessage("session control that is unknown or out of turn")

    def _hear_offer(self, theirs: bytes) -> None:
        self._offers_heard += 1
        if self._offers_heard > config.REKEYS_PER_TICK_MAX:
            raise MalformedMessage("new keys were asked for too often")
        if self._offer is None:
            self._make_offer()
        assert self._offer is not None
        ours = self._offer.public
        if theirs == ours:
            raise MalformedMessage("our own offer of keys came back")
        pair = ours + theirs if self._initiator else theirs + ours
        label = b"rekey/" + (self._epoch + 1).to_bytes(8, "big") + pair
        self._next = derive_session(self._offer.agree(theirs), self._chain, label)
        self._offer = None
        self._outbox.append(_SWITCH)

    def _make_offer(self) -> None:
        self._offer = Ephemeral(self._random)
        self._offered_ns = self._now_ns
        self._outbox.append(_OFFER + self._offer.public)

    def _finish_change(self) -> None:
        if not (self._switched_send and self._switched_receive):
            return
        assert self._next is not None
        self._chain = self._next.chain
        self._next = None
        self._switched_send = self._switched_receive = False
        self._epoch += 1
        self._keyed_ns = self._now_ns

    # --- keys ---------------------------------------------------------------------------------------------

    def _ours(self, keys: SessionKeys) -> DirectionKeys:
        return keys.initiator if self._initiator else keys.responder

    def _theirs(self, keys: SessionKeys) -> DirectionKeys:
        return keys.responder if self._initiator else keys.initiator

    def _use_to_send(self, keys: DirectionKeys) -> None:
        self._encrypt = aead(self.suite, keys.key).encrypt
        self._send_iv = keys.iv
        self._sent = self._sent_bytes = 0

    def _use_to_receive(self, keys: DirectionKeys) -> None:
        self._decrypt = aead(self.suite, keys.key).decrypt
        self._receive_iv = keys.iv
        self._received = 0

    def _seal_control(self, body: bytes) -> bytes:
        count = self._sent
        self._sent = count + 1
        return self._encrypt((self._send_iv ^ count).to_bytes(IV_BYTES, "big"), body, None)

    def _why_not(self, body: bytes) -> str:
        if len(body) > self.frame_max - TAG_BYTES:
            return f"a body of {len(body)} bytes does not fit a frame of {self.frame_max}"
        if body.startswith(_CONTROL):
            return "a body that looks like session control"
        return "this key has sealed as many frames as it may"


def _over(nonce: bytes, frame: bytes, associated: bytes | None) -> bytes:
    """Opens in place of the cipher after a broken seal: even a right frame is too late."""
    raise InvalidTag
