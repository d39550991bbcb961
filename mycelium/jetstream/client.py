"""The way to NATS: one connection at a time, made anew for ever, and its errors as ours.

A connection is a `Session`: it lives until it breaks, and then all that waits on it fails at once; nothing is buffered
for the next one. Who uses it begins again with each session from what it knows to be stored:

    async with Broker(settings.nats, "replica") as broker:
        async for session in broker.sessions():
            ...  # until session.lost; a BrokerUnreachable here may be let go

Owns login, TLS, pauses between attempts. Knows nothing of streams. Shows no password: not in a log, not in an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from mycelium import redaction
from mycelium.config.jetstream import (
    CONNECT_S,
    PAUSE_MAX_S,
    PAUSE_S,
    PING_S,
    PINGS_MAX,
    REQUEST_S,
    SEND_BUFFER_BYTES,
)
from mycelium.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnreachable,
    ConfigError,
    StreamGone,
)
from mycelium.extras import load
from mycelium.node.nats_settings import Login, NatsSettings
from mycelium.redaction import Redactor

logger = logging.getLogger(__name__)
_random: Final = random.SystemRandom()

_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077, 10165, 10167})
"""The server's codes for: no room in the account, on the machine, in the stream; too many messages at once."""
_GONE: Final = frozenset({10059, 10014, 10037})
"""No such stream, consumer, message."""
_STORE_FAILED: Final = 10077
_LOGIN: Final = ("authorization", "authentication", "user expired", "revoked")


def secrets_of(settings: NatsSettings, environ: Mapping[str, str]) -> Redactor:
    """What takes this login's secrets out of a text."""
    return Redactor(settings.secret_texts(environ))


class Session:
    """One connection. nc: nats-py's client; js: its JetStream; number: counts the broker's connections from 1.

    lost: done when the connection is, with the reason as its result.
    """

    def __init__(self, nc: Any, number: int, lost: asyncio.Future[str], request_s: float = REQUEST_S) -> None:
        self.nc = nc
        self.js = nc.jetstream(timeout=request_s)
        self._request_s = request_s
        self.number = number
        self.lost = lost

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return not self.lost.done()

    @property
    def server(self) -> str:
        """HOST:PORT of the server."""
        url = self.nc.connected_url
        return "" if url is None else f"{url.hostname}:{url.port}"

    @property
    def server_name(self) -> str:
        """The server's own name, as its monitoring has it."""
        return str(self.nc.info.get("server_name", ""))

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes, headers included."""
        return int(self.nc.max_payload)

    def check(self) -> None:
        """BrokerUnreachable when it is lost."""
        if self.lost.done():
            raise BrokerUnreachable(self.lost.result())

    async def request(self, subject: str, payload: bytes = b"", timeout_s: float | None = None) -> bytes:
        """One answer. BrokerError, at once when the connection breaks meanwhile."""
        with broker_errors(subject):
            work = self.nc.request(subject, payload, timeout=timeout_s or self._request_s)
            answer = await self.held(work)
        return bytes(answer.data)

    async def api(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An answer of JetStream's API, as STREAM.INFO.name gives it. BrokerError."""
        payload = b"" if body is None else msgspec.json.encode(body)
        raw = await self.request(f"$JS.API.{what}", payload)
        try:
            answer = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, ValueError):
            raise BrokerError(f"{what}: the answer does not parse") from None
        error = answer.get("error")
        if isinstance(error, dict):
            raise refused(what, error.get("code"), error.get("err_code"), error.get("description"))
        return answer

    async def held(self, work: Any) -> Any:
        """The result of a coroutine, or BrokerUnreachable as soon as the connection is lost."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(_retrieve)
        try:
            self.check()
            await asyncio.wait((task, self.lost), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise BrokerUnreachable(self.lost.result())
            return task.result()
        finally:
            task.cancel()

    async def close(self) -> None:
        """Send what is buffered, and end it."""
        if self.alive:
            with contextlib.suppress(Exception):  # it may break just now: it ends in any case
                await self.nc.flush(1)
        await self.nc.close()


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Note the error of what nobody waits for any more, so that it is not reported as lost."""
    if not task.cancelled():
        task.exception()


