"""deploy/: what the Grafana dashboard and the alerts name is what a running node exports, and Prometheus takes it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import nodekit
import pytest
from admin.adminkit import ANY, FLEET, get, where

import mycelium
from mycelium.admin.server import Place, open_admin
from mycelium.devnet.layout import free_ports

NOT_OURS = {"instance", "job", "le"}
FUNCTIONS = {
    "rate", "increase", "resets", "changes", "histogram_quantile", "sum", "count", "topk", "predict_linear",
    "clamp_min", "abs",
}  # fmt: skip
WORDS = {"by", "and", "offset", "or", "unless", "without"}


def scraped(tmp_path: Path) -> dict[str, set[str]]:
    """Each sample of a node that has a peer, a reader and some traffic: its name, and the labels that it has."""

    async def main() -> str:
        async with nodekit.Mesh(nodekit.places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            node = mesh[0]
            async with open_admin(node, Place(ANY)) as admin:
                await node.database.table("scores").put("a", 1, ack=1)
                node.metrics.rejected("malformed")
                node.replicator.sync.passed_over["quota-exceeded"] += 1
                await nodekit.until(
                    lambda: all(link.rtt_ms is not None for link in node.replicator.members())
                )
                node.parts["fleet"] = lambda: FLEET
                async with mycelium.connect(node.url, mesh.places[0].keypair) as program:
                    feed = program.feed("start")
                    await anext(feed)
                    found = (await get(admin, "/metrics")).body.decode()
                    await feed.aclose()
                return found

    found: dict[str, set[str]] = {}
    for line in nodekit.run(main()).splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{")
            name = name.split(" ")[0]
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', rest))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return scraped(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def board(root):
    return json.loads((root / "deploy/grafana/mycelium.json").read_text())


@pytest.fixture(scope="module")
def rules(root):
    """(alert, expression, annotations) of each: the file is plain enough to be read by lines."""
    text = (root / "deploy/prometheus/alerts.yml").read_text()
    found = []
    for part in text.split("      - alert: ")[1:]:
        name, *lines = part.splitlines()
        fields = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
        found.append((name, fields["expr"], fields))
    return found


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board):
    found = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    return found + [note["expr"] for note in board["annotations"]["list"]]


def problems(expression: str, exported: dict[str, set[str]]) -> list[str]:
    """What is wrong with an expression of PromQL, as far as a small check can tell."""
    found = []
    for opening, closing in ("()", "{}", "[]"):
        depth = 0
        for letter in re.sub(r'"[^"]*"', "", expression):
            depth += (letter == opening) - (letter == closing)
            if depth < 0:
                break
        if depth:
            found.append(f"{opening}{closing} do not match")
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    metrics = re.findall(r"\bmycelium_\w+", bare)
    labels: set[str] = set()
    for group in re.findall(r"\{([^}]*)\}|\bby \(([^)]*)\)", bare):
        labels.update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=|,|$)", group[0] or group[1]))
    found += [f"no node exports {metric}" for metric in metrics if metric not in exported]
    known = NOT_OURS.union(*(exported.get(metric, set()) for metric in metrics))
    found += [f"no label {label}" for label in labels - known]
    words = set(re.findall(r"\b[a-z_]+\b", re.sub(r"\{[^}]*\}|\(([a-z, ]+)\)", "", bare)))
    unknown = words - FUNCTIONS - WORDS - {"up", "h"} - set(metrics)
    found += [f"unknown word {word}" for word in sorted(unknown)]
    for metric in metrics:
        counted = metric.endswith(("_total", "_bucket"))
        ranged = re.search(rf"{metric}(?:\{{[^}}]*\}})?\[", expression) is not None
        if counted and not ranged:
            found.append(f"{metric} only grows: a rate is needed")
    return found


def test_every_panel_shows_what_is_exported(board, exported):
    assert {
        expression: wrong for expression in expressions(board) if (wrong := problems(expression, exported))
    } == {}


def test_every_alert_watches_what_is_exported(rules, exported):
    assert len(rules) > 15
    assert {name: wrong for name, expression, _ in rules if (wrong := problems(expression, exported))} == {}


def test_every_alert_says_what_to_do(rules):
    for name, _, fields in rules:
        assert re.fullmatch(r"\{severity: (page|ticket)\}", fields["labels"]), name
        assert 20 < len(fields["summary"]) < 120, name
        assert len(fields["remedy"]) > 40, name
    names = [name for name, _, _ in rules]
    assert len(set(names)) == len(names)


def test_every_metric_is_on_a_panel_or_is_known_not_to_be(board, exported):
    text = " ".join(expressions(board))
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
    unseen = {name for name in names if name not in text}
    assert unseen == {
        "mycelium_chain_ready",
        "mycelium_info",
        "mycelium_peer_differing_spaces",
        "mycelium_push_tree",
        "mycelium_rotation_failures_total",
        "mycelium_space_origins",
        "mycelium_sync_fetches",
    }


def test_panels_are_whole(board):
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    boxes = [panel["gridPos"] for panel in board["panels"]]
    for at, a in enumerate(boxes):
        for b in boxes[at + 1 :]:
            assert (
                a["x"] + a["w"] <= b["x"]
                or b["x"] + b["w"] <= a["x"]
                or a["y"] + a["h"] <= b["y"]
                or b["y"] + b["h"] <= a["y"]
            ), (a, b)


def test_names_follow_the_rules_of_prometheus(exported):
    for name, labels in exported.items():
        assert re.fullmatch(r"mycelium_[a-z_]+", name)
        assert not re.search(r"_(ms|us|ns|kb|mb|millis|minutes)(_|$)", name), "base units only"
        assert labels <= {
            "peer", "reader", "space", "type", "class", "reason", "outcome", "role", "check", "standing", "part",
            "version", "protocol", "le",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("mycelium_nothing > 1", "no node exports mycelium_nothing"),
        ("rate(mycelium_rejects_total[5m]", "() do not match"),
        ("mycelium_rejects_total > 1", "only grows"),
        ('mycelium_peers{spce="main"}', "no label spce"),
        ("sum by (colour) (mycelium_peers)", "no label colour"),
        ("averge(mycelium_peers)", "unknown word averge"),
    ],
)
def test_a_mistake_is_seen(exported, expression, said):
    assert any(said in one for one in problems(expression, exported))


@pytest.mark.nightly
def test_prometheus_takes_the_rules(root):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [tool, "check", "rules", root / "deploy/prometheus/alerts.yml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_a_real_prometheus_scrapes_a_node_and_runs_every_expression(tmp_path, root, board):
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    (port,) = free_ports(1)

    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path / "net", 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            async with open_admin(mesh[0], Place(ANY)) as admin:
                target = ":".join(map(str, where(admin)))
                (tmp_path / "prometheus.yml").write_text(
                    "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
                    f"rule_files: [{root}/deploy/prometheus/alerts.yml]\n"
                    f"scrape_configs: [{{job_name: mycelium, static_configs: [{{targets: ['{target}']}}]}}]\n"
                )
                process = await asyncio.create_subprocess_exec(
                    program,
                    f"--config.file={tmp_path}/prometheus.yml",
                    f"--storage.tsdb.path={tmp_path}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                try:
                    async with httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{port}", trust_env=False
                    ) as client:
                        await asked(client)
                finally:
                    process.terminate()
                    await process.wait()

    async def asked(client):
        async with asyncio.timeout(60):
            while not await result(client, "up == 1 and on() (count_over_time(mycelium_ready[1m]) > 3)"):
                await asyncio.sleep(0.2)
            while any(rule["health"] == "unknown" for rule in await loaded(client)):
                await asyncio.sleep(0.2)
        rules = await loaded(client)
        assert len(rules) > 15
        assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
        firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
        assert firing == [], "a healthy node pages nobody"
        for expression in expressions(board):
            plain = expression.replace("$instance", ".*").replace("$__rate_interval", "10s")
            await result(client, plain)

    async def result(client, query):
        try:
            answer = await client.get("/api/v1/query", params={"query": query})
        except httpx.TransportError:
            return []
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return answer.json()["data"]["result"]

    async def loaded(client):
        groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    nodekit.run(main(), 110)
