"""Whether others reach this node: a few members are asked to dial the addresses that it announces.

For `mycelium doctor`. A member dials for somebody only what that one has announced by itself, signed, and no more often
than REACH_PER_MIN: it scans nobody's ports for anybody. It opens a connection and closes it; no session comes of it,
and none ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from mycelium.config.peer import REACH_BURST, REACH_DIAL_S, REACH_PER_MIN
from mycelium.errors import MalformedMessage, MyceliumError, Overloaded
from mycelium.identity.account import format as format_account
from mycelium.node import calls
from mycelium.node.peercalls import PeerCalls
from mycelium.peer.bucket import Bucket
from mycelium.peer.link import Link

DIAL: Final = "reach.dial"
ASKED_MAX: Final = 3
ASK_S: Final = 2.0 * REACH_DIAL_S
"""For a member's answer: it dials before it gives one."""
_ANSWER_BYTES_MAX: Final = 4096
_WHY_CHARS_MAX: Final = 200


class Reaching:
    """One node's share. announced: where an account says it listens. links: sessions with members."""

    def __init__(
        self,
        peercalls: PeerCalls,
        links: Callable[[], Sequence[Link]],
        announced: Callable[[bytes], tuple[str, ...] | None],
        clock_ns: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._peercalls = peercalls
        self._links = links
        self._announced = announced
        self._clock_ns = clock_ns
        self._rng = rng
        self._bucket = Bucket(1, REACH_BURST * 60 // REACH_PER_MIN)
        peercalls.on(DIAL, self._asked)

    async def ask(self) -> list[dict[str, Any]]:
        """What some members say: of each its account, and by address "" or why not; or an error where it said none."""
        links = list({link.account: link for link in self._links()}.values())
        asked = self._rng.sample(links, min(ASKED_MAX, len(links)))
        return list(await asyncio.gather(*(self._ask_one(link.account) for link in asked)))

    async def _ask_one(self, account: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"account": format_account(account)}
        try:
            answer = await self._peercalls.call(account, DIAL, b"", ASK_S, _ANSWER_BYTES_MAX)
            said = calls.decode(answer, dict[str, str])
            found["addresses"] = {_clean(url): _clean(why) for url, why in said.items()}
        except MyceliumError as error:
            found["error"] = _clean(str(error))
        return found

    async def _asked(self, link: Link, body: bytes) -> bytes:
        """A member wants to know whether it is reached."""
        if body:
            raise MalformedMessage("a member says nowhere else than in its record where it listens")
        if self._bucket.take(60 // REACH_PER_MIN, self._clock_ns()) > 0:
            raise Overloaded("asked to dial too often")
        urls = self._announced(link.account) or ()
        whys = await asyncio.gather(*(_dial(url) for url in urls))
        return calls.encode(dict(zip(urls, whys, strict=True)))


async def _dial(url: str) -> str:
    """Connect and close; "", or why it did not come to that."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(REACH_DIAL_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.close()
            await writer.wait_closed()
    except TimeoutError:
        return f"no answer within {REACH_DIAL_S} s"
    except OSError as error:
        return _clean(error.strerror or str(error))
    return ""


def _clean(text: str) -> str:
    """Of a member: it ends in terminals."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_WHY_CHARS_MAX])
