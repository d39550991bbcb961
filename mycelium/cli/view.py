"""How a local network looks on a terminal: the live table of its nodes, the steps so far, the final comparison.

Fits 80 columns. Pure layout: takes what `devnet` measured and gives what rich prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mycelium.devnet.chainlayout import ChainNetwork
from mycelium.devnet.demo import Outcome, Step, agree
from mycelium.devnet.network import NodeState, Sample

_STYLES: Final = {"running": "green", "syncing": "yellow", "starting": "yellow", "down": "bold red"}


def marks(console: Console) -> tuple[str, str]:
    """The marks of a step that is done and of one that is under way, in what the terminal can show."""
    return ("✓", "…") if console.encoding.lower().startswith("utf") else ("*", ".")


def live_table(samples: Sequence[Sample]) -> Table:
    """The nodes as of now. Equal `holds` mean that two nodes hold the same batches."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=False)
    table.add_column("node", min_width=7)
    table.add_column("state", min_width=8)
    for name, width in (("changes", 11), ("changes/s", 9)):
        table.add_column(name, justify="right", min_width=width)
    table.add_column("holds", min_width=12)
    table.add_column("peers", justify="right")
    table.add_column("memory", justify="right", min_width=8)
    most = max((sample.changes for sample in samples), default=0)
    vectors = [sample.vector for sample in samples if sample.changes == most]
    for sample in samples:
        same = bool(sample.vector) and sample.vector == vectors[0]
        table.add_row(
            sample.name,
            Text(sample.state, style=_STYLES.get(sample.state, "")),
            f"{sample.changes:,}" if sample.vector else "-",
            f"{sample.rate:,.0f}" if sample.vector else "-",
            Text(sample.vector or "-", style="green" if same else "yellow"),
            str(sample.peers),
            f"{sample.rss_bytes / 2**20:,.0f} MiB",
        )
    return table


def places_table(network: ChainNetwork) -> RenderableType:
    """Where everything listens: the chain, each validator's node, the miners' wallets, and the file for programs."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("wallet", min_width=10)
    table.add_column("uid", justify="right")
    table.add_column("hotkey", min_width=48, no_wrap=True)
    table.add_column("port", justify="right")
    for uid, (wallet, place) in enumerate(zip(network.validators, network.nodes, strict=True)):
        table.add_row(wallet.name, str(uid), wallet.address, str(place.port))
    for uid, wallet in enumerate(network.miners, start=len(network.nodes)):
        table.add_row(wallet.name, str(uid), wallet.address, "-")
    where = Table.grid(padding=(0, 2))
    where.add_row("chain", network.chain.url)
    where.add_row("nodes", "ws://127.0.0.1:PORT of each, settings in node1/node.toml and so on")
    where.add_row("for programs", Text(str(network.env_file), overflow="fold"))
    return Group(table, where, Text(""))


def step_line(step: Step, console: Console) -> Text:
    """One step on one line: mark, text, result at the right."""
    done, under_way = marks(console)
    line = Text(f" {done} " if step.done else f" {under_way} ", style="green" if step.done else "yellow")
    line.append(step.text, style="" if step.done else "dim")
    if step.result:
        room = min(76, console.width) - line.cell_len - len(step.result)
        line.append(" " * max(2, room))
        line.append(step.result, style="bold")
    return line


def screen(title: str, steps: Sequence[Step], samples: Sequence[Sample], console: Console) -> RenderableType:
    """Everything at once, for the live display."""
    parts: list[RenderableType] = [Text(title, style="bold")]
    if steps:
        parts += [Text(""), *(step_line(step, console) for step in steps)]
    if samples:
        parts += [Text(""), live_table(samples)]
    return Group(*parts)


def final_table(states: Sequence[NodeState]) -> Table:
    """The digest of every node's state, and whether they are one."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("node", min_width=7)
    table.add_column("records", justify="right", min_width=11)
    table.add_column("BLAKE3 of the whole state", overflow="fold")
    same = agree(list(states))
    for state in states:
        digest = state.digest or "no answer"
        shown = f"{digest[:40]}..." if len(digest) > 43 else digest
        table.add_row(state.name, f"{state.rows:,}", Text(shown, style="green" if same else "red"))
    return table


def verdict(states: Sequence[NodeState]) -> Text:
    """One sentence."""
    if agree(list(states)):
        return Text(f" All {len(states)} nodes hold byte-identical state.", style="bold green")
    return Text(" The nodes do NOT hold the same state.", style="bold red")


def numbers(outcome: Outcome) -> Text:
    """What the demonstration measured, in two lines."""
    latency = outcome.latency
    text = Text(
        f" {outcome.written:,} records written; load of {outcome.rate:,.0f}/s through one node, "
        f"{outcome.replicated_rate:,.0f}/s in all\n"
        f" from put to seen elsewhere: p50 {latency.percentile(0.5):.1f} ms, "
        f"p99 {latency.percentile(0.99):.1f} ms over {len(latency.samples_ms)} samples"
    )
    if latency.lost:
        text.append(f", {latency.lost} not seen within 10 s", style="bold red")
    return text
