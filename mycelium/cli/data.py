"""Commands on records: get, put, delete, add, insert, remove, scan, watch, count, digest."""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mycelium.cli import output
from mycelium.cli.target import Session, connected
from mycelium.errors import UsageError
from mycelium.identity import account as accounts

TableName = Annotated[str, typer.Argument(metavar="TABLE", help="A table that the node's settings declare.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Text; with --hex-key, bytes in hex.")]
Value = Annotated[
    str | None,
    typer.Argument(metavar="VALUE", help="JSON, or text where it is not JSON. Text alone with --text."),
]
HexKey = Annotated[bool, typer.Option("--hex-key", help="KEY is bytes, in hex.")]
Text = Annotated[bool, typer.Option("--text", help="Take VALUE as text even where it is JSON.")]
Bytes = Annotated[
    Path | None, typer.Option("--bytes", metavar="FILE", help="Take the value's bytes from FILE; - is stdin.")
]
AckOption = Annotated[
    str,
    typer.Option(
        "--ack", help="When it counts as written: applied, durable, or a number of peers that hold it."
    ),
]
Prefix = Annotated[str | None, typer.Option(help="Only keys that begin with this.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for name, function in (
        ("get", get),
        ("put", put),
        ("delete", delete),
        ("add", add),
        ("insert", insert),
        ("remove", remove),
        ("scan", scan),
        ("watch", watch),
        ("count", count),
        ("digest", digest),
    ):
        connected(app, name)(function)


async def get(session: Session, table: TableName, key: Key, hex_key: HexKey = False) -> None:
    """Print the value of one key; exit 1 when there is none.

    Bytes are printed as they are; with --json as {"$bytes": "<base64>"}.

    Examples:

        mycelium get scores 5F3sa2TJ --config node.toml

        mycelium get scores 5F3sa2TJ --url ws://127.0.0.1:9090 --key-file hot.json
    """
    name = _key(key, hex_key)
    value = await session.node.database.table(table).get(name)
    if session.json:
        output.emit({"table": table, "key": name, "found": value is not None, "value": value})
    elif isinstance(value, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    elif value is not None:
        output.line(output.show(value))
    if value is None:
        if not session.json:
            sys.stderr.write(f"error: table {table!r} has no key {output.show(name)!r}\n")
        raise typer.Exit(output.FAILED)


async def put(
    session: Session,
    table: TableName,
    key: Key,
    value: Value = None,
    hex_key: HexKey = False,
    text: Text = False,
    file: Bytes = None,
    ack: AckOption = "durable",
) -> None:
    """Set a key (lww and own tables), or add one more fact to it (append tables).

    VALUE is JSON where it can be read as JSON, else text.

    Examples:

        mycelium put scores 5F3sa2TJ '{"score": 0.93}' --config node.toml

        mycelium put models m7 --bytes model.bin --ack 2 --config node.toml
    """
    name = _key(key, hex_key)
    await session.node.database.table(table).put(name, _value(value, text, file), ack=_ack(ack))
    _written(session, "put", table, name, ack)


async def delete(
    session: Session, table: TableName, key: Key, hex_key: HexKey = False, ack: AckOption = "durable"
) -> None:
    """Remove a key of an lww or own table.

    That there is none is no error.

    Example:

        mycelium delete scores 5F3sa2TJ --config node.toml
    """
    name = _key(key, hex_key)
    await session.node.database.table(table).delete(name, ack=_ack(ack))
    _written(session, "delete", table, name, ack)


async def add(
    session: Session,
    table: TableName,
    key: Key,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="A whole number; negative after --.")] = 1,
    hex_key: HexKey = False,
    ack: AckOption = "durable",
) -> None:
    """Add to a counter.

    A counter that is not there yet begins at 0.

    Examples:

        mycelium add hits 5F3sa2TJ 3 --config node.toml

        mycelium add hits 5F3sa2TJ --config node.toml -- -3
    """
    name = _key(key, hex_key)
    await session.node.database.table(table).add(name, amount, ack=_ack(ack))
    _written(session, "add", table, name, ack)


async def insert(
    session: Session,
    table: TableName,
    key: Key,
    value: Value = None,
    hex_key: HexKey = False,
    text: Text = False,
    file: Bytes = None,
    ack: AckOption = "durable",
) -> None:
    """Put an element into the set at a key.

    VALUE is JSON where it can be read as JSON, else text.

    Example:

        mycelium insert banned subnet-1 5F3sa2TJ --config node.toml
    """
    name = _key(key, hex_key)
    await session.node.database.table(table).insert(name, _value(value, text, file), ack=_ack(ack))
    _written(session, "insert", table, name, ack)


