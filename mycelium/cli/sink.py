"""Commands for sinks of the change feed: postgres, parquet, status, rls.

Owns what is asked and printed. A sink is a process of its own beside the node: when it dies the node does not notice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mycelium.cli import output, progress
from mycelium.cli.target import (
    Json,
    Session,
    Target,
    connected,
    targeted,
)
from mycelium.errors import UsageError

if TYPE_CHECKING:
    from mycelium.sinks.interface import Sink
    from mycelium.sinks.runner import Progress
    from mycelium.sinks.schemafile import Given

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar="MYCELIUM_SINK_DSN",
        help="Where PostgreSQL is: postgresql://USER@HOST:PORT/DATABASE. Its password rather in "
        "PGPASSWORD or ~/.pgpass.",
    ),
]
Name = Annotated[
    str, typer.Option("--name", help="Of this sink among those of the database: each has its own position.")
]
Schema = Annotated[
    Path | None,
    typer.Option("--schema", metavar="FILE", help="TOML with the columns of tables, and where they lie."),
]
Spaces = Annotated[
    list[str] | None, typer.Option("--space", help="Only this space; may be given again. Else all but sys.")
]
Tables = Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be given again.")]
Metrics = Annotated[
    Path | None,
    typer.Option(
        "--metrics", metavar="FILE", help="Write metrics there, for node_exporter's textfile collector."
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Fill it anew at the start, whatever it holds.")]

Logins = Annotated[
    list[str] | None,
    typer.Option(
        "--login", metavar="NAME=SS58", help="A user of the database and its account; may be given again."
    ),
]
Document = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="A policy document, instead of the one in force."),
]

_REPORT_S: Final = 10.0
"""Between two lines of progress with --json."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    targeted(app, "postgres")(postgres)
    targeted(app, "parquet")(parquet)
    app.command("status")(status)
    connected(app, "rls")(rls)


def postgres(
    target: Target,
    *,
    json: bool,
    dsn: Dsn,
    name: Name = "main",
    schema: Schema = None,
    space: Spaces = None,
    table: Tables = None,
    metrics: Metrics = None,
    again: Again = False,
) -> None:
    """Keep tables of a PostgreSQL filled from a node, until Ctrl-C.

    First all rows, then every change as it becomes durable at the node. Each
    table of the node is one of PostgreSQL, with typed columns: those that the
    file of --schema gives, else those that a sample of values suggests; what
    has no column is kept in _rest, as JSON. The position of the feed is in the
    transaction of the rows: whatever is killed, nothing is lost or counted
    twice. What passes by itself (PostgreSQL down, full, locked; the node away)
    is said and waited for; what must be mended ends it with exit code 2, and
    it goes on where it was when it is started again.

    Examples:

        mycelium sink postgres --dsn postgresql://me@localhost/facts --config node.toml

        mycelium sink postgres --dsn "$DSN" --space main --schema tables.toml --config node.toml
    """
    with output.guard(json=json):
        from mycelium.sinks.postgres.sink import PostgresSink

        say = _sayer(json)
        sink = PostgresSink(dsn, name, _given(schema), wanted=_wanted(space, table), again=again, say=say)
        shown = _Shown(json, _metrics_file(metrics, name))
        output.run(_run(target, sink, space, table, say, shown))


def parquet(
    target: Target,
    *,
    json: bool,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the files go; made if need be.")
    ],
    every: Annotated[
        float, typer.Option(min=0.0, help="Seconds after which what has come is written.")
    ] = 60.0,
    rows: Annotated[int, typer.Option(min=1, help="Rows after which it is written before that.")] = 100_000,
    schema: Schema = None,
    space: Spaces = None,
    table: Tables = None,
    metrics: Metrics = None,
) -> None:
    """Write the changes of a node's tables to Parquet files, until Ctrl-C.

    First all rows, then every change. DIR/manifest.json says which files count
    and in what order; applying their rows one by one, by their column op,
    gives what the node shows. A file is whole or not there, and the manifest
    holds the position of the feed: whatever is killed, nothing is lost or
    there twice. Needs pyarrow.

    Example:

        mycelium sink parquet --dir /data/facts --every 300 --config node.toml
    """
    with output.guard(json=json):
        from mycelium.sinks.parquet import ParquetSink

        say = _sayer(json)
        sink = ParquetSink(
            directory, _given(schema), every_s=every, rows_max=rows, wanted=_wanted(space, table), say=say
        )
        shown = _Shown(json, _metrics_file(metrics, str(directory)))
        output.run(_run(target, sink, space, table, say, shown))


def _given(path: Path | None) -> Given:
    from mycelium.sinks import schemafile

    return schemafile.Given() if path is None else schemafile.read(path)


def _metrics_file(path: Path | None, name: str) -> Callable[[Progress], None] | None:
    if path is None:
        return None
    from mycelium.admin.exposition import render
    from mycelium.sinks.metrics import MetricsFile

    return MetricsFile(path, name, render)


