"""Follows the epochs and what members say of themselves: whom to dial and where, and whose session ends.

An account is dialled at the addresses that the operator gave, then those of its own signed record, then those that the
epoch knows (its axon on chain). One that has none is not dialled, and takes part all the same: it dials us. In a large
network the mesh is partial (`peer.mesh`).

Acts on the dialer and the hub; decides nothing about rights, which `role_of` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from mycelium.errors import Unauthorised
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import Epoch
from mycelium.peer.dialer import Dialer
from mycelium.peer.hub import CLIENT, Hub
from mycelium.peer.mesh import MESH, Mesh, neighbours

log = logging.getLogger(__name__)


class Roster:
    """One node's view of who is in the network now. `role_of` is the node's own judgement of an account.

    urls: addresses that the operator gave for some accounts, who are dialled whatever the mesh. said: where an account
    says it listens; () if nowhere, None if it says nothing. holders: the other accounts that hold the store, and near:
    those with which sessions are kept, as of the last `follow`.
    """

    def __init__(
        self,
        hub: Hub,
        dialer: Dialer,
        role_of: Callable[[bytes], str | None],
        urls: Mapping[bytes, tuple[str, ...]] | None = None,
        said: Callable[[bytes], tuple[str, ...] | None] = lambda account: None,
        mesh: Mesh = MESH,
    ) -> None:
        self._hub = hub
        self._dialer = dialer
        self._role_of = role_of
        self._urls = urls or {}
        self._said = said
        self._mesh = mesh
        self.near: frozenset[bytes] = frozenset()
        self.holders: list[bytes] = []
        self.epoch_number = -1

    def dial(self, urls: Mapping[bytes, tuple[str, ...]]) -> None:
        """Other addresses of the operator's; the next `follow` dials them."""
        self._urls = urls

    def follow(self, epoch: Epoch) -> None:
        """Make the sessions fit the epoch: dial who holds the store, forget who left, end sessions without a right."""
        own = self._hub.local.account
        holders = {
            account
            for account in epoch.members
            if account != own and self._role_of(account) not in {None, CLIENT}
        }
        self.holders = sorted(holders)
        near = neighbours(epoch.number, holders | {own}, own, self._mesh)
        wanted = {
            account: urls
            for account in sorted(holders)
            if (account in near or account in self._urls) and (urls := self._addresses(account, epoch))
        }
        for account in sorted(self._dialer.wanted().keys() - wanted.keys()):
            self._dialer.forget(account)
        for account, urls in wanted.items():
            if self._dialer.wanted().get(account) != urls:
                self._dialer.want(account, urls)
        for link in self._hub.links():
            if link.role == CLIENT:
                continue
            role = self._role_of(link.account)
            if role is None or role == CLIENT:
                name = format_account(link.account)
                log.info("%s is no member in epoch %d: its session ends", name, epoch.number)
                link.close(Unauthorised(f"{name} may not read this network's data in epoch {epoch.number}"))
            elif (
                link.account in holders
                and epoch.number != self.epoch_number
                # Those of the epoch before may stay: others enter an epoch a little later than we.
                and link.account not in near | self.near | self._urls.keys()
            ):
                link.close(text=f"no neighbour in the partial mesh of epoch {epoch.number}")
        if epoch.number != self.epoch_number:
            log.info("epoch %d: %d members, %d dialled", epoch.number, len(epoch.members), len(wanted))
            self.near = near
        self.epoch_number = epoch.number

    def _addresses(self, account: bytes, epoch: Epoch) -> tuple[str, ...]:
        """Where to dial an account, the likeliest first."""
        given = self._urls.get(account, ())
        said = self._said(account) or ()
        return tuple(dict.fromkeys((*given, *said, *epoch.members[account].urls)))