class Broker:
    """Keeps a session with one of the servers of `settings`. name: what the servers' monitoring shows of us.

    login: another one than the settings' own, as that of the system account. environ: where passwords are. pause_max_s:
    between two rounds of attempts at all servers. request_s: for an answer; a server that was just lost gives none.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        *,
        login: Login | None = None,
        environ: Mapping[str, str] | None = None,
        pause_max_s: float = PAUSE_MAX_S,
        request_s: float = REQUEST_S,
    ) -> None:
        self.settings = settings
        self._pause_max_s = pause_max_s
        self._request_s = request_s
        self.problem = "not connected yet"
        """Why there is no session; "" while there is one."""
        self.connects = 0
        self._name = f"mycelium {name}"
        self._login = settings.login if login is None else login
        self._environ = os.environ if environ is None else environ
        self._redact = secrets_of(settings, self._environ)
        self._session: Session | None = None
        self._rounds = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Broker {self.servers}>"

    @property
    def servers(self) -> str:
        """The servers as HOST:PORT, with commas between."""
        return ", ".join(_shown(url) for url in self.settings.urls)

    async def __aenter__(self) -> Self:
        load("nats", "nats")  # MissingExtra before anything is begun
        self._task = asyncio.create_task(self._run(), name="nats")
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> Session:
        """The session that there is. BrokerUnreachable."""
        if self._session is None or not self._session.alive:
            raise BrokerUnreachable(f"no NATS server can be used: {self.problem or 'the connection broke'}")
        return self._session

    async def ready(self, timeout_s: float | None = None, *, once: bool = False) -> Session:
        """The session, once there is one. once: BrokerUnreachable as soon as every server was tried in vain.

        BrokerUnreachable when the time is over; ConfigError for credentials that cannot be read.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._session is None or not self._session.alive:
                    if self._task is not None and self._task.done():
                        self._task.result()
                    if once and self._rounds:
                        raise TimeoutError
                    self._changed.clear()
                    await self._changed.wait()
                return self._session
        except TimeoutError:
            raise BrokerUnreachable(f"no NATS server can be used: {self.problem or 'no answer'}") from None

    async def sessions(self) -> AsyncIterator[Session]:
        """Each session in turn: the present one, and after its end the next."""
        last = 0
        while True:
            session = await self.ready()
            if session.number > last:
                last = session.number
                yield session
            await asyncio.wait((session.lost,))

    async def _run(self) -> None:
        pause_s, urls = PAUSE_S, list(self.settings.urls)
        _random.shuffle(urls)
        try:
            while True:
                for url in urls:
                    try:
                        session = await self._connect(url)
                    except BrokerUnreachable as error:
                        self._say(str(error))
                        continue
                    pause_s = PAUSE_S
                    await self._until_lost(session)
                self._rounds += 1
                self._changed.set()
                # Whoever lost a server tries all others before it waits.
                await asyncio.sleep(pause_s * _random.uniform(0.5, 1.0))
                pause_s = min(self._pause_max_s, pause_s * 2)
        except ConfigError as error:
            self.problem = error.what
            raise
        finally:
            self._changed.set()

    async def _until_lost(self, session: Session) -> None:
        if self.connects > 1:
            logger.info("connected to NATS again, at %s", session.server)
        self._session, self.problem = session, ""
        self._changed.set()
        why = await asyncio.shield(session.lost)
        self._session = None
        self._say(why)
        await session.nc.close()

    def _say(self, problem: str) -> None:
        """Once for each reason, until there is a session again."""
        if problem != self.problem:
            self.problem = problem
            logger.warning("no connection to NATS: %s", problem)

    async def _connect(self, url: str) -> Session:
        """One attempt at one server. BrokerUnreachable; ConfigError where files cannot be read."""
        options = _options(self.settings, self._login, self._environ)
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        last: list[str] = []

        async def heard(error: Exception) -> None:
            last.append(self._redact(str(error) or type(error).__name__))
            del last[:-1]

        def ended() -> None:
            if not lost.done():
                lost.set_result(
                    f"{_shown(url)}: {last[-1] if last else 'the connection broke, or nobody answers'}"
                )

        nc = _client_class()(ended, wants_tls=url.startswith("tls://") or self.settings.tls_ca is not None)
        try:
            async with asyncio.timeout(CONNECT_S):
                await nc.connect(
                    [url],
                    name=self._name,
                    allow_reconnect=False,
                    error_cb=heard,
                    connect_timeout=CONNECT_S,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING_S,
                    max_outstanding_pings=PINGS_MAX,
                    pending_size=SEND_BUFFER_BYTES,
                    **options,
                )
        except (OSError, TimeoutError, load("nats.errors", "nats").Error, ssl.SSLError) as error:
            nc.abort()
            raise BrokerUnreachable(self._why(url, error, last)) from None
        except BaseException:
            nc.abort()
            raise
        self.connects += 1
        return Session(nc, self.connects, lost, self._request_s)

    def _why(self, url: str, error: Exception, last: list[str]) -> str:
        text = self._redact(str(error))
        if isinstance(error, TimeoutError | load("nats.errors", "nats").NoServersError) or not text:
            text = last[-1] if last else "no answer in time"
        if any(word in text.lower() for word in _LOGIN):
            text = f"the login is refused ({text})\n  mend user, password, token or credentials in [nats]"
        return f"{_shown(url)}: {text}"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 4222}"


