"""What the site has beyond its pages as they are: references that are drawn from the code, where a page asks for one.

A line `<!-- drawn: NAME ARGUMENTS -->` in a page is replaced by what the function of that name below returns. Reads the
sources and the command line's own description; runs no node. mkdocs calls `on_page_markdown`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
import yaml

import mycelium

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(mycelium.__file__).resolve().parent
"""Wherever it was installed."""
_DRAWN = re.compile(r"^<!-- drawn: (\w+)(.*?) -->$", re.MULTILINE)
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[\w./-]+)\)")
_METRIC_FILES = ("node/metrics.py", "node/status.py", "admin/metrics.py")
_KINDS = {"counter": "counter", "labelled": "counter", "gauge": "gauge", "histogram": "histogram"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with what is drawn in it. Links out of docs/ serve who reads the files; the site has no such pages."""
    here = (ROOT / "docs" / page.file.src_uri).parent
    return without_outside(drawn(markdown), here)


def drawn(markdown: str) -> str:
    """Every marker replaced. KeyError for one that nothing draws."""
    return _DRAWN.sub(lambda found: DRAWERS[found[1]](*found[2].split()), markdown)


def without_outside(markdown: str, here: Path) -> str:
    """Links to files of the project that are no pages, as text."""

    def replaced(found: re.Match[str]) -> str:
        target = (here / found[2]).resolve()
        return found[0] if target.is_relative_to(ROOT / "docs") else found[1]

    return _OUTSIDE.sub(replaced, markdown)


