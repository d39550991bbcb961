"""Draws the pictures of the documentation as SVG: `python docs/_site/pictures.py` writes docs/images/*.svg.

One file serves light and dark: colours are variables that a media query changes. No fonts and nothing from elsewhere. A
test draws them again and holds them against the committed files.
"""

from __future__ import annotations

from pathlib import Path

IMAGES = Path(__file__).parents[1] / "images"
STYLE = """<style>
  svg { --ink: #1c2b2a; --soft: #5b6b69; --line: #7f918e; --page: #ffffff; --box: #eef5f3; --mine: #cfe9e2;
        --chain: #f6ead2; --edge: #2f7f72; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6efed; --soft: #a3b3b0; --line: #6d807d; --page: #1a2122; --box: #243031; --mine: #1f4a43;
          --chain: #4a3d22; --edge: #5fc2b0; }
  }
  text { font: 14px system-ui, sans-serif; fill: var(--ink); }
  .small { font-size: 12px; fill: var(--soft); }
  .name { font-weight: 600; }
  .code { font-family: ui-monospace, monospace; font-size: 12px; white-space: pre; }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; }
  .page { fill: var(--page); }
  .box { fill: var(--box); stroke: var(--line); }
  .mine { fill: var(--mine); stroke: var(--edge); }
  .chain { fill: var(--chain); stroke: var(--line); }
  .arrow { stroke: var(--edge); stroke-width: 1.6; fill: none; marker-end: url(#head); }
  .both { marker-start: url(#head); }
  .thin { stroke: var(--line); stroke-width: 1.2; stroke-dasharray: 4 4; fill: none; marker-end: url(#grey); }
  .head { fill: var(--edge); }
  .grey { fill: var(--line); }
</style>
<defs>
  <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
    <path class="head" d="M0 0 8 4 0 8z"/></marker>
  <marker id="grey" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
    <path class="grey" d="M0 0 8 4 0 8z"/></marker>
</defs>"""


def box(x: int, y: int, width: int, height: int, kind: str = "box") -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'


