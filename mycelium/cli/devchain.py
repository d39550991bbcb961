"""Commands for the development chain: devnet chain runs one, devnet fault breaks a running one.

Owns the options and what is printed; the chain is `mycelium.devnet.chain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import os
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer

from mycelium.cli import output
from mycelium.cli.target import Json
from mycelium.config import DEVCHAIN_BLOCKS_MAX, DEVCHAIN_STATES_MAX
from mycelium.errors import UsageError

if TYPE_CHECKING:
    from mycelium.devnet.chain.core import Core
    from mycelium.devnet.chain.spec import ChainSpec

PORT: Final = 9944
"""Where a Subtensor node listens."""
ANSWER_S: Final = 60


class Blocks(StrEnum):
    """When blocks are made."""

    time = "time"
    instant = "instant"
    manual = "manual"


class Options(NamedTuple):
    """How the chain is run."""

    port: int
    blocks: str
    block_ms: int
    fast_forward: int
    state: Path | None
    archive: bool


Port = Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 is any free port.")]
Url = Annotated[
    str, typer.Option(envvar="MYCELIUM_CHAIN_URL", help="The running chain, as it said when it started.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("chain")(chain)
    app.command("fault")(fault)


def chain(
    port: Port = PORT,
    blocks: Annotated[
        Blocks, typer.Option(help="Make blocks by time, at each extrinsic, or by `devnet fault step`.")
    ] = Blocks.time,
    block_ms: Annotated[int, typer.Option(min=1, help="Between two blocks, milliseconds.")] = 250,
    netuid: Annotated[int, typer.Option(min=1, max=65535, help="The subnet's number.")] = 1,
    validators: Annotated[int, typer.Option(min=0, max=64, help="How many validators it has.")] = 2,
    miners: Annotated[int, typer.Option(min=0, max=192, help="How many miners it has.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another chain.")] = 0,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="Begin as this file says: JSON of a ChainSpec. Netuid, members and seed are its own."
        ),
    ] = None,
    fast_forward: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Make the first so many blocks before anyone connects.")
    ] = 0,
    state: Annotated[
        Path | None,
        typer.Option(help="Keep the chain in this file, and go on where it was. Without it, it ends here."),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Keep the states of 16,384 blocks, not of 256.")
    ] = False,
    json: Json = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run a Subtensor for development, until SIGTERM (exit 0) or Ctrl-C (exit 130).

    //Alice is rich and sudo. The subnet's validators are //validator//0 and
    so on, its miners //miner//0; their coldkeys are //coldkey. Rounds of
    drand are the chain's own, signed with a key that is no secret.

    Prints a line when it is ready, with --json an object with event, url,
    genesis, block, netuid and pid.

    Examples:

        mycelium devnet chain

        mycelium devnet chain --port 0 --blocks instant --json

        mycelium devnet chain --validators 8 --miners 56 --fast-forward 1000

        mycelium devnet chain --state chain.sqlite --archive
    """
    with output.guard(json=json):
        beginning = _beginning(spec, netuid, validators, miners, seed)
        options = Options(port, str(blocks), block_ms, fast_forward, state, archive)
        code = output.run(_serve(beginning, options, json=json, until_eof=until_eof))
        if code:
            raise typer.Exit(code)


def fault(
    name: Annotated[str, typer.Argument(help="What to do; see below.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments, in order.")] = None,
    url: Url = f"ws://127.0.0.1:{PORT}",
    json: Json = False,
) -> None:
    """Break a running development chain, or mend it.

    stall-head, stall-finality, refuse-connections, never-answer, garbage,
    mute: begin; with `off` end. drop-connections: now. delay MS. too-many-requests
    http, rpc or off. reorg COUNT, with `force` past finality. upgrade, with
    SPEC_VERSION and two of true or false for GROWN and NETUID_NEWTYPE.
    deregister NETUID UID. remove-permit and give-permit NETUID UID.
    set-storage KEY VALUE. set-item PALLET ITEM PARAMS VALUE. shift-time MS.
    new-genesis. step COUNT. status. clear: end all.

    delay, never-answer and garbage take the methods they concern as a last
    argument, with commas between.

    Examples:

        mycelium devnet fault stall-head

        mycelium devnet fault reorg 3 --url ws://127.0.0.1:9944

        mycelium devnet fault delay 500 state_call,state_getStorage

        mycelium devnet fault set-item SubtensorModule Tempo 1 20

        mycelium devnet fault clear
    """
    with output.guard(json=json):
        from mycelium.devnet.chain import callfault

        method = name.replace("-", "_")
        result = callfault.call(url, method, _values(method, arguments or []))
        if json:
            output.emit({"fault": name, "result": result})
        elif isinstance(result, dict):
            for key, value in result.items():
                output.line(f"{key.replace('_', ' ')}: {_shown(value)}")
        else:
            output.line("done" if result is None else _shown(result))


