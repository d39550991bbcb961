"""What both sides of a handshake do alike: the transcript, and Identities made, sealed, opened and checked.

Not the order of things: that is `handshake`, which also explains the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag

from mycelium import config
from mycelium._core import codec
from mycelium._version import __version__
from mycelium.errors import (
    BadSignature,
    HandshakeFailed,
    MalformedMessage,
    OversizedMessage,
    Unauthorised,
    VersionRefused,
    WrongNetwork,
)
from mycelium.identity import account as ss58
from mycelium.identity.account import NOBODY
from mycelium.identity.keys import digest, verify
from mycelium.identity.signing import HANDSHAKE, Signer
from mycelium.peer import refusal
from mycelium.peer.cipher import IV_BYTES, Random, aead, derive, derive_session, local_suites
from mycelium.peer.network import Network
from mycelium.peer.session import Agreed, Session
from mycelium.protocol.messages import Hello, Identity, MessageType

Authorise = Callable[[bytes], "str | None"]
"""The role of an account, or None for a stranger."""

FRAME_BYTES_MIN: Final = config.DATA_BYTES_MAX + 64
"""A side that takes smaller frames would never receive the largest messages of the protocol."""
SOFTWARE_MAX: Final = 48

_START: Final = digest(b"mycelium/1/handshake")
_NONCE: Final = bytes(IV_BYTES)
"""Each key that seals an Identity seals nothing else."""
_CHOICE: Final = struct.Struct("<HBB32s32s32sHQQ")
_SIGNED: Final = struct.Struct("<1s32s32s32sQH32sQI")


@dataclass(frozen=True, slots=True)
class Party:
    """What a side says of itself. features: bits, for extensions. frame_max: bytes of the largest frame."""

    keypair: Signer
    network: Network
    generation: int
    features: int = 0
    frame_max: int = config.FRAME_BYTES_MAX
    software: str = f"mycelium/{__version__}"


class Side:
    """What both sides share: the transcript, and how an Identity is made, sealed, opened and checked."""

    def __init__(self, me: Party, random: Random, suites: Sequence[int] | None) -> None:
        self.session: Session | None = None
        self._me = me
        self._random = random
        self._suites = tuple(suites or local_suites())
        self._transcript = _START
        self._secret = b""
        self._version = config.PROTOCOL_VERSION
        self._suite = 0
        self._encoding = 0
        self._over = False

    def _mix(self, data: bytes) -> None:
        """The transcript so far is one digest; each part is fixed in length by mixing its own digest."""
        self._transcript = blake3(self._transcript + blake3(data).digest()).digest()

    def _mix_choice(
        self, ephemeral: bytes, random: bytes, expected: bytes, message: codec.Message | None
    ) -> None:
        """What m2 settles, apart from its seal: the seal's key depends on it."""
        version, timestamp, nonce = (
            (message.version, message.timestamp, message.nonce) if message else (self._version, 0, 0)
        )
        self._mix(
            _CHOICE.pack(
                self._version,
                self._suite,
                self._encoding,
                ephemeral,
                random,
                expected,
                version,
                timestamp,
                nonce,
            )
        )

    def _seal_identity(self, role: bytes, peer: bytes, label: bytes) -> bytes:
        me = self._me
        identity = Identity(
            account=me.keypair.account,
            generation=me.generation,
            netuid=me.network.netuid,
            genesis=me.network.genesis,
            features=me.features,
            frame_max=me.frame_max,
            software=me.software[:SOFTWARE_MAX],
            signature=bytes(64),
        )
        signature = me.keypair.sign(HANDSHAKE, self._signed(identity, role, peer))
        key = derive(self._secret, self._transcript, label, 32)
        return aead(self._suite, key).encrypt(_NONCE, identity._replace(signature=signature).encode(), None)

    def _open_identity(self, sealed: bytes, label: bytes) -> Identity:
        key = derive(self._secret, self._transcript, label, 32)
        try:
            identity = Identity.decode(aead(self._suite, key).decrypt(_NONCE, sealed, None))
        except InvalidTag:
            raise HandshakeFailed("the transcript does not verify") from None
        if len(identity.software) > SOFTWARE_MAX:
            raise MalformedMessage("the name of the software is too long")
        if identity.frame_max < FRAME_BYTES_MIN:
            raise MalformedMessage(f"frames of {identity.frame_max} bytes are too small for this protocol")
        return identity

    def _check_network(self, identity: Identity) -> None:
        ours = self._me.network
        if (identity.netuid, identity.genesis) != (ours.netuid, ours.genesis):
            raise WrongNetwork(
                f"one side is on netuid {ours.netuid} of chain {ours.genesis.hex()[:16]}, "
                f"the other on netuid {identity.netuid} of chain {identity.genesis.hex()[:16]}"
            )

    def _check_signature(self, identity: Identity, role: bytes, peer: bytes) -> None:
        if not verify(identity.account, HANDSHAKE, self._signed(identity, role, peer), identity.signature):
            raise BadSignature("the handshake is not signed by the account it names")

    def _signed(self, identity: Identity, role: bytes, peer: bytes) -> bytes:
        """A table cannot hold the signature of its own bytes, so its values are signed at fixed widths, with
        the transcript, the signer's side, and whom the signer takes the other side to be."""
        return (
            _SIGNED.pack(
                role,
                self._transcript,
                peer,
                identity.account,
                identity.generation,
                identity.netuid,
                identity.genesis,
                identity.features,
                identity.frame_max,
            )
            + identity.software.encode()
        )

    def _make_session(self, initiator: bool, peer: Identity, role: str) -> Session:
        agreed = Agreed(
            initiator=initiator,
            peer=peer.account,
            peer_generation=peer.generation,
            peer_software=refusal.printable(peer.software),
            role=role,
            version=self._version,
            encoding=self._encoding,
            suite=self._suite,
            features=self._me.features & peer.features,
            frame_max=min(self._me.frame_max, peer.frame_max),
            binding=self._transcript,
        )
        keys = derive_session(self._secret, self._transcript, b"session")
        self._secret = b""
        return Session(agreed, keys, self._random)


