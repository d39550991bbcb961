"""Where neurons are reached: axons and Prometheus endpoints (pallet-subtensor, `subnets/serving.rs`)."""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import PALLET, Subnet, as_bytes

_CERTIFICATE_BYTES_MAX: Final = 65
"""One that names the algorithm, and the public key."""
_LOOPBACK: Final = {4: 0x7F000001, 6: 1}
_IP_MAX: Final = {4: 2**32 - 1, 6: 2**128 - 1}


@call(PALLET, "serve_axon", pays=False)
def serve_axon(context: Context, netuid: int, **given: Any) -> None:
    hotkey = context.account()
    check_axon(context, netuid, **given)
    shown = {name: given[name] for name in ("version", "ip", "port", "ip_type", "protocol")}
    placeholders = {name: given[name] for name in ("placeholder1", "placeholder2")}
    axon = {"block": context.number, **shown, **placeholders}
    context.state.put(PALLET, "Axons", netuid, hotkey, value=axon)
    context.deposit(PALLET, "AxonServed", (netuid, hotkey))


@call(PALLET, "serve_axon_tls", pays=False)
def serve_axon_tls(context: Context, netuid: int, certificate: Any, **given: Any) -> None:
    serve_axon(context, netuid, **given)
    raw = as_bytes(certificate)
    # Other certificates are passed over, as the real chain does: the axon is served all the same.
    if 0 < len(raw) <= _CERTIFICATE_BYTES_MAX:
        value = {"public_key": raw[1:], "algorithm": raw[0]}
        context.state.put(PALLET, "NeuronCertificates", netuid, context.account(), value=value)


@call(PALLET, "serve_prometheus", pays=False)
def serve_prometheus(context: Context, netuid: int, version: int, ip: int, port: int, ip_type: int) -> None:
    hotkey = context.account()
    check_prometheus(context, netuid, ip=ip, port=port, ip_type=ip_type)
    served = {"block": context.number, "version": version, "ip": ip, "port": port, "ip_type": ip_type}
    context.state.put(PALLET, "Prometheus", netuid, hotkey, value=served)
    context.deposit(PALLET, "PrometheusServed", (netuid, hotkey))


def check_axon(context: Context, netuid: int, *, ip: int, port: int, ip_type: int, **_: Any) -> None:
    """Whether an axon may be served now; the same before submission and in the block."""
    _check_registered(context, netuid)
    _check_ip(context, ip, ip_type, zero=True)
    _check_time_and_port(context, netuid, "Axons", port)


def check_prometheus(context: Context, netuid: int, *, ip: int, port: int, ip_type: int, **_: Any) -> None:
    """Whether a Prometheus endpoint may be served now; the same before submission and in the block."""
    _check_ip(context, ip, ip_type, zero=False)
    _check_registered(context, netuid)
    _check_time_and_port(context, netuid, "Prometheus", port)


def _check_registered(context: Context, netuid: int) -> None:
    if Subnet(context.state, netuid).uid(context.account()) is None:
        context.refuse("HotKeyNotRegisteredInNetwork")


def _check_ip(context: Context, ip: int, ip_type: int, *, zero: bool) -> None:
    if ip_type not in _IP_MAX:
        context.refuse("InvalidIpType")
    if ip >= _IP_MAX[ip_type] or ip == _LOOPBACK[ip_type] or (ip == 0 and not zero):
        context.refuse("InvalidIpAddress")


def _check_time_and_port(context: Context, netuid: int, item: str, port: int) -> None:
    before = context.state.get(PALLET, item, netuid, context.account())
    served = 0 if before is None else before["block"]
    if served and context.number - served < Subnet(context.state, netuid)["ServingRateLimit"]:
        context.refuse("ServingRateLimitExceeded")
    if port == 0:
        context.refuse("InvalidPort")
