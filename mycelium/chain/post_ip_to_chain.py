"""Publishing where a hotkey's server is reached, under the names of Fiber's programs. The work is `serving`'s."""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import Any

from substrateinterface import Keypair, SubstrateInterface

from mycelium.chain import serving
from mycelium.chain.chain_utils import as_connection, wait_for
from mycelium.errors import UsageError

logger = logging.getLogger(__name__)

__all__ = [
    "Keypair",
    "SubstrateInterface",
    "ip_to_int",
    "ip_version",
    "logger",
    "post_node_ip_to_chain",
    "resolve_hostname_to_ip",
    "socket",
]


def ip_to_int(str_val: str) -> int:
    """The number of an IPv4 or IPv6 address. UsageError for what is none."""
    return serving.endpoint(str_val, 0).ip


def ip_version(str_val: str) -> int:
    """4 or 6. UsageError."""
    return serving.endpoint(str_val, 0).ip_type


def resolve_hostname_to_ip(hostname: str) -> str:
    """An address as it is; of a host name its IPv4 address, asked of the system. socket.gaierror."""
    try:
        return str(ipaddress.ip_address(hostname))
    except ValueError:
        return socket.gethostbyname(hostname)


def post_node_ip_to_chain(
    substrate: SubstrateInterface,
    keypair: Any,
    netuid: int,
    external_ip: str,
    external_port: int,
    coldkey_ss58_address: str,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = True,
) -> bool:
    """Publish a hotkey's address, if the chain does not have it already; whether the chain has it now.

    external_ip: an address or a host name. coldkey_ss58_address: the chain knows it, and is not asked with it. Waited
    for neither inclusion nor finalisation, True says that a node has taken it. Why the chain refused is logged.
    The connection stays open. Where Fiber raised `tenacity.RetryError` it is ChainUnreachable, ExtrinsicTimeout or
    another ChainError; UsageError for what is no address or no port, and for a name that nobody knows.
    """
    del coldkey_ss58_address
    try:
        ip = resolve_hostname_to_ip(external_ip)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the host name {external_ip!r} has no address: {error}") from error
    done = serving.serve_axon(
        as_connection(substrate),
        keypair,
        netuid,
        ip,
        external_port,
        wait=wait_for(wait_for_inclusion, wait_for_finalization),
    )
    if not done.success:
        logger.error("the address was not published: %s\n  %s", done.refusal, done.remedy)
    elif not done.changed:
        logger.info("the chain has %s for this hotkey already; nothing was sent", done.endpoint.text)
    return done.success
