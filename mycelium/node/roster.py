"""Follows the epochs: whom to dial, and whose session ends because its account lost its place.

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

log = logging.getLogger(__name__)


class Roster:
    """One node's view of who is in the network now. `role_of` is the node's own judgement of an account.

    urls: addresses that the operator gave for some accounts; they stand above those that the epoch knows.
    """

    def __init__(
        self,
        hub: Hub,
        dialer: Dialer,
        role_of: Callable[[bytes], str | None],
        urls: Mapping[bytes, tuple[str, ...]] | None = None,
    ) -> None:
        self._hub = hub
        self._dialer = dialer
        self._role_of = role_of
        self._urls = urls or {}
        self.epoch_number = -1

    def follow(self, epoch: Epoch) -> None:
        """Make the sessions fit the epoch: dial who holds the store, forget who left, end sessions without a right."""
        own = self._hub.local.account
        wanted = {
            account: urls
            for account, member in epoch.members.items()
            if account != own
            and self._role_of(account) not in {None, CLIENT}
            and (urls := self._urls.get(account) or member.urls)
        }
        for account in self._dialer.wanted().keys() - wanted.keys():
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
        if epoch.number != self.epoch_number:
            log.info("epoch %d: %d members, %d dialled", epoch.number, len(epoch.members), len(wanted))
        self.epoch_number = epoch.number
