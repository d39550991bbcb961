"""Commands on a read replica: replica run, replica status."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mycelium.cli import output
from mycelium.cli.daemon import Ending
from mycelium.cli.node import Set, parse_set, say_whence
from mycelium.cli.target import Config, EnvFile, Json
from mycelium.errors import ConfigError, KeyFileError, MyceliumError
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mycelium.admin.health import Facts
    from mycelium.node.configuration import Configuration
    from mycelium.node.logs import Log
    from mycelium.node.settings import Settings
    from mycelium.replica.replica import Replica

logger = logging.getLogger(__name__)

_PANEL = "Settings, before environment and file"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("status")(status)


def run(
    config: Config = None,
    env_file: EnvFile = None,
    nats: Annotated[
        str | None, typer.Option(help="Servers of NATS, with commas between.", rich_help_panel=_PANEL)
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT to listen on.", rich_help_panel=_PANEL)
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory of the store.", rich_help_panel=_PANEL)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", rich_help_panel=_PANEL)
    ] = None,
    settings: Set = None,
    json: Json = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run a read replica until SIGTERM (exit 0) or Ctrl-C (exit 130).

    It holds a verified copy of the network's spaces, made from their streams
    on NATS JetStream alone, and answers get, scan, watch, count, history and
    feeds as a node would. It needs no hotkey: its file is a node's with the
    section replica in place of identity. Clients expect the account that it
    prints when it is ready.

    Examples:

        mycelium replica run --config replica.toml

        mycelium replica run --json --nats nats://10.0.0.1:4222
    """
    given = {"node.listen": listen, "log.level": log_level}
    with output.guard(json=json):
        flags = {path: text for path, text in given.items() if text is not None} | parse_set(settings or [])
        if data_dir is not None:
            flags["node.data_dir"] = str(Path(data_dir).absolute())
        read = partial(_read, config, env_file, flags)
        code = output.run(_logged(read, nats, json=json, until_eof=until_eof))
        if code:
            raise typer.Exit(code)