def _wanted(spaces: list[str] | None, tables: list[str] | None) -> str:
    """What of the feed is asked for, as text that is equal for equal questions."""
    return output.json_text([sorted(set(spaces or [])) or None, sorted(set(tables or [])) or None])


def _sayer(json: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if json:
            output.emit({"event": "said", "text": text})
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    return say


async def _run(
    target: Target,
    sink: Sink,
    spaces: list[str] | None,
    tables: list[str] | None,
    say: Callable[[str], None],
    shown: _Shown,
) -> None:
    """Run a sink on the node of the options."""
    from mycelium.node.remote import connect
    from mycelium.sinks.runner import Runner

    url, keypair, account = target.resolve()

    def dial() -> Any:
        return connect(url, keypair, account, timeout_s=target.timeout)

    runner = Runner(dial, sink, spaces or None, tables or None, say=say, on_progress=shown)
    try:
        await runner.run()
    finally:
        shown.clear()


class _Shown:
    """Progress: a line that is written over on a terminal, with --json an object now and then."""

    def __init__(self, json: bool, metrics: Callable[[Progress], None] | None) -> None:
        import time

        self._json = json
        self._metrics = metrics
        self._clock = time.monotonic
        self._last: tuple[str, float] = ("", 0.0)
        self._line = progress.Line("rows read", "rows", on=not json)

    def __call__(self, done: Progress) -> None:
        if self._metrics is not None:
            self._metrics(done)
        if not self._json:
            if done.phase == "filling":
                self._line.at(done.rows)
            else:
                self._line.clear()
        now_s = self._clock()
        if done.phase == self._last[0] and now_s - self._last[1] < _REPORT_S:
            return
        first = done.phase != self._last[0]
        self._last = (done.phase, now_s)
        if self._json:
            output.emit(
                {
                    "event": done.phase,
                    "rows": done.rows,
                    "changes": done.changes,
                    "batches": done.batches,
                    "lag": done.lag,
                    "cursor": None if done.position is None else str(done.position.cursor),
                    "waits_for": done.waits_for,
                }
            )
        elif first and done.phase == "live":
            output.line(
                f"follows the node's feed; {done.rows:,} rows were read"
                if done.rows
                else "follows the node's feed"
            )

    def clear(self) -> None:
        self._line.clear()


def status(dsn: Dsn, json: Json = False) -> None:
    """Print how far the sinks of a PostgreSQL are.

    Reads the database alone, so the sinks and the node need not run. LAG is
    in batches, as of the last one that was written.

    Example:

        mycelium sink status --dsn postgresql://me@localhost/facts
    """
    with output.guard(json=json):
        from mycelium.sinks.postgres import report

        sinks = report.read(dsn)
        for sink in sinks:
            if json:
                output.emit(sink)
                continue
            filled = "not filled yet" if sink["cursor"] is None else f"at {sink['cursor']}"
            output.line(
                f"{sink['name']}: {filled}, lag {sink['lag']}, {sink['changes']:,} changes, "
                f"written {sink['written_s_ago']:.0f} s ago"
            )
            for table in sink["tables"]:
                columns = ", ".join(f"{name} {kind}" for name, kind in table["columns"].items())
                output.line(f"  {table['table']} ({table['merge']}) -> {table['relation']}: {columns}")
        if not sinks and not json:
            output.line("no sink has written to this database")


async def rls(
    session: Session,
    dsn: Dsn,
    name: Name = "main",
    logins: Logins = None,
    policy: Document = None,
    prefix: Annotated[str, typer.Option(help="Before the names of the roles that it makes.")] = "mycelium_",
) -> None:
    """Print a script that gives a sink's tables the read rights of the policy.

    It makes a role of PostgreSQL for each role of the policy and for each
    account that its rules name, and lets each see the rows whose keys it may
    read: as row-level security, which PostgreSQL keeps whatever is asked.
    --login makes a user of the database a member of the roles that it is. Run
    it again when the policy changes or the sink has new tables; until then
    nobody but the tables' owner sees those.

    Example:

        mycelium sink rls --dsn "$DSN" --login alice=5F3s... --config node.toml | psql "$DSN"
    """
    from mycelium.database.policy import DEFAULT, parse
    from mycelium.sinks import rls as security
    from mycelium.sinks.postgres import report

    document = None if policy is None else policy.read_bytes()
    if document is None:
        found = await session.node.policy()
        if found.digest is not None and found.document is None:
            raise UsageError(
                "the node does not have the document of the policy in force yet: try again in a while"
            )
        document = found.document
    members = {member.account: member.role for member in (await session.node.epoch()).members}
    script = security.script(
        DEFAULT if document is None else parse(document),
        report.tables(dsn, name),
        dict(security.login(one, members) for one in logins or []),
        prefix,
    )
    if session.json:
        output.emit({"script": script})
    else:
        output.line(script.rstrip())
