"""Access policies: who may do what to which keys of which tables, as a document. Pure; knows no store and no chain.

    {"version": 1,
     "rules": [{"who": "validator", "tables": "main/*", "may": ["read", "put", "delete"]},
               {"who": "5F3s...", "tables": "main/scores", "keys": {"prefix": "team-a/"}, "may": ["put"]}],
     "quotas": [{"who": "validator", "spaces": "main", "changes_per_epoch": 100000, "bytes_per_epoch": 50000000}],
     "revoked": ["<id of a grant>"]}

What no rule allows is denied. A document is named by the BLAKE3 digest of its bytes, and the chain says which one is
in force in an epoch; without one it is `DEFAULT`. The space `sys` stands outside every policy (see `access`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag
from typing import Any, Final

import msgspec

from mycelium.config import POLICY_BYTES_MAX, POLICY_RULES_MAX
from mycelium.database.ranges import EVERYTHING, NOTHING, Range, Ranges, prefixed
from mycelium.database.schema import valid_name
from mycelium.errors import AccountRefused, PolicyRefused
from mycelium.identity import account as accounts

OWNER: Final = "owner"
VALIDATOR: Final = "validator"
MINER: Final = "miner"
OBSERVER: Final = "observer"
ROLES: Final = (OWNER, VALIDATOR, MINER, OBSERVER)
"""As `metagraph.membership` has them."""


class Action(IntFlag):
    """What may be done to a key. PUT also adds and inserts, DELETE also removes; ADMIN grants what it covers."""

    READ = 1
    PUT = 2
    DELETE = 4
    ADMIN = 8


WRITE: Final = Action.PUT | Action.DELETE
_ACTIONS: Final = {"read": Action.READ, "put": Action.PUT, "delete": Action.DELETE, "admin": Action.ADMIN}


class Keys(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A range of keys: all with a prefix, or from <= key < to. Text, or 0x and hex."""

    prefix: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None


class Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """who: a role or an SS58 account. tables: "space/table", "space/*" or "*"."""

    who: str
    tables: str
    may: list[str]
    keys: Keys | None = None


