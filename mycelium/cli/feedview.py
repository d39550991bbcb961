"""How `feed status` looks on a terminal of 80 columns. Pure layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mycelium.cli.output import size


def feed_view(found: Mapping[str, Any]) -> RenderableType:
    """Everything that `feed status` shows."""
    node, nats = found["node"], found["nats"]
    parts: list[RenderableType] = [_node(node)]
    if "error" in nats:
        parts.append(Text(f"NATS      {nats['error']}", style="red"))
        return Group(*parts)
    parts.append(_servers(nats))
    parts += [_streams(nats["streams"]), *map(_bridge, nats["bridges"])]
    if not nats["bridges"]:
        parts.append(Text("no bridge of this network has run: mycelium feed bridge", style="yellow"))
    return Group(*parts)


def _node(node: Mapping[str, Any]) -> Text:
    if "error" in node:
        return Text(f"node      {node['error']}", style="red")
    lines = [f"node      {node['url']}", f"feed      {node['newest']}, kept from {node['kept_from']}"]
    lines += [
        f"reader    {one['account']}, {one['behind']:,} behind, at {one['cursor']}" for one in node["readers"]
    ]
    return Text("\n".join(lines))


def _servers(nats: Mapping[str, Any]) -> Text:
    said = Text("NATS      ")
    for number, one in enumerate(nats["servers"]):
        safe = one["safe"]
        said.append(", " if number else "")
        said.append(one["name"])
        word = "syncs" if safe else one["why"]
        said.append(f" {word}", style="green" if safe else "red" if safe is False else "yellow")
    if nats["problem"]:
        said.append(f"\nproblem   {nats['problem']} -- {nats['remedy']}", style="red")
    return said


def _streams(streams: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    if not streams:
        return Text("no stream of this network is there", style="yellow")
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("space")
    for name in ("first", "last", "size", "oldest", "newest"):
        table.add_column(name, justify="right")
    table.add_column("servers")
    table.add_column("snapshot", justify="right")
    for space, one in streams.items():
        servers = Text(", ").join(
            Text(peer["name"], style="" if peer["current"] else "red") for peer in one["servers"]
        )
        table.add_row(
            space,
            f"{one['first']:,}",
            f"{one['last']:,}",
            size(one["bytes"]),
            age(one["first_age_s"]),
            age(one["last_age_s"]),
            servers,
            _snapshot(one),
        )
    return table


def _snapshot(one: Mapping[str, Any]) -> Text:
    held = one["snapshot"]
    if held is None:
        return Text("none", style="yellow")
    text = f"{held['stream_seq']:,}, {age(held['age_s'])}"
    return Text(text, style="green" if one["complete"] else "red")


def _bridge(one: Mapping[str, Any]) -> Text:
    where = f"{one['host']}:{one['pid']}" if one["host"] else "?"
    text = Text(f"bridge    {one['account']} at {one['cursor']}, lag {one['lag']:,}; {where}, ")
    if not one["running"]:
        text.append(f"last heard of {age(one['ago_s'])} ago", style="red")
    else:
        text.append("running", style="green")
        text.append(f", {one['published']:,} published, {one['repeated']:,} repeated")
    if one["problem"]:
        text.append(f"\n          {one['problem']}", style="red")
    return text


def age(seconds: float | None) -> str:
    """A duration in its largest unit; "-" for none."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
