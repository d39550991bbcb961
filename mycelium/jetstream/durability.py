"""Whether the NATS servers have on disk what they acknowledge: asked of every server of the cluster, and judged.

JetStream acknowledges when the operating system has a message, and syncs its files every two minutes, unless
`sync_interval: always` stands in the server's configuration: `sync_always` in what its monitoring says (/varz, /jsz).
The names of all servers of a cluster are in the meta group that each of them reports. A server that cannot be asked
counts as unsafe, unless the cluster itself says that it is down: it is asked when it is back.

`judge` decides, on what `ask` found; neither goes on by itself.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from mycelium.config.jetstream import MONITOR_BYTES_MAX, MONITOR_S, SERVERS_MAX, SYSTEM_QUIET_S
from mycelium.errors import BrokerError, BrokerUnreachable, BrokerUnsafe
from mycelium.jetstream.client import Broker, Session
from mycelium.node.nats_settings import NatsSettings

MONITOR_PORT: Final = 8222
"""Where a server's monitoring listens unless its configuration says otherwise."""
_REMEDY: Final = (
    "set `sync_interval: always` in the jetstream section of its configuration and restart it, or take the risk with "
    "accept_unsynced = true in [nats] or --accept-unsynced"
)
_LEARN: Final = (
    "name the monitoring address of every server in [nats] monitors (http_port: 8222 in its configuration), or a user "
    "of the system account in system_creds_file, or take the risk with accept_unsynced = true or --accept-unsynced"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server said. synced: None where it has no JetStream. members: its meta group, name to whether it is up.

    where: how it was asked, for people; problem: why there is no answer.
    """

    where: str
    name: str = ""
    version: str = ""
    synced: bool | None = None
    members: Mapping[str, bool] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Durability:
    """The verdict. problem: why what is acknowledged may be lost, "" where it may not; remedy: what to do about it.

    down: servers of the cluster that it says are down, and that were therefore not asked.
    """

    answers: tuple[Answer, ...]
    down: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""

    @property
    def safe(self) -> bool:
        """Whether every server that may acknowledge has on disk what it acknowledges."""
        return not self.problem

    def require(self) -> None:
        """BrokerUnsafe unless it is safe."""
        if self.problem:
            raise BrokerUnsafe(self.problem, self.remedy)

    def shown(self) -> list[dict[str, Any]]:
        """Every server, for status: name, version, safe (None: no JetStream, or not known), why."""
        found = [
            {
                "name": answer.name or answer.where,
                "version": answer.version,
                "safe": answer.synced,
                "why": answer.problem or ("" if answer.synced else _said(answer)),
            }
            for answer in self.answers
        ]
        return found + [{"name": name, "version": "", "safe": None, "why": "down"} for name in self.down]


def _said(answer: Answer) -> str:
    return "has no JetStream" if answer.synced is None else "acknowledges before its disk has it"


def judge(answers: Sequence[Answer], connected: str) -> Durability:
    """The verdict on what was answered. connected: the name of the server that this process is connected to."""
    heard = {answer.name: answer for answer in answers if not answer.problem}
    members: dict[str, bool] = {}
    for answer in heard.values():
        for name, up in answer.members.items():
            members[name] = members.get(name, False) or up
    silent = sorted(name for name in members if name not in heard)
    down = tuple(name for name in silent if not members[name])
    verdict = Durability(tuple(answers), down)
    unsafe = sorted(answer.name for answer in heard.values() if answer.synced is False)
    if unsafe:
        problem = f"NATS server {', '.join(unsafe)} acknowledges before its disk has it, and a power failure loses it"
        return replace(verdict, problem=problem, remedy=_REMEDY)
    if connected not in heard:
        why = next((f": {answer.where}: {answer.problem}" for answer in answers if answer.problem), "")
        problem = f"whether NATS server {connected} syncs before it acknowledges cannot be learnt{why}"
        return replace(verdict, problem=problem, remedy=_LEARN)
    unknown = [name for name in silent if members[name]]
    if unknown:
        problem = f"whether NATS server {', '.join(unknown)} syncs before it acknowledges cannot be learnt"
        return replace(verdict, problem=problem, remedy=_LEARN)
    if all(answer.synced is None for answer in heard.values()):
        return replace(
            verdict,
            problem=f"NATS server {connected} has no JetStream",
            remedy="enable it: `jetstream { sync_interval: always }` in its configuration",
        )
    return verdict


async def ask(settings: NatsSettings, session: Session) -> Durability:
    """Ask every server in the way that the settings name, and judge. Never raises for what servers do."""
    if settings.system:
        answers = await _by_system(settings)
    else:
        monitors = settings.monitors or [_guess(url) for url in settings.urls]
        answers = await asyncio.gather(*(_by_monitor(url, settings) for url in monitors))
    return judge(answers, session.server_name)


def _guess(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return f"http://[{host}]:{MONITOR_PORT}" if ":" in host else f"http://{host}:{MONITOR_PORT}"


# --- over NATS, as a user of the system account ----------------------------------------------------------------------


async def _by_system(settings: NatsSettings) -> list[Answer]:
    try:
        async with Broker(settings, "check", login=settings.system) as broker:
            session = await broker.ready(MONITOR_S, once=True)
            raws = await session.held(_gathered(session))
    except BrokerError as error:
        return [Answer("the system account", problem=str(error).partition("\n")[0])]
    return [_of_system(raw) for raw in raws]


async def _gathered(session: Session) -> list[bytes]:
    """The answers of all servers: how many there will be is not known, so until it is quiet for a while."""
    inbox = session.nc.new_inbox()
    subscription = await session.nc.subscribe(inbox)
    await session.nc.publish("$SYS.REQ.SERVER.PING.JSZ", b"{}", reply=inbox)
    found: list[bytes] = []
    until_s = time.monotonic() + MONITOR_S
    while len(found) < SERVERS_MAX and time.monotonic() < until_s:
        try:
            async with asyncio.timeout(SYSTEM_QUIET_S if found else MONITOR_S):
                found.append((await anext(subscription.messages)).data)
        except (TimeoutError, StopAsyncIteration):
            break
    if not found:
        raise BrokerUnreachable("no server answers: is that a user of the system account?")
    return found


def _of_system(raw: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(raw, type=dict[str, Any])
        server = answer["server"]
        # A server without JetStream answers with an error.
        data = answer.get("data") or {}
        return _parsed("the system account", str(server["name"]), str(server.get("ver", "")), data, data)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Answer("the system account", problem="an answer that does not parse")


# --- by their monitoring ---------------------------------------------------------------------------------------------


async def _by_monitor(url: str, settings: NatsSettings) -> Answer:
    where = _host(url)
    try:
        varz = await asyncio.to_thread(_get, url, "/varz", settings)
        jsz = await asyncio.to_thread(_get, url, "/jsz", settings)
        jetstream = varz.get("jetstream") or {}
        return _parsed(where, str(varz["server_name"]), str(varz.get("version", "")), jetstream, jsz)
    except (OSError, HTTPException, msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(where, problem=_brief(error))
    except (KeyError, TypeError, AttributeError):
        return Answer(where, problem="what answers there is no NATS server's monitoring")


def _get(url: str, path: str, settings: NatsSettings) -> dict[str, Any]:
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(f"{parts.scheme}://{netloc}{path}")  # noqa: S310 - http(s)
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    context = ssl.create_default_context(cafile=settings.tls_ca) if parts.scheme == "https" else None
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    with urllib.request.build_opener(*handlers).open(request, timeout=MONITOR_S) as answer:
        raw = answer.read(MONITOR_BYTES_MAX + 1)
    if len(raw) > MONITOR_BYTES_MAX:
        raise OSError(f"more than {MONITOR_BYTES_MAX} bytes")
    return msgspec.json.decode(raw, type=dict[str, Any])


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _brief(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__


def _parsed(
    where: str, name: str, version: str, jetstream: Mapping[str, Any], jsz: Mapping[str, Any]
) -> Answer:
    """jetstream: what has `config` in it; jsz: what has `meta_cluster` in it."""
    config = jetstream.get("config")
    synced = None if not config else config.get("sync_always") is True
    return Answer(where, name, version, synced, dict(_members(jsz.get("meta_cluster") or {})))


def _members(group: Mapping[str, Any]) -> Iterable[tuple[str, bool]]:
    if group.get("leader"):
        yield str(group["leader"]), True
    for peer in list(group.get("replicas") or ())[:SERVERS_MAX]:
        # Followers do not know of each other whether they are current: only the leader's word makes one up.
        yield str(peer["name"]), bool(peer.get("current")) and not peer.get("offline")
