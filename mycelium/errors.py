"""Every exception of Mycelium, in one tree. Imports nothing; raises nothing.

MyceliumError
├── ConfigError              a setting or file the operator must mend; the program exits with 2
│   ├── KeyFileError         a hotkey that is missing, unreadable or not a hotkey
│   ├── AddressInUse         another process listens there
│   └── MissingExtra         an import that needs an extra of this package; also an ImportError
├── ChainError               the chain, or the way to it
│   ├── ChainUnreachable     no endpoint answers, or none in time
│   ├── ChainRefused         the chain answered a request with a JSON-RPC error
│   ├── WrongChain           its genesis is not the one this directory or program belongs to
│   ├── UnknownToChain       its metadata has no such pallet, storage item, call or runtime API
│   ├── ExtrinsicInvalid     refused before it was in a block: signature, nonce, era, fee, a rate limit
│   ├── ExtrinsicFailed      in a block, and its call failed: the module error by name
│   ├── ExtrinsicTimeout     submitted, and in no block in time
│   ├── SubstrateConnectionError  `chain.chain_utils`: it could not be reached, or did not answer
│   ├── MetagraphError       a metagraph that could not be read
│   └── ValidatorError       `encrypted.validator.client`: what a validator asked was not done
├── StoreError
│   ├── StoreCorrupt         the data directory is damaged
│   ├── StoreForeign         the directory is not Mycelium's, or belongs to another account or network
│   ├── StoreLocked          another process has it open
│   ├── StoreFull            no space; writes are refused until there is
│   ├── NotDurable           applied and visible here, but the disk refused to make it durable so far
│   └── StoreClosed
├── UsageError               the caller asked for what cannot be
│   ├── UnknownTable
│   ├── WrongMergeType       an operation that the table's merge type has not
│   ├── KeyRefused           too long, empty, or not the writer's in an `own` table
│   ├── ValueRefused         too long, or of a type that has no encoding
│   ├── AccountRefused       not an SS58 address of the Bittensor network
│   └── PolicyRefused        a policy, grant or quota that does not parse or contradicts itself
├── ProtocolError            the other side broke a rule; closes that one connection
│   ├── MalformedMessage     does not parse, or breaks the schema
│   ├── OversizedMessage     above the cap of its class
│   ├── StaleMessage         outside the freshness window
│   ├── ReplayedMessage      seen before
│   ├── ReplayTableFull      no room to remember it, so it is refused (fail closed)
│   ├── BadSignature
│   ├── Unauthorised         a stranger, or a member without the right
│   │   ├── QuotaExceeded    more in one epoch than the policy lets this writer
│   │   └── LogSealed        beyond the head at which a departed writer's log was sealed
│   ├── WrongNetwork         another netuid or genesis
│   ├── WrongPeer            not the account that was dialled
│   ├── VersionRefused       no protocol version in common
│   ├── HandshakeFailed      out of order, or the transcript does not verify
│   ├── BrokenSeal           a frame that does not decrypt: changed, replayed, dropped or reordered
│   ├── Equivocation         two batches of one origin claim one sequence number
│   ├── Blacklisted          greylisted or blacklisted here
│   ├── Unproven             a proof that proves nothing here
│   └── Silence              said nothing in time
├── FeedError                a feed cannot go on from where its reader stands
│   ├── FeedBehind           what comes next is not kept any more: begin again with an export
│   │   └── CursorForeign    the cursor is of another data directory
│   └── FeedRewound          rows were made anew: export the space again, and go on from here
├── BrokerError              NATS, or the way to it
│   ├── BrokerUnreachable    no server answers
│   ├── BrokerUnsafe         its settings would acknowledge what is not on disk, or cannot be learnt
│   ├── BrokerFull           the stream or the server takes no more
│   └── StreamGone           a stream or bucket that was there is there no more, or is another one
├── FleetError               a fleet of processes for one account
│   ├── NoOwner              nobody has the shard at the moment, or its owner does not answer
│   ├── Fenced               another member took over what this one was about to write
│   └── WriteUnknown         whether a write happened is not known; it was not repeated
├── SinkError                where a sink writes to
│   ├── SinkUnreachable      it does not answer, or takes no more for now
│   └── SchemaConflict       it has tables, columns or values that do not fit
├── HistoryBroken            a log that was shown to a verifier leaves something out
├── RequestRefused           a signed HTTP request that is not let in, with its status
└── LinkError                the connection, not the peer's conduct
    ├── LinkClosed
    │   └── WatchBroken      a watch lost its connection; it knows where to resume
    ├── Unreachable
    ├── CallTimeout
    ├── CallFailed           the remote node answered a call with an error
    └── Overloaded           a bounded queue is full

A ProtocolError's `reason` is the label of its metric and the text of the close frame; `close_code` is in the
range RFC 6455 (section 7.4.2) leaves to applications.
"""

