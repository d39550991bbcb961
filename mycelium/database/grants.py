"""Grants: rights that one account hands to another, signed, narrower with each hand, and gone with an epoch. Pure.

A grant is a chain of blocks. The first one is issued by an account that has `admin` on what it grants, each further one
by the account that the block before names; the right is what all blocks allow together. It rides in every batch that
needs it, as a change of the table `sys.grants` whose key is its id, so that whether a batch is valid is decided by its
own bytes and its epoch. The policy in force can revoke an id, and with it everything handed on from there.

Tokens are msgpack. A block's signature covers the id of the chain before it. (The idea is that of macaroons: Birgisson
et al., NDSS 2014; with public keys, as in Biscuit.)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from mycelium.config import GRANT_BLOCKS_MAX, GRANT_BYTES_MAX, GRANTS_CACHED_MAX
from mycelium.database.policy import Action
from mycelium.database.ranges import EVERYTHING, Ranges
from mycelium.database.schema import valid_name
from mycelium.errors import PolicyRefused
from mycelium.identity import signing
from mycelium.identity.account import ACCOUNT_BYTES
from mycelium.identity.account import format as format_account
from mycelium.identity.keys import Keypair, digest, verify

TABLE: Final = "sys.grants"
"""Reserved in every space."""


class Block(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """One hand to another. tables: "*" or a name, in the space. start <= key < stop. may: bits of `Action`."""

    issuer: bytes
    to: bytes
    space: str
    table: str
    start: bytes
    stop: bytes | None
    may: int
    epoch_from: int
    epoch_until: int
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Grant:
    """A chain of blocks whose signatures were verified. ids: of the chain up to each block; the last is its own."""

    blocks: tuple[Block, ...]
    ids: tuple[bytes, ...]

    @property
    def id(self) -> bytes:
        """32 bytes."""
        return self.ids[-1]

    @property
    def holder(self) -> bytes:
        """The account that may use it."""
        return self.blocks[-1].to

    @property
    def issuer(self) -> bytes:
        """The account from whose rights it stems."""
        return self.blocks[0].issuer

    def allows(self, action: Action, space: str, table: str, epoch: int) -> Ranges:
        """What its blocks allow together; what its issuer may grant is another question."""
        found = EVERYTHING
        for block in self.blocks:
            fits = block.space == space and block.table in {"*", table} and action in Action(block.may)
            if not fits or not block.epoch_from <= epoch <= block.epoch_until:
                return Ranges()
            found &= Ranges([(block.start, block.stop)])
        return found


def issue(
    keypair: Keypair,
    to: bytes,
    space: str,
    table: str,
    may: Action,
    *,
    network: bytes,
    keys: Ranges = EVERYTHING,
    epochs: tuple[int, int],
    parent: bytes | None = None,
) -> bytes:
    """A token by which `to` may do what the issuer may grant, or, of a `parent` token, what that allows and no more.

    network: `network_id`. keys: one range. epochs: the first and the last one. PolicyRefused for what makes no grant.
    """
    before: tuple[Block, ...] = ()
    last_id = network
    if parent is not None:
        held = read(parent, network)
        if held.holder != keypair.account:
            raise PolicyRefused(f"the grant is {format_account(held.holder)}'s, who alone can hand it on")
        before, last_id = held.blocks, held.id
    pairs = list(keys)
    if len(pairs) != 1:
        raise PolicyRefused("a grant is for one range of keys")
    start, stop = pairs[0]
    block = Block(keypair.account, to, space, table, start, stop, int(may), *epochs)
    signed = msgspec.structs.replace(block, signature=keypair.sign(signing.GRANT, _said(block, last_id)))
    token = msgspec.msgpack.encode([*before, signed])
    read(token, network)
    return token


def network_id(netuid: int, genesis: bytes) -> bytes:
    """What the first block's signature covers, so that a grant is good on one network alone."""
    return digest(netuid.to_bytes(2, "big") + genesis)


_verified: OrderedDict[tuple[bytes, bytes], Grant] = OrderedDict()


def read(token: bytes, network: bytes) -> Grant:
    """The grant of a token: its form and signatures. PolicyRefused. Of one that was read before only its digest."""
    if len(token) > GRANT_BYTES_MAX:
        raise PolicyRefused(f"a grant has at most {GRANT_BYTES_MAX} bytes, not {len(token)}")
    name = digest(token), network
    known = _verified.get(name)
    if known is not None:
        _verified.move_to_end(name)
        return known
    try:
        blocks = msgspec.msgpack.decode(token, type=tuple[Block, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyRefused(f"what is no grant: {error}") from None
    if not 0 < len(blocks) <= GRANT_BLOCKS_MAX:
        raise PolicyRefused(f"a grant has 1 to {GRANT_BLOCKS_MAX} blocks, not {len(blocks)}")
    ids: list[bytes] = []
    for at, block in enumerate(blocks):
        _check(block, None if not at else blocks[at - 1])
        said = _said(block, ids[-1] if ids else network)
        if not verify(block.issuer, signing.GRANT, said, block.signature):
            raise PolicyRefused(f"block {at} of the grant is not signed by {format_account(block.issuer)}")
        ids.append(digest(said + block.signature))
    found = _verified[name] = Grant(blocks, tuple(ids))
    if len(_verified) > GRANTS_CACHED_MAX:
        _verified.popitem(last=False)
    return found


def _said(block: Block, before: bytes) -> bytes:
    return before + msgspec.msgpack.encode(msgspec.structs.replace(block, signature=b""))


def _check(block: Block, before: Block | None) -> None:
    if len(block.issuer) != ACCOUNT_BYTES or len(block.to) != ACCOUNT_BYTES or len(block.signature) != 64:
        raise PolicyRefused("a block of a grant names no account, or is not signed")
    if before is not None and before.to != block.issuer:
        raise PolicyRefused("a block of a grant is not by the account that the one before names")
    if not valid_name(block.space) or not (block.table == "*" or valid_name(block.table)):
        raise PolicyRefused("a block of a grant names no table")
    if not 0 < block.may < Action.ADMIN or not 0 <= block.epoch_from <= block.epoch_until:
        raise PolicyRefused("a block of a grant allows nothing, or what cannot be granted")
