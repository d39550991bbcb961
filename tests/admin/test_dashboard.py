"""The dashboard in headless Chromium: it renders, follows a node that dies and returns, and its console is silent."""

from __future__ import annotations

import struct
from pathlib import Path

import nodekit
import pytest
from admin import chromekit
from admin.adminkit import ANY, FLEET, crowd, disperse, get, one
from admin.chromekit import open_page

import mycelium
from mycelium.admin.server import Place, open_admin
from mycelium.node import events
from mycelium.node.admin_settings import AdminSettings
from mycelium.peer.blacklist import Listed

pytestmark = [
    pytest.mark.skipif(
        chromekit.browser() is None, reason="no Chromium is installed: apt-get install chromium"
    ),
    pytest.mark.timeout(120),
]
LIVE = "document.body.dataset.state === 'live'"


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText"


def states(account: str) -> str:
    return f"document.querySelector('#rows tr[data-account=\"{account}\"]').dataset.state"


def test_it_shows_the_node_and_follows_another_that_dies_and_returns(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path / "net", 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            node = mesh[0]
            await node.database.table("scores").put("a", 1, ack=2)
            other = mesh.places[1].address
            async with open_admin(node, Place(ANY)) as admin, open_page(tmp_path / "profile") as page:
                await page.open(admin.url)
                await page.until(f"{LIVE} && document.body.dataset.linked === '2'")
                await page.until(f"{states(other)} === 'ok'")
                assert mesh.places[0].address in await page.ask(text("header"))
                await page.until(f"{text('#ready')} === '✓ ready'")
                assert await page.ask(text("#linked")) == "2 of 2 connected"
                await page.until(f"{text('#spaces')}.includes('2 of 2 agree')")
                assert "3 validators" in await page.ask(text("#epoch"))
                assert "Nobody is listed" in await page.ask(text("#blacklist"))
                assert "Nobody reads it" in await page.ask(text("#feed"))
                async with mycelium.connect(node.url, mesh.places[0].keypair) as reader:
                    feed = reader.feed("start", ["main"])
                    await anext(feed)
                    await page.until(
                        f"{text('#feed')}.includes('in step') && {text('#feed')}.includes('main')"
                    )
                    await feed.aclose()
                await page.until(f"{text('#feed')}.includes('Nobody reads it')")
                assert "Session opened" in await page.ask(text("#events"))
                assert "2 in step" in await page.ask("document.getElementById('mesh').ariaLabel")

                await mesh.stop(1)
                await page.until(f"{states(other)} === 'absent' && document.body.dataset.linked === '1'")
                assert "Session closed" in await page.ask(text("#events"))
                assert await page.ask("document.getElementById('mesh').ariaLabel") == (
                    "The mesh: 1 in step, 1 not connected. The table of nodes says more."
                )
                await mesh.start(1)
                await page.until(f"{states(other)} === 'ok' && document.body.dataset.linked === '2'")
                assert page.console == []

    nodekit.run(main(), 110)


def test_a_member_of_a_fleet_shows_the_fleet(tmp_path):
    async def main():
        async with one(tmp_path) as (node, admin), open_page(tmp_path / "profile") as page:
            await page.open(admin.url)
            await page.until(LIVE)
            assert await page.ask("document.getElementById('fleet').hidden"), "a node alone has none"
            assert (await get(admin, "/fleet")).json is None
            node.parts["fleet"] = lambda: FLEET
            await page.until("!document.getElementById('fleet').hidden")
            assert "serves 3" in await page.ask(text("#fleet"))
            said = await page.ask(text("#fleet-members"))
            assert "c gone: no heartbeat" in said
            assert "b 1 shards, leaving" in said
            assert await page.ask("document.querySelectorAll('#fleet .own').length") == 3
            assert await page.ask("document.querySelectorAll('#fleet .orphan').length") == 1
            assert (await get(admin, "/fleet")).json == FLEET
            node.parts["fleet"] = lambda: FLEET | {"problem": "no NATS server answers"}
            await page.until(f"{text('#fleet')}.includes('no NATS server answers')")
            assert page.console == []

    nodekit.run(main(), 110)


def test_what_peers_and_operators_write_is_text(tmp_path):
    async def main():
        async with one(tmp_path) as (node, admin), open_page(tmp_path / "profile") as page:
            stranger = nodekit.kit.keypair("stranger").account
            evil = "<img src=x onerror=alert(1)><script>window.broken=1</script>"
            await node.blacklisting.add(stranger, Listed.ALWAYS, evil)
            node.events.add(events.PROOF, evil, stranger)
            await page.open(admin.url)
            await page.until(LIVE)
            await page.until(f"{text('#blacklist')}.includes('onerror=alert(1)')")
            assert "onerror=alert(1)" in await page.ask(text("#events"))
            assert await page.ask("document.querySelectorAll('main img, main script').length") == 0
            assert await page.ask("window.broken === undefined")
            assert page.console == []

    nodekit.run(main(), 110)


def test_it_says_what_is_missing_and_when_the_node_is_gone(tmp_path):
    async def main():
        async with (
            nodekit.Mesh(nodekit.places(tmp_path / "net", 2)) as mesh,
            open_page(tmp_path / "p") as page,
        ):
            node = await mesh.start(0)
            async with open_admin(node, Place(ANY)) as admin:
                await page.open(admin.url)
                await page.until(LIVE)
                assert await page.ask(text("#ready")) == "! not ready: sync"
                assert "no other member is connected yet" in await page.ask(text("#missing"))
                assert not await page.ask("document.getElementById('missing').hidden")
                assert (await page.ask("document.title")).startswith("! ")
                assert page.console == []
                port = int(admin.url.rsplit(":", 1)[1].strip("/"))
            await page.until("document.body.dataset.state === 'lost'")
            assert "trying again" in await page.ask(text("#live"))
            async with open_admin(node, Place(AdminSettings(port=port, chosen=True))):
                await page.until(LIVE)

    nodekit.run(main(), 110)


def test_nothing_comes_from_elsewhere(tmp_path):
    async def main():
        async with one(tmp_path) as (_, admin), open_page(tmp_path / "profile") as page:
            await page.open(admin.url)
            await page.until("performance.getEntriesByName('first-contentful-paint').length === 1")
            loaded = await page.ask("performance.getEntriesByType('resource').map((one) => one.name)")
            assert loaded
            assert all(name.startswith((admin.url, "data:")) for name in loaded), loaded
            assert await page.ask("performance.getEntriesByType('resource').length") < 8

    nodekit.run(main(), 110)


def test_sixty_nodes_are_drawn_and_go_on_being_drawn(tmp_path):
    async def main():
        async with one(tmp_path) as (node, admin), open_page(tmp_path / "profile") as page:
            links = crowd(node, 60)
            try:
                await page.look(width=1440, height=1000)
                await page.open(admin.url)
                await page.until(f"{LIVE} && document.body.dataset.peers === '60'")
                assert await page.ask("document.querySelectorAll('#rows tr').length") == 61
                drawn = await page.ask("mycelium.mesh.frames")
                await page.until(
                    f"mycelium.mesh.frames > {drawn} + 20"
                )  # how fast, bench/test_dashboard.py says
                assert page.console == []
            finally:
                disperse(node, links)

    nodekit.run(main(), 110)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_sticks_out(tmp_path, scheme):
    async def main():
        async with one(tmp_path) as (node, admin), open_page(tmp_path / "profile") as page:
            links = crowd(node, 9)
            try:
                await page.look(width=360, height=740, scale=2, scheme=scheme)
                await page.open(admin.url)
                await page.until(f"{LIVE} && document.body.dataset.peers === '9'")
                assert await page.ask("document.documentElement.scrollWidth") <= 360
                low = await page.ask(LOW_CONTRAST)
                assert low == [], f"text that is hard to read: {low}"
                picture = await page.picture()
                assert struct.unpack(">II", picture[16:24]) == (720, 1480)
                assert page.console == []
            finally:
                disperse(node, links)

    nodekit.run(main(), 110)


def test_it_can_be_used_without_eyes_or_mouse(tmp_path):
    """Names for what is drawn, headings in order, one main, and the keyboard reaches what scrolls."""

    async def main():
        async with one(tmp_path) as (_, admin), open_page(tmp_path / "profile") as page:
            await page.open(admin.url)
            await page.until(LIVE)
            assert await page.ask("document.documentElement.lang") == "en"
            assert await page.ask("document.querySelectorAll('main').length") == 1
            assert await page.ask("document.querySelectorAll('h1').length") == 1
            nameless = await page.ask(
                "[...document.querySelectorAll('section, canvas, [role=img], [role=region]')]"
                ".filter((one) => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')).length"
            )
            assert nameless == 0
            assert await page.ask("[...document.querySelectorAll('th')].every((one) => one.scope === 'col')")
            unreachable = await page.ask(
                "[...document.querySelectorAll('*')].filter((one) => ['auto', 'scroll'].includes("
                "getComputedStyle(one).overflowX) && one.scrollWidth > one.clientWidth && one.tabIndex < 0).length"
            )
            assert unreachable == 0

    nodekit.run(main(), 110)


def test_pointing_at_a_node_tells_more_and_what_is_marked_stays(tmp_path):
    async def main():
        async with one(tmp_path) as (node, admin), open_page(tmp_path / "profile") as page:
            links = crowd(node, 5)
            try:
                await page.look(width=1280, height=900)
                await page.open(admin.url)
                await page.until(f"{LIVE} && document.body.dataset.peers === '5'")
                x, y = await page.ask(
                    "(() => { const p = mycelium.mesh.places[2];"
                    "const box = document.getElementById('mesh').getBoundingClientRect();"
                    "return [box.left + p.x, box.top + p.y] })()"
                )
                await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
                await page.until("!document.getElementById('tip').hidden")
                assert "round trip" in await page.ask(text("#tip"))
                assert await page.ask("document.querySelectorAll('#rows tr.hot').length") == 1
                before = await page.ask("mycelium.mesh.data.now_ms")
                await page.until(f"mycelium.mesh.data.now_ms > {before}")
                assert await page.ask("document.querySelectorAll('#rows tr.hot').length") == 1, (
                    "a second later too"
                )
                await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
                await page.until("document.getElementById('tip').hidden")

                await page.ask("getSelection().selectAllChildren(document.querySelector('#rows td')), 0")
                marked = await page.ask("getSelection().toString()")
                later = await page.ask("mycelium.mesh.data.now_ms")
                await page.until(f"mycelium.mesh.data.now_ms > {later} + 1500")
                assert marked == await page.ask("getSelection().toString()") != ""
                assert page.console == []
            finally:
                disperse(node, links)

    nodekit.run(main(), 110)


def test_the_pictures_in_the_docs_are_small(root: Path):
    pictures = sorted((root / "docs" / "images").glob("dashboard-*.png"))
    assert {path.stem for path in pictures} == {"dashboard-light", "dashboard-dark", "dashboard-phone"}
    for path in pictures:
        assert path.stat().st_size < 150_000, path


LOW_CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (colour.startsWith('rgb(')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = new Set();
  for (const one of document.querySelectorAll('body *')) {
    const said = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const colour = getComputedStyle(one).color;
    if (!said || !one.getClientRects().length || !colour.startsWith('rgb')) continue;
    const a = light(colour), b = light(ground(one));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.add([one.tagName, one.className, one.textContent.slice(0, 20), contrast].join(' '));
  }
  return [...found];
})()"""
