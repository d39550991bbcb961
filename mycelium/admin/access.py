"""Who may ask the admin port, and what a request may look like. Sans-IO: judges headers, opens nothing.

Every request names one host that is known here: a page of a stranger whose name was made to resolve to 127.0.0.1 (DNS
rebinding) sends its own. A WebSocket comes from a page of this very port, or from no page. With a token, every request
but /livez carries it: `Authorization: Bearer TOKEN`, or as the password of Basic, which browsers ask people for.
Nothing here has a body, and nothing changes anything: GET and HEAD are all there is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from mycelium.config.admin import HEAD_BYTES_MAX

ALLOWED: Final = "GET, HEAD"
OPEN: Final = "/livez"
"""Needs no token: it says that the process lives, and nothing else."""

Headers = Iterable[tuple[bytes, bytes]]


class Refusal(NamedTuple):
    """Answered instead of what was asked for."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Gate:
    """names: hosts that are served beside localhost and the addresses of loopback. token: None for none."""

    def __init__(self, names: Iterable[str], token: bytes | None) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._token = token

    def judge(self, method: str, path: str, headers: Headers, *, socket: bool = False) -> Refusal | None:
        """None for who may pass. socket: a WebSocket is asked for."""
        found: dict[bytes, list[bytes]] = {}
        size = len(path)
        for name, value in headers:
            found.setdefault(name.lower(), []).append(value)
            size += len(name) + len(value)
        if size > HEAD_BYTES_MAX:
            return Refusal(431, f"the headers have more than {HEAD_BYTES_MAX} bytes")
        hosts = found.get(b"host", [])
        if len(hosts) != 1:
            return Refusal(400, "one Host header is needed")
        if not self._is_ours(_host_of(hosts[0])):
            return Refusal(421, "this host is not served here; name it in [admin] hosts, if it should be")
        if b"transfer-encoding" in found or any(
            value.strip() != b"0" for value in found.get(b"content-length", ())
        ):
            return Refusal(413, "nothing here takes a body")
        if method not in ("GET", "HEAD"):
            return Refusal(405, "GET and HEAD are all there is", ((b"allow", ALLOWED.encode()),))
        if socket and not _same_origin(found.get(b"origin", []), hosts[0]):
            return Refusal(403, "this page may not watch the node")
        if self._token is not None and path != OPEN and not self._has_token(found.get(b"authorization", [])):
            challenges = (
                (b"www-authenticate", b'Bearer realm="mycelium"'),
                (b"www-authenticate", b'Basic realm="mycelium: any name, and the token as password"'),
            )
            return Refusal(401, "the token of [admin] token_file is needed", challenges)
        return None

    def _is_ours(self, host: str) -> bool:
        if host == "localhost" or host in self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        # A rebound name is a name. With a token an address alone lets nobody in.
        return address.is_loopback or self._token is not None

    def _has_token(self, values: list[bytes]) -> bool:
        if len(values) != 1 or self._token is None:
            return False
        scheme, _, credentials = values[0].partition(b" ")
        given = credentials.strip()
        if scheme.lower() == b"basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(given, self._token)


def _host_of(value: bytes) -> str:
    """The host of a Host header without its port, in lower case; what is no host comes back as no name has it."""
    text = value.decode("latin-1").strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        return host if bracket and (not port or (port[0] == ":" and _is_port(port[1:]))) else "?"
    host, colon, port = text.partition(":")
    if colon and not _is_port(port):
        return "?"
    return host


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _same_origin(origins: list[bytes], host: bytes) -> bool:
    """A browser says whose page asks; programs say nothing."""
    if not origins:
        return True
    return len(origins) == 1 and origins[0].lower() in (b"http://" + host.lower(), b"https://" + host.lower())
