"""The site builds without a warning, loads nothing from elsewhere, and what is drawn from the code is all there."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import docskit
import nodekit
import pytest
from clikit import environment
from docskit import ROOT

from mycelium.admin import live, metrics, watch
from mycelium.errors import ProtocolError

hooks = docskit.script("hooks")
pictures = docskit.script("pictures")
LOADED = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"')
IMPORTED = re.compile(r"""@import|url\(["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    made = tmp_path_factory.mktemp("site") / "html"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", made],
        cwd=ROOT,
        env=environment(NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "Documentation built" in done.stderr
    return made


def test_every_page_is_there(site):
    names = {page.relative_to(docskit.DOCS).with_suffix(".html") for page in docskit.PAGES}
    assert {path for path in names if not (site / path).is_file()} == set()


def test_nothing_is_loaded_from_elsewhere(site):
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    assert {(path.name, found) for path, text in pages.items() for found in LOADED.findall(text)} == set()
    styles = [path for path in site.rglob("*.css") if IMPORTED.search(path.read_text())]
    assert styles == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (LOADED, '<script async src="https://example.invalid/a.js">'),
        (LOADED, '<link rel="stylesheet" href="//fonts.example.invalid/css">'),
        (IMPORTED, "@import url(https://example.invalid/a.css)"),
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(pattern, text):
    assert pattern.search(text)


def test_the_command_reference_has_every_command(site):
    text = (site / "reference/commands.html").read_text()
    paths = [path for path, _ in hooks.walk(docskit.tree(), "mycelium")]
    assert len(paths) > 30
    assert [path for path in paths if f">{path}<" not in text] == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# A\n\n[gone](gone.md) [no anchor](#nowhere)\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    links = settings[settings.index("validation:") : settings.index("nav:\n  - index.md")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: A\nplugins: []\n{links}")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "gone.md" in done.stderr
    assert "#nowhere" in done.stderr


def test_links_out_of_the_pages_lead_to_files():
    found = {
        (page.name, target)
        for page in docskit.PAGES
        for target in re.findall(r"\]\(((?:\.\./)+[^)#]+)\)", page.read_text())
    }
    missing = [(name, target) for name, target in found if not (docskit.DOCS / target).exists()]
    assert missing == []


def test_files_that_are_named_are_there():
    """Paths between backticks."""
    named = {
        found
        for page in docskit.PAGES
        for found in re.findall(
            r"`((?:mycelium|examples|schemas|bench|ci|docs|deploy)/[\w./-]+)`", page.read_text()
        )
    }
    assert named >= {"schemas/wire.fbs", "examples/wire/client.py", "bench/README.md"}
    assert [
        path for path in named if not any((top / path).exists() for top in (ROOT, docskit.PACKAGE.parent))
    ] == []


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(pictures.PICTURES))
def test_a_picture_is_as_its_script_draws_it(name):
    drawn = pictures.PICTURES[name]()
    assert (docskit.DOCS / "images" / name).read_text() == drawn
    root = ET.fromstring(drawn)
    assert root.find("{http://www.w3.org/2000/svg}title").text
    assert "prefers-color-scheme: dark" in drawn
    width, height = map(float, root.get("viewBox").split()[2:])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(box.get("x", 0)) + float(box.get("width")) <= width
        assert float(box.get("y", 0)) + float(box.get("height")) <= height


# --- what is drawn ------------------------------------------------------------------------------------------


def test_a_marker_that_nothing_draws_is_an_error():
    with pytest.raises(KeyError):
        hooks.drawn("<!-- drawn: nothing -->")
    with pytest.raises(AssertionError):
        hooks.drawn("<!-- drawn: limits config no such section -->")


def test_every_limit_has_its_value():
    text = hooks.drawn("<!-- drawn: limits config data -->")
    assert "| `KEY_BYTES_MAX` | 1 KiB |" in text
    assert "| `BATCH_CHANGES_MAX` | 512 | A batch is flushed at this many changes." in text
    assert "SESSIONS_MAX" not in text


def test_every_close_code_is_drawn():
    kinds, waiting = set(), [ProtocolError]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind)
        waiting += kind.__subclasses__()
    text = hooks.errors()
    ours = [kind for kind in kinds if kind.__module__ == "mycelium.errors"]
    assert len(ours) > 15
    assert [kind for kind in ours if f"| {kind.close_code} | `{kind.reason}` |" not in text] == []


def test_links_out_of_the_site_become_text():
    here = docskit.DOCS
    assert (
        hooks.without_outside("see [a](../examples/fiber) and [b](wire.md)", here) == "see a and [b](wire.md)"
    )
    assert hooks.without_outside("[c](../wire.md)", here / "reference") == "[c](../wire.md)"


def test_every_metric_of_a_running_node_is_in_the_reference(tmp_path):
    def families(node):
        yield from node.metrics.registry.collect()
        watched = watch.Watch(node)
        yield from metrics.NodeCollector(watched, live.Live(watched)).collect()

    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            return {
                (f"{family.name}_total" if family.type == "counter" else family.name): family
                for family in families(node)
            }

    exported, named = nodekit.run(main()), hooks.named_metrics()
    assert len(exported) > 10
    assert exported.keys() - named.keys() == set()
    for name, family in exported.items():
        kind, labels, text = named[name]
        assert (kind, text) == (family.type, family.documentation), name
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= set(labels), name
