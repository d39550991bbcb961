"""The handshake: two accounts prove themselves to each other and agree on a session. Sans-IO, both sides.

SIGMA-I (Krawczyk, CRYPTO 2003) with X25519 and sr25519, in three messages. Each is a tagged codec Message
whose payload is a Hello; the sender_id is zero, because identities travel sealed.

    m1  I -> R  versions, suites, encodings, ephemeral, random, receiver [, cookie]
    m2  R -> I  the chosen ones, ephemeral, random, sealed { Identity of R, signed }
    m3  I -> R  sealed { Identity of I, signed }

I reveals who it is only after R has proved to be the account that I expects. A transcript hash runs over the
exact bytes of all three; the keys that seal m2, m3 and the session are derived with it, and both signatures
cover it, so that nothing that was negotiated can be changed on the way, and no session survives a change.

R checks in this order: size, shape and version, receiver, freshness (the cookie, under load), and only then
public keys; in m3 the seal, network, signature, authorisation. There is no replay to remember: a repeated m1
meets a new ephemeral, and whoever repeats it cannot make the m3 that belongs to it. No clock plays a part.

The receiver field of m1 names the expected account only to who knows it: BLAKE3 keyed with that account, over
the ephemeral and random; zeros when I expects nobody in particular. It is padded with zeros, so that m1 is
longer than m2 and any refusal: an unauthenticated answer never outweighs its request.

Key schedule. The transcript h starts as BLAKE3("mycelium/1/handshake"); mix(x) makes it BLAKE3(h | BLAKE3(x)).
After mix(m1) and mix(choice: what m2 settles, and the expected account) R signs; after mix(m2) I signs; after
mix(m3) it is the session's binding. At each of the three, HKDF-SHA256 with salt h makes from the X25519 secret
the key of m2's seal ("mycelium/1/handshake/2"), of m3's ("mycelium/1/handshake/3"), and the session's
("mycelium/1/session": two keys, the chain secret, two IVs).

A refusal (Hello.refusal) is unauthenticated and only informs. After m3, when R knows whom it refuses, its
refusal travels sealed, as the session's last frame.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mycelium import config
from mycelium._core import codec
from mycelium.errors import (
    HandshakeFailed,
    MalformedMessage,
    OversizedMessage,
    ProtocolError,
    VersionRefused,
    WrongPeer,
)
from mycelium.identity import account as ss58
from mycelium.identity.account import NOBODY
from mycelium.identity.signing import Signer
from mycelium.peer import refusal
from mycelium.peer.cipher import Ephemeral, Random, choose_suite
from mycelium.peer.cookie import CookieJar
from mycelium.peer.network import ANY_NETWORK, Network
from mycelium.peer.proof import (
    Authorise,
    Party,
    Side,
    empty_hello,
    listed,
    read,
    receiver_of,
    role_of,
    write,
)
from mycelium.protocol.messages import Hello, Identity, MessageType

ENCODINGS: Final = (2, 1)
"""FlatBuffers, JSON: the tags of `_core.codec`, best first."""
RECEIVER_BYTES: Final = 384
"""The receiver field with its padding: above the longest sealed Identity, 288 bytes."""
COOKIES_MAX: Final = 2
"""Cookies an initiator takes in one handshake; a third demand is no honest one."""
OFFERS_MAX: Final = 16
"""Versions, suites or encodings in one m1."""

_RANDOM_BYTES: Final = 32
_RECEIVER: Final = slice(0, 32)


class Initiator(Side):
    """The side that dials. `hello`, then `receive` for each answer until `session` is set.

    expected: the account dialled, or None for whoever answers. authorise: asked about the account that
    answered, before ours is revealed; without it the session's role is "".
    """

    def __init__(
        self,
        keypair: Signer,
        network: Network,
        expected: bytes | None,
        generation: int,
        random: Random,
        encodings: Sequence[int] = ENCODINGS,
        *,
        authorise: Authorise | None = None,
        features: int = 0,
        frame_max: int = config.FRAME_BYTES_MAX,
        versions: Sequence[int] = config.PROTOCOL_VERSIONS,
        suites: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Party(keypair, network, generation, features, frame_max), random, suites)
        self._expected = NOBODY if expected is None else expected
        self._authorise = authorise
        self._versions = tuple(versions)
        self._encodings = tuple(encodings)
        self._ephemeral = Ephemeral(random)
        self._hello_random = random(_RANDOM_BYTES)
        self._cookies = 0
        self._m1 = b""

    def hello(self) -> bytes:
        """m1."""
        return self._hello(b"")

    def receive(self, data: bytes, now_ns: int) -> bytes | None:
        """What to send in answer: m3 (and `session` is set), or m1 again with the cookie that was asked for.

        Raises a ProtocolError, and the handshake is over. If its text begins "refused by the other side",
        class and text are that side's unauthenticated word.
        """
        if self._over or not self._m1:
            raise HandshakeFailed("a handshake message out of turn")
        try:
            return self._answer(data, now_ns)
        except ProtocolError:
            self._over = True
            raise

    def _hello(self, cookie: bytes) -> bytes:
        ephemeral, random = self._ephemeral.public, self._hello_random
        hello = Hello(
            versions=self._versions,
            suites=bytes(self._suites),
            encodings=bytes(self._encodings),
            ephemeral=ephemeral,
            random=random,
            cookie=cookie,
            sealed=receiver_of(self._expected, ephemeral, random).ljust(RECEIVER_BYTES, b"\x00"),
            refusal="",
        )
        self._m1 = write(MessageType.HANDSHAKE, self._versions[-1], hello, self._encodings[0])
        return self._m1

    def _answer(self, data: bytes, now_ns: int) -> bytes:
        message, hello = read(data, MessageType.HANDSHAKE_RESPONSE)
        if hello.refusal:
            raise refusal.read(hello.refusal)
        if hello.cookie:
            self._cookies += 1
            if self._cookies > COOKIES_MAX or len(hello.cookie) > 64:
                raise HandshakeFailed("cookies without end")
            return self._hello(hello.cookie)
        self._choose(message, hello)
        self._mix(self._m1)
        self._mix_choice(hello.ephemeral, hello.random, self._expected, message)
        self._secret = self._ephemeral.agree(hello.ephemeral)
        peer = self._open_identity(hello.sealed, b"handshake/2")
        if self._expected not in (NOBODY, peer.account):
            raise WrongPeer(f"dialled {ss58.format(self._expected)}, answered by {ss58.format(peer.account)}")
        self._check_network(peer)
        self._check_signature(peer, b"R", self._expected)
        role = "" if self._authorise is None else role_of(self._authorise, peer.account)
        self._mix(data)
        sealed = self._seal_identity(b"I", peer.account, b"handshake/3")
        m3 = write(MessageType.HANDSHAKE, self._version, empty_hello(sealed=sealed), data[0])
        self._mix(m3)
        self.session = self._make_session(True, peer, role)
        self._over = True
        return m3

    def _check_network(self, identity: Identity) -> None:
        if self._me.network is ANY_NETWORK:
            self._me = replace(self._me, network=Network(identity.netuid, identity.genesis))
        super()._check_network(identity)

    def _choose(self, message: codec.Message, hello: Hello) -> None:
        """Take over what the responder chose, if it is of what we offered."""
        chosen = (hello.versions, hello.suites, hello.encodings)
        if (
            any(len(values) != 1 for values in chosen)
            or len(hello.ephemeral) != 32
            or len(hello.random) != 32
        ):
            raise MalformedMessage("a handshake response lacks what it should have settled")
        (self._version,), (self._suite,), (self._encoding,) = chosen
        if self._version not in self._versions or message.version != self._version:
            raise VersionRefused(
                f"we offered protocol version {listed(self._versions)}, the other side chose {self._version}"
            )
        if self._suite not in self._suites or self._encoding not in self._encodings:
            raise HandshakeFailed("the other side chose what was not offered")
        if hello.ephemeral == self._ephemeral.public:
            raise HandshakeFailed("our own handshake came back")


class Responder(Side):
    """The side that was dialled. `receive` for each message until `session` is set.

    authorise: the role of an account, or None for a stranger. remote: the address as the transport sees it,
    for cookies. After an error, `refusal` holds what to send before closing (empty: nothing).
    """

    def __init__(
        self,
        keypair: Signer,
        network: Network,
        generation: int,
        authorise: Authorise,
        cookies: CookieJar,
        under_load: Callable[[], bool],
        random: Random,
        remote: bytes,
        *,
        features: int = 0,
        frame_max: int = config.FRAME_BYTES_MAX,
        versions: Sequence[int] = config.PROTOCOL_VERSIONS,
        encodings: Sequence[int] = ENCODINGS,
        suites: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Party(keypair, network, generation, features, frame_max), random, suites)
        self.refusal = b""
        self._authorise = authorise
        self._cookies = cookies
        self._under_load = under_load
        self._remote = remote
        self._versions = tuple(versions)
        self._encodings = tuple(encodings)
        self._expected = NOBODY
        self._asked = 0
        self._greeted = False

    def receive(self, data: bytes, now_ns: int) -> bytes | None:
        """What to send in answer: m2, or a demand for a cookie; None after m3, and `session` is set.

        Raises a ProtocolError, and the handshake is over.
        """
        if self._over:
            raise HandshakeFailed("a handshake message out of turn")
        try:
            if self._greeted:
                self._finish(data, now_ns)
                return None
            answer = self._greet(data, now_ns)
            if len(answer) > len(data):
                raise MalformedMessage("too short for a first message")
            return answer
        except ProtocolError as error:
            self._over = True
            if not self._greeted and not isinstance(error, OversizedMessage):
                self._refuse(error, data)
            raise

    def _greet(self, data: bytes, now_ns: int) -> bytes:
        message, hello = read(data, MessageType.HANDSHAKE, self._versions)
        self._choose(message, hello)
        if len(hello.ephemeral) != 32 or len(hello.random) != 32 or len(hello.sealed) < RECEIVER_BYTES:
            raise MalformedMessage("a first message without ephemeral, random or receiver")
        receiver = hello.sealed[_RECEIVER]
        self._expected = NOBODY if receiver == NOBODY else self._me.keypair.account
        if not hmac.compare_digest(receiver, receiver_of(self._expected, hello.ephemeral, hello.random)):
            raise WrongPeer("this is not the account that was dialled")
        demand = self._demand_cookie(hello, data[0], now_ns)
        if demand is not None:
            return demand
        return self._introduce(hello, data)

    def _introduce(self, hello: Hello, m1: bytes) -> bytes:
        """m2: the first public-key work."""
        ephemeral = Ephemeral(self._random)
        random = self._random(_RANDOM_BYTES)
        self._secret = ephemeral.agree(hello.ephemeral)
        self._mix(m1)
        self._mix_choice(ephemeral.public, random, self._expected, None)
        answer = Hello(
            versions=(self._version,),
            suites=bytes((self._suite,)),
            encodings=bytes((self._encoding,)),
            ephemeral=ephemeral.public,
            random=random,
            cookie=b"",
            sealed=self._seal_identity(b"R", self._expected, b"handshake/2"),
            refusal="",
        )
        m2 = write(MessageType.HANDSHAKE_RESPONSE, self._version, answer, m1[0])
        self._mix(m2)
        self._greeted = True
        return m2

    def _choose(self, message: codec.Message, hello: Hello) -> None:
        offered = (hello.versions, hello.suites, hello.encodings)
        if any(not 1 <= len(values) <= OFFERS_MAX for values in offered):
            raise MalformedMessage("a first message that offers nothing, or too much")
        common = [version for version in self._versions if version in hello.versions]
        if not common:
            raise VersionRefused(
                f"no protocol version in common: this side speaks {listed(self._versions)}, "
                f"the other {listed(hello.versions)}"
            )
        if message.version not in hello.versions:
            raise MalformedMessage("a first message in a version that it does not offer")
        self._version = common[0]
        suite = choose_suite(self._suites, list(hello.suites))
        encoding = next((tag for tag in hello.encodings if tag in self._encodings), None)
        if suite is None or encoding is None:
            raise HandshakeFailed("no cipher suite or no encoding in common")
        self._suite, self._encoding = suite, encoding

    def _demand_cookie(self, hello: Hello, tag: int, now_ns: int) -> bytes | None:
        """None if this first message may be answered: there is no load, or it brings our cookie."""
        if not self._under_load():
            return None
        fields = hello.ephemeral + hello.random
        if self._cookies.accepts(hello.cookie, self._remote, fields, now_ns):
            return None
        self._asked += 1
        if self._asked > COOKIES_MAX:
            raise HandshakeFailed("a first message without the cookie that was asked for")
        demand = empty_hello(cookie=self._cookies.issue(self._remote, fields, now_ns))
        return write(MessageType.HANDSHAKE_RESPONSE, self._version, demand, tag)

    def _finish(self, data: bytes, now_ns: int) -> None:
        message, hello = read(data, MessageType.HANDSHAKE)
        if message.version != self._version:
            raise HandshakeFailed("the protocol version changed under way")
        peer = self._open_identity(hello.sealed, b"handshake/3")
        self._check_network(peer)
        self._check_signature(peer, b"I", self._me.keypair.account)
        self._mix(data)
        session = self._make_session(False, peer, "")
        try:
            session.role = role_of(self._authorise, peer.account)
        except ProtocolError as error:
            self.refusal = session.farewell(error)
            raise
        self.session = session
        self._over = True

    def _refuse(self, error: ProtocolError, data: bytes) -> None:
        """Say why, in the encoding of the request, unless that would be longer than the request."""
        tag = data[0] if data and data[0] in ENCODINGS else ENCODINGS[0]
        answer = write(
            MessageType.HANDSHAKE_RESPONSE, self._version, empty_hello(refusal=refusal.write(error)), tag
        )
        if len(answer) <= len(data):
            self.refusal = answer
