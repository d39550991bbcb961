"""What the admin port says of a node, as JSON-like objects. Reads the node; owns nothing and decides nothing.

Times in seconds or milliseconds as their names say, sizes in bytes, accounts as SS58.
"""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING, Any

from mycelium._version import __version__
from mycelium.config.admin import SHOWN_MAX
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import Epoch
from mycelium.node.presence import shown
from mycelium.node.status import unreachable

if TYPE_CHECKING:
    from mycelium.admin.health import Health
    from mycelium.node.events import Event
    from mycelium.node.node import Node
    from mycelium.peer.link import Link

_TAO = 10**9


@functools.lru_cache(maxsize=8_192)
def name_of(account: bytes) -> str:
    """The account as SS58. Encoding one costs 20 us, and each is shown every second."""
    return format_account(account)


def health(found: Health, now_ms: int) -> dict[str, Any]:
    """Whether it is ready, and each check with how long it has been so."""
    return {
        "ready": found.ready,
        "missing": [check.name for check in found.missing()],
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "since_s": round(max(0, now_ms - check.since_ms) / 1000, 1),
                "text": check.text,
                "remedy": check.remedy,
            }
            for check in found.checks.values()
        ],
    }


def peers(node: Node) -> dict[str, Any]:
    """Every member that holds the store, connected or not, and the programs that are connected."""
    return {
        "peers": _all_peers(node),
        "clients": node.hub.clients(),
        "unreachable": {
            name_of(account): why for account, why in list(unreachable(node).items())[:SHOWN_MAX]
        },
    }


def holders(node: Node) -> list[bytes]:
    """The accounts other than this node's that should hold the store, or do: by role, then stake, the largest first."""
    epoch = node.source.epoch()
    found = {account for account in epoch.members if epoch.may_read(account)}
    found |= {link.account for link in node.replicator.members()}
    found.discard(node.account)
    return sorted(found, key=lambda account: (not epoch.may_write(account), -_stake(epoch, account), account))


def _stake(epoch: Epoch, account: bytes) -> int:
    member = epoch.members.get(account)
    return 0 if member is None else member.stake_rao


def _all_peers(node: Node) -> list[dict[str, Any]]:
    lag = lags(node)
    return [peer(node, account, lag.get(account, 0)) for account in holders(node)[:SHOWN_MAX]]


def peer(node: Node, account: bytes, lag: int) -> dict[str, Any]:
    """One other member. state: "linked", "silent" where others are asked for it, or "absent"."""
    epoch = node.source.epoch()
    member = epoch.members.get(account)
    link = node.hub.link_of(account)
    standing = node.presence.liveness.standing(account)
    said = node.presence.statuses.get(account)
    found: dict[str, Any] = {
        "account": name_of(account),
        "role": epoch.role(account) or "observer",
        "uid": None if member is None else member.uid,
        "stake_tao": round(_stake(epoch, account) / _TAO, 3),
        "standing": None if standing is None else standing.value,
        "blocked": node.blacklisting.is_blocked(account),
        "state": "absent" if link is None else "linked",
        "says": None if said is None else shown(account, said),
    }
    if link is None:
        error = node.dialer.failures.get(account)
        return found | {"why": None if error is None else str(error)}
    heard_s = max(0, node.around.clock_ns() - link.last_received_ns) / 1e9
    if heard_s > 5:
        found["state"] = "silent"
    return found | _link(node, link) | {"lag_changes": lag, "heard_s": round(heard_s, 1)}


def _link(node: Node, link: Link) -> dict[str, Any]:
    return {
        "remote": link.remote,
        "inbound": link.inbound,
        "rtt_ms": None if link.rtt_ms is None else round(link.rtt_ms, 3),
        "spaces": node.replicator.sync.compared(link.id),
        "queued_bytes": node.hub.fanout.pending_bytes(link.id),
        "dropped": node.hub.fanout.dropped(link.id),
        "throttled": link.throttled,
        "score": node.blacklisting.machine.scores.score(link.account, node.now_ms()),
    }


def lags(node: Node) -> dict[bytes, int]:
    """How many changes of this node each peer has not said to hold, over all spaces that it may read."""
    database, may_read = node.database, node.replicator.may_read
    heads = {space: head for space in database.spaces if (head := database.engine.own_head(space))}
    return {
        link.account: sum(
            max(0, head - database.acks.head(space, link.account))
            for space, head in heads.items()
            if may_read(link.id, space)
        )
        for link in node.replicator.members()
    }


def spaces(node: Node) -> list[dict[str, Any]]:
    """Each space: what is held of it, and with how many of the peers that share it this node agrees."""
    compared = [node.replicator.sync.compared(link.id) for link in node.replicator.members()]
    held = node.database.status_of_spaces()
    now_ms = node.now_ms()
    last_ms = node.replicator.sync.last_sync_ms
    return [
        {
            "space": space,
            "changes": changes,
            "origins": origins,
            "vector": node.database.engine.vector_digest(space).hex(),
            "agree": sum(one.get(space, False) for one in compared),
            "compared": sum(space in one for one in compared),
            "in_step_s": None if space not in last_ms else round(max(0, now_ms - last_ms[space]) / 1000, 1),
        }
        for space, (changes, origins) in held.items()
    ]


