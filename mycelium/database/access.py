"""Who may touch which keys: `Rights.ranges` is the one place where it is decided, for every read and every write.

Rights are of one account in one epoch: its role, the policy in force, and nothing of this node. get, scan, count,
watch, sync, push, digests and the validity of batches all ask here (invariant 6). Knows no chain and no store.

The space `sys` stands outside every policy, so that nobody can lock the network out of its own repair: its readers are
those who hold the whole of any space, who must know what its batches are judged by; its table `policy` takes documents
named by their digest from the owner and validators, its table `seals` what a validator says under its own account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from mycelium._core.allow import first_outside
from mycelium._core.codec import Batch
from mycelium.config import GRANTS_PER_BATCH_MAX, POLICY_BYTES_MAX, SEAL_EPOCHS
from mycelium.database import grants, value
from mycelium.database.grants import Grant
from mycelium.database.policy import OBSERVER, OWNER, VALIDATOR, WRITE, Action, Policy, Quota
from mycelium.database.ranges import EVERYTHING, NOTHING, Ranges, prefixed
from mycelium.database.schema import TableSpec
from mycelium.errors import AccountRefused, MalformedMessage, PolicyRefused, Unauthorised
from mycelium.identity.account import format as format_account
from mycelium.identity.account import parse as parse_account
from mycelium.identity.keys import digest
from mycelium.protocol.messages import MergeType, Op

SYS: Final = "sys"
POLICIES: Final = TableSpec("policy", SYS, MergeType.LWW)
SEALS: Final = TableSpec("seals", SYS, MergeType.OWN)
SYS_TABLES: Final = (POLICIES, SEALS)
_WRITERS: Final = frozenset({OWNER, VALIDATOR})
_READERS: Final = frozenset({OWNER, VALIDATOR, OBSERVER})
_ACTIONS: Final = {
    int(Op.PUT): Action.PUT,
    int(Op.ADD): Action.PUT,
    int(Op.INSERT): Action.PUT,
    int(Op.DELETE): Action.DELETE,
    int(Op.REMOVE): Action.DELETE,
}


class Rights:
    """What one account may do under one policy in one role. Its answers are remembered."""

    __slots__ = ("_quotas", "_ranges", "_whole", "account", "policy", "role")

    def __init__(self, policy: Policy, role: str | None, account: bytes) -> None:
        self.policy = policy
        self.role = role
        self.account = account
        self._whole: dict[tuple[Action, str], bool] = {}
        self._ranges: dict[tuple[Action, str, str], Ranges] = {}
        self._quotas: dict[str, list[Quota]] = {}

    def ranges(self, action: Action, space: str, table: str) -> Ranges:
        """The keys of one table on which the account may do one thing."""
        asked = action, space, table
        found = self._ranges.get(asked)
        if found is None:
            found = (
                self._sys(action, table)
                if space == SYS
                else self.policy.ranges(self.role, self.account, *asked)
            )
            if len(self._ranges) < _REMEMBERED_MAX:
                self._ranges[asked] = found
        return found

    def whole(self, action: Action, space: str) -> bool:
        """Whether the account may do all of it to every key of every table of a space."""
        asked = action, space
        found = self._whole.get(asked)
        if found is None:
            if space == SYS:
                found = action == Action.READ and self._reads_sys()
            else:
                found = self.policy.whole(self.role, self.account, action, space)
            if len(self._whole) < _REMEMBERED_MAX:
                self._whole[asked] = found
        return found

    def any(self, action: Action) -> bool:
        """Whether there is anything at all to which the account may do it."""
        return self.policy.any(self.role, self.account, action)

    def quotas(self, space: str) -> list[Quota]:
        """The limits on what the account may add to a space in an epoch; none in `sys`."""
        found = self._quotas.get(space)
        if found is None:
            found = [] if space == SYS else self.policy.quotas(self.role, self.account, space)
            if len(self._quotas) < _REMEMBERED_MAX:
                self._quotas[space] = found
        return found

    def _reads_sys(self) -> bool:
        """Whoever holds a space must know the policy and the seals by which its batches are valid."""
        return self.role in _READERS or self.policy.holds_a_space(self.role, self.account)

    def _sys(self, action: Action, table: str) -> Ranges:
        if action == Action.READ:
            return EVERYTHING if self._reads_sys() else NOTHING
        if self.role not in _WRITERS or action not in WRITE:
            return NOTHING
        if table == POLICIES.name:
            return EVERYTHING if action == Action.PUT else NOTHING
        return prefixed(format_account(self.account).encode() + b"/") if table == SEALS.name else NOTHING


_REMEMBERED_MAX: Final = 256
"""Tables of one account whose answers are kept: a writer can name any number of them."""


class RightsOf(Protocol):
    """Somebody's rights to a space in an epoch; None while the epoch or its policy is not known here."""

    def rights(self, epoch: int, account: bytes, space: str) -> Rights | None: ...