def _options(settings: NatsSettings, login: Login, environ: Mapping[str, str]) -> dict[str, Any]:
    """Login and TLS as nats-py takes them. ConfigError."""
    found: dict[str, Any] = {}
    for file, option in ((login.creds_file, "user_credentials"), (login.nkey_file, "nkeys_seed")):
        if file is None:
            continue
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}", "mend creds_file or nkey_file in [nats]") from None
        load("nkeys", "nats")
        found[option] = str(file)
    if login.user:
        found |= {"user": login.user, "password": _variable(login.password_env, environ)}
    if login.token_env:
        found["token"] = _variable(login.token_env, environ)
    if settings.tls_ca is not None or any(url.startswith("tls://") for url in settings.urls):
        try:
            context = ssl.create_default_context(cafile=settings.tls_ca)
            if settings.tls_cert is not None and settings.tls_key is not None:
                context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"TLS for NATS: {error}", "mend tls_ca, tls_cert and tls_key in [nats]"
            ) from None
        found["tls"] = context
    return found


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name and not environ.get(name):
        raise ConfigError(
            f"[nats] names the variable {name}, which is not set", f"set {name}, or mend [nats]"
        )
    return environ.get(name, "") if name else ""


@functools.cache
def _client_class() -> type[Any]:
    """nats-py's client with what it lacks. Made where it is used, as nats-py is an extra."""
    aio = load("nats.aio.client", "nats")
    errors = load("nats.errors", "nats")

    class Client(aio.Client):  # type: ignore[misc, name-defined]
        def __init__(self, ended: Any, *, wants_tls: bool) -> None:
            super().__init__()
            self._ended = ended
            self._wants_tls = wants_tls
            self.info: dict[str, Any] = {}

        async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
            # Left alone it sends the password in clear to a server that does not ask for TLS, whatever the address.
            if initial_connection and self._wants_tls and not info.get("tls_required"):
                raise errors.SecureConnWantedError
            self.info |= info
            await super()._process_info(info, initial_connection)

        async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
            # Left alone it drops the connection at headers that are none. They are whoever published the message's to
            # choose, and the message comes again with every connection: nothing behind it would ever be read.
            try:
                found: dict[str, str] | None = await super()._process_headers(headers)
            except (ValueError, IndexError):
                return None
            return found

        def _build_message(self, sid: int, subject: bytes, *rest: Any) -> Any:
            # The same for a subject that is no UTF-8, which the server takes and keeps.
            return super()._build_message(sid, subject.decode(errors="replace").encode(), *rest)

        async def _close(self, status: int, do_cbs: bool = True) -> None:
            # Left alone it first sends what is buffered: to a server that reads no more, for ever.
            self._ended()
            self.abort()
            await super()._close(status, do_cbs)

        def abort(self) -> None:
            """Drop the connection and what is buffered for it, and let go who waits for it to be sent."""
            self._pending: list[bytes] = []
            self._pending_data_size = 0
            while self._flush_queue is not None and not self._flush_queue.empty():
                flushed = self._flush_queue.get_nowait()
                if not flushed.done():
                    flushed.set_result(None)
            writer = getattr(self._transport, "_io_writer", None)
            if writer is not None:
                writer.transport.abort()

    return Client


@contextmanager
def broker_errors(what: str) -> Iterator[None]:
    """Turn nats-py's errors into the tree's. what: which stream, bucket or request it was about."""
    try:
        yield
    except library_errors() as error:
        raise translated(what, error) from None


@functools.cache
def library_errors() -> tuple[type[BaseException], ...]:
    """What nats-py raises."""
    return (load("nats.errors", "nats").Error, OSError, TimeoutError)


def translated(what: str, error: Any) -> BrokerError:
    """One of `library_errors` as the tree has it."""
    errors, js_errors = load("nats.errors", "nats"), load("nats.js.errors", "nats")
    if isinstance(error, js_errors.NoStreamResponseError):
        return StreamGone(f"{what}: no stream takes it")
    if isinstance(error, js_errors.APIError):
        return refused(what, error.code, error.err_code, error.description)
    if isinstance(error, TimeoutError):
        return BrokerUnreachable(f"{what}: no answer in time")
    if isinstance(error, errors.NoRespondersError):
        return BrokerUnreachable(
            f"{what}: nobody answers\n  is JetStream enabled on the server, and for this account?"
        )
    return BrokerUnreachable(f"{what}: {redaction.masked(str(error))}")


def refused(what: str, code: int | None, err_code: int | None, description: str | None) -> BrokerError:
    """What JetStream's error answer means. Source: the server's errors.json."""
    text = f"{what}: {description or 'refused'}"
    if err_code in _FULL or (code == 503 and "exceeded" in (description or "")):
        return BrokerFull(
            f"{text}\n  raise the stream's limits in [nats], let it discard the old, or give the server more room"
        )
    if err_code in _GONE or code == 404:
        return StreamGone(text)
    if code in (500, 503):
        return BrokerUnreachable(text)
    return BrokerError(f"{text} (code {err_code or code})")
