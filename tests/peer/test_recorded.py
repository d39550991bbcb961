"""This version against recorded peers of each protocol version that it speaks, and against versions to come."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial

import flatbuffers
import pytest
from flatbuffers import number_types
from peer import dialogue
from peer.linkkit import Node, RawSession, local, run, until
from peer.recordkit import FILE, GOODBYE, KEYS, NETWORK, NOW_NS, SOFTWARE, Player, Signer, Stream, stream
from websockets.asyncio.client import connect

from mycelium import config
from mycelium._core import codec
from mycelium.config import SUBPROTOCOL
from mycelium.errors import HandshakeFailed, MalformedMessage, Unauthorised, VersionRefused
from mycelium.identity.signing import verify_message
from mycelium.peer import handshake
from mycelium.peer.greeting import Local
from mycelium.peer.scores import Addresses
from mycelium.protocol import frame, messages
from mycelium.protocol.messages import MessageType

RECORDING = json.loads(FILE.read_text())
SESSIONS = RECORDING["sessions"]
NAMES = [session["name"] for session in SESSIONS]
KINDS = {
    MessageType.PING: messages.Ping, MessageType.PONG: messages.Ping, MessageType.SYNC: messages.Sync,
    MessageType.DB_SYNC_REQ: messages.SyncRequest, MessageType.DB_SYNC_RESP: messages.SyncResponse,
    MessageType.BLACKLIST_SYNC: messages.BlacklistSync, MessageType.REQUEST: messages.Call,
    MessageType.RESPONSE: messages.Call, MessageType.STREAM: messages.Call, MessageType.TREE: messages.Tree,
}  # fmt: skip


def steps(session):
    for step in session["frames"]:
        body = None if step["body"] is None else bytes.fromhex(step["body"])
        yield step["from"], step["what"], bytes.fromhex(step["frame"]), body


# --- of this version ----------------------------------------------------------------------------------------


def test_every_version_that_is_spoken_has_a_recording():
    assert {FILE.name} == {f"protocol{version}.json" for version in config.PROTOCOL_VERSIONS}
    assert {path.name for path in FILE.parent.iterdir()} == {FILE.name}
    assert RECORDING["protocol"] == config.PROTOCOL_VERSION


@pytest.mark.parametrize("ours", ["I", "R"], ids=["we dial", "we are dialled"])
@pytest.mark.parametrize("session", SESSIONS, ids=NAMES)
def test_we_say_what_was_recorded_and_understand_the_other_side(session, ours):
    """To the byte: the handshake, its keys, the frames, a change of keys and the goodbye."""
    player = Player(session, ours, Signer(KEYS[ours].account, RECORDING["signatures"]))
    for number, (name, what, data, body) in enumerate(steps(session)):
        if name == ours:
            assert player.say(what, body) == data, f"frame {number}, {what}"
        elif what == "goodbye":
            with pytest.raises(Unauthorised, match=str(GOODBYE)):
                player.hear(what, data)
        else:
            assert player.hear(what, data) == body, f"frame {number}, {what}"
    assert player.session.epoch == 1
    assert player.session.features == 1
    assert player.session.peer_software == SOFTWARE


@pytest.mark.parametrize("session", SESSIONS, ids=NAMES)
def test_its_messages_mean_what_they_did(session):
    """Each is read, and written again to the same bytes; in mode `signed` its signature is its sender's."""
    player = Player(session, "R", Signer(KEYS["R"].account, RECORDING["signatures"]))
    seen = set()
    for name, what, data, body in steps(session):
        if name == "R":
            player.say(what, body)
        elif what != "goodbye":
            player.hear(what, data)
        for raw in frame.split(body) if body else ():
            message = codec.decode_message(raw)
            fields = (message.timestamp, message.nonce, message.payload, message.signature)
            head = message.version, message.type, message.sender_id
            assert codec.encode_message(*head, *fields, session["encoding"]) == raw
            assert (message.version, message.sender_id) == (RECORDING["protocol"], KEYS[name].account)
            assert verify_message(message, player.session.binding) is (session["mode"] == "signed")
            if message.type == MessageType.GOSSIP:
                assert (
                    codec.encode(codec.GOSSIP, codec.decode(codec.GOSSIP, message.payload)) == message.payload
                )
            else:
                kind = KINDS[MessageType(message.type)]
                assert kind.decode(message.payload).encode() == message.payload
            seen.add(message.type)
    assert seen == set(MessageType) - {MessageType.HANDSHAKE, MessageType.HANDSHAKE_RESPONSE}


