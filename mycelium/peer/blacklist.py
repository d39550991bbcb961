"""Whom this node has no session with: greylist, blacklist and the operator's lists. Sans-IO.

    rules.failures failures within an hour ---------> greylisted for rules.greylist_ms, and a claim is published
    rules.greylistings greylistings ----------------> blacklisted, until the operator pardons
    enough claims of others (`claims`) -------------> greylisted while they last, and nothing more
    a verified proof -------------------------------> greylisted at once; its origin is frozen elsewhere (`proofs`)
    the operator's `always` list -------------------> blacklisted;  `never`: none of all this

A stake of rules.pardon_rao stands above everything but the operator's word. Only members have a record: who is none has
no session anyway. Everything here is this node's own: of what it thinks, others hear claims, and believe them or not.

Inputs return effects, for the runtime to carry out in order. Times are wall-clock ms, for records outlive the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from mycelium.config import peer as limits
from mycelium.errors import UsageError
from mycelium.identity.account import format as format_account
from mycelium.identity.signing import Signer
from mycelium.peer.claims import Claims, Held, Verdict
from mycelium.peer.network import Network
from mycelium.peer.scores import POINT, Scores, weight


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator may set. always, never: accounts; claims: whether what this node sees is said to others."""

    failures: int = limits.BLACKLIST_FAILURES
    greylist_ms: int = limits.GREYLIST_MS
    greylistings: int = limits.GREYLISTINGS_MAX
    pardon_rao: int = limits.PARDON_RAO
    always: frozenset[bytes] = frozenset()
    never: frozenset[bytes] = frozenset()
    claims: bool = True


class Listed(Enum):
    """What the operator said of an account by a command."""

    NOTHING = ""
    ALWAYS = "always"
    NEVER = "never"


class Standing(Enum):
    """What an account is to this node."""

    GOOD = "good"
    GREYLISTED = "greylisted"
    CLAIMED = "greylisted by claims"
    BLACKLISTED = "blacklisted"


class Row(msgspec.Struct, array_like=True):
    """The record of one account, as it is stored. Times in ms since the Unix epoch, 0 for never."""

    account: bytes
    listed: Listed = Listed.NOTHING
    why: str = ""
    since_ms: int = 0
    greylistings: int = 0
    greylisted_ms: int = 0
    until_ms: int = 0
    blacklisted_ms: int = 0
    pardoned_ms: int = 0
    reasons: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Block:
    """Effect: end its session, and have none with it."""

    account: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Unblock:
    """Effect: it may have a session again."""

    account: bytes


@dataclass(frozen=True, slots=True)
class Say:
    """Effect: tell a claim; relay: of somebody else, to a few peers. Else it is our own, for all."""

    held: Held
    relay: bool


@dataclass(frozen=True, slots=True)
class Save:
    """Effect: store the record."""

    row: Row


@dataclass(frozen=True, slots=True)
class Forget:
    """Effect: store no record of it any more."""

    account: bytes


Effect = Block | Unblock | Say | Save | Forget