def sync(node: Node) -> dict[str, Any]:
    """How far replication is, by space and by peer."""
    lag = lags(node)
    return {
        "progress": round(node.replicator.sync.agreement(), 4),
        "fetching": node.replicator.sync.fetching,
        "held_batches": node.database.engine.held,
        "undurable_batches": node.database.engine.feed_last - node.database.committer.durable,
        "passed_over": dict(node.replicator.sync.passed_over + node.replicator.dissemination.passed_over),
        "spaces": spaces(node),
        "peers": [
            {
                "account": name_of(link.account),
                "lag_changes": lag[link.account],
                "spaces": node.replicator.sync.compared(link.id),
                "acknowledged": {
                    space: node.database.acks.head(space, link.account) for space in node.database.spaces
                },
            }
            for link in node.replicator.members()[:SHOWN_MAX]
        ],
    }


def feed(node: Node) -> dict[str, Any]:
    """How far the feed is, from where on it is kept, and who reads it: who is furthest behind first."""
    found = node.feeding.status()
    return found | {"readers": found["readers"][:SHOWN_MAX]}


def fleet(node: Node) -> dict[str, Any] | None:
    """What a member of a fleet says of itself and the others; None of a node alone."""
    told = node.parts.get("fleet")
    return None if told is None else told()


def blacklist(node: Node) -> dict[str, Any]:
    """Everybody about whom there is anything, with why and who said so."""
    listing = node.blacklisting.listing()
    return {"accounts": listing[:SHOWN_MAX], "left_out": max(0, len(listing) - SHOWN_MAX)}


def blocked(node: Node) -> list[dict[str, Any]]:
    """Of the blacklist, what a dashboard shows."""
    found = []
    for one in node.blacklisting.listing():
        if one["standing"] == "good" and not one["frozen"] and not one["claims"]:
            continue
        found.append(
            {
                "account": one["account"],
                "standing": one["standing"],
                "why": one["why"] or "; ".join(each["why"] for each in one["frozen"]),
                "by": [each["issuer"] for each in one["claims"]] or [one["by"]],
                "until_s": one["until_s"],
                "frozen": len(one["frozen"]),
            }
        )
    return found[:64]


def epoch(node: Node) -> dict[str, Any]:
    """The present epoch: its number, how old it is, and who is in it."""
    now_ms = node.now_ms()
    present, chain = node.source.epoch(), node.source.status(now_ms)
    tempo, head = node.source.tempo, chain.block if chain.head is None else chain.head
    roles: dict[str, int] = {}
    for member in present.members.values():
        roles[member.role] = roles.get(member.role, 0) + 1
    return {
        "number": present.number,
        "block": head,
        "blocks": tempo,
        "block_in_epoch": max(0, head - present.number * tempo),
        "age_s": epoch_age_s(node, now_ms),
        "head_age_s": None if chain.head_age_s is None else round(chain.head_age_s, 1),
        "roles": roles,
        "policy": None if present.policy is None else present.policy.hex(),
    }


def epoch_age_s(node: Node, now_ms: int) -> float | None:
    """Since the first block of the present epoch; None while its time is unknown."""
    began_ms = node.source.block_time_ms(node.source.epoch().number * node.source.tempo)
    return None if began_ms is None else round(max(0, now_ms - began_ms) / 1000, 1)


def snapshot(node: Node, found: Health) -> dict[str, Any]:
    """What a dashboard shows of this second."""
    own, present = node.node_status(), node.source.epoch()
    return {
        "now_ms": node.now_ms(),
        "version": __version__,
        "account": name_of(node.account),
        "role": present.role(node.account),
        "uid": None if node.account not in present.members else present.members[node.account].uid,
        "stake_tao": round(_stake(present, node.account) / _TAO, 3),
        "url": node.url,
        "netuid": node.settings.netuid,
        "health": health(found, node.now_ms()),
        "node": shown(node.account, own),
        "epoch": epoch(node),
        "spaces": spaces(node),
        "peers": _all_peers(node),
        "clients": node.hub.clients(),
        "feed": feed(node),
        "fleet": fleet(node),
        "blacklist": blocked(node),
    }


def event(one: Event) -> dict[str, Any]:
    """An event for a dashboard."""
    return {
        "number": one.number,
        "at_ms": one.at_ms,
        "kind": one.kind,
        "text": one.text,
        "account": name_of(one.account) if one.account else "",
    }


def round_trip_s(node: Node) -> float | None:
    """The median over all sessions with members; None without any."""
    found = [link.rtt_ms for link in node.replicator.members() if link.rtt_ms is not None]
    return statistics.median(found) / 1000 if found else None