class Switched:
    """Randomness that becomes another: what a node draws before the recorded peer comes is nobody's business."""

    def __init__(self) -> None:
        self.source = Stream("before")

    def __call__(self, size: int) -> bytes:
        return self.source(size)


@pytest.mark.parametrize("session", SESSIONS[:4], ids=NAMES[:4])
def test_a_recorded_peer_is_served_by_a_listening_node(session, monkeypatch):
    """Over a socket, by server, hub and link. The recorded bytes fit one ephemeral key of ours and no other."""
    monkeypatch.setattr(handshake, "Party", partial(handshake.Party, software=SOFTWARE))
    random = Switched()
    signer = Signer(KEYS["R"].account, RECORDING["signatures"])
    me = Local(signer, NETWORK, 22, lambda account: "validator", random=random, now_ns=lambda: NOW_NS)

    async def main():
        async with Node(me, auth_mode=session["mode"]) as node:
            monkeypatch.setattr(
                node.server.admission,
                "responder",
                lambda remote, make=node.server.admission.responder: offering(make(remote)),
            )
            async with connect(node.url, subprotocols=[SUBPROTOCOL], compression=None) as socket:
                random.source = stream(session, "R")
                wanted = []
                link = None
                for name, what, data, body in steps(session):
                    if name == "I":
                        await socket.send(data)
                        wanted += (
                            [codec.decode_message(raw).payload for raw in frame.split(body)] if body else []
                        )
                    elif what == "handshake":
                        assert await socket.recv() == data
                    elif body == b"":
                        assert await socket.recv() == data
                        link = await node.opened.get()
                    elif what == "rekey" and link.session.epoch == 0 and link.session._offer is None:
                        link.tick(2**62)
                got = [(await node.messages.get())[1].payload for _ in wanted]
                assert got == wanted
                await until(lambda: link.session.epoch == 1)
                assert link.account == KEYS["I"].account
                assert not node.counts.reasons

    def offering(responder):
        responder._me = replace(responder._me, features=3)
        return responder

    run(main())


# --- of versions to come ------------------------------------------------------------------------------------


def first_message(version: int, versions: tuple[int, ...], *, extra: bool = True, size: int = 400) -> bytes:
    """m1 of a version whose Hello has a ninth field, or none of ours that we could read."""
    hello = flatbuffers.Builder(1024)
    vectors = {at: hello.CreateByteVector(bytes([at]) * 32) for at in (3, 4)}
    vectors[6] = hello.CreateByteVector(bytes(size))
    hello.StartVector(2, len(versions), 2)
    for number in reversed(versions):
        hello.PrependUint16(number)
    vectors[0] = hello.EndVector()
    vectors[1], vectors[2] = hello.CreateByteVector(b"\1"), hello.CreateByteVector(b"\2")
    hello.StartObject(9)
    for at, offset in sorted(vectors.items()):
        hello.PrependUOffsetTRelativeSlot(at, offset, 0)
    if extra:
        hello.PrependUint64Slot(8, 77, 0)
    hello.Finish(hello.EndObject())
    payload = bytes(hello.Output())
    return codec.encode_message(version, MessageType.HANDSHAKE, bytes(32), 0, 0, payload, b"", 2)