class Blacklist:
    """One node's own. signer: for its claims. Before `members` was called nobody is a member."""

    def __init__(self, signer: Signer, network: Network, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.account = signer.account
        self.claims = Claims(self.account, network)
        self.scores: Scores[bytes] = Scores(
            self.rules.failures, limits.BLACKLIST_FORGET_MS, limits.BLACKLIST_ROWS_MAX
        )
        self._signer = signer
        self._rows: dict[bytes, Row] = {}
        self._reasons: dict[bytes, Counter[str]] = {}
        self._stakes: dict[bytes, int] = {}
        self._writers: frozenset[bytes] = frozenset()
        self._owners: frozenset[bytes] = frozenset()
        self._by_claims: dict[bytes, list[Held]] = {}
        self._blocked: dict[bytes, Standing] = {}

    # --- what is thought of an account --------------------------------------------------------------------

    def standing(self, account: bytes, now_ms: int) -> Standing:
        """Of anybody, member or not."""
        if account == self.account or self._listed(account) is Listed.NEVER:
            return Standing.GOOD
        row = self._rows.get(account)
        if self._listed(account) is Listed.ALWAYS:
            return Standing.BLACKLISTED
        if self._rich(account):
            return Standing.GOOD
        if row is not None and row.blacklisted_ms:
            return Standing.BLACKLISTED
        if row is not None and self._greylisted(row, now_ms):
            return Standing.GREYLISTED
        return Standing.CLAIMED if account in self._by_claims else Standing.GOOD

    def is_blocked(self, account: bytes) -> bool:
        """Whether it has no session, as of the last input: what the effects have told."""
        return account in self._blocked

    def _listed(self, account: bytes) -> Listed:
        row = self._rows.get(account)
        if row is not None and row.listed is not Listed.NOTHING:
            return row.listed  # a command is newer than the file
        if account in self.rules.never:
            return Listed.NEVER
        return Listed.ALWAYS if account in self.rules.always else Listed.NOTHING

    def _rich(self, account: bytes) -> bool:
        return self._stakes.get(account, 0) >= self.rules.pardon_rao > 0

    def _greylisted(self, row: Row, now_ms: int) -> bool:
        # A clock that was set back by more than that must not make an hour of it a day.
        return row.until_ms - 2 * self.rules.greylist_ms <= now_ms < row.until_ms

    def _no_claim_counts(self, account: bytes, issued_ms: int) -> bool:
        row = self._rows.get(account)
        return (
            account in self._owners
            or self._rich(account)
            or self._listed(account) is not Listed.NOTHING
            or (row is not None and issued_ms <= row.pardoned_ms)
        )

    # --- inputs -------------------------------------------------------------------------------------------

    def load(self, data: bytes) -> bool:
        """A record that was stored; False for one that is damaged."""
        try:
            row = msgspec.msgpack.decode(data, type=Row)
        except msgspec.DecodeError:
            return False
        self._rows[row.account] = row
        return True

    def members(
        self, stakes: Mapping[bytes, int], writers: Mapping[bytes, int], owners: Iterable[bytes], now_ms: int
    ) -> list[Effect]:
        """Another epoch: all members with their stake in rao, those who write, and the subnet's owner."""
        self._stakes = dict(stakes)
        self._writers = frozenset(writers)
        self._owners = frozenset(owners)
        self.claims.members(writers)
        for account in [one for one in self._reasons if one not in stakes]:
            del self._reasons[account]
            self.scores.forgive(account)
        return self._changed(now_ms)

    def follow(self, rules: Rules, now_ms: int) -> list[Effect]:
        """Other rules, from now on; what is held against somebody stays."""
        self.rules = rules
        self.scores.allow(rules.failures)
        return self._changed(now_ms)

    def failure(self, account: bytes, reason: str, now_ms: int) -> list[Effect]:
        """It broke a rule; reason: of the ProtocolError."""
        return self._fault(account, reason, weight(reason), now_ms)

    def proven(self, account: bytes, what: str, now_ms: int) -> list[Effect]:
        """There is a verified proof against it, and that is news."""
        return self._fault(account, f"proven-{what}", self.rules.failures * POINT, now_ms)

    def _fault(self, account: bytes, reason: str, points: int, now_ms: int) -> list[Effect]:
        if account == self.account or account not in self._stakes or points <= 0:
            return []
        self._reasons.setdefault(account, Counter())[reason] += 1
        if not self.scores.fault(account, points, now_ms):
            return []
        row = self._rows.get(account)
        spared = self._rich(account) or self._listed(account) is not Listed.NOTHING
        if spared or (row is not None and (row.blacklisted_ms or self._greylisted(row, now_ms))):
            return []
        return self._greylist(account, reason, now_ms)

    def _greylist(self, account: bytes, reason: str, now_ms: int) -> list[Effect]:
        row = self._row(account)
        if now_ms - row.greylisted_ms > limits.GREYLISTINGS_FORGET_MS:
            row.greylistings = 0
        row.greylistings += 1
        row.greylisted_ms, row.until_ms = now_ms, now_ms + self.rules.greylist_ms
        row.reasons = dict(sorted(self._reasons.pop(account, Counter()).items()))
        row.why = ", ".join(f"{count} {name}" for name, count in row.reasons.items())
        row.why = row.why[: limits.BLACKLIST_WHY_CHARS_MAX]
        if row.greylistings >= self.rules.greylistings:
            row.blacklisted_ms = now_ms
        self.scores.forgive(account)
        effects: list[Effect] = [Save(row), *self._make_room()]
        effects += self._changed(now_ms)
        if self.rules.claims and {self.account, account} <= self._writers:
            held = self.claims.make(self._signer, account, reason, now_ms, self.rules.greylist_ms)
            effects.append(Say(held, relay=False))
        return effects

    def claim(self, raw: bytes, signature: bytes, now_ms: int) -> tuple[Verdict, list[Effect]]:
        """Somebody passed on a claim. What follows from it `weigh` says, once for many. Raises as `Claims.offer`."""
        said, verdict = self.claims.offer(raw, signature, now_ms)
        if verdict is not Verdict.NEW:
            return verdict, []
        held = next(one for one in self.claims.against(said.accused) if one.raw == raw)
        return verdict, [Say(held, relay=True)]

    def weigh(self, now_ms: int) -> list[Effect]:
        """What follows from the claims there are; 6 ms where CLAIMS_MAX are held."""
        return self._changed(now_ms)

    def tick(self, now_ms: int) -> list[Effect]:
        """Time has passed."""
        self.claims.tick(now_ms)
        effects: list[Effect] = []
        for account, row in list(self._rows.items()):
            if self._is_over(row, now_ms):
                del self._rows[account]
                effects.append(Forget(account))
        return effects + self._changed(now_ms)

    # --- the operator -------------------------------------------------------------------------------------

    def put(self, account: bytes, listed: Listed, why: str, now_ms: int) -> list[Effect]:
        """The operator puts an account on a list. UsageError: its own account, or no room."""
        if account == self.account:
            raise UsageError("a node does not list its own account")
        if account not in self._rows and len(self._rows) >= limits.BLACKLIST_ROWS_MAX:
            raise UsageError(f"{limits.BLACKLIST_ROWS_MAX} accounts have a record; remove one first")
        row = self._row(account)
        row.listed, row.since_ms = listed, now_ms
        row.why = "".join(letter if letter.isprintable() else "?" for letter in why)
        row.why = row.why[: limits.BLACKLIST_WHY_CHARS_MAX]
        return [Save(row), *self._changed(now_ms)]

    def pardon(self, account: bytes, now_ms: int) -> list[Effect]:
        """The operator takes an account off whatever list, and forgives what it did; claims until now are nothing.

        UsageError: there is nothing to forgive, or the settings list it.
        """
        if account not in self._rows and account in self.rules.always:
            raise UsageError(
                f"{format_account(account)} is listed in the settings, [blacklist] always: edit them"
            )
        row = self._rows.get(account) or Row(account)
        held = row.listed is not Listed.NOTHING or row.greylistings or row.blacklisted_ms
        if not (held or self.claims.against(account) or self.scores.points(account, now_ms)):
            raise UsageError(f"there is nothing against {format_account(account)}")
        self._reasons.pop(account, None)
        self.scores.forgive(account)
        row = self._rows[account] = Row(account, why="pardoned by the operator", pardoned_ms=now_ms)
        return [Save(row), *self._changed(now_ms)]

    # --- inside -------------------------------------------------------------------------------------------

    def _row(self, account: bytes) -> Row:
        row = self._rows.get(account)
        if row is None:
            row = self._rows[account] = Row(account)
        return row

    def _is_over(self, row: Row, now_ms: int) -> bool:
        """Whether a record says nothing any more."""
        return (
            row.listed is Listed.NOTHING
            and not row.blacklisted_ms
            and not self._greylisted(row, now_ms)
            and now_ms - row.greylisted_ms > limits.GREYLISTINGS_FORGET_MS
            and now_ms - row.pardoned_ms > limits.CLAIM_LIFETIME_MS + limits.CLAIM_CLOCK_SLACK_MS
        )

    def _make_room(self) -> list[Effect]:
        if len(self._rows) <= limits.BLACKLIST_ROWS_MAX:
            return []
        # The operator's word last, then the blacklisted, then who was greylisted most recently.
        least = min(
            self._rows.values(),
            key=lambda row: (
                row.listed is not Listed.NOTHING,
                row.blacklisted_ms,
                row.greylisted_ms,
                row.account,
            ),
        )
        del self._rows[least.account]
        return [Forget(least.account)]

    def _changed(self, now_ms: int) -> list[Effect]:
        """Judge again everybody about whom there is anything, and tell what is another now."""
        self._by_claims = self.claims.greylisted(self._no_claim_counts)
        concerned = {*self._rows, *self._by_claims, *self._blocked, *self.rules.always}
        effects: list[Effect] = []
        for account in sorted(concerned):
            now, before = self.standing(account, now_ms), self._blocked.get(account, Standing.GOOD)
            if now is Standing.GOOD:
                self._blocked.pop(account, None)
                if before is not Standing.GOOD:
                    effects.append(Unblock(account))
                continue
            self._blocked[account] = now
            if before is Standing.GOOD:
                effects.append(Block(account, self.why(account, now_ms)))
        return effects

    # --- for people ---------------------------------------------------------------------------------------

    def why(self, account: bytes, now_ms: int) -> str:
        """In one line, why it has no session; "" where it may have one."""
        standing = self.standing(account, now_ms)
        row = self._rows.get(account) or Row(account)
        if standing is Standing.CLAIMED:
            return f"greylisted by the claims of {len(self._by_claims[account])} members"
        if standing is Standing.GREYLISTED:
            return f"greylisted for {(row.until_ms - now_ms) // 1000} s: {row.why}"
        if standing is Standing.BLACKLISTED:
            by = "by the operator" if self._listed(account) is Listed.ALWAYS else "here"
            return f"blacklisted {by}: {row.why or 'listed in the settings'}"
        return ""

    def accounts(self) -> list[bytes]:
        """Everybody about whom there is anything."""
        accused = {held.claim.accused for held in self.claims.all()}
        found = {*self._rows, *accused, *self.scores.keys(), *self.rules.always, *self.rules.never}
        return sorted(found)

    def explain(self, account: bytes, now_ms: int) -> dict[str, Any]:
        """All that is known here about an account. Times in seconds, stake in rao, accounts as SS58."""
        row = self._rows.get(account) or Row(account)
        against = self.claims.against(account)
        return {
            "account": format_account(account),
            "standing": self.standing(account, now_ms).value,
            "why": self.why(account, now_ms) or row.why,
            "by": "operator" if self._listed(account) is not Listed.NOTHING or row.pardoned_ms else "node",
            "listed": self._listed(account).value,
            "score": self.scores.score(account, now_ms),
            "failures": dict(sorted(self._reasons.get(account, Counter()).items())) or row.reasons,
            "greylistings": row.greylistings,
            "greylisted_s": row.greylisted_ms / 1000,
            "until_s": row.until_ms / 1000,
            "blacklisted_s": row.blacklisted_ms / 1000,
            "pardoned_s": row.pardoned_ms / 1000,
            "member": account in self._stakes,
            "stake_rao": self._stakes.get(account, 0),
            "pardoned_by_stake": self._rich(account),
            "claims": [
                {
                    "issuer": format_account(held.claim.issuer),
                    "reason": held.claim.reason,
                    "issued_s": held.claim.issued / 1e9,
                    "until_s": held.until_ms / 1000,
                }
                for held in against
            ],
        }