async def remove(
    session: Session,
    table: TableName,
    key: Key,
    value: Value = None,
    hex_key: HexKey = False,
    text: Text = False,
    file: Bytes = None,
    ack: AckOption = "durable",
) -> None:
    """Take an element out of the set at a key.

    That it is not there is no error.

    Example:

        mycelium remove banned subnet-1 5F3sa2TJ --config node.toml
    """
    name = _key(key, hex_key)
    await session.node.database.table(table).remove(name, _value(value, text, file), ack=_ack(ack))
    _written(session, "remove", table, name, ack)


async def scan(
    session: Session,
    table: TableName,
    prefix: Prefix = None,
    start: Annotated[str | None, typer.Option(help="From this key on.")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this key, without it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the last key to the first.")] = False,
) -> None:
    """Print the rows of a range of keys, in the order of their keys.

    A key, a tab and its value a line; with --json also who wrote it and when.

    Examples:

        mycelium scan scores --prefix 5F --limit 20 --config node.toml

        mycelium scan scores --json --config node.toml | jq .value.score
    """
    rows = session.node.database.table(table).scan(prefix, start, end, limit, reverse)
    async with aclosing(rows):
        async for row in rows:
            if session.json:
                output.emit(
                    {
                        "key": row.key,
                        "value": row.value,
                        "account": accounts.format(row.account),
                        "hlc": row.hlc,
                    }
                )
            else:
                output.line(f"{output.show(row.key)}\t{output.show(row.value)}")


async def watch(
    session: Session,
    table: TableName,
    prefix: Prefix = None,
    after: Annotated[int | None, typer.Option(metavar="CURSOR", help="Resume after this cursor.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after this many changes.")] = None,
) -> None:
    """Print changes as they become durable at the node, whoever wrote them, until Ctrl-C.

    With --json the first line is {"event": "watching", "cursor": N}, and
    each change carries the cursor that resumes after it, with --after.

    Examples:

        mycelium watch scores --prefix 5F --config node.toml

        mycelium watch scores --after 524288 --json --config node.toml
    """
    if after is not None and not 0 <= after < 2**63:
        raise UsageError(f"--after is a cursor that a watch gave, not {after}")
    changes = session.node.database.table(table).watch(prefix, after)
    cursor = await changes.start()
    if session.json:
        output.emit({"event": "watching", "table": table, "cursor": cursor})
    seen = 0
    try:
        async for change in changes:
            _print_change(session, change)
            seen += 1
            if seen == limit:
                return
    finally:
        if not session.json and seen != limit:
            sys.stderr.write(f"resume with --after {changes.cursor}\n")
        await changes.aclose()


def _print_change(session: Session, change: Any) -> None:
    author = accounts.format(change.account)
    if session.json:
        output.emit(
            {
                "event": "change",
                "cursor": change.cursor,
                "table": change.table,
                "key": change.key,
                "op": change.op,
                "value": change.value,
                "account": author,
                "hlc": change.hlc,
            }
        )
    else:
        value = "" if change.value is None else output.show(change.value)
        output.line(f"{change.op}\t{output.show(change.key)}\t{value}\t{author}")


async def count(session: Session, table: TableName) -> None:
    """Print how many keys a table has.

    The node reads them all to count them.

    Example:

        mycelium count scores --config node.toml
    """
    number = await session.node.database.table(table).count()
    if session.json:
        output.emit({"table": table, "count": number})
    else:
        output.line(str(number))


async def digest(session: Session) -> None:
    """Print the digest of the node's state, space by space.

    It is equal on nodes that hold the same data. The node reads all of it.

    Example:

        mycelium digest --config node.toml
    """
    state = await session.node.database.state()
    if session.json:
        output.emit({"account": accounts.format(session.node.account), "spaces": state})
        return
    for space, found in sorted(state.items()):
        output.line(f"{space}\t{found['digest']}\t{found['rows']:,} rows")


def _written(session: Session, op: str, table: str, key: str | bytes, ack: str) -> None:
    if session.json:
        output.emit({"op": op, "table": table, "key": key, "ack": ack})


def _key(text: str, hexadecimal: bool) -> str | bytes:
    if not hexadecimal:
        return text
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError(f"KEY is not hex: {text!r}") from None


def _value(argument: str | None, text: bool, file: Path | None) -> Any:
    if (argument is None) == (file is None):
        raise UsageError("give VALUE, or --bytes FILE, and not both")
    if file is not None:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    assert argument is not None
    if text:
        return argument
    try:
        return msgspec.json.decode(argument)
    except (msgspec.DecodeError, RecursionError):
        return argument


def _ack(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdigit() else text
