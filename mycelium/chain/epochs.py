"""Reads one epoch from the chain: members, roles, stake, addresses and the policy in force, at one finalised block.

Every node reads the same there, so this is where roles are decided: the hotkey that owns the subnet is its owner, a
neuron with a permit and enough stake is a validator, every other registered one a miner. Owns no connection.

The policy is named by a commitment (pallet Commitments) of 48 raw bytes, `mycelium:policy:` and a BLAKE3 digest: the
one for which validators with at least two thirds of the validators' stake have committed, or else the owner's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mycelium.chain import neurons, timelock
from mycelium.chain.balance import format_tao
from mycelium.errors import ChainError, MetagraphError
from mycelium.identity import account as accounts
from mycelium.metagraph.membership import MINER, OBSERVER, OWNER, VALIDATOR, Epoch, Member, check_url
from mycelium.metagraph.reading import Reading

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

POLICY_MARK: Final = b"mycelium:policy:"
_DIGEST_BYTES: Final = 32
_COMMITMENTS: Final = ("Commitments", "CommitmentOf")


@dataclass(frozen=True, slots=True)
class Rules:
    """What must be the same on every node of a subnet. epoch_blocks: of an epoch. stake_min_rao: of a validator."""

    netuid: int
    epoch_blocks: int
    stake_min_rao: int


def read(connection: Connection, rules: Rules, number: int, *, known: int | None = None) -> Reading:
    """Epoch `number`, of its first block, which must be final. known: another epoch; its first block's hash comes too.

    Raises ChainError: no such block or subnet, or a state that the node no longer keeps.
    """
    first = number * rules.epoch_blocks
    block_hash = connection.hash_of(first)
    if block_hash is None:
        raise ChainError(
            f"the node has no block {first}", "wait until it has caught up, or name another endpoint"
        )
    known_hash = None if known is None else connection.hash_of(known * rules.epoch_blocks)
    subnet = neurons.read(connection, rules.netuid, block_hash=block_hash, details=False)
    members = members_of(subnet, rules)
    commitments: Mapping[str, Any] = {}
    if connection.has_storage(*_COMMITMENTS):
        commitments = connection.read_map(*_COMMITMENTS, [rules.netuid], block_hash)
    epoch = Epoch(number, members, policy_of(members, commitments))
    # Block 0 has no time. What refers to it waits for ever, so nobody does.
    time_ms = connection.timestamp_ms(block_hash) if first else None
    return Reading(epoch, block_hash, time_ms, known_hash)


def members_of(subnet: neurons.Subnet, rules: Rules) -> dict[bytes, Member]:
    """Who is who, by account. MetagraphError for an answer without the subnet's owner."""
    owner_text = subnet.facts.get("owner_hotkey")
    if not isinstance(owner_text, str):
        raise MetagraphError(
            f"the chain does not say who owns subnet {subnet.netuid}",
            "name an endpoint whose runtime is newer",
        )
    owner = accounts.parse(owner_text)
    members = {owner: Member(owner, OWNER)}
    for neuron in subnet.neurons:
        account = accounts.parse(neuron.hotkey)
        validates = neuron.permit and neuron.stake_rao >= rules.stake_min_rao
        role = OWNER if account == owner else VALIDATOR if validates else MINER
        members[account] = Member(
            account, role, neuron.stake_rao, url_of(neuron.axon), neuron.uid, neuron.permit
        )
    return members


def url_of(axon: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Where a neuron's node listens: the address it serves, as a URL; none where it serves none."""
    if axon is None:
        return ()
    host = f"[{axon['ip']}]" if ":" in axon["ip"] else axon["ip"]
    url = f"ws://{host}:{axon['port']}"
    try:
        check_url(url)
    except ValueError:
        return ()
    return (url,)


def policy_of(members: Mapping[bytes, Member], commitments: Mapping[str, Any]) -> bytes | None:
    """The digest in force, 32 bytes; None while nobody who may has named one."""
    stakes: Counter[bytes] = Counter()
    owners: bytes | None = None
    total = sum(member.stake_rao for member in members.values() if member.role == VALIDATOR)
    for name, commitment in commitments.items():
        member = members.get(accounts.parse(name))
        digest = _policy_named(commitment)
        if member is None or digest is None:
            continue
        if member.role == OWNER:
            owners = digest
        elif member.role == VALIDATOR:
            stakes[digest] += member.stake_rao
    for digest, stake in stakes.items():
        if total and 3 * stake >= 2 * total:
            return digest
    return owners


def _policy_named(commitment: Any) -> bytes | None:
    for field in commitment["info"]["fields"]:
        for value in field.values() if isinstance(field, dict) else ():
            if not isinstance(value, str | bytes | list | tuple):
                continue
            raw = timelock.raw_bytes(value)
            if raw.startswith(POLICY_MARK) and len(raw) == len(POLICY_MARK) + _DIGEST_BYTES:
                return raw[len(POLICY_MARK) :]
    return None


def policy_commitment(netuid: int, digest: bytes) -> dict[str, Any]:
    """Parameters of `Commitments.set_commitment` that put a policy in force from the next epoch on."""
    raw = POLICY_MARK + digest
    return {"netuid": netuid, "info": {"fields": [{f"Raw{len(raw)}": f"0x{raw.hex()}"}]}}


def place_of(epoch: Epoch, account: bytes, netuid: int, stake_min_rao: int) -> str | None:
    """Why an account may not write, in one line with its remedy; None where it may."""
    if epoch.may_write(account):
        return None
    name, member = accounts.format(account), epoch.members.get(account)
    if member is not None and member.role == OBSERVER:
        return f"{name} is an observer: it reads, and can write nothing"
    if member is None or member.uid is None:
        return (
            f"{name} is not registered in subnet {netuid} (epoch {epoch.number}): nobody replicates with it; "
            f"register it (btcli subnets register --netuid {netuid}), or correct [identity]"
        )
    if not member.permit:
        return (
            f"{name} (uid {member.uid}) has no validator permit in epoch {epoch.number}: it can write nothing; "
            "it needs more stake, as the chain gives permits to those with the most"
        )
    return (
        f"{name} (uid {member.uid}) has a permit, and {format_tao(member.stake_rao)} TAO of stake: less than "
        f"{format_tao(stake_min_rao)} (stake_min_tao), so it can write nothing; add stake"
    )