# --- the chain ----------------------------------------------------------------------------------------------


def _beginning(spec: Path | None, netuid: int, validators: int, miners: int, seed: int) -> ChainSpec:
    if spec is not None:
        from mycelium.devnet.chain.specfile import read

        return read(spec)
    from mycelium.devnet.chain.metadata import RuntimeSpec
    from mycelium.devnet.chain.population import development

    made = development(netuid=netuid, validators=validators, miners=miners, seed=seed)
    # What newer clients ask for and spec 424 has not yet.
    return dataclasses.replace(made, runtime=RuntimeSpec(recent_items=True))


async def _serve(spec: ChainSpec, options: Options, *, json: bool, until_eof: bool) -> int:
    from mycelium.devnet.chain.core import Core
    from mycelium.devnet.chain.server import wall_ms

    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not asked.done():
            asked.set_result(code)

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, output.INTERRUPTED)
    if until_eof:
        threading.Thread(target=_watch_stdin, args=(loop, end), daemon=True).start()
    core = Core(
        spec,
        clock=wall_ms,
        blocks=options.blocks,
        block_ms=options.block_ms,
        states_max=DEVCHAIN_BLOCKS_MAX if options.archive else DEVCHAIN_STATES_MAX,
    )
    with contextlib.ExitStack() as stack:
        if options.state is not None:
            from mycelium.devnet.chain.statefile import StateFile

            stack.enter_context(contextlib.closing(StateFile(options.state, core)))
        # Of a chain that goes on where it was they are made already, or were when it was killed.
        if (missing := options.fast_forward - core.chain.best.number) > 0:
            core.step(missing)
        return await _served(core, options, asked, json=json)


async def _served(core: Core, options: Options, asked: asyncio.Future[int], *, json: bool) -> int:
    from mycelium.devnet.chain.server import ChainServer

    spec = core.spec
    async with ChainServer(core, port=options.port) as server:
        genesis = f"0x{core.chain.genesis.hex()}"
        started = {
            "event": "started",
            "url": server.url,
            "genesis": genesis,
            "block": core.chain.best.number,
            "netuid": spec.subnets[0].netuid if spec.subnets else None,
            "pid": os.getpid(),
        }
        if json:
            output.emit(started)
        else:
            output.line(
                f"ready: {server.url}, genesis {genesis}, block {started['block']}, pid {os.getpid()}"
            )
        return await asked


def _watch_stdin(loop: asyncio.AbstractEventLoop, end: Any) -> None:
    """End the chain when stdin does: the process that started it is gone, however it went."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: it ended otherwise
        loop.call_soon_threadsafe(end, 0)


# --- faults -------------------------------------------------------------------------------------------------


def _values(name: str, texts: list[str]) -> list[Any]:
    """The arguments of a fault as its signature has them. Raises UsageError."""
    from mycelium.devnet.chain.faults import Faults
    from mycelium.devnet.chain.rpc_dev import METHODS

    if name not in METHODS:
        known = ", ".join(sorted(method.replace("_", "-") for method in METHODS))
        raise UsageError(f"{name.replace('_', '-')!r} is not a fault: there are {known}")
    wanted = list(inspect.signature(getattr(Faults, name)).parameters.values())[1:]
    if len(texts) > len(wanted):
        raise UsageError(f"{name.replace('_', '-')} takes at most {len(wanted)} arguments, not {len(texts)}")
    return [_value(text, str(item.annotation), item.name) for text, item in zip(texts, wanted, strict=False)]


def _value(text: str, kind: str, name: str) -> Any:
    """One argument: on or off, a whole number, names with commas between, or text as it is."""
    if text in ("none", "null"):
        return None
    if "bool" in kind:
        if text in ("on", "true", "yes", name, "force"):
            return True
        if text in ("off", "false", "no"):
            return False
        raise UsageError(f"{name} is on or off, not {text!r}")
    if "int" in kind:
        if not text.removeprefix("-").isdecimal():
            raise UsageError(f"{name} is a whole number, not {text!r}")
        return int(text)
    if "Sequence" in kind:
        return [_json(part) if "Any" in kind else part for part in text.split(",") if part]
    return _json(text) if kind == "Any" else text


def _json(text: str) -> Any:
    """A value as JSON where it is that, else the text: an address needs no quotes."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _shown(value: Any) -> str:
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case [*items]:
            return ", ".join(map(str, items)) or "-"
    return str(value)
