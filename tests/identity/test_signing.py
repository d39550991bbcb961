"""What the signature of a Message covers: every field but itself, and the session."""

from dataclasses import dataclass, replace

import pytest

from mycelium.identity import signing
from mycelium.identity.keys import Keypair, verify

PAIR = Keypair.development("//Alice")
BINDING = bytes(range(32))


@dataclass(frozen=True)
class Message:
    version: int
    type: int
    sender_id: bytes
    timestamp: int
    nonce: int
    payload: bytes
    signature: bytes


def signed(payload: bytes = b"payload") -> Message:
    signature = signing.sign_message(PAIR, BINDING, 1, 9, 2**63, 2**64 - 1, payload)
    return Message(1, 9, PAIR.account, 2**63, 2**64 - 1, payload, signature)


def test_a_signed_message_verifies():
    assert signing.verify_message(signed(), BINDING)
    assert signing.verify_message(signed(b""), BINDING)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"type": 10},
        {"sender_id": Keypair.development("//Bob").account},
        {"timestamp": 2**63 + 1},
        {"nonce": 0},
        {"payload": b"payloae"},
        {"payload": b""},
        {"signature": b""},
        {"signature": bytes(64)},
    ],
)
def test_every_field_is_covered(change):
    assert not signing.verify_message(replace(signed(), **change), BINDING)


def test_a_message_says_nothing_in_another_session():
    assert not signing.verify_message(signed(), bytes(32))


def test_a_message_signature_is_of_its_own_domain():
    message = signed()
    data = signing.message_bytes(BINDING, 1, 9, PAIR.account, 2**63, 2**64 - 1, b"payload")
    for domain in signing.DOMAINS:
        assert verify(PAIR.account, domain, data, message.signature) == (domain == signing.MESSAGE)


def test_fixed_widths_are_insisted_on():
    with pytest.raises(ValueError, match="32 bytes"):
        signing.message_bytes(b"short", 1, 9, PAIR.account, 0, 0, b"")
    with pytest.raises(ValueError, match="32 bytes"):
        signing.message_bytes(BINDING, 1, 9, b"", 0, 0, b"")