def role_of(authorise: Authorise, account: bytes) -> str:
    role = authorise(account)
    if role is None:
        raise Unauthorised(f"{ss58.format(account)} is not a member")
    return role


def receiver_of(expected: bytes, ephemeral: bytes, random: bytes) -> bytes:
    return NOBODY if expected == NOBODY else blake3(ephemeral + random, key=expected).digest()


def read(
    data: bytes, type: MessageType, versions: Sequence[int] | None = None
) -> tuple[codec.Message, Hello]:
    """A handshake message. versions: those that we speak; one of another version, and of another shape, is
    VersionRefused and not MalformedMessage, as whoever speaks it broke no rule of its own."""
    if len(data) > config.HANDSHAKE_BYTES_MAX:
        raise OversizedMessage(
            f"a handshake message of {len(data)} bytes; {config.HANDSHAKE_BYTES_MAX} are allowed"
        )
    message = codec.decode_message(data)
    if message.type != type:
        raise HandshakeFailed("a handshake message was expected, or another of them")
    if message.sender_id != NOBODY or message.signature:
        raise MalformedMessage("handshake messages carry no sender or signature in the open")
    try:
        return message, Hello.decode(message.payload)
    except MalformedMessage:
        if versions is None or message.version in versions:
            raise
    raise VersionRefused(
        f"no protocol version in common: this side speaks {listed(versions)}, the other {message.version}"
    )


def write(type: MessageType, version: int, hello: Hello, encoding: int) -> bytes:
    return codec.encode_message(version, type, NOBODY, 0, 0, hello.encode(), b"", encoding)


def empty_hello(*, cookie: bytes = b"", sealed: bytes = b"", refusal: str = "") -> Hello:
    return Hello(
        versions=(),
        suites=b"",
        encodings=b"",
        ephemeral=b"",
        random=b"",
        cookie=cookie,
        sealed=sealed,
        refusal=refusal,
    )


def listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))
