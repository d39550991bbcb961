"""Carries out what `peer.blacklist` decides, and spreads claims and proofs: the runtime between it, links and store.

Messages of type BLACKLIST_SYNC go out when a session opens (everything) and when there is news. A claim of our own goes
to all members, one that was learnt to a few; a proof is announced to all, and fetched by a call (`blacklist.proof`) by
who lacks it, as it may be larger than a message. Only who may read a space hears of proofs about it: they hold batches.

| kept in | what |
|---|---|
| column META, `blacklist` and account | the record of an account: this node's own, and never told to others |
| column EVIDENCE, space and origin | proofs, which everybody verifies by itself |
| nowhere | claims: they end by themselves, and peers tell them again |

Must not decide whom to believe; the machine and `database.proofs` do.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mycelium._core import codec, fanout
from mycelium.config import PROOF_BYTES_MAX
from mycelium.config.peer import (
    BLACKLIST_ITEMS_BURST,
    BLACKLIST_ITEMS_PER_S,
    CLAIM_RELAYS,
    PROOF_FETCH_S,
    PROOF_ITEMS,
    PROOF_RETRY_MS,
    PROOFS_FETCHED_MAX,
    PROOFS_WANTED_MAX,
)
from mycelium.database import schema
from mycelium.database.database import Database
from mycelium.database.proofs import Proven
from mycelium.database.store import Column, after_prefix
from mycelium.database.vector import Origin
from mycelium.errors import (
    Blacklisted,
    LinkError,
    MalformedMessage,
    MyceliumError,
    Overloaded,
    ProtocolError,
    StoreError,
    Unauthorised,
    Unproven,
    UsageError,
)
from mycelium.identity.account import ACCOUNT_BYTES
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import OWNER, Epoch
from mycelium.node import calls, events
from mycelium.node.peercalls import PeerCalls
from mycelium.node.ratelimit import Quiet
from mycelium.peer.blacklist import (
    Blacklist,
    Block,
    Effect,
    Forget,
    Listed,
    Rules,
    Save,
    Say,
    Standing,
    Unblock,
)
from mycelium.peer.bucket import Allowances
from mycelium.peer.claims import Verdict
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.scores import FALSE_CLAIM
from mycelium.protocol.messages import BlacklistSync, MessageType, ProofHead

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)

PROOF: Final = "blacklist.proof"
_CLAIMS_AT_ONCE: Final = 64
_HEADS_AT_ONCE: Final = 256
"""In one message: some 30 KiB of what a control message may have."""


class Blacklisting:
    """One node's share. changed: called when somebody may have a session who might not, or the reverse."""

    def __init__(
        self,
        machine: Blacklist,
        database: Database,
        hub: Hub,
        peercalls: PeerCalls,
        links: Callable[[], Sequence[Link]],
        may_read: Callable[[int, str], bool],
        now_ms: Callable[[], int],
        rng: random.Random,
        changed: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.counts: Counter[str] = Counter()
        self._store = database.store
        self._frozen = database.engine.frozen
        self._hub = hub
        self._peercalls = peercalls
        self._links = links
        self._may_read = may_read
        self._now_ms = now_ms
        self._rng = rng
        self._changed = changed
        self._items = Allowances(BLACKLIST_ITEMS_PER_S, BLACKLIST_ITEMS_BURST)
        self._wanted: dict[tuple[str, Origin], tuple[ProofHead, bytes, int]] = {}
        """Proofs to be fetched: which, from whom, and not before when."""
        self._tasks: dict[tuple[str, Origin], asyncio.Task[None]] = {}
        self._quiet = Quiet(log, interval_s=60)
        self.on_news: Callable[[str, str, bytes], None] = lambda kind, text, account: None
        self._frozen.on_proof.append(self._proven)
        peercalls.on(PROOF, self._asked)
        prefix = schema.META_BLACKLIST
        for key, data in list(self._store.scan(Column.META, prefix, after_prefix(prefix))):
            if not machine.load(data):
                log.warning("the blacklist's record of %s is damaged and left out", key[len(prefix) :].hex())

    def is_blocked(self, account: bytes) -> bool:
        """Whether the account is to have no session."""
        return self.machine.is_blocked(account)

    # --- what happens -------------------------------------------------------------------------------------

    def entered(self, epoch: Epoch) -> None:
        """Another epoch is the present one."""
        stakes = {account: member.stake_rao for account, member in epoch.members.items()}
        writers = {account: stake for account, stake in stakes.items() if epoch.may_write(account)}
        owners = [account for account in stakes if epoch.role(account) == OWNER]
        self._act(self.machine.members(stakes, writers, owners, self._now_ms()))

    def follow(self, rules: Rules) -> None:
        """The operator has other rules from now on."""
        self._act(self.machine.follow(rules, self._now_ms()))

    def tick(self) -> None:
        """Time has passed; call once a second."""
        self._act(self.machine.tick(self._now_ms()))
        self._fetch()

    def link_opened(self, link: Link) -> None:
        """A member's session is up: tell it everything."""
        self._items.opened(link.account)
        claims = [(held.raw, held.signature) for held in self.machine.claims.all()]
        for at in range(0, len(claims), _CLAIMS_AT_ONCE):
            self._post(link, BlacklistSync(claims[at : at + _CLAIMS_AT_ONCE], []), fanout.REPAIR)
        heads = [_head(one) for one in self._frozen.all() if self._may_read(link.id, one.space)]
        for at in range(0, len(heads), _HEADS_AT_ONCE):
            self._post(link, BlacklistSync([], heads[at : at + _HEADS_AT_ONCE]), fanout.REPAIR)

    def link_closed(self, link: Link, error: MyceliumError | None) -> None:
        """It ended, by our judgement of what it sent or for another reason."""
        self._items.closed(link.account)
        if isinstance(error, ProtocolError) and not link.closed_by_peer:
            self._act(self.machine.failure(link.account, error.reason, self._now_ms()))

    def receive(self, link: Link, payload: bytes) -> None:
        """A BlacklistSync of a member. A ProtocolError closes its link, and so counts against it."""
        said = BlacklistSync.decode(payload)
        items = len(said.claims) + len(said.proofs)
        if self._items.take(link.account, items, self._hub.clock_ns()) > 0:
            self.counts["left-out"] += items
            return
        for raw, signature in said.claims:
            verdict, effects = self.machine.claim(raw, signature, self._now_ms())
            self.counts[f"claim-{verdict.name.lower()}"] += 1
            if verdict is Verdict.FOREIGN:
                # Who entered the epoch before us may be right: it costs less, and the session stays.
                effects = self.machine.failure(link.account, FALSE_CLAIM, self._now_ms())
            self._act(effects, source=link)
        if said.claims:
            self._act(self.machine.weigh(self._now_ms()))
        for head in said.proofs:
            self._want(head, link.account)
        self._fetch()

    # --- effects ------------------------------------------------------------------------------------------

    def _act(self, effects: Iterable[Effect], source: Link | None = None) -> None:
        for effect in effects:
            if isinstance(effect, Block):
                log.warning("%s has no session here: %s", format_account(effect.account), effect.why)
                self.on_news(events.BLOCKED, effect.why, effect.account)
                for link in self._hub.links_of(effect.account):
                    link.close(Blacklisted(effect.why))
                self._changed()
            elif isinstance(effect, Unblock):
                log.info("%s may have a session again", format_account(effect.account))
                self.on_news(events.UNBLOCKED, "may have a session again", effect.account)
                self._changed()
            elif isinstance(effect, Say):
                others = [link for link in self._links() if link is not source]
                if effect.relay:
                    others = self._rng.sample(others, min(CLAIM_RELAYS, len(others)))
                said = BlacklistSync([(effect.held.raw, effect.held.signature)], [])
                for link in others:
                    self._post(link, said)
            elif isinstance(effect, Save):
                self._write(effect.row.account, msgspec.msgpack.encode(effect.row))
            elif isinstance(effect, Forget):
                self._write(effect.account, None)

    def _post(self, link: Link, said: BlacklistSync, klass: int = fanout.CONTROL) -> None:
        link.post(MessageType.BLACKLIST_SYNC, said.encode(), klass)

    def _write(self, account: bytes, data: bytes | None) -> None:
        write = self._store.batch()
        column = self._store.column(Column.META)
        key = schema.META_BLACKLIST + account
        if data is None:
            write.delete(key, column)
        else:
            write.put(key, data, column)
        try:
            self._store.commit(write)
        except StoreError as error:
            self._quiet.error("cannot store the blacklist: %s", error)

    # --- proofs -------------------------------------------------------------------------------------------

    def _proven(self, proven: Proven) -> None:
        """A proof that is news here: found by this node, or fetched."""
        account = proven.origin.account
        log.warning(
            "%s: %s; nothing of its generation %d in %r is taken from number %d on",
            format_account(account),
            proven.what,
            proven.origin.generation,
            proven.space,
            proven.at,
        )
        self.on_news(events.PROOF, f"{proven.what}, in {proven.space} from {proven.at} on", account)
        said = BlacklistSync([], [_head(proven)])
        for link in self._links():
            if self._may_read(link.id, proven.space):
                self._post(link, said)
        # Not in the midst of the message that proved it, whose own link may be closed by it.
        asyncio.get_running_loop().call_soon(self._punish, account, proven.what)

    def _punish(self, account: bytes, what: str) -> None:
        self._act(self.machine.proven(account, what, self._now_ms()))

    def _want(self, head: ProofHead, account: bytes) -> None:
        key = head.space, Origin(head.account, head.generation)
        if not self._frozen.is_news(*key, head.at):
            return
        wanted = self._wanted.get(key)
        if wanted is None and len(self._wanted) >= PROOFS_WANTED_MAX:
            self.counts["left-out"] += 1
        elif wanted is None or head.at < wanted[0].at:
            self._wanted[key] = head, account, 0

    def _fetch(self) -> None:
        now_ms = self._now_ms()
        for key, (head, account, after_ms) in list(self._wanted.items()):
            if len(self._tasks) >= PROOFS_FETCHED_MAX:
                return
            if key in self._tasks or not (now_ms >= after_ms or now_ms < after_ms - PROOF_RETRY_MS):
                continue
            del self._wanted[key]
            if self._frozen.is_news(*key, head.at):
                work = self._fetch_one(key, head, account)
                task = self._tasks[key] = asyncio.get_running_loop().create_task(work)
                task.add_done_callback(functools.partial(self._fetched, key))

    def _fetched(self, key: tuple[str, Origin], task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("fetching a proof failed", exc_info=error)
        self._fetch()

    async def _fetch_one(self, key: tuple[str, Origin], head: ProofHead, account: bytes) -> None:
        link = self._hub.link_of(account)
        if link is None:
            return  # whoever else has it says so when its session opens
        try:
            body = codec.encode(codec.PROOF_HEAD, head)
            raw = await self._peercalls.call(account, PROOF, body, PROOF_FETCH_S, PROOF_BYTES_MAX)
            found = self._frozen.judge(raw)
            if found is None:
                self._wanted[key] = head, account, self._now_ms() + PROOF_RETRY_MS
                return
            if (found.space, found.origin) != key or found.at > head.at:
                raise MalformedMessage("a proof that is not the one that was announced")
            self._frozen.convict(found)
        except Unproven as error:
            # It may hold where the members file or the chain says another time for a block.
            self._quiet.warning("%s announced a proof that proves nothing here: %s", link.remote, error)
            self._act(self.machine.failure(account, error.reason, self._now_ms()))
        except ProtocolError as error:
            link.close(error)
        except StoreError as error:
            self._quiet.error("cannot store a proof: %s", error)
            self._wanted[key] = head, account, self._now_ms() + PROOF_RETRY_MS
        except LinkError as error:
            log.debug("a proof from %s: %s", link.remote, error)
            self._wanted.setdefault(key, (head, account, self._now_ms() + PROOF_RETRY_MS))

    async def _asked(self, link: Link, body: bytes) -> bytes:
        """A member fetches a proof."""
        head = ProofHead(*codec.decode(codec.PROOF_HEAD, body))
        if not self._may_read(link.id, head.space):
            raise Unauthorised(f"may not read the space {head.space!r}")
        found = self._frozen.get(head.space, Origin(head.account, head.generation))
        if found is None:
            raise Unauthorised("no such proof is known here")
        if self._items.take(link.account, PROOF_ITEMS, self._hub.clock_ns()) > 0:
            raise Overloaded("too many proofs asked for in a while")
        return found.raw

    async def close(self) -> None:
        """Fetch no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the operator -------------------------------------------------------------------------------------

    async def add(self, account: bytes, listed: Listed, why: str) -> dict[str, Any]:
        """Put an account on a list, durably. UsageError."""
        self._act(self.machine.put(account, listed, why, self._now_ms()))
        return await self._said(account)

    async def remove(self, account: bytes) -> dict[str, Any]:
        """Take it off, and forgive it, durably. UsageError."""
        self._act(self.machine.pardon(account, self._now_ms()))
        return await self._said(account)

    async def _said(self, account: bytes) -> dict[str, Any]:
        await asyncio.get_running_loop().run_in_executor(None, self._store.sync)
        return self.explain(account)

    async def call(self, asked: calls.Blacklist) -> Any:
        """What `mycelium blacklist` asks for: of BLACKLIST_LIST a list, of the others an account's explanation."""
        if asked.what == calls.BLACKLIST_LIST:
            return self.listing()
        if len(asked.account) != ACCOUNT_BYTES:
            raise UsageError("an account has 32 bytes")
        if asked.what == calls.BLACKLIST_ADD:
            return await self.add(asked.account, Listed.NEVER if asked.never else Listed.ALWAYS, asked.why)
        if asked.what == calls.BLACKLIST_REMOVE:
            return await self.remove(asked.account)
        if asked.what == calls.BLACKLIST_EXPLAIN:
            return self.explain(asked.account)
        raise UsageError(f"there is nothing to {asked.what[:40]!r} in a blacklist")

    def explain(self, account: bytes) -> dict[str, Any]:
        """All that is known here about an account, for JSON."""
        found = self.machine.explain(account, self._now_ms())
        return found | {
            "frozen": [
                {
                    "space": one.space,
                    "generation": one.origin.generation,
                    "from": one.at,
                    "why": one.what,
                }
                for one in self._frozen.all()
                if one.origin.account == account
            ]
        }

    def listing(self) -> list[dict[str, Any]]:
        """Everybody about whom there is anything."""
        accounts = {*self.machine.accounts(), *(one.origin.account for one in self._frozen.all())}
        return [self.explain(account) for account in sorted(accounts)]

    def status(self) -> dict[str, Any]:
        """Counts, for the node's status."""
        now_ms = self._now_ms()
        standings = Counter(self.machine.standing(one, now_ms) for one in self.machine.accounts())
        return {
            "greylisted": standings[Standing.GREYLISTED],
            "greylisted_by_claims": standings[Standing.CLAIMED],
            "blacklisted": standings[Standing.BLACKLISTED],
            "claims": len(self.machine.claims),
            "frozen": len(self._frozen),
        }


def _head(proven: Proven) -> ProofHead:
    return ProofHead(proven.space, proven.origin.account, proven.origin.generation, proven.at)


def of(node: Node, rng: random.Random) -> Blacklisting:
    """The blacklisting of a node whose other parts exist; the node's service answers calls about it from now on."""
    local = node.hub.local
    found = Blacklisting(
        Blacklist(local.keypair, local.network, node.settings.blacklist),
        node.database,
        node.hub,
        node.peercalls,
        node.replicator.members,
        node.replicator.may_read,
        lambda: node.now_ms(),  # a test may set another clock
        rng,
        node.reconsider,
    )
    node.service.blacklist = found.call
    return found