# --- the command line -------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its help, arguments and options, as `--help` has them."""
    from mycelium.cli.main import app

    root = typer.main.get_command(app)
    return "\n".join(_command(path, command) for path, command in walk(root, "mycelium"))


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, command) of all commands that do something, groups left out."""
    context = typer.Context(command)
    names = command.list_commands(context) if hasattr(command, "list_commands") else []
    if not names:
        yield path, command
    for name in names:
        found = command.get_command(context, name)
        assert found is not None, f"{path} lists {name} and has no such command"
        if not found.hidden:
            yield from walk(found, f"{path} {name}")


def _command(path: str, command: Any) -> str:
    lines = [f"## {path}", "", _help(command.help or ""), ""]
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        text = " ".join((getattr(parameter, "help", None) or "").split())
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or str(parameter.name).upper()}`"
        rows.append(f"| {names} | {_cell(text)} |")
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _help(text: str) -> str:
    """A docstring of a command, whose examples are indented as code is. Prose is no HTML."""
    lines = text.replace("\f", "").splitlines()
    return "\n".join(line if line.startswith("    ") else line.replace("<", "&lt;") for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


# --- limits and errors ------------------------------------------------------------------------------------


def limits(module: str, *section: str) -> str:
    """The limits of one section of `mycelium.MODULE`, or of all: name, value, and what its docstring says."""
    wanted = " ".join(section)
    lines = ["| limit | value | |", "|---|---|---|"]
    for name, value, text, found in constants(f"mycelium.{module}"):
        if not wanted or found == wanted:
            lines.append(f"| `{name}` | {value} | {_cell(text)} |")
    assert len(lines) > 2, f"no limits in {module} {wanted}"
    return "\n".join(lines)


def all_limits() -> str:
    """The limits of every file of them, each under its own head."""
    parts = []
    others = sorted(path.stem for path in (PACKAGE / "config").glob("*.py") if path.stem != "__init__")
    for name in ["config", *(f"config.{other}" for other in others)]:
        parts += [f"## {name}", "", limits(name), ""]
    return "\n".join(parts)


def constants(name: str) -> Iterator[tuple[str, str, str, str]]:
    """(name, value, docstring, section) of each Final of a module; a section begins with `# --- name ---`."""
    module = import_module(name)
    source = inspect.getsource(module)
    heads = [
        (at, found[1]) for at, line in enumerate(source.splitlines(), 1) if (found := _SECTION.match(line))
    ]
    body = ast.parse(source).body
    values = vars(module)
    for at, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            continue
        after = body[at + 1] if at + 1 < len(body) else None
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(str(after.value.value).split())
        section = next((name for line, name in reversed(heads) if line < node.lineno), "")
        yield node.target.id, _value(node.target.id, values[node.target.id]), text, section


_SECTION = re.compile(r"# --- (.+?)(?::.*)? -+$")


def _value(name: str, value: Any) -> str:
    if isinstance(value, int) and "BYTES" in name and value >= 1024:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value >= size:
                return f"{value / size:g} {unit}" if value % (size // 16) == 0 else f"{value:,}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def errors() -> str:
    """What closes a connection: reason, close code, meaning."""
    from mycelium import errors as tree

    lines = ["| code | reason | class | |", "|---|---|---|---|"]
    kinds = [kind for kind in vars(tree).values() if isinstance(kind, type)]
    for kind in sorted(
        (kind for kind in kinds if issubclass(kind, tree.ProtocolError)), key=lambda kind: kind.close_code
    ):
        text = " ".join((kind.__doc__ or "").split())
        lines.append(f"| {kind.close_code} | `{kind.reason}` | `{kind.__name__}` | {_cell(text)} |")
    return "\n".join(lines)


def error_tree() -> str:
    """The tree of exceptions, as the module has it."""
    from mycelium import errors as tree

    return f"```text\n{(tree.__doc__ or '').partition(chr(10) * 2)[2].rpartition(chr(10) * 2)[0]}\n```"


# --- metrics and alerts -----------------------------------------------------------------------------------


def metrics() -> str:
    """Every metric that the sources name: kind, labels, help."""
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for name, (kind, labels, text) in sorted(named_metrics().items()):
        lines.append(f"| `{name}` | {kind} | {', '.join(labels)} | {_cell(text)} |")
    return "\n".join(lines)


def named_metrics() -> dict[str, tuple[str, list[str], str]]:
    """Name as scraped: (kind, labels, help). A name stands before its help, in a call or in the rows of a loop."""
    found: dict[str, tuple[str, list[str], str]] = {}
    for file in _METRIC_FILES:
        for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if isinstance(node, ast.For):
                calls = [call for line in node.body for call in ast.walk(line) if isinstance(call, ast.Call)]
                made = next((call for call in calls if _kind(call)), None)
                for row in ast.walk(node.iter):
                    if isinstance(row, ast.Tuple) and made is not None:
                        _metric(found, row.elts, made)
            elif isinstance(node, ast.Call) and _kind(node):
                _metric(found, node.args, node)
            elif isinstance(node, ast.Tuple):
                _metric(found, node.elts, None)
    return found


def _metric(found: dict[str, tuple[str, list[str], str]], parts: list[Any], made: ast.Call | None) -> None:
    words = [
        part.value for part in parts[:2] if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    if len(words) < 2 or not words[0].startswith("mycelium_"):
        return
    name, text = words
    if made is None and any(known.removesuffix("_total") == name for known in found):
        return
    kind = _kind(made) if made is not None else "gauge"
    labels: list[str] = []
    if made is not None:
        labels = next((ast.literal_eval(word.value) for word in made.keywords if word.arg == "labels"), [])
        rest = made.args[2:3] if _named(made) == "labelled" else []
        labels = labels or [part.value for part in rest if isinstance(part, ast.Constant)]
    found[f"{name}_total" if kind == "counter" else name] = (kind, labels, text)


def _named(call: ast.Call) -> str:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return name.removesuffix("MetricFamily").strip("_").lower()


def _kind(call: ast.Call) -> str:
    return _KINDS.get(_named(call), "")


def alerts() -> str:
    """The alert rules of deploy/: when each fires, and its remedy."""
    lines = ["| alert | means | what to do |", "|---|---|---|"]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            said = re.sub(r"{{ *\$labels\.(\w+) *}}", r"`\1`", rule["annotations"]["summary"])
            said = re.sub(r"{{.*?}}", "…", said)
            lines.append(f"| `{rule['alert']}` | {_cell(said)} | {_cell(rule['annotations']['remedy'])} |")
    return "\n".join(lines)


# --- pictures that other tools take ---------------------------------------------------------------------


def pictures(name: str, *words: str) -> str:
    """The light and the dark picture of something, of which the site shows the one that fits."""
    return "\n".join(f"![{' '.join(words)}](images/{name}-{way}.png#only-{way})" for way in ("light", "dark"))


# --- files ------------------------------------------------------------------------------------------------


def file(path: str, language: str) -> str:
    """A file of the project as code."""
    return f"```{language}\n{(ROOT / path).read_text().rstrip()}\n```"


DRAWERS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "limits": limits,
    "all_limits": all_limits,
    "errors": errors,
    "error_tree": error_tree,
    "metrics": metrics,
    "alerts": alerts,
    "file": file,
    "pictures": pictures,
}
