"""A validator's secure connection with a miner: established, both sides' credentials verified, the protocol negotiated.

```python
async with await handshake.connect(client, address, keypair, miner_hotkey) as connection:
    print(connection.agreed)    # session/1, AES-256-GCM, miner proved, answers sealed, forward secret
    answer = await connection.post("/ask", {"text": "hi"})
```

The best protocol that both sides have is taken, of those that are allowed:

| protocol | who is proved | what is encrypted |
|---|---|---|
| session | both, in one handshake of three messages (SIGMA) | everything, forward secret |
| fiber, the miner is Mycelium's | both: each signs its key | bodies and their answers |
| fiber, the miner is Fiber's | the validator alone | bodies; answers are in plain text |

Owns the choice. A miner that fails to prove itself over the better protocol is refused, never asked for a worse one.
Fiber's own function, `perform_handshake`, is here too, for its plain and its encrypted validators.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import httpx

from mycelium.config import HTTP_HANDSHAKE_S
from mycelium.encrypted.connection import (
    FIBER,
    PROTOCOLS,
    SESSION,
    Agreed,
    FiberConnection,
    SecureConnection,
    SessionConnection,
)
from mycelium.encrypted.validator.handshake import (
    get_public_encryption_key,
    perform_handshake,
    send_symmetric_key_to_server,
)
from mycelium.errors import HandshakeFailed, MyceliumError, Overloaded, Silence, Unreachable, UsageError
from mycelium.http import client, sending
from mycelium.http.session.sessions import Sessions

__all__ = [
    "FIBER",
    "PROTOCOLS",
    "SESSION",
    "Agreed",
    "SecureConnection",
    "connect",
    "get_public_encryption_key",
    "perform_handshake",
    "send_symmetric_key_to_server",
]

log = logging.getLogger(__name__)

_NOT_THERE: Final = (404, 405)
_ELSEWHERE: Final = (Unreachable, Silence, Overloaded)
"""Failures that say nothing of who answered: it speaks no session there, or not now."""


async def connect(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    keypair: Any,
    miner_hotkey_ss58_address: str,
    *,
    protocols: Sequence[str] = PROTOCOLS,
    proved: bool | None = None,
    timeout: float = HTTP_HANDSHAKE_S,
) -> SecureConnection:
    """A connection with the miner of that hotkey at http://host:port; its `agreed` says what was negotiated.

    keypair: the validator's. protocols: SESSION, FIBER, best first. proved: only with a miner that proves its hotkey;
    None: as MYCELIUM_REQUIRE_SIGNED_KEY says. timeout: seconds for each step.

    Raises WrongPeer, Unauthorised and the other ProtocolErrors by which either side refused, HandshakeFailed where no
    allowed protocol is spoken there, Unreachable, UsageError.
    """
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown or not protocols:
        raise UsageError(f"protocols are {' and '.join(PROTOCOLS)}, not {', '.join(unknown) or 'none'}")
    failures: list[str] = []
    for name in protocols:
        try:
            if name == SESSION:
                return await _session(
                    httpx_client, server_address, keypair, miner_hotkey_ss58_address, timeout
                )
            return await _fiber(
                httpx_client, server_address, keypair, miner_hotkey_ss58_address, proved, timeout
            )
        except _ELSEWHERE as error:
            failures.append(f"{name}: {error}")
            log.info("no %s with %s: %s", name, server_address, error)
            last: MyceliumError = error
    if isinstance(last, Unreachable):
        raise Unreachable("; ".join(failures))
    raise HandshakeFailed("; ".join(failures))


async def _session(
    httpx_client: httpx.AsyncClient, address: str, keypair: Any, miner: str, timeout_s: float
) -> SecureConnection:
    validator = client.address_text(keypair)
    shared = sending.sessions_of(httpx_client)
    sessions = shared or Sessions()
    try:
        session = await sessions.open(address, validator, miner, keypair, timeout_s)
    except BaseException:
        if shared is None:
            await sessions.aclose()
        raise
    return SessionConnection(sessions, session, validator, miner, keypair, owned=shared is None)


async def _fiber(
    httpx_client: httpx.AsyncClient,
    address: str,
    keypair: Any,
    miner: str,
    proved: bool | None,
    timeout_s: float,
) -> SecureConnection:
    try:
        secret = await perform_handshake(httpx_client, address, keypair, miner, timeout_s, signed_only=proved)
    except httpx.HTTPStatusError as error:
        answer = error.response
        if answer.status_code in _NOT_THERE:
            raise Unreachable(f"{answer.url} answered {answer.status_code}") from error
        raise HandshakeFailed(f"{answer.url} answered {answer.status_code}: {answer.text[:200]}") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"{address}: {error or type(error).__name__}") from error
    return FiberConnection(httpx_client, address, keypair, miner, secret)
