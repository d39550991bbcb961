"""Checks of the node's ports, free or ours, of the running node itself, and whether members reach it from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mycelium.doctor.finding import Finding, fail, ok, skipped, warn
from mycelium.errors import AddressInUse, ConfigError
from mycelium.node.admin_settings import is_loopback
from mycelium.node.settings import Settings
from mycelium.peer.server import check_address


def listening(settings: Settings, running: Mapping[str, Any] | None, trouble: str = "") -> Finding:
    """Whether the port is free, or ours. running: the node's status; trouble: why there is none."""
    name, where = "port", f"{settings.host}:{settings.port}"
    if running is not None:
        return ok(name, f"the node listens: {running['url']}, pid {running['pid']}")
    try:
        check_address(settings.host, settings.port)
    except AddressInUse:
        return fail(
            name,
            f"something that is not this node listens on {where}" + (f" ({trouble})" if trouble else ""),
            "end it, or set another port under [node] listen",
        )
    except ConfigError as error:
        return fail(name, error.what, error.remedy)
    return ok(name, f"{where} is free; no node runs")


def rotation(settings: Settings, running: Mapping[str, Any] | None) -> Finding:
    """How many ports of the range are free."""
    name = "rotation"
    if settings.rotation is None:
        return skipped(name, "the port stays: no [rotation] section")
    ports = settings.rotation.ports
    ours = set(running["rotation"].get("ports", ())) if running is not None else set()
    taken = [port for port in ports if port not in ours and not _free(settings.host, port)]
    found = f"{len(ports) - len(taken)} of {len(ports)} ports of {ports[0]}-{ports[-1]} are free or ours"
    remedy = "end what listens there, or set another range"
    if len(ports) - len(taken) < 2:
        return fail(name, found, remedy)
    return warn(name, found, remedy) if len(taken) > len(ports) // 2 else ok(name, found)


def _free(host: str, port: int) -> bool:
    try:
        check_address(host, port)
    except ConfigError:
        return False
    return True


def reachable(
    settings: Settings, running: Mapping[str, Any] | None, answers: Sequence[Mapping[str, Any]]
) -> Finding:
    """Whether members that were asked reach the addresses that this node announces."""
    name = "reachable"
    if running is None:
        remedy = "start the node and run `mycelium doctor` again: its peers are asked"
        if is_loopback(settings.host) and settings.advertise != ():
            return warn(name, f"listens on {settings.host}: no other machine reaches it", _OPEN)
        return skipped(name, "no node runs here", remedy)
    announced = running["endpoints"]["announced"]
    if not announced:
        return ok(name, "announces no address: it only dials out")
    said = [answer for answer in answers if "addresses" in answer]
    if not said:
        why = next((answer["error"] for answer in answers if "error" in answer), "no peer is connected")
        return skipped(name, f"nobody could be asked: {why}", "connect it with a peer, then try again")
    tried = [why for answer in said for why in answer["addresses"].values()]
    if not tried:
        return skipped(
            name, "the peers that were asked do not know its addresses yet", "try again in a minute"
        )
    failures = [why for why in tried if why]
    found = f"{len(tried) - len(failures)} of {len(tried)} attempts of {len(said)} peers reach {', '.join(announced)}"
    if len(failures) == len(tried):
        return fail(
            name, f"{found}: {failures[0]}", "let the port through firewall and NAT, or mend [node] advertise"
        )
    return warn(name, f"{found}: {failures[0]}", "mend [node] advertise") if failures else ok(name, found)


_OPEN = 'write listen = "0.0.0.0:PORT"; or advertise = [] for a node that only dials out'


def peers(running: Mapping[str, Any] | None) -> Finding:
    """Whether the running node has sessions, and what it says is wrong."""
    name = "running node"
    if running is None:
        return skipped(name, "no node runs here")
    problems = list(running["chain"].get("problems", ()))
    if problems:
        return fail(name, "; ".join(problems), "see `mycelium node status`")
    found = f"{len(running['peers'])} peers, up {running['uptime_s']:,.0f} s"
    if not running["chain"]["ready"]:
        return warn(name, f"{found}; it waits for the chain", "look at the checks of the chain")
    if not running["peers"] and running["chain"]["members"] > 1:
        why = next((f": {error}" for error in running["unreachable"].values()), "")
        return warn(name, f"{found}{why}", "see `mycelium node status`, and [peers] or [node] bootstrap")
    return ok(name, found)