def text(x: int, y: int, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def path(way: str, kind: str = "arrow") -> str:
    return f'<path class="{kind}" d="{way}"/>'


def picture(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
    page = f'<rect class="page" width="{width}" height="{height}" rx="10"/>'
    return "\n".join([head, f"<title>{title}</title>", STYLE, page, *parts, "</svg>", ""])


def network() -> str:
    """What stands where: programs, nodes, the store, the chain."""
    parts = [
        box(220, 20, 360, 56, "chain"),
        text(400, 44, "the chain", "name middle"),
        text(400, 63, "who is registered, permits, stake; the policy's name", "small middle"),
    ]
    for at, name, role in (
        (30, "validator A", "writes"),
        (290, "owner", "writes"),
        (550, "observer", "reads"),
    ):
        kind = "mine" if at == 30 else "box"
        middle = at + 110
        parts += [
            path(f"M400 76 C400 104 {middle} 88 {middle} 128", "thin"),
            box(at, 130, 220, 178, kind),
            text(at + 14, 153, f"node of {name}", "name"),
            text(at + 206, 153, role, "small end"),
            box(at + 14, 166, 192, 84),
            text(at + 24, 185, "space main", "small"),
            text(at + 24, 205, "scores   lww", "code"),
            text(at + 24, 222, "requests counter", "code"),
            text(at + 24, 239, "banned   set", "code"),
            box(at + 14, 258, 192, 38),
            text(at + 24, 281, "space sys: policy, seals", "small"),
        ]
    parts += [
        path("M254 218H286", "arrow both"),
        path("M514 218H546", "arrow both"),
        path("M140 316C220 352 580 352 660 316", "arrow both"),
        text(400, 364, "signed batches over sealed sessions, each with each", "small middle"),
        box(30, 386, 220, 44),
        text(140, 413, "A's program: put, watch", "middle"),
        path("M140 386V312"),
        box(550, 386, 220, 44),
        text(660, 413, "a dashboard: scan", "middle"),
        path("M660 386V312"),
    ]
    return picture(
        800, 450, "Programs use their own node; nodes replicate spaces; the chain says who may", parts
    )


def life() -> str:
    """A change from put to the other node's watcher."""
    steps = [
        ("put", "key and value are", "encoded"),
        ("gather", "512 changes, 64 KiB", "or 5 ms: a batch"),
        ("sign", "numbers, clock, and", "the digest before"),
        ("merge", "rows, log, vector:", "one disk write"),
        ("sync", "the disk has it:", "ack=durable returns"),
    ]
    parts = [text(20, 30, "at the node that writes", "name")]
    for at, (name, one, two) in enumerate(steps):
        x = 20 + at * 154
        parts += [
            box(x, 44, 136, 76, "mine"),
            text(x + 68, 66, name, "name middle"),
            text(x + 68, 87, one, "small middle"),
            text(x + 68, 104, two, "small middle"),
        ]
        if at:
            parts.append(path(f"M{x - 17} 82H{x - 3}"))
    parts += [
        path("M704 120V176"),
        text(694, 152, "push, to everybody", "small end"),
        text(20, 166, "at every other node", "name"),
    ]
    others = [
        ("watch", "its programs see", "the change"),
        ("sync", "the disk has it", ""),
        ("merge", "the same rows win,", "in any order"),
        ("signature", "then quota, seal,", "proofs"),
        ("check", "size, shape, network,", "rights, its block"),
    ]
    for at, (name, one, two) in enumerate(others):
        x = 20 + at * 154
        parts += [
            box(x, 180, 136, 76),
            text(x + 68, 202, name, "name middle"),
            text(x + 68, 223, one, "small middle"),
            text(x + 68, 240, two, "small middle"),
        ]
        if at:
            parts.append(path(f"M{x - 3} 218H{x - 17}"))
    parts += [
        path("M242 180V126", "thin"),
        text(250, 160, "acknowledged: ack=2 returns", "small"),
        path("M88 300H704", "thin"),
        path("M704 300H88", "thin"),
        text(396, 290, "what a push missed", "small middle"),
        text(
            396,
            322,
            "each second pings carry a digest of what is held; where it differs, the ranges",
            "small middle",
        ),
        text(396, 339, "that are lacking are fetched, from any peer", "small middle"),
    ]
    return picture(794, 356, "The life of a change", parts)


def beyond() -> str:
    """What stands where when one machine is not enough."""
    parts = [
        box(20, 20, 190, 150, "chain"),
        text(115, 44, "the mesh", "name middle"),
        text(115, 66, "other validators' nodes", "small middle"),
        text(115, 96, "one account, several", "small middle"),
        text(115, 113, "origins: who writes", "small middle"),
        text(115, 130, "where is nobody's", "small middle"),
        text(115, 147, "business", "small middle"),
    ]
    for at, (name, slots) in enumerate((("a", "slots 0-5"), ("b", "slots 6-10"), ("c", "slots 11-15"))):
        x = 260 + at * 170
        parts += [
            box(x, 20, 150, 84, "mine"),
            text(x + 75, 44, f"fleet member {name}", "name middle"),
            text(x + 75, 66, "store, feed", "small middle"),
            text(x + 75, 86, f"writes {slots}", "small middle"),
            path(f"M{x + 75} 106V176", "arrow both"),
        ]
    parts += [
        path("M212 62H258", "arrow both"),
        text(590, 138, "publish first,", "small middle"),
        text(590, 154, "follow the others", "small middle"),
        box(260, 180, 490, 96),
        text(505, 204, "NATS JetStream, three servers", "name middle"),
        text(505, 226, "a stream for each space: batches as they were signed", "small middle"),
        text(505, 245, "a bucket of leases and slots; snapshots in its object store", "small middle"),
        text(505, 264, "sync_interval: always", "code middle"),
        path("M380 278V330"),
        path("M630 278V330"),
        box(260, 332, 240, 84),
        text(380, 356, "read replicas", "name middle"),
        text(380, 378, "verify everything, hold no key", "small middle"),
        text(380, 397, "get, scan, watch over a session", "small middle"),
        box(510, 332, 240, 84),
        text(630, 356, "any other reader", "name middle"),
        text(630, 378, "signature and bytes are there:", "small middle"),
        text(630, 397, "nobody has to be believed", "small middle"),
        box(20, 204, 190, 48),
        text(115, 225, "mycelium feed bridge", "code middle"),
        text(115, 242, "of a node without a fleet", "small middle"),
        path("M212 228H258"),
        path("M115 172V202", "thin"),
        box(20, 332, 190, 84),
        text(115, 356, "PostgreSQL, Parquet", "name middle"),
        text(115, 378, "mycelium sink", "code middle"),
        text(115, 397, "rows and cursor together", "small middle"),
        path("M258 374H212", "thin"),
        path("M34 172C8 220 8 300 60 330", "thin"),
        text(235, 366, "feed", "small middle"),
    ]
    return picture(770, 436, "Beyond one machine: a fleet, JetStream, read replicas and sinks", parts)


PICTURES = {"network.svg": network, "life.svg": life, "beyond.svg": beyond}


def main() -> None:
    """Write them."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw())


if __name__ == "__main__":
    main()
