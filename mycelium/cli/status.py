"""How a node's status looks on a terminal of 80 columns. Pure layout; what is not known here is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mycelium.cli.output import show, size


def status_view(found: Mapping[str, Any]) -> RenderableType:
    """Everything that `node status` shows."""
    database = found.get("database", {})
    facts = {**found, "store": database.get("store", {})}
    parts: list[RenderableType] = [_facts(facts), _spaces(database)]
    parts += [
        Text(f"not ready: {check['name']}: {check['text']} -- {check['remedy']}", style="red")
        for check in found.get("health", {}).get("checks", ())
        if not check["ok"]
    ]
    parts += [Text(f"problem: {said}", style="red") for said in found.get("chain", {}).get("problems", ())]
    if found.get("peers"):
        parts.append(_peers(found["peers"]))
    else:
        parts.append(Text("no peer is connected\n", style="yellow"))
    # A peer that dialled us is connected, though our dialling it failed.
    connected = {peer["account"] for peer in found.get("peers", [])}
    for account, why in found.get("unreachable", {}).items():
        if account in connected:
            continue
        parts.append(Text(f"not connected to {account}: {why}", style="yellow"))
    if found.get("events"):
        parts.append(_events(found["events"]))
    return Group(*parts)


def value_text(key: str, value: Any) -> str:
    """One fact for people: sizes and durations in their units, numbers with separators."""
    if isinstance(value, bool) or value is None:
        return "-" if value is None else "yes" if value else "no"
    if isinstance(value, int | float) and key.endswith("_bytes"):
        return size(value)
    if isinstance(value, int | float) and key.endswith("_s"):
        return f"{value:,.1f} s"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {value_text(key, item)}" for name, item in value.items())
    if isinstance(value, int) and key not in {"pid", "netuid", "generation", "port"}:
        return f"{value:,}"
    return show(value)


def _plain(key: str) -> str:
    for suffix in ("_bytes", "_s"):
        key = key.removesuffix(suffix)
    return key.replace("_", " ")


def _facts(found: Mapping[str, Any]) -> Table:
    """Names and values in two columns; the entries of a small mapping as `name: value` on one line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", min_width=12)
    table.add_column(overflow="fold")
    for key, value in found.items():
        if isinstance(value, Mapping) and key in {
            "chain",
            "network",
            "store",
            "rejects",
            "sync",
            "endpoints",
            "rotation",
            "blacklist",
        }:
            inner = ", ".join(
                f"{_plain(name)} {value_text(name, item)}"
                for name, item in value.items()
                if item and name != "problems"
            )
            table.add_row(key, inner or "-")
        elif not isinstance(value, Mapping | list):
            table.add_row(_plain(key), value_text(key, value))
    return table


def _spaces(database: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("space", min_width=12)
    table.add_column("changes", justify="right")
    table.add_column("origins", justify="right")
    table.add_column("holds (equal on nodes that hold the same)", overflow="fold")
    for space, vector in database.get("vectors", {}).items():
        changes = database.get("held_changes", {}).get(space)
        origins = database.get("origins", {}).get(space)
        table.add_row(space, value_text("", changes), value_text("", origins), vector)
    return table


def _events(events: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("ago", justify="right", no_wrap=True)
    table.add_column("lately", overflow="fold")
    for event in events:
        account = event["account"]
        whose = f" {account[:6]}..{account[-6:]}" if account else ""
        table.add_row(f"{event['ago_s']:,.0f} s", f"{event['kind']}: {event['text']}{whose}")
    return table


def _peers(peers: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("peer", min_width=14)
    table.add_column("role", overflow="fold")
    table.add_column("address", no_wrap=True)
    table.add_column("rtt", justify="right", no_wrap=True)
    table.add_column("queued", justify="right", no_wrap=True)
    table.add_column("has of ours", overflow="fold")
    for peer in peers:
        account, rtt = peer["account"], peer.get("rtt_ms")
        acknowledged = peer.get("acknowledged", {})
        has = ", ".join(f"{space} {head:,}" for space, head in acknowledged.items())
        table.add_row(
            f"{account[:6]}..{account[-6:]}",
            peer["role"],
            peer["remote"],
            "-" if rtt is None else f"{rtt:.1f} ms",
            size(peer["queued_bytes"]),
            has,
        )
    return table
