"""What is signed, by domain. A signature made for one domain never verifies in another.

| domain | data | signer |
|---|---|---|
| BATCH | an encoded Batch | its `account` |
| MESSAGE | `message_bytes`: the header and payload of a Message, bound to its session | its `sender_id` |
| HANDSHAKE | the transcript up to the signer's Identity | the account in that Identity |
| ENDPOINT | an encoded EndpointRecord | its `account` |
| GRANT | a block of a grant, after the id of the blocks before it | its `issuer` |
| CLAIM | an encoded Claim | its `issuer` |
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from mycelium.identity.keys import verify

BATCH: Final = b"batch"
MESSAGE: Final = b"message"
HANDSHAKE: Final = b"handshake"
ENDPOINT: Final = b"endpoint"
GRANT: Final = b"grant"
CLAIM: Final = b"claim"
DOMAINS: Final = (BATCH, MESSAGE, HANDSHAKE, ENDPOINT, GRANT, CLAIM)

BINDING_BYTES: Final = 32
_HEADER: Final = struct.Struct("<32sHB32sQQ")


class Signer(Protocol):
    """Who signs for an account: `keys.Keypair`, or what stands for a keypair of another library."""

    @property
    def account(self) -> bytes: ...
    def sign(self, domain: bytes, data: bytes) -> bytes:
        """64 bytes over `keys.preimage(domain, data)`."""
        ...


class Signed(Protocol):
    """The fields of a Message that a signature covers."""

    @property
    def version(self) -> int: ...
    @property
    def type(self) -> int: ...
    @property
    def sender_id(self) -> bytes: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def nonce(self) -> int: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def signature(self) -> bytes: ...


def message_bytes(
    binding: bytes, version: int, type: int, sender_id: bytes, timestamp: int, nonce: int, payload: bytes
) -> bytes:
    """What a Message's signature covers: binding 32, version u16, type u8, sender 32, timestamp u64, nonce
    u64 (little-endian), payload. The same whether the message travels as JSON or as FlatBuffers.

    `binding` is `Session.binding`, 32 bytes that no other session shares, so that a signed message says
    nothing to a node it was not sent to.
    """
    if len(binding) != BINDING_BYTES or len(sender_id) != 32:
        raise ValueError("a binding and a sender have 32 bytes")
    return _HEADER.pack(binding, version, type, sender_id, timestamp, nonce) + payload


def sign_message(
    keypair: Signer, binding: bytes, version: int, type: int, timestamp: int, nonce: int, payload: bytes
) -> bytes:
    """The `signature` field of a Message sent by `keypair.account` in auth_mode `signed`."""
    return keypair.sign(
        MESSAGE, message_bytes(binding, version, type, keypair.account, timestamp, nonce, payload)
    )


def verify_message(message: Signed, binding: bytes) -> bool:
    """Whether `sender_id` signed the message in the session of `binding`. None is as bad as a wrong one."""
    if len(message.signature) != 64:
        return False
    data = message_bytes(
        binding,
        message.version,
        message.type,
        message.sender_id,
        message.timestamp,
        message.nonce,
        message.payload,
    )
    return verify(message.sender_id, MESSAGE, data, message.signature)
