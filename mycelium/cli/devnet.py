"""Commands for a local network of real nodes: devnet up, devnet demo."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from mycelium.cli import output
from mycelium.cli.target import Json
from mycelium.errors import MyceliumError, UsageError

if TYPE_CHECKING:
    from mycelium.devnet.chainlayout import ChainNetwork
    from mycelium.devnet.demo import Step
    from mycelium.devnet.layout import NodePlace
    from mycelium.devnet.network import LocalNetwork, Sample

Nodes = Annotated[int, typer.Option(min=1, max=64, help="How many nodes.")]
For = Annotated[
    float | None,
    typer.Option("--for", min=0, metavar="SECONDS", help="End after this long. Without it, until Ctrl-C."),
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="Keep the network here, and go on with it next time. Without it, a temporary one."
    ),
]
Static = Annotated[
    bool, typer.Option("--static", help="No chain: the members are in a file, and never change.")
]
REFRESH_S: Final = 0.5
DEMO_BLOCK_MS: Final = 250
"""An epoch of 5 s, so that nobody waits long to see one pass."""
AGREE_S: Final = 30
DASHBOARDS_SHOWN: Final = 8


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("demo")(demo)


def up(
    nodes: Nodes = 4,
    seconds: For = None,
    directory: Directory = None,
    records: Annotated[int, typer.Option(min=0, help="How many records to write, in all.")] = 10_000,
    rate: Annotated[
        float, typer.Option(min=0, help="Records per second, in all; 0 is as fast as it goes.")
    ] = 2_000,
    miners: Annotated[int, typer.Option(min=0, max=128, help="How many miners are registered.")] = 2,
    import_metagraph: Annotated[
        Path | None,
        typer.Option(help="Begin with the stakes and permits of a real subnet, recorded as JSON."),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="Declare the tables of this file, sections as in node.toml, and not ours."),
    ] = None,
    block_ms: Annotated[
        int | None,
        typer.Option(min=50, max=60_000, help="A block of a new chain every so many ms, not 1000."),
    ] = None,
    static: Static = False,
    json: Json = False,
) -> None:
    """Run a development chain and a network of nodes on it, write records through them, compare all at the end.

    The chain, wallets in Bittensor's layout, the nodes' settings and an .env
    for programs are in the network's directory. Exit 1 when the nodes do
    not hold the same state. With --json one line when the nodes are ready
    and one at the end.

    Examples:

        mycelium devnet up --nodes 4 --for 20

        mycelium devnet up --dir /tmp/net --import-metagraph recorded_rpc.json

        mycelium devnet fault remove-permit 1 3 --url ws://127.0.0.1:PORT

        mycelium devnet up --nodes 3 --dir /tmp/net --records 0

        mycelium scan records --config /tmp/net/node1/node.toml

        mycelium devnet up --dir /tmp/net --tables examples/workers/tables.toml --records 0
    """
    with output.guard(json=json), _home(directory) as home:
        if static and block_ms is not None:
            raise UsageError("--block-ms is of a chain: leave out --static")
        if tables is not None and records:
            raise UsageError("--tables has no table for the records that are written: give --records 0")
        places = _prepared(
            home,
            nodes,
            static=static,
            miners=miners,
            metagraph=import_metagraph,
            block_ms=block_ms,
            tables=tables,
        )
        code = output.run(_interruptible(_up(home, places, seconds, records, rate, json)))
        if code:
            raise typer.Exit(code)


def demo(
    nodes: Annotated[int, typer.Option(min=2, max=64, help="How many nodes.")] = 4,
    seconds: For = None,
    directory: Directory = None,
    records: Annotated[int, typer.Option(min=100, help="How many records to write first.")] = 100_000,
    static: Static = False,
    json: Json = False,
) -> None:
    """Four nodes on a development chain replicate a load; one is killed, one loses its permit; all end up the same.

    Then it goes on with a light load until Ctrl-C, or ends by itself with --for.

    Examples:

        mycelium devnet demo

        mycelium devnet demo --for 30 --records 20000
    """
    with output.guard(json=json), _home(directory) as home:
        places = _prepared(home, nodes, static=static, block_ms=DEMO_BLOCK_MS)
        code = output.run(_interruptible(_demo(home, places, seconds, records, json)))
        if code:
            raise typer.Exit(code)


class _Places(NamedTuple):
    """A network before it runs. network: None where the members are in a file."""

    nodes: list[NodePlace]
    network: ChainNetwork | None


def _prepared(
    home: Path,
    nodes: int,
    *,
    static: bool,
    miners: int = 2,
    metagraph: Path | None = None,
    block_ms: int | None = None,
    tables: Path | None = None,
) -> _Places:
    from mycelium.devnet import chainlayout, layout

    declared = None if tables is None else layout.read_tables(tables)

    if static:
        if metagraph is not None:
            raise UsageError("--import-metagraph needs a chain: leave out --static")
        return _Places(layout.prepare(home, nodes, tables=declared), None)
    network = chainlayout.prepare(
        home,
        nodes,
        miners=miners,
        metagraph=metagraph,
        block_ms=block_ms or chainlayout.BLOCK_MS,
        tables=declared,
    )
    return _Places(network.nodes, network)


@contextmanager
def _home(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory.expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="mycelium-devnet-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


async def _interruptible(main: Awaitable[int]) -> int:
    """Run `main`; SIGINT and SIGTERM cancel it, so that it ends its nodes, and give exit code 130."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return output.INTERRUPTED