def status(
    config: Config = None,
    env_file: EnvFile = None,
    url: Annotated[str | None, typer.Option(help="Where it listens, if not where its file says.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    json: Json = False,
) -> None:
    """Show how far a running replica is, and what it refused.

    Lag is in messages of the stream that are not settled here, and in the
    age of the newest one that was read while there are newer ones. What waits
    cannot be taken yet: its epoch, its policy or its predecessor is not here.

    Example:

        mycelium replica status --config replica.toml
    """
    with output.guard(json=json):
        output.run(_status(_settings(_read(config, env_file, {})), url, timeout, json=json))


def _read(config: Path | None, env_file: Path | None, flags: dict[str, str]) -> Configuration:
    from mycelium.node import configuration

    found = configuration.read(config, flags, None, env_file)
    # A node's file without [identity] is a replica's, though it does not say so.
    if not found.file.data.get("identity"):
        found.file.data.setdefault("replica", {})
    return found


def _settings(configuration: Configuration) -> Settings:
    settings = configuration.settings()
    if settings.replica is None:
        raise ConfigError(
            f"{configuration.path} is a node's: it names a hotkey", "write [replica] in place of [identity]"
        )
    if configuration.how == "found":
        output.note(f"configuration: {configuration.path}")
    return settings


async def _status(settings: Settings, url: str | None, timeout_s: float, *, json: bool) -> None:
    from mycelium.node.remote import connect

    try:
        keypair = settings.keypair()
    except KeyFileError as error:
        raise ConfigError(error.what, "start the replica once: it makes its key then") from None
    async with connect(url or settings.url, keypair, keypair.account, timeout_s=timeout_s) as node:
        found = await node.status()
    if json:
        output.emit(found)
    else:
        output.console().print(view(found))


Read = Callable[[], "Configuration"]


async def _logged(read: Read, nats: str | None, *, json: bool, until_eof: bool) -> int:
    from mycelium.node import logs
    from mycelium.node.nats_settings import given_urls
    from mycelium.redaction import Redactor
    from mycelium.replica.key import open_key

    configuration = read()
    settings = _settings(configuration)
    if nats is not None:
        settings = dataclasses.replace(
            settings, nats=dataclasses.replace(settings.nats, urls=given_urls(nats))
        )
    open_key(settings.data_dir)  # what is hidden in the log is read from it
    log = logs.Log(settings.log, Redactor(logs.secrets_of(settings, os.environ, configuration.secrets())))
    say_whence(configuration)
    try:
        return await _serve(settings, log, read, json=json, until_eof=until_eof)
    finally:
        log.close()


async def _serve(settings: Settings, log: Log, read: Read, *, json: bool, until_eof: bool) -> int:
    from mycelium.admin.server import Place
    from mycelium.jetstream.client import Broker
    from mycelium.node import process
    from mycelium.node.notify import Notify
    from mycelium.peer.server import check_address
    from mycelium.replica.replica import Replica

    process.prepare()
    manager = Notify.from_environment()
    ending = Ending(until_eof=until_eof, on_end=manager.stopping)
    running: list[Replica] = []
    # Before the replica is there too: left alone, the signal ends the process.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: reload(running, log, read))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(manager.close)
        check_address(settings.host, settings.port)
        place = Place(settings.admin) if settings.admin.enabled else None
        if place is not None:
            stack.callback(place.close)
        broker = await stack.enter_async_context(Broker(settings.nats, "replica"))
        opening = asyncio.ensure_future(stack.enter_async_context(Replica.open(settings, broker)))
        replica = await ending.unless(opening)
        if replica is None:
            return await ending.asked
        running.append(replica)
        if place is not None:
            await stack.enter_async_context(_admin(place, replica))
        _ready(replica, "" if place is None else place.url, json=json)
        async with manager.serving(lambda: summary(replica)):
            return await ending.asked


def reload(running: Collection[Replica], log: Log, read: Read) -> None:
    """SIGHUP: take over who may use it and how much it logs. A configuration with a mistake changes nothing."""
    try:
        settings = read().settings()
    except MyceliumError as error:
        logger.error("the configuration was read again and nothing is changed: %s", error)
        return
    log.set_level(settings.log.level)
    for replica in running:
        replica.allow(settings.clients)
    logger.warning("the configuration was read again: its clients and the level of the log are taken over")


@contextlib.asynccontextmanager
async def _admin(place: Any, replica: Replica) -> Any:
    from mycelium.admin.small import open_small
    from mycelium.replica.status import families

    async with open_small(
        place, replica.now_ms, lambda: facts(replica), replica.status, lambda: families(replica)
    ) as judged:
        replica.health = lambda: dict(judged())
        try:
            yield
        finally:
            replica.health = dict


def _ready(replica: Replica, admin: str, *, json: bool) -> None:
    ready = {
        "event": "ready",
        "url": replica.url,
        "account": accounts.format(replica.account),
        "pid": os.getpid(),
        "data_dir": str(replica.settings.data_dir),
        "admin": admin,
    }
    if json:
        output.emit(ready)
    else:
        output.line(
            f"ready: {ready['url']} as {ready['account']}, data in {ready['data_dir']}, pid {ready['pid']}"
            + (f", health and metrics {admin}" if admin else "")
        )


def summary(replica: Replica) -> str:
    """What a replica does, in a line."""
    found = replica.status()
    return f"{replica.url}: {found['lag_messages']} messages behind; {found['refused']} refused"


def facts(replica: Replica) -> Facts:
    """What its health is judged by: the chain, the epoch, the store, and whether each space is in step."""
    from mycelium.admin.health import Facts

    now_ms = replica.now_ms()
    chain, failure = replica.source.status(now_ms), replica.database.committer.failure
    epoch = replica.source.epoch().number
    return Facts(
        chain_fresh=chain.writes_allowed,
        problems=chain.problems,
        epoch=epoch,
        epoch_due=max(epoch, chain.block // replica.source.tempo),
        policy_missing=replica.authority.policy_missing() is not None,
        store_failure=replica.database.store.trouble or ("" if failure is None else str(failure)),
        in_step_ms={
            space: None if tail.in_step_ms is None else now_ms - tail.in_step_ms
            for space, tail in replica.tails.items()
        },
    )


def view(found: Mapping[str, Any]) -> RenderableType:
    """A replica's status for people, on 80 columns."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from mycelium.cli.status import value_text

    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold", min_width=12)
    head.add_column(overflow="fold")
    for key in ("account", "url", "version", "uptime_s", "epoch", "lag_messages", "lag_s", "clients", "pid"):
        head.add_row(key.removesuffix("_s").replace("_", " "), value_text(key, found.get(key)))
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in ("space", "state", "at message", "of", "behind", "waiting", "refused"):
        table.add_column(
            name, justify="left" if name in ("space", "state") else "right", no_wrap=name != "state"
        )
    parts: list[RenderableType] = [head, table]
    for space, one in found.get("replica", {}).items():
        refused = sum(one["refused"].values()) + sum(one["passed_over"].values())
        numbers = (one["position"], one["last"], one["lag_messages"], one["waiting"], refused)
        table.add_row(space, one["state"], *(value_text("", number) for number in numbers))
        parts += [
            Text(
                f"refused: message {each['message']} of {space}: {each['text']} ({each['reason']})",
                style="red",
            )
            for each in one["refusals"]
        ]
    chain = found.get("chain", {})
    problems = [*chain.get("problems", ()), *found.get("problems", ())]
    parts += [Text(f"problem: {said}", style="red") for said in problems]
    return Group(*parts)
