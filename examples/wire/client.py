"""A client of a Mycelium node, written after docs/wire.md. Of Mycelium it needs schemas/wire.fbs, and no code.

    python client.py ws://127.0.0.1:9090 SEED put scores miner-7 '{"score": 0.93}'
    python client.py ws://127.0.0.1:9090 SEED get scores miner-7

SEED: 64 hex digits, of the node's own hotkey or of one that it lists in [auth] clients. It talks to whoever answers,
and says who that is. Beside the imports it needs the program flatc.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from struct import pack

import flatbuffers
import msgspec
import sr25519
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from websockets.sync.client import connect

SCHEMA = Path(__file__).parents[2] / "schemas/wire.fbs"
with tempfile.TemporaryDirectory() as made:
    subprocess.run(["flatc", "--python", "--gen-object-api", "--gen-onefile", "-o", made, SCHEMA], check=True)
    sys.path.insert(0, made)
    import wire_generated


def encode(table, **fields):
    builder, filled = flatbuffers.Builder(), getattr(wire_generated, f"{table}T")()
    vars(filled).update(fields)
    builder.Finish(filled.Pack(builder))
    return bytes(builder.Output())


def decode(table, data):
    found = getattr(wire_generated, f"{table}T").InitFromPackedBuf(data)
    vars(found).update({k: v.tobytes() for k, v in vars(found).items() if hasattr(v, "tobytes")})
    return found


def message(kind, payload, sender=bytes(32), stamp=0):
    fields = {"version": 1, "type": kind, "senderId": sender, "timestamp": stamp, "nonce": stamp}
    return b"\x02" + encode("Message", **fields, payload=payload)


def mix(transcript, part):
    return blake3(transcript + blake3(part).digest()).digest()


def derive(secret, transcript, label, size=32):
    return HKDF(SHA256(), size, transcript, b"mycelium/1/" + label).derive(secret)


def signed(side, transcript, other, who):
    data = pack("<1s32s32s32sQH", side, transcript, other, who.account, who.generation, who.netuid)
    data += pack("<32sQI", who.genesis, who.features, who.frameMax) + who.software
    return b"\0mycelium/1/handshake" + pack("<Q", len(data)) + blake3(data).digest()


def handshake(socket, pair):
    """Messages 1 to 3. Returns the node's account and the session's keys: what we seal with, and what the node does."""
    ours, offer = X25519PrivateKey.generate(), {"versions": [1], "suites": [1], "encodings": [2]}
    offer |= {
        "random": os.urandom(32),
        "sealed": bytes(384),
        "ephemeral": ours.public_key().public_bytes_raw(),
    }
    m1 = message(0, encode("Hello", **offer))
    socket.send(m1)
    m2 = socket.recv()
    hello = decode("Hello", decode("Message", m2[1:]).payload)
    assert hello.sealed, hello.refusal or "the node is busy and wants a cookie; try again"
    choice = pack("<HBB32s32s32sHQQ", 1, 1, 2, hello.ephemeral, hello.random, bytes(32), 1, 0, 0)
    transcript = mix(mix(blake3(b"mycelium/1/handshake").digest(), m1), choice)
    secret = ours.exchange(X25519PublicKey.from_public_bytes(hello.ephemeral))
    key = AESGCM(derive(secret, transcript, b"handshake/2"))
    node = decode("Identity", key.decrypt(bytes(12), hello.sealed, None))
    assert sr25519.verify(node.signature, signed(b"R", transcript, bytes(32), node), node.account), (
        "not its key"
    )
    transcript, account = mix(transcript, m2), node.account
    node.account, node.generation, node.features, node.software = pair[0], 0, 0, b"example"  # it is us now
    node.signature = sr25519.sign(pair, signed(b"I", transcript, account, node))
    key = AESGCM(derive(secret, transcript, b"handshake/3"))
    m3 = message(0, encode("Hello", sealed=key.encrypt(bytes(12), encode("Identity", **vars(node)), None)))
    socket.send(m3)
    keys = derive(secret, mix(transcript, m3), b"session", 120)
    return account, (AESGCM(keys[:32]), keys[96:108]), (AESGCM(keys[32:64]), keys[108:])


def nonce(iv, count):
    return (int.from_bytes(iv, "big") ^ count).to_bytes(12, "big")


url, seed, operation, table, key, *value = sys.argv[1:]
pair = sr25519.pair_from_seed(bytes.fromhex(seed))
changes = [["put", table, key.encode(), *map(json.loads, value)]]
method, body = {"get": ("get", [table, key.encode()]), "put": ("write", [changes, "durable"])}[operation]
body = msgspec.msgpack.encode(body)
with connect(url, subprotocols=["mycelium.v1"], compression=None) as socket:
    account, (ours, our_iv), (theirs, their_iv) = handshake(socket, pair)
    assert theirs.decrypt(nonce(their_iv, 0), socket.recv(), None) == b"", "it does not accept us"
    call = message(9, encode("Call", id=1, method=method, body=body), pair[0], time.time_ns())
    socket.send(ours.encrypt(nonce(our_iv, 0), pack("<I", len(call)) + call, None))
    frame = theirs.decrypt(nonce(their_iv, 1), socket.recv(), None)
    answer = decode("Call", decode("Message", frame[5:]).payload)
    print(account.hex(), answer.body if answer.status else msgspec.msgpack.decode(answer.body or b"\xc0"))
