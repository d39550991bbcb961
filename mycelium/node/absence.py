"""Which members live and have no session with this node: asked of others, as nobody can know it alone.

One member at a time is asked whom of the absent it hears (`absence.heard`), while somebody is absent. Its word can do
no more than make this node push along a tree. Who is silent for everybody does not count. Decides nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mycelium.config.peer import ABSENT_ACCOUNTS_MAX, ABSENT_ASK_MS, ABSENT_MS
from mycelium.database.policy import Action
from mycelium.errors import MalformedMessage, MyceliumError
from mycelium.identity.account import ACCOUNT_BYTES
from mycelium.node.peercalls import PeerCalls
from mycelium.peer.link import Link
from mycelium.peer.liveness import Standing

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)

HEARD: Final = "absence.heard"
_ASK_S: Final = 5.0
_ASKED_SOON: Final = 8
"""Questions that come with every ping, after somebody was first missed; later ones every ABSENT_ASK_MS."""


class Absence:
    """Which members live and have no session here. holders: the members of the present epoch, but this node.

    standing: of a member, as this node thinks. may_hold: whether an account may be sent a space. full_max: above so
    many members, itself counted, no node has a session with all. heard: by absent member, since when and until when
    others hear it, in ms. answers: how many were given.
    """

    def __init__(
        self,
        peercalls: PeerCalls,
        standing: Callable[[bytes], Standing | None],
        link_of: Callable[[bytes], Link | None],
        holders: Callable[[], list[bytes]],
        may_hold: Callable[[bytes, str], bool],
        full_max: int,
        rng: random.Random,
        now_ms: Callable[[], int],
        *,
        patience_ms: int = ABSENT_MS,
    ) -> None:
        self._peercalls = peercalls
        self._standing = standing
        self._link_of = link_of
        self._holders = holders
        self._may_hold = may_hold
        self._full_max = full_max
        self._rng = rng
        self._now_ms = now_ms
        self._asking: asyncio.Task[None] | None = None
        self._asked_ms: int | None = None
        self._asks = 0
        self._members = 0
        self.answers = 0
        self.heard: dict[bytes, tuple[int, int]] = {}
        self.patience_ms = patience_ms
        peercalls.on(HEARD, self._hears)

    def why(self, space: str, now_ms: int) -> str:
        """Why the sessions of this node are not all who are to get what is of that space; "" where they are."""
        if self._members >= self._full_max:
            return f"{self._members + 1} members are too many for a session with each"
        for account, (since_ms, until_ms) in self.heard.items():
            if (
                until_ms > now_ms
                and now_ms - since_ms >= self.patience_ms
                and self._link_of(account) is None
                and self._may_hold(account, space)
            ):
                return f"others hear {account.hex()[:16]}, and there is no session with it here"
        return ""

    def tick(self, now_ms: int) -> None:
        """Ask somebody for who is absent, while anybody is."""
        holders = self._holders()
        self._members = len(holders)
        absent = [account for account in holders if self._link_of(account) is None]
        self.heard = {one: times for one, times in self.heard.items() if one in absent and times[1] > now_ms}
        if not absent or self._members >= self._full_max:
            self._asks = 0
            return
        soon = self._asks < _ASKED_SOON or self._asked_ms is None
        if self._asking is not None or not (soon or now_ms - (self._asked_ms or 0) >= ABSENT_ASK_MS):
            return
        present = [account for account in holders if self._link_of(account) is not None]
        if present:
            self._asks += 1
            self._asked_ms = now_ms
            whom = self._rng.choice(present)
            self._rng.shuffle(absent)
            asking = self._ask(whom, absent[:ABSENT_ACCOUNTS_MAX])
            self._asking = asyncio.get_running_loop().create_task(asking, name="absent")

    async def _ask(self, whom: bytes, absent: list[bytes]) -> None:
        try:
            answer = await self._peercalls.call(whom, HEARD, b"".join(absent), _ASK_S)
        except MyceliumError as error:
            log.debug("%s does not say whom it hears: %s", whom.hex()[:16], error)
            return
        finally:
            self._asking = None
        self.answers += 1
        now_ms = self._now_ms()
        for account in set(absent) & set(_accounts(answer[: ABSENT_ACCOUNTS_MAX * ACCOUNT_BYTES])):
            since_ms, _ = self.heard.get(account, (now_ms, 0))
            self.heard[account] = since_ms, now_ms + 3 * ABSENT_ASK_MS

    async def _hears(self, link: Link, body: bytes) -> bytes:
        """Which of those accounts this node has a session with, and hears."""
        del link
        if len(body) > ABSENT_ACCOUNTS_MAX * ACCOUNT_BYTES or len(body) % ACCOUNT_BYTES:
            raise MalformedMessage("whom do you hear: that is no list of accounts")
        return b"".join(
            account
            for account in _accounts(body)
            if self._link_of(account) is not None and self._standing(account) is Standing.ALIVE
        )

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()


def of(node: Node, rng: random.Random) -> Absence:
    """The one of a node."""

    def may_hold(account: bytes, space: str) -> bool:
        rights = node.authority.rights_now(account)
        return rights is not None and rights.whole(Action.READ, space)

    return Absence(
        node.peercalls,
        node.presence.liveness.standing,
        node.hub.link_of,
        lambda: node.roster.holders,
        may_hold,
        node.settings.mesh.full_max,
        rng,
        lambda: node.around.clock_ns() // 1_000_000,
    )


def _accounts(data: bytes) -> list[bytes]:
    return [data[at : at + ACCOUNT_BYTES] for at in range(0, len(data), ACCOUNT_BYTES)]