class Quota(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one log (an account's, since its last restore) may add to a space in an epoch. spaces: a name or "*"."""

    who: str
    spaces: str
    changes_per_epoch: int | None = None
    bytes_per_epoch: int | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole document as it is written."""

    version: int
    rules: list[Rule]
    quotas: list[Quota] = []
    revoked: list[str] = []


class Policy:
    """A document that was checked. Made by `parse`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.revoked = frozenset(bytes.fromhex(one) for one in document.revoked)
        self._rules = [_Compiled(rule) for rule in document.rules]

    def ranges(self, role: str | None, account: bytes, action: Action, space: str, table: str) -> Ranges:
        """The keys of one table on which the account may do it: what all rules that meet it allow together."""
        found = NOTHING
        for rule in self._rules:
            if rule.meets(role, account) and action in rule.may and rule.covers(space, table):
                found |= rule.keys
        return found

    def whole(self, role: str | None, account: bytes, action: Action, space: str) -> bool:
        """Whether some rules allow the actions on every key of every table of a space."""
        left = action
        for rule in self._rules:
            if rule.meets(role, account) and rule.covers_all(space) and rule.keys.whole:
                left &= ~rule.may
        return not left

    def holds_a_space(self, role: str | None, account: bytes) -> bool:
        """Whether there is a space of which the account may read everything."""
        return any(
            rule.meets(role, account) and Action.READ in rule.may and rule.table == "*" and rule.keys.whole
            for rule in self._rules
        )

    def any(self, role: str | None, account: bytes, action: Action) -> bool:
        """Whether the account may do it to anything at all."""
        return any(rule.meets(role, account) and action in rule.may for rule in self._rules)

    def quotas(self, role: str | None, account: bytes, space: str) -> list[Quota]:
        """Those that meet the account in the space; all of them hold."""
        name = accounts.format(account)
        return [
            quota
            for quota in self.document.quotas
            if quota.who in {role, name} and quota.spaces in {"*", space}
        ]


class _Compiled:
    """One rule, ready to be asked."""

    def __init__(self, rule: Rule) -> None:
        self.role = rule.who if rule.who in ROLES else None
        self.account = None if self.role else accounts.parse(rule.who)
        self.space, _, self.table = ("*", "", "*") if rule.tables == "*" else rule.tables.partition("/")
        self.may = Action(0)
        for name in rule.may:
            self.may |= _ACTIONS[name]
        self.keys = EVERYTHING if rule.keys is None else key_ranges(rule.keys)

    def meets(self, role: str | None, account: bytes) -> bool:
        return self.role == role if self.role is not None else self.account == account

    def covers(self, space: str, table: str) -> bool:
        return self.space in {"*", space} and self.table in {"*", table}

    def covers_all(self, space: str) -> bool:
        return self.space in {"*", space} and self.table == "*"


def parse(data: bytes) -> Policy:
    """Check a document. PolicyRefused names the first mistake."""
    if len(data) > POLICY_BYTES_MAX:
        raise PolicyRefused(f"a policy has at most {POLICY_BYTES_MAX} bytes, not {len(data)}")
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyRefused(f"the policy is not a policy document: {error}") from None
    if document.version != 1:
        raise PolicyRefused(f"the policy has version {document.version}; this release knows version 1")
    if len(document.rules) + len(document.quotas) + len(document.revoked) > POLICY_RULES_MAX:
        raise PolicyRefused(
            f"a policy has at most {POLICY_RULES_MAX} rules, quotas and revoked grants together"
        )
    for at, rule in enumerate(document.rules):
        _check_rule(f"rules[{at}]", rule)
    for at, quota in enumerate(document.quotas):
        _check_quota(f"quotas[{at}]", quota)
    for at, one in enumerate(document.revoked):
        if len(one) != 64 or set(one) - set("0123456789abcdef"):
            raise PolicyRefused(f"revoked[{at}] is no id of a grant: 64 hex digits in lower case")
    return Policy(document)


def _check_rule(where: str, rule: Rule) -> None:
    _check_who(where, rule.who)
    if rule.tables != "*":
        space, slash, table = rule.tables.partition("/")
        if not slash or not (space == "*" or valid_name(space)) or not (table == "*" or valid_name(table)):
            raise PolicyRefused(f'{where}.tables is {rule.tables!r}: write "space/table", "space/*" or "*"')
        if space == "*" and table != "*":
            raise PolicyRefused(f"{where}.tables is {rule.tables!r}: a table is of one space")
    unknown = [name for name in rule.may if name not in _ACTIONS]
    if unknown or not rule.may:
        raise PolicyRefused(f"{where}.may is {rule.may!r}: name some of {', '.join(_ACTIONS)}")
    if rule.who == OBSERVER and rule.may != ["read"]:
        # Observers are of one node's settings: were they to write, nodes would not agree on what is valid.
        raise PolicyRefused(f"{where}: an observer only reads; name an account to let it write")
    if rule.keys is not None:
        try:
            empty = not key_ranges(rule.keys)
        except ValueError as error:
            raise PolicyRefused(f"{where}.keys: {error}") from None
        if empty:
            raise PolicyRefused(f"{where}.keys holds no key: `from` must be below `to`")


def _check_quota(where: str, quota: Quota) -> None:
    _check_who(where, quota.who)
    if quota.spaces != "*" and not valid_name(quota.spaces):
        raise PolicyRefused(f'{where}.spaces is {quota.spaces!r}: name a space, or "*"')
    limits = [limit for limit in (quota.changes_per_epoch, quota.bytes_per_epoch) if limit is not None]
    if not limits or min(limits) < 0:
        raise PolicyRefused(f"{where} needs changes_per_epoch or bytes_per_epoch, 0 or more")


def _check_who(where: str, who: str) -> None:
    if who in ROLES:
        return
    try:
        accounts.parse(who)
    except (ValueError, AccountRefused):
        roles = ", ".join(ROLES)
        raise PolicyRefused(f"{where}.who is {who!r}: name a role ({roles}) or an SS58 account") from None


def key_ranges(keys: Keys) -> Ranges:
    """The ranges of a document's `keys`. ValueError for hex that is none, or both ways at once."""
    if keys.prefix is not None:
        if keys.from_ is not None or keys.to is not None:
            raise ValueError("prefix stands alone, without from and to")
        return prefixed(_bytes(keys.prefix))
    pair: Range = (_bytes(keys.from_ or ""), None if keys.to is None else _bytes(keys.to))
    return Ranges([pair])


def _bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise ValueError(f"{text!r} is no hex") from None


def _rules(*rows: tuple[str, Sequence[str]]) -> list[Rule]:
    return [Rule(who, "*", list(may)) for who, may in rows]


DEFAULT: Final = Policy(
    Document(
        1,
        _rules(
            (OWNER, ("read", "put", "delete", "admin")),
            (VALIDATOR, ("read", "put", "delete")),
            (OBSERVER, ("read",)),
        ),
    )
)
"""Without one on chain: the owner and validators write everything, observers read it, nobody else does anything."""


def encode(document: Any) -> bytes:
    """A document's bytes, of which its name is the digest, from what JSON gives. PolicyRefused."""
    data = msgspec.json.format(msgspec.json.encode(document), indent=2)
    parse(data)
    return data
