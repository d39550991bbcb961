"""Shared by tests of whole nodes: their files, nodes in this process, a member that misbehaves, and waiting.

A node in this process is the real one: `Node.open` on its own data directory, over sockets of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import clikit
import kit
import uvloop
from websockets.asyncio.client import connect as ws_connect

from mycelium._core import codec
from mycelium.config import DIALS_MAX, SUBPROTOCOL
from mycelium.database.clock import hlc_of
from mycelium.database.database import wall_ms
from mycelium.database.store import Column
from mycelium.database.vector import ZERO_DIGEST, Origin
from mycelium.devnet.layout import free_ports
from mycelium.identity import account as accounts
from mycelium.identity import signing, wallet
from mycelium.identity.keys import Keypair, digest
from mycelium.node.node import Node
from mycelium.node.settings import Settings
from mycelium.peer.handshake import Initiator
from mycelium.peer.network import Network
from mycelium.protocol import frame
from mycelium.protocol.messages import MergeType, MessageType, Op

NETWORK = Network(7, bytes(range(32)))
TABLES = {"scores": "lww", "hits": "counter", "tags": "set", "events": "append", "profile": "own"}
AGREE_S = 30
BLOCK_MS = 12_000


def run(main: Awaitable, seconds: float = 60):
    async def limited():
        async with asyncio.timeout(seconds):
            return await main

    return uvloop.run(limited())


async def until(condition: Callable[[], bool], what: str = "", seconds: float = AGREE_S) -> None:
    """Poll for what has no event to await."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what or condition}") from None


# --- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """One node's files. `keypair` is also who may use its API."""

    name: str
    directory: Path
    keypair: Keypair
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.directory / "node.toml"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def account(self) -> bytes:
        return self.keypair.account

    @property
    def address(self) -> str:
        return accounts.format(self.keypair.account)


def places(
    directory: Path,
    count: int,
    *,
    dials: Mapping[int, Iterable[int]] | None = None,
    extra: Sequence[Keypair] = (),
    auth_mode: str = "session",
) -> list[Place]:
    """Write the files of `count` nodes. dials: which nodes each one dials; without it, everyone everyone.

    extra: accounts that are members and have no node.
    """
    ports = free_ports(count)
    made = []
    for number, port in enumerate(ports):
        folder = directory / f"n{number}"
        folder.mkdir(parents=True)
        place = Place(folder.name, folder, kit.keypair(f"node {number}"), port)
        wallet.write_file(folder / "hotkey.json", place.keypair)
        made.append(place)
    genesis_ms = (wall_ms() - 1_000_000_000) // BLOCK_MS * BLOCK_MS
    strangers = [
        f'[[member]]\naccount = "{accounts.format(pair.account)}"\nrole = "validator"\n' for pair in extra
    ]
    for number, place in enumerate(made):
        dialled = set(range(count)) if dials is None else set(dials.get(number, ()))
        members = [_member(other, other.url if at in dialled else None) for at, other in enumerate(made)]
        head = f"[chain]\ngenesis_time_ms = {genesis_ms}\n\n"
        (place.directory / "members.toml").write_text(head + "\n".join(members + strangers))
        # In a mesh with holes nobody may learn the addresses that would fill them.
        advertise = None if dials is None else []
        place.config.write_text(settings(place, auth_mode=auth_mode, advertise=advertise))
    return made


def _member(place: Place, url: str | None) -> str:
    urls = f'urls = ["{url}"]\n' if url else ""
    return f'[[member]]\naccount = "{place.address}"\nrole = "validator"\n{urls}'


def settings(
    place: Place,
    *,
    auth_mode: str = "session",
    listen: str | None = None,
    advertise: Sequence[str] | None = None,
    node: str = "",
) -> str:
    """node.toml. node: more lines of its [node] section."""
    if advertise is not None:
        node += f"advertise = {json.dumps(advertise)}\n"
    tables = "".join(f'[tables.{name}]\nmerge = "{merge}"\n' for name, merge in TABLES.items())
    return (
        f'[node]\ndata_dir = "data"\nlisten = "{listen or f"127.0.0.1:{place.port}"}"\n{node}'
        f'[identity]\nkey_file = "hotkey.json"\n'
        f'[network]\nnetuid = {NETWORK.netuid}\ngenesis = "0x{NETWORK.genesis.hex()}"\n'
        f'[membership]\nfile = "members.toml"\n[admin]\nenabled = false\n'
        f'[auth]\nmode = "{auth_mode}"\n{tables}'
    )