from __future__ import annotations

from typing import Any


class MyceliumError(Exception):
    """Base of all errors that Mycelium raises on purpose."""


class ConfigError(MyceliumError):
    """One clear line that names the file or setting and, after it, the remedy."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class KeyFileError(ConfigError):
    """A hotkey that is missing, unreadable or not a hotkey."""


class AddressInUse(ConfigError):
    """Another process listens on the address."""


class MissingExtra(ConfigError, ImportError):
    """A module that an extra of this package installs, and that is not there. `extra`: its name."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed", f"pip install 'mycelium-node[{extra}]'")
        self.name = module
        self.extra = extra
        # It ends a traceback, of which people read the last line.
        self.msg = f"{self.what}: {self.remedy}"
        self.args = (self.msg,)


class ChainError(MyceliumError):
    """The chain, or the way to it. `remedy` says what to do about it, where something can be done."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class ChainUnreachable(ChainError):
    """No endpoint answers, or none in time."""


class ChainRefused(ChainError):
    """The chain answered a request with a JSON-RPC error; `code` and `data` are what it said."""

    def __init__(self, what: str, remedy: str = "", *, code: int = 0, data: object = None) -> None:
        super().__init__(what, remedy)
        self.code = code
        self.data = data


class WrongChain(ChainError, ConfigError):
    """The chain's genesis is not the one that this directory or program belongs to."""


class UnknownToChain(ChainError):
    """The chain's metadata has no such pallet, storage item, call or runtime API."""


class ExtrinsicInvalid(ChainRefused):
    """Refused before it was in a block: signature, nonce, era, fee, or a rate limit checked at submission."""


class ExtrinsicFailed(ChainError):
    """In a block, and its call failed. `pallet` and `name` are of the module error, as in `SubtensorModule`."""

    def __init__(self, what: str, remedy: str = "", *, pallet: str = "", name: str = "") -> None:
        super().__init__(what, remedy)
        self.pallet = pallet
        self.name = name


class ExtrinsicTimeout(ChainError):
    """Submitted, and in no block in time. It may still be included until its era ends."""


class SubstrateConnectionError(ChainError):
    """The chain could not be reached, or did not answer a query; its cause is `__cause__`."""


class MetagraphError(ChainError):
    """A metagraph that could not be read, or that does not know what it is asked for."""


class ValidatorError(ChainError):
    """What a validator asked of the chain was not done; what refused it is in the text and in `__cause__`."""


class StoreError(MyceliumError):
    """The data directory, or what is in it."""


class StoreCorrupt(StoreError, ConfigError):
    """The data directory is damaged."""


class StoreForeign(StoreError, ConfigError):
    """The directory is not Mycelium's, or belongs to another account or network."""


class StoreLocked(StoreError, ConfigError):
    """Another process has the data directory open."""


class StoreFull(StoreError):
    """No space left on the device: writes are refused until there is."""


class ChainOutage(StoreError):
    """The chain has not been heard for so long that nothing new can refer to it; reads go on."""


class NotDurable(StoreError):
    """Applied and visible here, but the disk refused to make it durable so far; that is tried again for ever."""


class StoreClosed(StoreError):
    """The store was closed, or is closing."""


class UsageError(MyceliumError):
    """The caller asked for what cannot be; nothing was written."""


class UnknownTable(UsageError):
    """No table of that name is declared."""


class WrongMergeType(UsageError):
    """An operation that the table's merge type has not."""


class KeyRefused(UsageError):
    """A key that is too long, empty, or not the writer's in an `own` table."""


class ValueRefused(UsageError):
    """A value that is too long, or of a type that has no encoding."""


class AccountRefused(UsageError):
    """Text that is not an SS58 address with prefix 42."""


class PolicyRefused(UsageError):
    """A policy, grant or quota that does not parse or contradicts itself."""


class ProtocolError(MyceliumError):
    """The other side broke a rule. Closes its connection, counts under `reason`, changes nothing stored."""

    reason = "protocol"
    close_code = 4000


class MalformedMessage(ProtocolError):
    """Does not parse, or breaks the schema."""

    reason = "malformed"
    close_code = 4001


class OversizedMessage(ProtocolError):
    """Above the size cap of its class."""

    reason = "oversized"
    close_code = 4002


class StaleMessage(ProtocolError):
    """Stamped outside the freshness window."""

    reason = "stale"
    close_code = 4003


class ReplayedMessage(ProtocolError):
    """The same (sender, nonce) was accepted before."""

    reason = "replayed"
    close_code = 4004


class ReplayTableFull(ProtocolError):
    """No room to remember the nonce, so the message is refused."""

    reason = "replay-table-full"
    close_code = 4005


