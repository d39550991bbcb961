"""Rules of the house that no other tool checks. A rule that has exceptions lists them here, each with its reason."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("sources")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LINE_MAX = 120
"""Of prose and strings; the formatter breaks Python code at 110."""

LONG_FILES: dict[str, tuple[int, str]] = {}
"""Path: (lines, why it is one idea). A ratchet: such a file may shrink and never grow, and leaves the list at 500."""

LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}
"""Path::name: (lines, why it is not two)."""

DIRECTIVES: dict[str, str] = {}
"""Path: why a check of Cython is switched in it; with the proof that it holds, and what it gained."""


def listed(root: Path) -> list[Path]:
    """The files of the project: those git tracks or would track, or without git those in its directories."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
        found = [root / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        tops = ("mycelium", "tests", "bench", "ci", "schemas", "examples", "docs", "deploy")
        found = [path for top in tops for path in (root / top).rglob("*")] + list(root.glob("*"))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


@pytest.fixture(scope="module")
def texts(root):
    """Relative path: text, of every file that is text."""
    found = {}
    for path in listed(root):
        data = path.read_bytes()
        if b"\0" not in data:
            found[path.relative_to(root).as_posix()] = data.decode()
    return found


@pytest.fixture(scope="module")
def code(texts):
    return {path: text for path, text in texts.items() if path.endswith((".py", ".pyx", ".pxd", ".pyi"))}


# --- what is measured ---------------------------------------------------------------------------------------


def long_lines(text):
    return [number for number, line in enumerate(text.splitlines(), 1) if len(line) > LINE_MAX]


def python_functions(text):
    """(name, lines) of each function, its decorators and docstring not counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1


HEAD = re.compile(r"^(\s*)(?:async\s+)?(?:def|cdef|cpdef)\s[^=]*?(\w+)\(")


def cython_functions(text):
    """(name, lines) of each function, by indentation: from its head to the last line that is deeper than it."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        head = HEAD.match(line)
        if head is None or line.rstrip().endswith(","):
            continue
        last = start
        for at in range(start + 1, len(lines)):
            indent = len(lines[at]) - len(lines[at].lstrip())
            if not lines[at].strip() or (indent == len(head[1]) and lines[at].lstrip().startswith(")")):
                continue
            if indent <= len(head[1]):
                break
            last = at
        if last > start:
            yield head[2], last - start + 1


UNFINISHED = re.compile("TO" + r"DO|FIX" + r"ME|XX" + r"X\b|Not" + "ImplementedError")
SWALLOWED = re.compile(
    r"except(?:\s+(?:Base)?Exception(?:\s+as\s+\w+)?)?\s*:\s*(?:#[^\n]*)?\n?\s*(?:pass|\.\.\.)\s*(?:#[^\n]*)?$",
    re.M,
)
SWITCHED = re.compile(r"\b(?:boundscheck|wraparound|cdivision|initializedcheck|nonecheck|overflowcheck)\b")
# Written in parts, so that this file does not hold what it forbids.
PLACES = re.compile(r"(?<![\w.])/(?:ho" + "me|Us" + "ers|ro" + r"ot|wo" + r"rk)/[\w.-]")
REGISTRIES = re.compile(
    r"pypi\.o" + r"rg|python" + r"hosted\.org|(?:extra-)?index-" + "url|npm" + r"js\.org|artifact" + "ory",
    re.I,
)


def bare_noexcept(text):
    """Lines of a .pyx with a `noexcept` that no comment, on the line or just above it, accounts for by that word."""
    lines = text.splitlines()
    found = []
    for at, line in enumerate(lines):
        if not re.search(r"\bnoexcept\b", line.split("#")[0]) or "#" in line:
            continue
        above = list(takewhile(lambda above: above.lstrip().startswith("#"), reversed(lines[:at])))
        if not any("noexcept" in comment for comment in above):
            found.append(at + 1)
    return found


# --- the rules ----------------------------------------------------------------------------------------------


def test_lines_are_short(code):
    assert [f"{path}:{number}" for path, text in code.items() for number in long_lines(text)] == []


def test_the_linter_agrees_about_long_lines(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["ruff"]
    assert settings["line-length"] == 110
    assert settings["lint"].get("pycodestyle", {}).get("max-line-length", 110) <= LINE_MAX


def test_files_are_short(code):
    counts = {path: text.count("\n") for path, text in code.items()}
    limits = {path: LONG_FILES.get(path, (FILE_LINES_MAX, ""))[0] for path in counts}
    assert [f"{path}: {counts[path]}" for path in counts if counts[path] > limits[path]] == []
    assert [path for path in LONG_FILES if counts.get(path, 0) <= FILE_LINES_MAX] == [], (
        "no longer exceptions"
    )


def test_functions_are_short(code):
    measured = {}
    for path, text in code.items():
        functions = cython_functions(text) if path.endswith((".pyx", ".pxd")) else python_functions(text)
        for name, lines in functions:
            measured[f"{path}::{name}"] = max(lines, measured.get(f"{path}::{name}", 0))
    limits = {name: LONG_FUNCTIONS.get(name, (FUNCTION_LINES_MAX, ""))[0] for name in measured}
    assert [f"{name}: {measured[name]}" for name in measured if measured[name] > limits[name]] == []
    assert [name for name in LONG_FUNCTIONS if measured.get(name, 0) <= FUNCTION_LINES_MAX] == []


def test_every_exception_has_a_reason():
    reasons = [why for _, why in [*LONG_FILES.values(), *LONG_FUNCTIONS.values()]] + list(DIRECTIVES.values())
    assert all(len(why) > 20 for why in reasons)


def test_nothing_is_unfinished(code):
    assert [path for path, text in code.items() if UNFINISHED.search(text)] == []


def test_no_error_is_swallowed(code):
    assert [path for path, text in code.items() if SWALLOWED.search(text)] == []


def test_every_module_says_what_it_is(code):
    def documented(path, text):
        if path.endswith(".py"):
            return bool(ast.get_docstring(ast.parse(text)))
        body = [line for line in text.splitlines() if not line.startswith("#")]
        return bool(body) and body[0].startswith('"""')

    modules = {path: text for path, text in code.items() if path.endswith((".py", ".pyx"))}
    assert [path for path, text in modules.items() if not documented(path, text)] == []


def test_cython_files_state_their_language_level(code):
    sources = {path: text for path, text in code.items() if path.endswith((".pyx", ".pxd"))}
    assert [
        path for path, text in sources.items() if not text.startswith("# cython: language_level=3\n")
    ] == []


def test_no_check_of_cython_is_switched(code):
    found = {path for path, text in code.items() if path.endswith((".pyx", ".pxd")) and SWITCHED.search(text)}
    assert found == set(DIRECTIVES)


def test_noexcept_has_a_reason(code):
    sources = {path: text for path, text in code.items() if path.endswith(".pyx")}
    assert [f"{path}:{line}" for path, text in sources.items() for line in bare_noexcept(text)] == []


def test_an_extension_is_complete(root):
    """Each .pyx has its header, its stub and its oracle; and each has been named to setup.py."""
    core = root / "mycelium" / "_core"
    names = {path.stem for path in core.glob("*.pyx")}
    wanted = {core / f"{name}{suffix}" for name in names for suffix in (".pxd", ".pyi")}
    wanted |= {root / "tests" / "reference" / f"{name}.py" for name in names}
    assert sorted(path.name for path in wanted if not path.exists()) == []
    built = re.search(r"MODULES = \((.*?)\)", (root / "setup.py").read_text())
    assert built is not None
    assert set(re.findall(r"\w+", built[1])) == names


def test_no_file_names_a_machine(texts):
    assert [path for path, text in texts.items() if PLACES.search(text)] == []


def test_no_file_names_a_package_registry(texts):
    assert [path for path, text in texts.items() if REGISTRIES.search(text)] == []


# --- the rules can fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (UNFINISHED, "x = 1  # TO" + "DO: later"),
        (UNFINISHED, "raise Not" + "ImplementedError"),
        (SWALLOWED, "try:\n    f()\nexcept Exception:\n    pass\n"),
        (SWALLOWED, "try:\n    f()\nexcept:\n    pass\n"),
        (SWALLOWED, "try:\n    f()\nexcept BaseException as error:  # quiet\n    ...\n"),
        (SWITCHED, "@cython.bounds" + "check(False)"),
        (SWITCHED, "# cython: cdivision" + "=True"),
        (PLACES, "path = '/ho" + "me/someone/project'"),
        (REGISTRIES, "pip install --index-" + "url https://example.invalid/simple"),
    ],
)
def test_a_breach_is_seen(pattern, text):
    assert pattern.search(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (SWALLOWED, "try:\n    f()\nexcept ValueError:\n    pass\n"),
        (SWALLOWED, "try:\n    f()\nexcept Exception:\n    log()\n    raise\n"),
        (PLACES, "see https://example.invalid/homework/ and a/ro" + "ot/b/"),
    ],
)
def test_what_is_allowed_passes(pattern, text):
    assert not pattern.search(text)


def test_functions_are_measured():
    body = "    x = 1\n" * 5
    assert dict(python_functions(f'def f():\n    """One."""\n{body}')) == {"f": 5}
    assert dict(cython_functions(f"cdef int f(int a) except -1:\n{body}\n\ndef g(a):\n    pass\n")) == {
        "f": 6,
        "g": 2,
    }
    assert dict(cython_functions(f"    cdef int m(\n        self, int a\n    ) except -1:\n    {body}")) == {
        "m": 4
    }


def test_noexcept_is_found():
    head = "cdef inline int f(int a) noexcept:\n"
    assert bare_noexcept(head) == [1]
    assert bare_noexcept(f"# noexcept: adds two numbers\n{head}") == []
    assert bare_noexcept(f"# something else\n{head}") == [2]