# --- nodes in this process --------------------------------------------------------------------------------


class Mesh:
    """Nodes of this process, by the number of their place; each can be stopped and started on its own."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.changes: dict[int, dict] = {}
        """Settings of a node that its file does not say."""
        self._running: dict[int, tuple[contextlib.AsyncExitStack, Node]] = {}

    async def __aenter__(self) -> Mesh:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(self.stop(number) for number in list(self._running)))

    async def start(self, *numbers: int) -> Node:
        """Start those, or all; the last one."""
        for number in numbers or range(len(self.places)):
            stack = contextlib.AsyncExitStack()
            found = replace(Settings.load(self.places[number].config), **self.changes.get(number, {}))
            node = await stack.enter_async_context(Node.open(found))
            self._running[number] = stack, node
        return node

    async def stop(self, number: int) -> None:
        stack, _ = self._running.pop(number)
        await stack.aclose()

    def __getitem__(self, number: int) -> Node:
        return self._running[number][1]

    @property
    def nodes(self) -> list[Node]:
        return [self._running[number][1] for number in sorted(self._running)]

    async def connected(self, links: int | None = None) -> None:
        """Wait until every node has a session with `links` others, or with all, and two that dialled each other have
        settled which of their sessions stays."""
        wanted = len(self.nodes) - 1 if links is None else links
        await until(lambda: all(len(node.replicator.members()) >= wanted for node in self.nodes), "sessions")
        await until(self._settled, "one session for each two")

    def _settled(self) -> bool:
        if any(node.server.pending or node.dialer._slots._value < DIALS_MAX for node in self.nodes):
            return False  # a handshake under way may end in the session that stays
        pairs = [(one, other) for one in self.nodes for other in self.nodes if one is not other]
        ends = [(one.hub.link_of(other.account), other.hub.link_of(one.account)) for one, other in pairs]
        return all((a and a.session.binding) == (b and b.session.binding) for a, b in ends)


async def agreed(nodes: Sequence[Node], seconds: float = AGREE_S) -> str:
    """Wait until all hold the same batches; assert that their state is the same to the byte, and return its digest."""

    def vectors() -> list[bytes]:
        return [node.database.engine.vector_digest("main") for node in nodes]

    await until(lambda: len(set(vectors())) == 1, "the nodes hold different batches", seconds)
    found = [await node.database.state_digest("main") for node in nodes]
    assert len(set(found)) == 1, f"equal vectors, different state: {found}"
    dead = [list(node.database.store.scan(Column.DEAD, b"", None)) for node in nodes]
    assert all(rows == dead[0] for rows in dead), "equal vectors, different tombstones"
    return found[0][0]


def set_clock(node: Node, now_ms: Callable[[], int]) -> None:
    """Give a running node another clock, in all places that read one."""
    node.now_ms = now_ms
    node.replicator._now_ms = now_ms
    node.database.writer._now_ms = now_ms
    node.source._clock_ms = now_ms
    local = replace(
        node.hub.local, now_ns=lambda: now_ms() * 1_000_000, machine_ns=lambda: now_ms() * 1_000_000
    )
    node.hub.local = node.hub.envelope._local = local
    node.hub.envelope._now_ns = node.hub.envelope._stamp_ns = local.now_ns


def evidence(node: Node) -> list[tuple[bytes, bytes]]:
    """Proofs of equivocation that the node keeps."""
    return list(node.database.store.scan(Column.EVIDENCE, b"", None))


def everything(node: Node) -> dict[str, list[tuple[bytes, bytes]]]:
    """All that is stored but its own bookkeeping, to see that nothing changed."""
    columns = (Column.LIVE, Column.DEAD, Column.LOG, Column.VECTOR, Column.FEED)
    return {column.name: list(node.database.store.scan(column, b"", None)) for column in columns}


# --- a node in a process ----------------------------------------------------------------------------------


class Spawned:
    """A command that runs until it is ended, in a process of its own: killed, stopped, asked to end; by its id."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None

    async def run(self, *command: object) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *clikit.command(*command, "--json", "--until-eof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sys.stderr,
            env=clikit.environment(),
            start_new_session=True,
        )

    async def said(self) -> dict:
        """Its next line."""
        line = await self.process.stdout.readline()
        assert line, f"it ended with {await self.process.wait()}"
        return json.loads(line)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def gone(self) -> int:
        code = await self.process.wait()
        self.process.stdin.close()
        return code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Process(Spawned):
    """A node."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.generation = 0

    async def spawn(self) -> None:
        await self.run("node", "run", "--config", self.place.config)

    async def ready(self) -> dict:
        ready = await self.said()
        assert self.generation in (0, ready["generation"]), "a restart on the same data is the same origin"
        self.generation = ready["generation"]
        return ready


# --- a member that misbehaves -----------------------------------------------------------------------------


class Author:
    """Makes signed batches of one origin, right ones unless told otherwise."""

    def __init__(self, node: Node, keypair: Keypair, generation: int = 1) -> None:
        self.keypair = keypair
        self.generation = generation
        self._source = node.source
        self.seq = 1
        self.digest = ZERO_DIGEST

    @property
    def origin(self) -> Origin:
        return Origin(self.keypair.account, self.generation)

    def batch(self, *changes, **wrong) -> tuple[bytes, bytes]:
        """(bytes, signature). changes: (table, op, key, value) or keys of `scores`. wrong: fields to falsify.

        Advances the origin's log, unless `keep` is set.
        """
        now_ms = wrong.pop("now_ms", wall_ms())
        keep = wrong.pop("keep", False)
        signer = wrong.pop("signer", self.keypair)
        rows = [
            (0, Op.PUT, change.encode(), b"\0" + change.encode()) if isinstance(change, str) else change
            for change in changes or ("key",)
        ]
        block = self._source.block_now(now_ms)
        fields = {
            "netuid": NETWORK.netuid,
            "genesis": NETWORK.genesis,
            "space": "main",
            "account": self.keypair.account,
            "generation": self.generation,
            "seq_first": self.seq,
            "prev_digest": self.digest,
            "epoch": block // self._source.tempo,
            "ref_block": block,
            "hlc_first": hlc_of(now_ms),
            "tables": [("scores", int(MergeType.LWW))],
            "changes": rows,
        } | wrong
        raw = codec.encode_batch(*fields.values())
        if not keep:
            self.seq += len(rows)
            self.digest = digest(raw)
        return raw, signer.sign(signing.BATCH, raw)


class Hostile:
    """A member's session, by hand: the handshake is right, and everything after it is the test's choice."""

    def __init__(self, socket, session, keypair: Keypair) -> None:
        self.socket = socket
        self.session = session
        self.keypair = keypair
        self.nonce = 1000

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, node: Node, keypair: Keypair, **options):
        async with ws_connect(
            node.url, subprotocols=[SUBPROTOCOL], compression=None, max_size=None, ping_interval=None
        ) as socket:
            initiator = Initiator(keypair, NETWORK, node.account, 1, os.urandom, **options)
            await socket.send(initiator.hello())
            while initiator.session is None:
                await socket.send(initiator.receive(await socket.recv(), 0))
            hostile = cls(socket, initiator.session, keypair)
            assert initiator.session.open(await socket.recv()) == b""
            yield hostile

    def message(self, type: int, payload: bytes, *, signed: bool = False, **changes) -> bytes:
        """An encoded message. changes: fields to falsify; `signer` signs it instead of us."""
        self.nonce += 1
        signer = changes.pop("signer", self.keypair)
        fields = {
            "version": 1,
            "type": type,
            "sender_id": self.keypair.account,
            "timestamp": wall_ms() * 1_000_000,
            "nonce": self.nonce,
            "payload": payload,
        } | changes
        signature = fields.pop("signature", b"")
        if signed:
            signature = signer.sign(
                signing.MESSAGE, signing.message_bytes(self.session.binding, *fields.values())
            )
        return codec.encode_message(*fields.values(), signature, self.session.encoding)

    async def send(self, *messages: bytes) -> None:
        await self.send_body(b"".join(len(raw).to_bytes(4, "little") + raw for raw in messages))

    async def send_body(self, body: bytes) -> None:
        await self.socket.send(self.session.seal(body))

    async def gossip(self, *batches: tuple[bytes, bytes], **changes) -> None:
        await self.send(self.message(MessageType.GOSSIP, codec.encode_gossip(batches), **changes))

    async def receive(self, type: int) -> codec.Message:
        """The next message of that type; others are skipped."""
        while True:
            body = self.session.open(await self.socket.recv())
            for raw in frame.split(body, len(body)) if body else ():
                message = codec.decode_message(raw)
                if message.type == type:
                    return message

    async def closing(self) -> tuple[int, str]:
        """Wait until the node ends the session: code and reason."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(10):
                while True:
                    await self.socket.recv()
        return self.socket.close_code, self.socket.close_reason
