"""Publishing where a neuron is reached: its axon, with or without a key for TLS, and its Prometheus endpoint.

Owns the rules of `subnets/serving.rs`, looked at beforehand, and the comparison with what is published already: a
neuron may publish once in 50 blocks, so what is unchanged is not published again. Starts no server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

from mycelium.chain.dispatch import Subject, refuse, served_until
from mycelium.chain.outcome import Check, Options, Outcome, perform
from mycelium.chain.schedule import PALLET, Clock, block_s
from mycelium.chain.signer import address
from mycelium.chain.timelock import raw_bytes
from mycelium.errors import UsageError

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

PROTOCOL: Final = 4
"""What the SDK publishes; its meaning is the subnet's."""
PUBLIC_KEY_BYTES_MAX: Final = 64
_AXON_FIELDS: Final = ("version", "ip", "port", "ip_type", "protocol", "placeholder1", "placeholder2")
_LOOPBACK: Final = (0x7F000001, 1)


class Endpoint(NamedTuple):
    """An address as the chain keeps it. ip: a number; ip_type: 4 or 6."""

    ip: int
    port: int
    ip_type: int

    @property
    def text(self) -> str:
        """As people write it: 203.0.113.7:8091, or [2001:db8::1]:8091."""
        host = host_of(self.ip, self.ip_type)
        return f"[{host}]:{self.port}" if self.ip_type == 6 else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeResult(Outcome):
    """What became of an endpoint. changed: whether the chain had another one, or none, before."""

    endpoint: Endpoint
    changed: bool = True


def endpoint(ip: str | int, port: int) -> Endpoint:
    """An address and a port. UsageError for what is none; whether the chain takes it is a rule, and checked later."""
    try:
        if isinstance(ip, bool) or not isinstance(ip, str | int):
            raise ValueError
        found = ipaddress.ip_address(ip)
        if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
            raise ValueError
    except ValueError:
        raise UsageError(f"{ip!r} is no IPv4 or IPv6 address; a host name must be resolved first") from None
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise UsageError(f"{port!r} is no port: ports are 1 to 65535")
    return Endpoint(int(found), port, found.version)


def host_of(ip: int, ip_type: int) -> str:
    """An address as text, of the number that the chain keeps; what is no address becomes 0.0.0.0."""
    try:
        return str(ipaddress.IPv6Address(ip) if ip_type == 6 else ipaddress.IPv4Address(ip))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - no address to bind to: nothing is reached there


def certificate(algorithm: int, public_key: bytes) -> bytes:
    """What `serve_axon_tls` publishes: one byte that names the algorithm, then the public key (at most 64 bytes)."""
    if isinstance(algorithm, bool) or not isinstance(algorithm, int) or not 0 <= algorithm <= 255:
        raise UsageError(f"the algorithm of a certificate is a number from 0 to 255, not {algorithm!r}")
    return checked_certificate(bytes((algorithm,)) + bytes(public_key))


def checked_certificate(raw: bytes) -> bytes:
    """The same bytes. UsageError for those that the chain would pass over without a word."""
    if not 2 <= len(raw) <= 1 + PUBLIC_KEY_BYTES_MAX:
        raise UsageError(
            f"a certificate is one byte of algorithm and up to {PUBLIC_KEY_BYTES_MAX} of public key, not {len(raw)} "
            "bytes; an X.509 certificate does not fit, its raw public key does"
        )
    return bytes(raw)


# --- publishing -------------------------------------------------------------------------------------------


def serve_axon(
    connection: Connection,
    keypair: Any,
    netuid: int,
    ip: str | int,
    port: int,
    *,
    version: int = 1,
    protocol: int = PROTOCOL,
    placeholders: tuple[int, int] = (0, 0),
    always: bool = False,
    **options: Unpack[Options],
) -> ServeResult:
    """Publish a hotkey's axon, if the chain does not have it so already. always: also then.

    ip: as others reach it; "0.0.0.0" withdraws it. keypair: the hotkey. Raises as `Connection.submit` and UsageError;
    a rule that refuses is in the result, with the block from which it will not.
    """
    place = endpoint(ip, port)
    return _axon(connection, keypair, netuid, place, version, protocol, placeholders, None, always, options)


def serve_axon_tls(
    connection: Connection,
    keypair: Any,
    netuid: int,
    ip: str | int,
    port: int,
    certificate: bytes,
    *,
    version: int = 1,
    protocol: int = PROTOCOL,
    placeholders: tuple[int, int] = (0, 0),
    always: bool = False,
    **options: Unpack[Options],
) -> ServeResult:
    """The same, with the public key by which others know the server: see `certificate`."""
    place, key = endpoint(ip, port), checked_certificate(certificate)
    return _axon(connection, keypair, netuid, place, version, protocol, placeholders, key, always, options)


def _axon(
    connection: Connection,
    keypair: Any,
    netuid: int,
    place: Endpoint,
    version: int,
    protocol: int,
    placeholders: tuple[int, int],
    key: bytes | None,
    always: bool,
    options: Options,
) -> ServeResult:
    params: dict[str, Any] = {
        "netuid": netuid,
        "version": version,
        "ip": place.ip,
        "port": place.port,
        "ip_type": place.ip_type,
        "protocol": protocol,
        "placeholder1": placeholders[0],
        "placeholder2": placeholders[1],
    }
    subject = Subject("serve_axon" if key is None else "serve_axon_tls", address(keypair), netuid)
    known = _known(connection, subject, "Axons")
    same = known.served is not None and all(known.served.get(one) == params[one] for one in _AXON_FIELDS)
    if key is not None:
        params["certificate"] = key
        same = same and _key_of(known.certificate) == key
    return _serve(connection, keypair, subject, params, place, known, same and not always, options)