class _Display:
    """The live screen on a terminal; without one, each step that is done as a line. Silent with --json."""

    def __init__(self, title: str, *, json: bool) -> None:
        from rich.live import Live

        self.console = output.console()
        self.title = title
        self.steps: list[Step] = []
        self.samples: list[Sample] = []
        self._json = json
        self._live: Live | None = None
        if self.console.is_terminal and not json:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)

    def step(self, step: Step) -> None:
        """A step begins, or is done and takes the place of the one under way."""
        if self.steps and not self.steps[-1].done:
            self.steps.pop()
        self.steps.append(step)
        if self._live is None and step.done and not self._json:
            from mycelium.cli.view import step_line

            self.console.print(step_line(step, self.console))
        self.draw()

    def draw(self) -> None:
        """Show the present state."""
        if self._live is not None:
            from mycelium.cli.view import screen

            self._live.update(screen(self.title, self.steps, self.samples, self.console), refresh=True)

    @asynccontextmanager
    async def following(self, network: LocalNetwork) -> AsyncIterator[None]:
        """Sample the network and draw it while the block runs."""

        async def follow() -> None:
            while True:
                self.samples = await network.sample()
                self.draw()
                await asyncio.sleep(REFRESH_S)

        task = asyncio.ensure_future(follow())
        try:
            with self._live or contextlib.nullcontext():
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _up(
    home: Path, places: _Places, seconds: float | None, records: int, rate: float, json: bool
) -> int:
    from mycelium.devnet.demo import Step, agree
    from mycelium.devnet.load import Loaded

    began_s, nodes = time.monotonic(), len(places.nodes)
    display = _Display(f"Mycelium local network, {nodes} nodes in {home}", json=json)
    async with _local(places) as network:
        _announce(network, home, places.network, json)
        if not json:
            _print_places(display, places)
            _print_dashboards(display, network)
        if not json and not display.console.is_terminal:
            output.line(display.title)
        display.step(Step(f"{nodes} nodes started", f"{time.monotonic() - began_s:.1f} s", done=True))
        rows_before = [state.rows for state in await network.states()]
        loads = [Loaded() for _ in places.nodes]
        stop = asyncio.Event()
        async with display.following(network):
            text = f"{records:,} records through {nodes} nodes"
            display.step(Step(text))
            load = asyncio.ensure_future(_load(network, loads, records, rate, stop))
            try:
                if seconds is None:
                    await asyncio.Event().wait()
                await asyncio.sleep(seconds or 0)
                stop.set()
                problems = await load
            finally:
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
            written = sum(loaded.records for loaded in loads)
            display.step(Step(f"{written:,} records written", done=True))
            display.step(Step("waiting until all nodes hold them"))
            waited_s = await network.wait_agreed(AGREE_S)
            result = f"after {waited_s:.1f} s" if waited_s is not None else "they do not"
            display.step(Step("all nodes hold the same batches", result, done=True))
        states = await network.states()
    same = agree(states)
    replicated = min(state.rows - before for state, before in zip(states, rows_before, strict=True))
    if json:
        output.emit(
            {
                "event": "finished",
                "records_written": written,
                "records_replicated": max(0, replicated),
                "digests": {state.name: state.digest for state in states},
                "agree": same,
                "problems": problems,
            }
        )
    else:
        _print_end(display, states, [f" {problem}" for problem in problems])
    return 0 if same else output.FAILED


def _local(places: _Places) -> LocalNetwork:
    from mycelium.devnet.network import LocalNetwork

    return LocalNetwork(places.nodes, None if places.network is None else places.network.chain)