@pytest.mark.parametrize(
    ("version", "versions"), [(2, (2,)), (2, (3, 2)), (0, (0,)), (7, (7,))], ids=["2", "3 and 2", "0", "7"]
)
@pytest.mark.parametrize("extra", [False, True], ids=["as ours", "with a field more"])
def test_a_first_message_of_another_version_is_refused_by_both_numbers(version, versions, extra):
    """Also where its shape is not ours any more: it is the version that is wrong, and not whoever speaks it."""
    right = dialogue.responder()
    with pytest.raises(VersionRefused) as caught:
        right.receive(first_message(version, versions, extra=extra), dialogue.NOW)
    assert "this side speaks 1" in str(caught.value)
    assert str(version) in str(caught.value).split("speaks 1")[1]
    # What the other side is told is the same, in the shape that every version reads.
    _, hello = handshake.read(right.refusal, MessageType.HANDSHAKE_RESPONSE)
    assert hello.refusal == f"{VersionRefused.reason}: {caught.value}"
    assert not Addresses(failures=1).failed("192.0.2.1", caught.value.reason, 0)


def test_a_field_more_in_a_message_of_our_version_is_malformed():
    """schemas/wire.fbs: a new field is a new protocol version."""
    right = dialogue.responder()
    with pytest.raises(MalformedMessage) as caught:
        right.receive(first_message(1, (2, 1)), dialogue.NOW)
    assert Addresses(failures=1).failed("192.0.2.1", caught.value.reason, 0)


def test_who_dials_a_node_without_a_common_version_is_told():
    left, right = dialogue.initiator(versions=(3, 2)), dialogue.responder()
    error = dialogue.attempt(left, right, lambda step, data: data)
    assert isinstance(error, VersionRefused)
    with pytest.raises(
        VersionRefused, match=r"refused by the other side: .*this side speaks 1, the other 3, 2"
    ):
        left.receive(right.refusal, dialogue.NOW)


def test_a_responder_that_chooses_what_was_not_offered_is_refused():
    class Newer(dialogue.Responder):
        def _choose(self, message, hello):
            super()._choose(message, hello)
            self._version = 2

    left = dialogue.initiator()
    error = dialogue.attempt(left, dialogue.responder(kind=Newer), lambda step, data: data)
    assert isinstance(error, VersionRefused)
    assert "we offered protocol version 1, the other side chose 2" in str(error)


def message_with(type: int, fields: int, sender: bytes) -> bytes:
    """A Message by the official library, of any type, with as many fields as a later schema may have."""
    builder = flatbuffers.Builder(256)
    account, payload = builder.CreateByteVector(sender), builder.CreateByteVector(b"x")
    builder.StartObject(fields)
    builder.PrependUint64Slot(3, NOW_NS, 0)
    builder.PrependUint64Slot(4, 5, 0)
    builder.PrependUOffsetTRelativeSlot(2, account, 0)
    builder.PrependUOffsetTRelativeSlot(5, payload, 0)
    builder.PrependUint16Slot(0, 1, 0)
    builder.PrependUint8Slot(1, type, 0)
    for slot in range(7, fields):
        builder.PrependSlot(number_types.Uint64Flags, slot, 9, 0)
    builder.Finish(builder.EndObject())
    return b"\x02" + bytes(builder.Output())


@pytest.mark.parametrize(
    ("type", "fields", "why"),
    [
        (13, 7, "unknown enum"),
        (255, 7, "unknown enum"),
        (MessageType.PING, 8, "vtable"),
        (MessageType.HANDSHAKE, 7, "handshake"),
    ],
    ids=["the next type", "the last type", "a field more", "a handshake in a session"],
)
def test_what_this_version_does_not_know_ends_the_session_with_a_reason(type, fields, why):
    async def main():
        me = local("//Bob")
        async with Node("//Alice") as alice, RawSession.open(alice, me) as raw:
            await alice.opened.get()
            await raw.send(frame.join([message_with(MessageType.PING, 7, me.account)]))
            assert (await alice.messages.get())[1].payload == b"x", "the official library's bytes are read"
            await raw.send(frame.join([message_with(type, fields, me.account)]))
            _, error = await asyncio.wait_for(alice.closed.get(), 10)
            assert isinstance(error, HandshakeFailed if type == MessageType.HANDSHAKE else MalformedMessage)
            assert why in str(error)
            assert alice.messages.empty()

    run(main())