class BadSignature(ProtocolError):
    """The signature does not verify."""

    reason = "bad-signature"
    close_code = 4006


class Unauthorised(ProtocolError):
    """A stranger, or a member without the right."""

    reason = "unauthorised"
    close_code = 4007


class QuotaExceeded(Unauthorised):
    """More in one epoch than the policy lets this writer."""

    reason = "quota"
    close_code = 4015


class LogSealed(Unauthorised):
    """Beyond the head at which a departed writer's log was sealed."""

    reason = "sealed"
    close_code = 4016


class RequestRefused(MyceliumError):
    """A signed HTTP request is not let in. status: of the answer; detail: its text, as Fiber's clients know it, or
    a list of what is wrong with its body."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail


class WrongNetwork(ProtocolError):
    """Another netuid or genesis."""

    reason = "wrong-network"
    close_code = 4008


class WrongPeer(ProtocolError):
    """Not the account that was dialled."""

    reason = "wrong-peer"
    close_code = 4009


class VersionRefused(ProtocolError):
    """No protocol version in common."""

    reason = "version"
    close_code = 4010


class HandshakeFailed(ProtocolError):
    """A handshake step out of order, or a transcript that does not verify."""

    reason = "handshake"
    close_code = 4011


class BrokenSeal(ProtocolError):
    """A frame that does not decrypt: changed, replayed, dropped or reordered."""

    reason = "broken-seal"
    close_code = 4012


class Equivocation(ProtocolError):
    """Two batches of one origin claim one sequence number."""

    reason = "equivocation"
    close_code = 4013


class Silence(ProtocolError):
    """Said nothing within the time a step allows."""

    reason = "silence"
    close_code = 4014


class Blacklisted(ProtocolError):
    """Greylisted or blacklisted here, by what it did or by the operator: no session."""

    reason = "blacklisted"
    close_code = 4017


class Unproven(ProtocolError):
    """A proof of a batch that breaks no rule here."""

    reason = "unproven"
    close_code = 4018


class FeedError(MyceliumError):
    """A feed cannot go on from where its reader stands. `cursor`: where it can, as text; "" where that is not known."""

    def __init__(self, text: str, cursor: str = "") -> None:
        super().__init__(text)
        self.cursor = cursor


class FeedBehind(FeedError):
    """What comes next is not kept any more: begin again with an export."""


class CursorForeign(FeedBehind):
    """The cursor is of another data directory, or beyond what this one has: begin again with an export."""


class FeedRewound(FeedError):
    """Rows of `space` were made anew, as batches were taken away: export it again, then go on at `cursor`."""

    def __init__(self, text: str, cursor: str = "", space: str = "") -> None:
        super().__init__(text, cursor)
        self.space = space


class BrokerError(MyceliumError):
    """NATS, or the way to it."""


class BrokerUnreachable(BrokerError):
    """No server answers. It is tried again for ever."""


class BrokerUnsafe(BrokerError, ConfigError):
    """The server's settings would acknowledge what is not on disk, or cannot be learnt."""


class BrokerFull(BrokerError):
    """The stream or the server takes no more."""


class StreamGone(BrokerError):
    """A stream or bucket that was there is there no more, or another one stands in its place."""


class FleetError(MyceliumError):
    """A fleet of processes for one account."""


class NoOwner(FleetError):
    """Nobody has the shard at the moment, or its owner does not answer. Nothing was written: try again."""


class Fenced(FleetError):
    """Another member took over what this one was about to write. Nothing was written: try again."""


class WriteUnknown(FleetError):
    """Whether a write happened is not known, and it was not repeated."""


class SinkError(MyceliumError):
    """Where a sink writes to."""


class SinkUnreachable(SinkError):
    """It does not answer, or takes no more for now. It is tried again for ever."""


class SchemaConflict(SinkError, ConfigError):
    """It has tables, columns or values that do not fit."""


class HistoryBroken(MyceliumError):
    """A log that was shown to a verifier leaves something out, or has another past than it had before."""


class SimulationFailed(MyceliumError):
    """A simulated run broke an invariant, or did not end as its scenario expects. The text says how to repeat it."""


class LinkError(MyceliumError):
    """The connection, not the peer's conduct."""


class LinkClosed(LinkError):
    """The connection ended before the answer came."""


class WatchBroken(LinkClosed):
    """A watch lost its connection. `cursor` is of the last change it gave: `watch(after=cursor)` misses nothing."""

    def __init__(self, text: str, cursor: int | None = None) -> None:
        super().__init__(text)
        self.cursor = cursor


class Unreachable(LinkError):
    """Nothing answered at the address."""


class CallTimeout(LinkError):
    """The answer did not come in time."""


class CallFailed(LinkError):
    """The remote node answered a call with an error; `kind` is the name of its class there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Overloaded(LinkError):
    """A bounded queue is full."""
