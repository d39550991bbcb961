"""Messages of a stream that no client could have made by its library: their headers and subjects are rubbish."""

from __future__ import annotations

import asyncio

import kit
from jetstream.followkit import NETWORK, connected, following, publish, same, stream, written
from natskit import Servers
from nodekit import run, until

from mycelium.database.memory import MemoryStore

HEADERS = (
    b"NATS/1.0\r\nfoo\r\n\r\n",
    b"junk\r\n\r\n",
    b"NATS",
    b"\r\n\r\n",
    b"NATS/1.0\r\n: x\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
)
SUBJECTS = (b"\xff\xfe.01", b"\x1b[31m.01", b"a" * 3_000 + b".01")


def test_headers_and_subjects_that_are_none_stop_nothing(tmp_path):
    """The server takes and keeps them, and gives them again with every connection."""

    async def raw(client, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.connected_url.port)
        await reader.readline()
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + data + b"PING\r\n")
        assert await reader.readline() == b"PONG\r\n"
        writer.close()

    async def main(url):
        author, store = kit.engine("a"), MemoryStore()
        base = NETWORK.subjects("main")[:-1].encode()
        async with connected(url) as client:
            await stream(client)
            await publish(client, written(author, 2))
            for subject in SUBJECTS:
                await raw(client, b"PUB %b%b 5\r\nhello\r\n" % (base, subject))
            for head in HEADERS:
                sizes = len(head), len(head) + 5
                await raw(client, b"HPUB %baa.01 %d %d\r\n%bhello\r\n" % (base, *sizes, head))
            reader = kit.engine("reader", store)
            bad = len(SUBJECTS) + len(HEADERS)
            async with following(client, reader) as follower:
                await until(lambda: follower.intake.position == 2 + bad)
                assert sum(follower.intake.refused.values()) == bad
                assert all(one.subject.isprintable() for one in follower.intake.refusals)
            # The last one that was read is looked at again at the next start.
            await publish(client, written(author, 2, "later"))
            reader = kit.engine("reader", store)
            async with following(client, reader) as follower:
                await same(reader, author)
                assert not follower.intake.refused

    with Servers.of(tmp_path) as servers:
        run(main(servers.url))
