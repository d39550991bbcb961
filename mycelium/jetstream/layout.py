"""The names and the bodies of everything that lies in JetStream: one place, shared by who writes and who reads.

A space has one stream; an origin has one subject in it. A message is a batch exactly as it was signed, and its id is
the batch's, so that the server drops what is published twice. Connects to nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mycelium.errors import MalformedMessage

SIGNATURE_BYTES: Final = 64

MESSAGE_ID: Final = "Nats-Msg-Id"
"""The batch id in hex: the server's own header for dropping duplicates."""
CURSOR: Final = "Myc-Cursor"
"""The cursor, in the feed of the node that published it, of the batch."""
KIND: Final = "Myc-Kind"
"""What a message is that is no batch: SEAL or OPEN, of fleets. Batches have no such header."""
SEAL: Final = "seal"
OPEN: Final = "open"
EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
"""The server refuses a message whose subject has another last sequence by now."""


class Network(NamedTuple):
    """Which network's names they are. genesis: 32 bytes, of which names carry 4."""

    netuid: int
    genesis: bytes

    @property
    def _label(self) -> str:
        return f"{self.netuid}-{self.genesis[:4].hex()}"

    def stream(self, space: str) -> str:
        """The stream of a space."""
        return f"MYC-{self._label}-{_token(space)}"

    def snapshots(self, space: str) -> str:
        """The object store bucket of a space's snapshots."""
        # NATS tools take no tilde in a bucket's name; no name of a space has capitals.
        return f"MYC-{self._label}-{space.replace('.', 'DOT')}-snap"

    def cursors(self) -> str:
        """The key-value bucket in which bridges keep their cursors."""
        return f"MYC-{self._label}-cursors"

    def fleet(self, account: bytes) -> str:
        """The key-value bucket of an account's fleet."""
        return f"MYC-fleet-{self._label}-{account.hex()[:16]}"

    def subjects(self, space: str) -> str:
        """All subjects of a space's stream."""
        return f"myc.{self.netuid}.{self.genesis[:4].hex()}.{_token(space)}.>"

    def every_subject(self) -> str:
        """All subjects of all spaces."""
        return f"myc.{self.netuid}.{self.genesis[:4].hex()}.>"

    def space_of(self, stream: str) -> str | None:
        """The space whose stream this is; None for another network's, or none."""
        prefix = self.stream("")
        return stream.removeprefix(prefix).replace("~", ".") if stream.startswith(prefix) else None

    def subject(self, space: str, account: bytes, generation: int) -> str:
        """The subject of one origin's batches in a space."""
        return f"{self.subjects(space)[:-1]}{account.hex()[:16]}.{generation:016x}"


def _token(space: str) -> str:
    # A dot parts subjects, and no name of a space has a tilde.
    return space.replace(".", "~")


def body(raw: bytes, signature: bytes) -> bytes:
    """A batch's message."""
    return signature + raw


def parse(message: bytes) -> tuple[bytes, bytes]:
    """A batch's bytes and its signature. MalformedMessage."""
    if len(message) <= SIGNATURE_BYTES:
        raise MalformedMessage(f"a message of {len(message)} bytes is no batch")
    return message[SIGNATURE_BYTES:], message[:SIGNATURE_BYTES]