def _announce(network: LocalNetwork, home: Path, prepared: ChainNetwork | None, json: bool) -> None:
    if not json:
        return
    nodes: list[dict[str, Any]] = []
    for node in network.nodes:
        assert node.ready is not None
        nodes.append(
            {
                "name": node.place.name,
                "url": node.ready.url,
                "account": node.ready.account,
                "data_dir": node.ready.data_dir,
                "config": str(node.place.config),
                "pid": node.ready.pid,
                "dashboard": node.ready.admin,
            }
        )
    started: dict[str, Any] = {"event": "started", "directory": str(home), "nodes": nodes}
    if prepared is not None and network.chain is not None and network.chain.ready is not None:
        ready = network.chain.ready
        started["chain"] = {"url": ready.url, "genesis": ready.genesis, "pid": ready.pid}
        started["env"] = str(prepared.env_file)
        started["miners"] = [{"name": wallet.name, "account": wallet.address} for wallet in prepared.miners]
    output.emit(started)


def _print_places(display: _Display, places: _Places) -> None:
    if places.network is None:
        return
    from mycelium.cli.view import places_table

    display.console.print(places_table(places.network))


def _print_dashboards(display: _Display, network: LocalNetwork) -> None:
    """Where to watch the nodes; of many the first ones."""
    found = [(node.place.name, node.ready.admin) for node in network.nodes if node.ready and node.ready.admin]
    for name, url in found[:DASHBOARDS_SHOWN]:
        display.console.print(f"watch {name} at {url}")
    if len(found) > DASHBOARDS_SHOWN:
        display.console.print(f"and {len(found) - DASHBOARDS_SHOWN} more: see [admin] in their node.toml")


async def _load(
    network: LocalNetwork, loads: list[Any], records: int, rate: float, stop: asyncio.Event
) -> list[str]:
    """Write through all nodes alike; what went wrong at which node, in words."""
    from mycelium.devnet.load import write_records

    count = len(network.nodes)
    run = f"up-{secrets.token_hex(3)}"

    async def write(index: int) -> str | None:
        share = records // count + (index < records % count)
        name = network.nodes[index].place.name
        try:
            paced = rate / count or None
            await write_records(
                network.remote(index), f"{run}/{name}", share, rate=paced, done=loads[index], stop=stop
            )
        except MyceliumError as error:
            return f"writing through {name} ended early: {output.error_line(error)}"
        return None

    found = await asyncio.gather(*(write(index) for index in range(count)))
    return [problem for problem in found if problem is not None]


def _print_end(display: _Display, states: list[Any], lines: list[Any]) -> None:
    from mycelium.cli.view import final_table, verdict

    console = display.console
    console.print()
    console.print(final_table(states))
    for line in lines:
        console.print(line)
    console.print(verdict(states))


async def _demo(home: Path, places: _Places, seconds: float | None, records: int, json: bool) -> int:
    from mycelium.cli.view import numbers
    from mycelium.devnet.demo import Step, demonstrate
    from mycelium.devnet.load import write_records

    began_s, nodes = time.monotonic(), len(places.nodes)
    display = _Display(f"Mycelium: {nodes} validators replicate a signed store", json=json)
    async with _local(places) as network:
        _announce(network, home, places.network, json)
        if not json:
            _print_dashboards(display, network)
        what = f"a chain and {nodes} nodes started" if places.network else f"{nodes} nodes started"
        display.step(Step(what, f"{time.monotonic() - began_s:.1f} s", done=True))
        async with display.following(network):
            outcome = await demonstrate(network, display.step, records=records)
        if json:
            output.emit(
                {
                    "event": "demonstrated",
                    "records_written": outcome.written,
                    "rate": round(outcome.rate),
                    "replicated_rate": round(outcome.replicated_rate),
                    "latency_p50_ms": round(outcome.latency.percentile(0.5), 2),
                    "latency_p99_ms": round(outcome.latency.percentile(0.99), 2),
                    "caught_up_s": outcome.caught_up_s,
                    "refused_by": outcome.refused_by,
                    "digests": {state.name: state.digest for state in outcome.states},
                    "agree": outcome.agree,
                }
            )
        else:
            _print_end(display, outcome.states, [numbers(outcome)])
        if not outcome.agree:
            return output.FAILED
        left_s = None if seconds is None else seconds - (time.monotonic() - began_s)
        if left_s is not None and left_s <= 0:
            return 0
        ending = "until Ctrl-C" if left_s is None else f"for {left_s:.0f} s more"
        after = _Display(f"The network goes on, 100 records a second, {ending}.\nIt is in {home}", json=json)
        if not json and not after.console.is_terminal:
            output.line(after.title)
        stop = asyncio.Event()
        async with after.following(network):
            load = asyncio.ensure_future(
                write_records(network.remote(0), f"later-{secrets.token_hex(3)}", 10**9, rate=100, stop=stop)
            )
            try:
                await asyncio.wait([load], timeout=left_s)
            finally:
                stop.set()
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
    return 0
