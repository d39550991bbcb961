"""The `chain_*`, `system_*` and `rpc_methods` methods: blocks, heads and what the node says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mycelium import __version__
from mycelium.devnet.chain.blocks import Block
from mycelium.devnet.chain.rpc import (
    Table,
    add,
    anything,
    block_hash,
    invalid_params,
    parameter,
    text,
    unsigned,
)
from mycelium.devnet.chain.rpc_state import call, hexed
from mycelium.devnet.chain.subscriptions import (
    ALL_HEADS,
    FINALIZED_HEADS,
    NEW_HEADS,
    Session,
    header_json,
)
from mycelium.errors import AccountRefused
from mycelium.identity import account as accounts


def get_block_hash(session: Session, wanted: Any) -> Any:
    """Of a number, of each of a list, or of the best block."""
    chain = session.core.chain
    if wanted is None:
        return hexed(chain.best.hash)
    if isinstance(wanted, list):
        return [_hash_of(session, unsigned(number)) for number in wanted]
    return _hash_of(session, unsigned(wanted))


def _hash_of(session: Session, number: int) -> str | None:
    found = session.core.chain.hash_of(number)
    return None if found is None else hexed(found)


def _block(session: Session, hash: bytes | None) -> Block | None:
    chain = session.core.chain
    return chain.best if hash is None else chain.block(hash)


def get_header(session: Session, hash: bytes | None) -> dict[str, Any] | None:
    block = _block(session, hash)
    return None if block is None else header_json(block)


def get_block(session: Session, hash: bytes | None) -> dict[str, Any] | None:
    block = _block(session, hash)
    if block is None:
        return None
    extrinsics = [hexed(extrinsic) for extrinsic in block.extrinsics]
    return {"block": {"header": header_json(block), "extrinsics": extrinsics}, "justifications": None}


def get_finalized_head(session: Session) -> str:
    return hexed(session.core.chain.finalised.hash)


def _subscriber(kind: str) -> Callable[[Session], str]:
    def subscribe(session: Session) -> str:
        return session.hub.add(session, kind)

    return subscribe


def _unsubscriber(kind: str) -> Callable[[Session, Any], bool]:
    def unsubscribe(session: Session, id: Any) -> bool:
        return session.hub.remove(session, (kind,), id)

    return unsubscribe


# --- system -------------------------------------------------------------------------------------------------


def system_chain(session: Session) -> str:
    return session.core.spec.name


def system_name(session: Session) -> str:
    del session
    return "mycelium-devnet"


def system_version(session: Session) -> str:
    del session
    return __version__


def system_chain_type(session: Session) -> str:
    del session
    return "Development"


def system_properties(session: Session) -> dict[str, Any]:
    """As on Subtensor: addresses with prefix 42, amounts of 10^-9 TAO."""
    del session
    return {"ss58Format": accounts.PREFIX, "tokenDecimals": 9, "tokenSymbol": "TAO"}


def system_health(session: Session) -> dict[str, Any]:
    del session
    return {"peers": 0, "isSyncing": False, "shouldHavePeers": False}


def system_sync_state(session: Session) -> dict[str, int]:
    number = session.core.chain.best.number
    return {"startingBlock": 0, "currentBlock": number, "highestBlock": number}


def system_peers(session: Session) -> list[Any]:
    del session
    return []


def system_node_roles(session: Session) -> list[str]:
    del session
    return ["Authority"]


def system_local_peer_id(session: Session) -> str:
    """Of no network: the letters of a libp2p identity of nobody."""
    del session
    return "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


def system_local_listen_addresses(session: Session) -> list[str]:
    del session
    return []


def next_index(session: Session, address: str) -> int:
    """The nonce for the next extrinsic of an account, those that wait in the pool counted."""
    try:
        account = accounts.parse(address)
    except AccountRefused as error:
        raise invalid_params(str(error)) from None
    nonce = call(session, "AccountNonceApi_account_nonce", account, None)
    return session.core.pool.next_nonce(account, int.from_bytes(nonce, "little"))


def register(table: Table) -> None:
    """Add the methods; `rpc_methods` lists whatever the table holds when it is asked."""
    at = parameter("hash", block_hash, True)
    add(
        table,
        ["chain_getBlockHash", "chain_getHead"],
        get_block_hash,
        parameter("hash", anything, True),
    )
    add(table, ["chain_getHeader"], get_header, at)
    add(table, ["chain_getBlock"], get_block, at)
    add(table, ["chain_getFinalizedHead", "chain_getFinalisedHead"], get_finalized_head)
    subscription = parameter("subscription", anything)
    new = ["chain_subscribeNewHeads", "chain_subscribeNewHead", "subscribe_newHead"]
    gone = ["chain_unsubscribeNewHeads", "chain_unsubscribeNewHead", "unsubscribe_newHead"]
    finalised = ["chain_subscribeFinalizedHeads", "chain_subscribeFinalisedHeads"]
    finalised_gone = ["chain_unsubscribeFinalizedHeads", "chain_unsubscribeFinalisedHeads"]
    for kind, begin, end in (
        (NEW_HEADS, new, gone),
        (ALL_HEADS, ["chain_subscribeAllHeads"], ["chain_unsubscribeAllHeads"]),
        (FINALIZED_HEADS, finalised, finalised_gone),
    ):
        add(table, begin, _subscriber(kind))
        add(table, end, _unsubscriber(kind), subscription)
    add(table, ["system_chain"], system_chain)
    add(table, ["system_name"], system_name)
    add(table, ["system_version"], system_version)
    add(table, ["system_chainType"], system_chain_type)
    add(table, ["system_properties"], system_properties)
    add(table, ["system_health"], system_health)
    add(table, ["system_syncState"], system_sync_state)
    add(table, ["system_peers"], system_peers)
    add(table, ["system_nodeRoles"], system_node_roles)
    add(table, ["system_localPeerId"], system_local_peer_id)
    add(table, ["system_localListenAddresses"], system_local_listen_addresses)
    add(table, ["system_accountNextIndex", "account_nextIndex"], next_index, parameter("account", text))
    add(table, ["rpc_methods"], lambda session: {"methods": sorted(table)})
