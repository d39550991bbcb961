"""Checks of the chain: each endpoint, how old its newest final block is by our clock, and what the chain says of us.

Asks the endpoints that are configured and nobody else. A few requests; nothing is submitted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mycelium.chain import networks
from mycelium.chain.balance import format_tao
from mycelium.doctor.finding import Finding, fail, ok, skipped, warn
from mycelium.errors import ChainError, ConfigError, MyceliumError
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import Epoch, StaticSource
from mycelium.node.settings import Settings

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

HEAD_AGE_WARN_S: Final = 120
"""A final block is some 12 to 36 s old; what is older than this makes a node not ready."""
CLOCK_BEHIND_FAIL_S: Final = 2.0
"""A block that is not made yet: the clock here is behind by at least so much."""
_TIMEOUT_S: Final = 10.0


def examine(settings: Settings, account: bytes | None, now: float | None = None) -> Iterator[Finding]:
    """All checks of the chain, or of the members file that stands for it."""
    if settings.chain is None:
        assert settings.members_file is not None, "settings have members of a file or [chain]"
        yield skipped("chain", "members come from a file, not from a chain")
        yield members_file(settings, account)
        return
    from mycelium.chain.connection import Connection
    from mycelium.chain.socket import shown

    genesis = settings.genesis or (
        networks.network(settings.chain.network).genesis if settings.chain.network else None
    )
    answered = False
    for url in settings.chain.endpoints:
        with Connection(url, genesis=genesis or None, timeout_s=_TIMEOUT_S) as connection:
            finding, head_ms = endpoint(connection, shown(url))
            yield finding
            if head_ms is None:
                continue
            yield clock(head_ms, time.time() if now is None else now)
            if not answered:
                answered = True
                yield registration(connection, settings, account)
    if not answered:
        yield skipped("registration", "no endpoint of the chain answers", "mend [chain] first")


def endpoint(connection: Connection, url: str) -> tuple[Finding, int | None]:
    """Whether an endpoint answers, and is of the chain that is meant; when its newest final block was made, in ms."""
    name = f"chain {url}"
    try:
        began_s = time.perf_counter()
        head = connection.finalised_head()
        took_ms = (time.perf_counter() - began_s) * 1000
        head_ms = connection.timestamp_ms(head.hash) if head.number else None
    except (ChainError, ConfigError) as error:
        return fail(name, error.what, error.remedy or "mend [chain], or name another endpoint"), None
    if head_ms is None:
        return warn(name, "has made no block yet", "wait until it has"), None
    return ok(name, f"answers in {took_ms:.0f} ms; final is block {head.number:,}"), head_ms


def clock(head_ms: int, now_s: float) -> Finding:
    """Our clock against the time of the chain's newest final block: it must be after it, and not by much."""
    name, age_s = "clock", now_s - head_ms / 1000
    remedy = "set it: `timedatectl set-ntp true`, and see `timedatectl status`"
    if age_s < -CLOCK_BEHIND_FAIL_S:
        return fail(name, f"is behind: the newest final block was made {-age_s:,.1f} s from now", remedy)
    if age_s > HEAD_AGE_WARN_S:
        return warn(
            name,
            f"is {age_s:,.0f} s after the newest final block: it is ahead, or the endpoint is behind",
            f"{remedy}; or name another endpoint",
        )
    return ok(name, f"{age_s:,.1f} s after the newest final block")


def registration(connection: Connection, settings: Settings, account: bytes | None) -> Finding:
    """What the chain says of our hotkey in the present epoch: its uid, permit and stake."""
    from mycelium.chain import epochs

    name, chain = "registration", settings.chain
    assert chain is not None, "asked where there is a chain"
    if account is None:
        return skipped(name, "the hotkey cannot be loaded", "mend [identity] first")
    rules = epochs.Rules(settings.netuid, chain.epoch_blocks, chain.stake_min_rao)
    try:
        number = connection.finalised_head().number // chain.epoch_blocks
        epoch = epochs.read(connection, rules, number).epoch
    except MyceliumError as error:
        remedy = getattr(error, "remedy", "") or "mend [network] netuid, or [chain]"
        return fail(name, getattr(error, "what", "") or str(error), remedy)
    return place(epoch, account, settings.netuid, chain.stake_min_rao)


def place(epoch: Epoch, account: bytes, netuid: int, stake_min_rao: int) -> Finding:
    """The verdict on our place in an epoch."""
    from mycelium.chain import epochs

    name = "registration"
    why = epochs.place_of(epoch, account, netuid, stake_min_rao)
    member = epoch.members.get(account)
    if why is None and member is not None:
        found = f"uid {member.uid}, {member.role}, {format_tao(member.stake_rao)} TAO of stake, may write"
        return ok(name, f"{found} (epoch {epoch.number})")
    what, _, remedy = (why or "has no place").partition("; ")
    remedy = remedy or what.partition(": ")[2] or "it reads only"
    return fail(name, what, remedy) if member is None or member.uid is None else warn(name, what, remedy)


def members_file(settings: Settings, account: bytes | None) -> Finding:
    """What the members file says of our hotkey."""
    name = "registration"
    assert settings.members_file is not None, "asked where there is a file"
    try:
        epoch = StaticSource.load(settings.members_file).epoch()
    except ConfigError as error:
        return fail(name, error.what.replace("\n", "; "), error.remedy or "mend the members file")
    if account is None:
        return skipped(name, "the hotkey cannot be loaded", "mend [identity] first")
    role = epoch.role(account)
    if role is None:
        text = f"{format_account(account)} is no member of {settings.members_file}"
        return fail(name, text, "add it there, on every node; or correct [identity]")
    if not epoch.may_write(account):
        return warn(name, f"{role}: it may read, and not write", "give it another role in the members file")
    return ok(name, f"{role}, may write (of {settings.members_file})")