def check_writes(batch: Batch, rights: Rights, authority: RightsOf) -> bool:
    """Whether the batch's account may make each of its changes: True, or False for not known yet. Unauthorised."""
    if batch.space == SYS:
        _check_changes(batch, rights.ranges)
        return _check_sys(batch, authority)
    if any(name == grants.TABLE for name, _ in batch.tables):
        held = _granted(batch, rights, authority)
        if held is None:
            return False
        _check_changes(batch, held)
    elif not rights.whole(WRITE, batch.space):
        _check_changes(batch, rights.ranges)
    return True


Allowed = Callable[[Action, str, str], Ranges]


def _check_changes(batch: Batch, allowed: Allowed) -> None:
    def find(table: int, op: int) -> tuple[tuple[bytes, ...], tuple[bytes | None, ...]] | None:
        ranges = allowed(_ACTIONS[op], batch.space, batch.tables[table][0])
        return None if ranges.whole else ranges.columns

    outside = first_outside(batch.raw, batch.spans, find)
    if outside >= 0:
        table, op, key, _ = batch.change(outside)
        raise Unauthorised(
            f"{format_account(batch.account)} may not {Op(op).name.lower()} the key {key[:40]!r} of "
            f"{batch.space}/{batch.tables[table][0]} in epoch {batch.epoch}"
        )


def _granted(batch: Batch, rights: Rights, authority: RightsOf) -> Allowed | None:
    """What the account may do with the grants in the batch; None when an issuer's rights are not known yet."""
    network = grants.network_id(batch.netuid, batch.genesis)
    held: list[tuple[Grant, Rights]] = []
    for table, op, key, payload in batch.changes():
        name, merge = batch.tables[table]
        if name != grants.TABLE:
            continue
        if op != Op.PUT or merge != MergeType.LWW or len(held) == GRANTS_PER_BATCH_MAX:
            raise Unauthorised(
                "grants are put into a batch, a few of them, and nothing else is done with them"
            )
        grant = _grant_of(payload, network)
        if key != grant.id.hex().encode() or grant.holder != batch.account:
            raise Unauthorised("a grant under another id, or of another account")
        if not rights.policy.revoked.isdisjoint(grant.ids):
            raise Unauthorised(f"the grant {grant.id.hex()} is revoked in epoch {batch.epoch}")
        issuer = authority.rights(batch.epoch, grant.issuer, batch.space)
        if issuer is None:
            return None
        held.append((grant, issuer))

    def allowed(action: Action, space: str, table: str) -> Ranges:
        if table == grants.TABLE:
            return EVERYTHING if action == Action.PUT else NOTHING
        found = rights.ranges(action, space, table)
        for grant, issuer in held:
            may_grant = issuer.ranges(Action.ADMIN, space, table)
            found |= may_grant & grant.allows(action, space, table, batch.epoch)
        return found

    return allowed


def _grant_of(payload: bytes, network: bytes) -> Grant:
    try:
        token = value.value_of(payload)
        return grants.read(token if isinstance(token, bytes) else b"", network)
    except (PolicyRefused, ValueError, MalformedMessage) as error:
        raise Unauthorised(f"a grant that is none: {error}") from None


def _check_sys(batch: Batch, authority: RightsOf) -> bool:
    """Only the tables there are, as they are, documents named by their digest, and seals of who has departed.

    False: whether they have departed is not known yet.
    """
    known = {(table.name, int(table.merge)) for table in SYS_TABLES}
    if not known.issuperset(batch.tables):
        raise Unauthorised(f"the space {SYS!r} has no such table")
    for table, op, key, payload in batch.changes():
        if batch.tables[table][0] == SEALS.name:
            if not _check_seal(batch, op, key, authority):
                return False
        elif op == Op.PUT:
            data = value.value_of(payload)
            raw = data.encode() if isinstance(data, str) else data
            if not isinstance(raw, bytes) or len(raw) > POLICY_BYTES_MAX or key != digest(raw).hex().encode():
                raise Unauthorised("a policy under another name than its digest")
    return True


def _check_seal(batch: Batch, op: int, key: bytes, authority: RightsOf) -> bool:
    """An attestation is of an account that departed at an epoch not long past: every node keeps all of them in memory,
    and without this a validator could name any account and number there is. False: that is not known yet."""
    _, account, epoch = _seal_key(key)
    recent = range(max(1, batch.epoch - SEAL_EPOCHS), batch.epoch)
    if op != Op.PUT or epoch not in recent:
        raise Unauthorised("an attestation is put for an epoch that is over, and not for long")
    before, after = (authority.rights(at, account, SYS) for at in (epoch - 1, epoch))
    if before is None or after is None:
        return False
    if before.role not in _WRITERS or after.role in _WRITERS:
        raise Unauthorised(f"{format_account(account)} did not depart in epoch {epoch}")
    return True


def _seal_key(key: bytes) -> tuple[bytes, bytes, int]:
    """attester/account/epoch. Unauthorised for what is none."""
    try:
        attester, account, epoch = key.decode("ascii").split("/")
        if len(epoch) > _EPOCH_DIGITS or not epoch.isdigit() or (epoch[0] == "0" and epoch != "0"):
            raise ValueError(epoch)
        return parse_account(attester), parse_account(account), int(epoch)
    except (ValueError, AccountRefused):
        raise Unauthorised(f"{key[:60]!r} names no attestation") from None


_EPOCH_DIGITS: Final = 20