def serve_prometheus(
    connection: Connection,
    keypair: Any,
    netuid: int,
    ip: str | int,
    port: int,
    *,
    version: int = 1,
    always: bool = False,
    **options: Unpack[Options],
) -> ServeResult:
    """Publish where a hotkey's metrics are scraped; as `serve_axon`, but there is no withdrawing it."""
    place = endpoint(ip, port)
    params = {
        "netuid": netuid,
        "version": version,
        "ip": place.ip,
        "port": place.port,
        "ip_type": place.ip_type,
    }
    subject = Subject("serve_prometheus", address(keypair), netuid)
    known = _known(connection, subject, "Prometheus")
    same = known.served is not None and all(
        known.served.get(one) == params[one] for one in ("version", "ip", "port", "ip_type")
    )
    return _serve(connection, keypair, subject, params, place, known, same and not always, options)


class _Known(NamedTuple):
    clock: Clock
    uid: int | None
    served: Mapping[str, Any] | None
    limit: int
    certificate: Mapping[str, Any] | None


def _known(connection: Connection, subject: Subject, item: str) -> _Known:
    """What is published already, and what decides about publishing: one request."""
    keys = [subject.netuid, subject.account]
    number, uid, served, limit, key = connection.read_many(
        [
            ("System", "Number", []),
            (PALLET, "Uids", keys),
            (PALLET, item, keys),
            (PALLET, "ServingRateLimit", [subject.netuid]),
            (PALLET, "NeuronCertificates", keys),
        ]
    )
    return _Known(Clock(int(number), block_s(connection)), uid, served, int(limit or 0), key)


def _serve(
    connection: Connection,
    keypair: Any,
    subject: Subject,
    params: Mapping[str, Any],
    place: Endpoint,
    known: _Known,
    same: bool,
    options: Options,
) -> ServeResult:
    checks = _checks(subject, place, known)
    if same and known.uid is not None:
        return ServeResult(
            call="",
            success=True,
            dry_run=options.get("dry_run", False),
            endpoint=place,
            changed=False,
            checks=tuple(checks[:1]),
        )
    return perform(ServeResult, connection, keypair, subject, params, checks, {"endpoint": place}, **options)


def _checks(subject: Subject, place: Endpoint, known: _Known) -> list[Check]:
    rule = "HotKeyNotRegisteredInNetwork"
    if known.uid is None:
        what = f"{subject.account} is not registered on subnet {subject.netuid}"
        return [Check(rule, what, refuse(rule, what))]
    found = [Check(rule, f"uid {known.uid}")]
    rule = "InvalidIpAddress"
    able = _may_be_served(place, zero=subject.call != "serve_prometheus")
    found.append(
        Check(rule, place.text, None if able else refuse(rule, f"the chain does not take {place.text}"))
    )
    rule = "InvalidPort"
    found.append(Check(rule, f"port {place.port}", None if place.port else refuse(rule)))
    rule, until = "ServingRateLimitExceeded", served_until(known.served, known.limit)
    if until is None or until <= known.clock.number + 1:
        return [*found, Check(rule, f"one in {known.limit} blocks")]
    ago = known.clock.number + 1 - (until - known.limit)
    reason = f"it was published {ago} blocks ago, and may be once in {known.limit} blocks"
    return [*found, Check(rule, reason, refuse(rule, reason).at(until, known.clock))]


def _may_be_served(place: Endpoint, *, zero: bool) -> bool:
    if place.ip == 0:
        return zero
    return place.ip not in (_LOOPBACK[place.ip_type == 6], 2 ** (32 if place.ip_type == 4 else 128) - 1)


# --- what is published ------------------------------------------------------------------------------------


def axon_of(connection: Connection, netuid: int, hotkey: Any) -> dict[str, Any] | None:
    """A hotkey's axon as `axon_info`; None where it published none, or withdrew it."""
    return served_info(connection.read(PALLET, "Axons", [netuid, address(hotkey)]))


def prometheus_of(connection: Connection, netuid: int, hotkey: Any) -> dict[str, Any] | None:
    """A hotkey's Prometheus endpoint; None where it published none."""
    return served_info(connection.read(PALLET, "Prometheus", [netuid, address(hotkey)]))


def certificate_of(connection: Connection, netuid: int, hotkey: Any) -> bytes | None:
    """A hotkey's certificate, as it was published; None where there is none."""
    return _key_of(connection.read(PALLET, "NeuronCertificates", [netuid, address(hotkey)]))


def served_info(served: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the chain keeps, with `ip` as text; None for what reaches nobody."""
    if not served or not served["port"] or not served["ip"]:
        return None
    return {**served, "ip": host_of(int(served["ip"]), int(served["ip_type"]))}


def _key_of(kept: Mapping[str, Any] | None) -> bytes | None:
    return None if kept is None else bytes((int(kept["algorithm"]),)) + raw_bytes(kept["public_key"])
