"""What the database asks of the chain, answered from a membership source."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

from mycelium.config import POLICIES_CACHED_MAX, RIGHTS_CACHED_MAX
from mycelium.database.access import SYS, Rights
from mycelium.database.policy import DEFAULT, Policy, parse
from mycelium.errors import ChainOutage, PolicyRefused
from mycelium.metagraph.membership import Epoch, Member, Source

log = logging.getLogger(__name__)


class SourceAuthority:
    """`database.validity.Authority` over `metagraph.membership.Source` and the policy documents of the store.

    documents: the bytes of the document of a digest, None while it is not here; set once the store is open.
    """

    def __init__(self, source: Source) -> None:
        self.documents: Callable[[bytes], bytes | None] = lambda name: None
        self._source = source
        self._writers: dict[int, tuple[Mapping[bytes, Member], dict[bytes, int]]] = {}
        self._policies: OrderedDict[bytes, Policy] = OrderedDict()
        self._rights: OrderedDict[tuple[bytes | None, str | None, bytes], Rights] = OrderedDict()

    def rights(self, epoch: int, account: bytes, space: str) -> Rights | None:
        """What decides about batches. None: the epoch, or its policy, is not known here yet.

        `sys`, in which policies come, waits for none.
        """
        found = self._source.epoch_at(epoch)
        return None if found is None else self._of(found, account, None if space == SYS else found.policy)

    def rights_now(self, account: bytes) -> Rights | None:
        """What decides about reading: the same in the present epoch, with the observers of this node's settings."""
        epoch = self._source.epoch()
        return self._of(epoch, account, epoch.policy)

    def present(self) -> int:
        """The number of the present epoch."""
        return self._source.epoch().number

    def stakes(self, epoch: int, *, ask: bool = True) -> Mapping[bytes, int] | None:
        """Accounts whose role writes, with their stake in rao; None: the epoch is not known here yet.

        ask: whether it is read then.
        """
        found = self._source.epoch_at(epoch) if ask else self._source.peek(epoch)
        if found is None:
            return None
        known = self._writers.get(id(found.members))
        if known is None or known[0] is not found.members:
            held = {
                account: member.stake_rao
                for account, member in found.members.items()
                if found.may_write(account)
            }
            self._writers.clear()
            known = self._writers[id(found.members)] = (found.members, held)
        return known[1]

    def policy_now(self) -> tuple[int, bytes | None]:
        """The present epoch, and the digest of the policy in force in it; None: the default one."""
        epoch = self._source.epoch()
        return epoch.number, epoch.policy

    def policy_missing(self) -> bytes | None:
        """The digest of the policy in force, if its document is not here."""
        name = self._source.epoch().policy
        return name if name is not None and self._policy(name) is None else None

    def _of(self, epoch: Epoch, account: bytes, name: bytes | None) -> Rights | None:
        asked = name, epoch.role(account), account
        rights = self._rights.get(asked)
        if rights is None:
            policy = DEFAULT if name is None else self._policy(name)
            if policy is None:
                return None
            rights = self._rights[asked] = Rights(policy, asked[1], account)
            if len(self._rights) > RIGHTS_CACHED_MAX:
                self._rights.popitem(last=False)
        return rights

    def _policy(self, name: bytes) -> Policy | None:
        found = self._policies.get(name)
        if found is None:
            data = self.documents(name)
            if data is None:
                return None
            try:
                found = parse(data)
            except PolicyRefused as error:
                # Everybody has the same document and refuses it alike. It opens nothing; `sys` stays open to mend it.
                log.error("the policy %s in force is none, so nothing is allowed: %s", name.hex(), error)
                found = parse(b'{"version":1,"rules":[]}')
            self._policies[name] = found
            if len(self._policies) > POLICIES_CACHED_MAX:
                self._policies.popitem(last=False)
        return found

    def block_time_ms(self, block: int) -> int | None:
        return self._source.block_time_ms(block)

    def epoch_of(self, block: int) -> int:
        return block // self._source.tempo

    def anchor(self, now_ms: int) -> tuple[int, int]:
        """ChainOutage when the chain has not been heard for too long."""
        status = self._source.status(now_ms)
        if not status.writes_allowed:
            raise ChainOutage("; ".join(status.problems) or "the chain has not been heard yet")
        block = self._source.block_now(now_ms)
        return block // self._source.tempo, block
