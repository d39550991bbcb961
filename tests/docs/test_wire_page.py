"""docs/wire.md names what there is, and its formulas, written here once more from the page, give what a node makes.

The handshake and the frames are held by the example client (`test_client`); here is what that one leaves out.
"""

import re
from itertools import count

import docskit
import kit
import nodekit
import sr25519
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mycelium.database.vector import Origin, OriginLog, Span, vector_digest
from mycelium.identity import signing
from mycelium.identity.signing import DOMAINS
from mycelium.node import calls
from mycelium.peer import handshake, proof
from mycelium.peer.cipher import derive_session
from mycelium.peer.session import Agreed, Session
from mycelium.protocol.messages import MessageType

H4 = bytes(range(32))


def test_the_wire_page_names_everything_there_is(tmp_path):
    text = (docskit.DOCS / "wire.md").read_text()

    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            api = {*node.service.handlers, *node.service.streams}
            return api, {*node.peercalls._handlers, *node.peercalls._streams}

    api, between = nodekit.run(main())
    assert {calls.GET, calls.WRITE, calls.WATCH} <= api
    assert [method for method in api if f"`{method}`" not in text] == []
    assert [
        method for method in between if f"`{method}`" not in text and f"`.{method.split('.')[1]}`" not in text
    ] == []
    assert [domain for domain in DOMAINS if f"| `{domain.decode()}` |" not in text] == []
    numbers = re.findall(r"^\| ([\d, ]+) \| [A-Z]", text, re.MULTILINE)
    assert sorted(int(number) for found in numbers for number in found.split(",")) == sorted(MessageType)
    text = " ".join(text.split())
    assert f"zeros up to {handshake.RECEIVER_BYTES} bytes" in text
    assert f"at least {proof.FRAME_BYTES_MIN:,}" in text
    assert f"at most {proof.SOFTWARE_MAX} letters" in text


def hkdf(secret, salt, info, size):
    return HKDF(SHA256(), size, salt, info).derive(secret)


def sessions(draw):
    """Both sides of a session that begins with given secrets; draw(number) is the randomness of each side."""
    keys = derive_session(b"s" * 32, H4, b"session")
    made = []
    for number in (0, 1):
        agreed = Agreed(
            initiator=number == 0,
            peer=bytes(32),
            peer_generation=0,
            peer_software="",
            role="",
            version=1,
            encoding=2,
            suite=1,
            features=0,
            frame_max=2**21,
            binding=H4,
        )
        made.append(Session(agreed, keys, draw(number)))
    return made


def test_keys_are_changed_as_the_page_says():
    privates = {0: bytes([7]) * 32, 1: bytes([9]) * 32}
    dialler, other = sessions(lambda number: lambda size: privates[number][:size])
    first = hkdf(b"s" * 32, H4, b"mycelium/1/session", 120)
    counts = {0: count(), 1: count()}

    def opened(frame, number):
        iv = int.from_bytes(first[96 + 12 * number :][:12], "big")
        nonce = (iv ^ next(counts[number])).to_bytes(12, "big")
        return AESGCM(first[32 * number :][:32]).decrypt(nonce, frame, None)

    dialler.tick(0)
    dialler.tick(16 * 60 * 10**9)
    said = {0: [], 1: []}
    for _ in range(3):
        for number, mine, theirs in ((0, dialler, other), (1, other, dialler)):
            for frame in mine.take_control():
                said[number].append(opened(frame, number))
                assert theirs.open(frame) is None
    keys = {number: X25519PrivateKey.from_private_bytes(privates[number]) for number in (0, 1)}
    offers = [keys[number].public_key().public_bytes_raw() for number in (0, 1)]
    for number in (0, 1):
        assert said[number] == [b"\xff\xff\xff\xff\x01" + offers[number], b"\xff\xff\xff\xff\x02"]
    info = b"mycelium/1/rekey/" + (1).to_bytes(8, "big") + offers[0] + offers[1]
    second = hkdf(keys[0].exchange(keys[1].public_key()), first[64:96], info, 120)
    assert dialler.epoch == other.epoch == 1
    for number, mine in ((0, dialler), (1, other)):
        nonce = second[96 + 12 * number :][:12]  # counted from 0
        assert AESGCM(second[32 * number :][:32]).decrypt(nonce, mine.seal(b"after"), None) == b"after"


def test_a_vector_has_the_digest_that_the_page_says():
    spans = [Span(1, 7, bytes(32), b"a" * 32), Span(9, 9, b"b" * 32, b"c" * 32)]
    low, high, nothing = Origin(bytes(32), 2**60), Origin(b"\1" * 32, 3), Origin(b"\2" * 32, 1)
    logs = {high: OriginLog(spans[:1]), nothing: OriginLog(), low: OriginLog(spans)}

    def runs(origin, held):
        head = origin.account + origin.generation.to_bytes(8, "big") + len(held).to_bytes(4, "big")
        return head + b"".join(
            span.first.to_bytes(8, "big") + span.last.to_bytes(8, "big") + span.digest for span in held
        )

    assert vector_digest(logs) == blake3(runs(low, spans) + runs(high, spans[:1])).digest()[:16]


def test_what_is_signed_is_as_the_page_says():
    pair = kit.keypair("who signs")

    def said(domain, data):
        return b"\0mycelium/1/" + domain + len(data).to_bytes(8, "little") + blake3(data).digest()

    assert sr25519.verify(pair.sign(signing.BATCH, b"some data"), said(b"batch", b"some data"), pair.account)
    message = H4 + (1).to_bytes(2, "little") + b"\x09" + pair.account
    message += (5).to_bytes(8, "little") + (6).to_bytes(8, "little") + b"payload"
    signature = signing.sign_message(pair, H4, 1, 9, 5, 6, b"payload")
    assert sr25519.verify(signature, said(b"message", message), pair.account)
