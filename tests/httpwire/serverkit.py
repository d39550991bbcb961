"""A server that answers with bytes, right or wrong, and requests to it over our transport."""

from __future__ import annotations

import asyncio
import contextlib

from mycelium.http import sending

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of its answers: bytes, or a coroutine function that is given the streams."""

    def __init__(self, *answers):
        self.answers, self.requests, self.connections = list(answers), [], 0
        self._streams = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for writer in self._streams:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._streams.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append((head, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(answer):
                    await answer(reader, writer)
                else:
                    writer.write(answer)
                    await writer.drain()


async def post(client, server, body=b"x", timeout_s=5.0, path="/ask?a=1"):
    return await sending.send(client, "POST", server.url + path, {"x-mine": "1"}, body, timeout_s)
