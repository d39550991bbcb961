"""What a node says about where it can be reached, and which of what others say it dials. Pure functions of settings."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mycelium.config import ENDPOINT_ADDRESSES_MAX
from mycelium.errors import MalformedMessage, UsageError
from mycelium.metagraph.membership import Epoch
from mycelium.peer import endpoints

if TYPE_CHECKING:
    from mycelium.node.settings import Settings


def addresses(settings: Settings, epoch: Epoch, account: bytes, port: int) -> tuple[str, ...]:
    """The addresses to announce while this node listens on `port`: () where nobody should dial it.

    Where the settings name no hosts: that of `listen`, or, if that is all of the machine's, what the chain knows of
    this account; as a forwarded port may be another there, it is repeated as it is unless the port rotates.
    """
    if settings.advertise is not None:
        return tuple(_written([(host, port) for host in settings.advertise]))
    if not _is_wildcard(settings.host):
        return tuple(_written([(settings.host, port)]))
    member = epoch.members.get(account)
    known = []
    for url in () if member is None else member.urls:
        try:
            known.append(endpoints.parse_address(url))
        except MalformedMessage:
            continue  # a wss address, or one with a path: it is dialled as the epoch has it
    if settings.rotation is not None:
        known = [(host, port) for host, _ in known]
    return tuple(_written(known))


def dialable(found: Sequence[str], host: str) -> tuple[str, ...]:
    """Those of a record's addresses that a node which listens on `host` dials: none of this machine's own, but for a
    node that is itself reached on this machine alone."""
    own = _written([(host, 1)])
    if own and endpoints.is_local(own[0]) and not _is_wildcard(host):
        return tuple(found)
    return tuple(address for address in found if not endpoints.is_local(address))


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _written(known: Sequence[tuple[str, int]]) -> list[str]:
    found: dict[str, None] = {}
    for host, port in known:
        with contextlib.suppress(
            UsageError
        ):  # `listen` may be written in a way that others need not understand
            found[endpoints.address(host, port)] = None
    return list(found)[:ENDPOINT_ADDRESSES_MAX]
