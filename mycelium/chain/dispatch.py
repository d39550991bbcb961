"""Why the chain refuses, in words: which rule, what to do about it, and when to try again.

Owns the rules by the names of Subtensor's module errors, and the numbers by which its `SubtensorTransactionExtension`
names some of them before a block (`CustomTransactionError`, as of spec 425). When to try again is computed from the
chain's state; what no waiting helps against says nothing of time. Submits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mycelium.chain import refusals
from mycelium.chain.extrinsics import DispatchError
from mycelium.chain.schedule import ITEMS, PALLET, Clock, block_s, schedule_of
from mycelium.errors import ExtrinsicInvalid

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

MECHANISM_STEP: Final = 4_096
"""What a mechanism has of its own is kept under netuid + 4096 * mechanism (`GLOBAL_MAX_SUBNET_COUNT`)."""

NO: Final = ""
NEXT_BLOCK: Final = "next block"
NEXT_EPOCH: Final = "next epoch"
WEIGHTS_RATE: Final = "weights rate limit"
SERVING_RATE: Final = "serving rate limit"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which rule refused, by the name of its module error where it has one, and when it may be otherwise.

    retry_at_block: the first block in which the same may succeed; retry_in_s: seconds until it can be submitted for
    that block. Both None where waiting alone changes nothing.
    """

    rule: str
    reason: str
    remedy: str = ""
    retry_at_block: int | None = None
    retry_in_s: float | None = None

    def at(self, block: int | None, clock: Clock) -> Refusal:
        """The same, with the block in which it may be otherwise."""
        if block is None:
            return self
        return replace(self, retry_at_block=block, retry_in_s=clock.wait_s(block))

    def __str__(self) -> str:
        when = ""
        if self.retry_at_block is not None:
            when = f" (again from block {self.retry_at_block}, in {self.retry_in_s or 0:.0f} s)"
        return f"{self.reason} [{self.rule}]{when}"


class Rule(NamedTuple):
    """What a module error means, what to do, and after what it may be otherwise (one of the words above)."""

    reason: str
    remedy: str
    retry: str = NO


class Subject(NamedTuple):
    """What was asked: call by function name, for whom (SS58 of who signs, or of the hotkey), and where."""

    call: str
    account: str = ""
    netuid: int | None = None
    mechanism: int = 0


RULES: Final[dict[str, Rule]] = {
    # --- weights ---
    "SettingWeightsTooFast": Rule(
        "weights were set too short a while ago", "wait for the block given", WEIGHTS_RATE
    ),
    "CommittingWeightsTooFast": Rule(
        "weights were committed too short a while ago", "wait for the block given", WEIGHTS_RATE
    ),
    "NotEnoughStakeToSetWeights": Rule(
        "the hotkey has less stake weight than the chain asks of who sets weights",
        "stake more to it; only the subnet owner's hotkey is excepted",
    ),
    "NeuronNoValidatorPermit": Rule(
        "the hotkey holds no validator permit on this subnet",
        "permits go to the hotkeys with the most stake weight, and are given anew at each epoch",
        NEXT_EPOCH,
    ),
    "HotKeyNotRegisteredInSubNet": Rule(
        "the hotkey is not registered on this subnet", "register it (burned_register), or name its netuid"
    ),
    "HotKeyNotRegisteredInNetwork": Rule(
        "the hotkey is not registered on this subnet", "register it (burned_register), or name its netuid"
    ),
    "WeightVecLengthIsLow": Rule(
        "the subnet wants weights for more uids", "give at least MinAllowedWeights uids a weight above zero"
    ),
    "MaxWeightExceeded": Rule(
        "one weight is a larger part of all than the subnet allows", "spread the weights over more uids"
    ),
    "IncorrectWeightVersionKey": Rule(
        "the subnet asks for a newer version of its validators' code",
        "update it, and give the version key that it has",
    ),
    "DuplicateUids": Rule("a uid has two weights", "name each uid once"),
    "UidVecContainInvalidOne": Rule("a uid is not on this subnet", "read the metagraph anew"),
    "UidsLengthExceedUidsInSubNet": Rule(
        "there are more weights than neurons on this subnet", "read the metagraph anew"
    ),
    "WeightVecNotEqualSize": Rule("there are not as many uids as weights", "give one weight for each uid"),
    "CanNotSetRootNetworkWeights": Rule("the root subnet has no weights", "name another netuid"),
    "MechanismDoesNotExist": Rule(
        "the subnet has not that mechanism", "mechanisms count from 0; most subnets have only that one"
    ),
    "CommitRevealEnabled": Rule(
        "weights must be committed before they are shown on this subnet",
        "the subnet has just changed; try again, and they are committed",
        NEXT_BLOCK,
    ),
    "CommitRevealDisabled": Rule(
        "weights are set in the open on this subnet",
        "the subnet has just changed; try again, and they are set in the open",
        NEXT_BLOCK,
    ),
    "IncorrectCommitRevealVersion": Rule(
        "the chain wants another version of sealed weights", "update Mycelium"
    ),
    "InvalidRevealRound": Rule(
        "the drand round that the weights were sealed to is out already",
        "check this machine's clock; then try again",
        NEXT_BLOCK,
    ),
    "TooManyUnrevealedCommits": Rule(
        "ten commits of this hotkey wait for their reveal", "wait for the next epoch", NEXT_EPOCH
    ),
    "NoWeightsCommitFound": Rule("the hotkey has committed no such weights", "commit them first"),
    "InvalidRevealCommitHashNotMatch": Rule(
        "the hotkey has committed other weights than these", "reveal what was committed, with its salt"
    ),
    "RevealTooEarly": Rule("it is not yet time to reveal", "wait for the next epoch", NEXT_EPOCH),
    "ExpiredWeightCommit": Rule("the time to reveal is over", "commit anew"),
    "InputLengthsUnequal": Rule("the lists have not the same length", "give one of each for every item"),
    # --- serving ---
    "ServingRateLimitExceeded": Rule(
        "the endpoint was published too short a while ago", "wait for the block given", SERVING_RATE
    ),
    "InvalidIpType": Rule("the address is neither IPv4 nor IPv6", "give an IPv4 or IPv6 address"),
    "InvalidIpAddress": Rule(
        "the chain takes no loopback, broadcast or empty address", "give the address others reach"
    ),
    "InvalidPort": Rule("port 0 cannot be reached", "give the port others reach, 1 to 65535"),
    # --- stake ---
    "AmountTooLow": Rule("the amount is below the chain's minimum", "give a larger amount"),
    "NotEnoughBalanceToStake": Rule(
        "the coldkey's free balance is less than the amount", "transfer TAO to it, or give a smaller amount"
    ),
    "InsufficientBalance": Rule(
        "the coldkey's free balance is less than the amount", "transfer TAO to it, or give a smaller amount"
    ),
    "NotEnoughStakeToWithdraw": Rule("less than that is staked", "give a smaller amount"),
    "NotEnoughStake": Rule("less than that is staked", "give a smaller amount"),
    "StakeUnavailable": Rule("the stake is locked", "wait until its lock is over, or give a smaller amount"),
    "InsufficientLiquidity": Rule("the subnet's pool is too small for it", "give a smaller amount"),
    "SlippageTooHigh": Rule(
        "the price is beyond the limit", "give another limit price, a smaller amount, or allow a part of it"
    ),
    "SubtokenDisabled": Rule("the subnet has not begun", "wait until its owner starts it (start_call)"),
    "HotKeyAccountNotExists": Rule("the chain knows no such hotkey", "register it on a subnet first"),
    "NonAssociatedColdKey": Rule(
        "the hotkey belongs to another coldkey", "sign with the coldkey that owns the hotkey"
    ),
    "ColdkeySwapAnnounced": Rule(
        "the coldkey is about to be replaced, and can do nothing else until then",
        "finish the swap, or take it back",
    ),
    "ColdkeySwapDisputed": Rule("the coldkey's replacement is disputed", "it can do nothing until then"),
    # --- registration ---
    "SubnetNotExists": Rule("there is no such subnet", "check the netuid"),
    "RegistrationNotPermittedOnRootSubnet": Rule(
        "nobody registers on the root subnet", "name another netuid"
    ),
    "SubNetRegistrationDisabled": Rule(
        "the subnet takes no registrations now", "ask its owner, or wait until it does"
    ),
    "HotKeyAlreadyRegisteredInSubNet": Rule("the hotkey is registered already", "nothing needs to be done"),
    "RegistrationPriceLimitExceeded": Rule(
        "a registration costs more than the limit", "wait until the price has fallen, or give a higher limit"
    ),
    "TooManyRegistrationsThisBlock": Rule(
        "as many registered in this block as may", "try again in the next block", NEXT_BLOCK
    ),
    "TooManyRegistrationsThisInterval": Rule(
        "as many registered in this interval as may", "try again in the next interval"
    ),
    "NoNeuronIdAvailable": Rule(
        "the subnet is full, and all of its neurons are immune", "wait until one is immune no more"
    ),
    # --- of other pallets, and of none ---
    "FundsUnavailable": Rule("the account has not the means", "transfer TAO to it"),
    "BadOrigin": Rule("the account must not make this call", "sign with the key that may"),
    "CallFiltered": Rule("the chain takes this call no more", "update Mycelium"),
}
"""Name of a module error -> what it means."""

_CUSTOM: Final = {
    0: "ColdkeySwapAnnounced",
    1: "AmountTooLow",
    2: "NotEnoughBalanceToStake",
    3: "SubnetNotExists",
    4: "HotKeyAccountNotExists",
    5: "NotEnoughStakeToWithdraw",
    6: "TxRateLimitExceeded",
    7: "InsufficientLiquidity",
    8: "SlippageTooHigh",
    9: "TransferDisallowed",
    10: "HotKeyNotRegisteredInNetwork",
    11: "InvalidIpAddress",
    12: "ServingRateLimitExceeded",
    13: "InvalidPort",
    14: "ZeroMaxAmount",
    15: "InvalidRevealRound",
    16: "NoWeightsCommitFound",
    17: "RevealTooEarly",
    18: "InputLengthsUnequal",
    19: "HotKeyNotRegisteredInSubNet",
    20: "EvmKeyAssociateRateLimitExceeded",
    21: "ColdkeySwapDisputed",
    22: "InvalidRealAccount",
    23: "FailedShieldedTxParsing",
    24: "InvalidShieldedTxPubKeyHash",
    25: "NonAssociatedColdKey",
    26: "DelegateTakeTooLow",
    27: "DelegateTakeTooHigh",
}
BAD_REQUEST: Final = 255
"""The number of all rules that have none of their own."""


def rule_of_custom(number: int, call: str) -> str:
    """The module error behind a number; two errors share some numbers, of which the call says which it is."""
    weights = "weights" in call
    if number == 1 and weights:
        return "NotEnoughStakeToSetWeights"
    if number == 6 and weights:
        return "CommittingWeightsTooFast" if "commit" in call else "SettingWeightsTooFast"
    if number == 6 and call == "register_network":
        return "NetworkTxRateLimitExceeded"
    if number == BAD_REQUEST:
        return "BadRequest"
    return _CUSTOM.get(number, f"Custom{number}")


def refuse(rule: str, reason: str = "", remedy: str = "") -> Refusal:
    """A rule's refusal, in its own words or in better ones."""
    known = RULES.get(rule)
    if known is None:
        return Refusal(rule, reason or f"the chain's rule {rule} forbids it", remedy)
    return Refusal(rule, reason or known.reason, remedy or known.remedy)


def of_failure(failure: DispatchError | ExtrinsicInvalid, call: str) -> Refusal:
    """What refused a call in a block (DispatchError) or before one (ExtrinsicInvalid), without when to try again."""
    if isinstance(failure, DispatchError):
        found = refuse(failure.name)
        if failure.name not in RULES:
            return replace(found, reason=str(failure))
        return found
    number = refusals.custom_of(failure)
    if number is None:
        return Refusal(refusals.kind_of(failure) or "refused", failure.what, failure.remedy)
    rule = rule_of_custom(number, call)
    if rule not in RULES:
        return Refusal(rule, f"the chain refused it by its rule number {number}", failure.remedy)
    return refuse(rule)


def explain(connection: Connection, failure: DispatchError | ExtrinsicInvalid, subject: Subject) -> Refusal:
    """The same, and when to try again, as the chain's state of now has it: one more question where that is known."""
    found = of_failure(failure, subject.call)
    retry = RULES[found.rule].retry if found.rule in RULES else NO
    if found.rule in (refusals.EXHAUSTS, refusals.STALE, refusals.FUTURE):
        retry = NEXT_BLOCK
    if retry == NO:
        return found
    clock, values = _read(connection, subject)
    return found.at(_retry_block(retry, subject, clock, values), clock)


def _read(connection: Connection, subject: Subject) -> tuple[Clock, dict[str, Any]]:
    """The best block, and what times depend on, in one request."""
    wanted: dict[str, tuple[str, str, list[Any]]] = {"Number": ("System", "Number", [])}
    if subject.netuid is not None:
        netuid = subject.netuid
        wanted |= {
            item: (PALLET, item, [netuid]) for item in (*ITEMS, "WeightsSetRateLimit", "ServingRateLimit")
        }
        wanted["LastUpdate"] = (PALLET, "LastUpdate", [index_of(netuid, subject.mechanism)])
        if subject.account:
            wanted |= {
                item: (PALLET, item, [netuid, subject.account]) for item in ("Uids", "Axons", "Prometheus")
            }
    wanted = {name: one for name, one in wanted.items() if connection.has_storage(one[0], one[1])}
    values = dict(zip(wanted, connection.read_many(list(wanted.values())), strict=True))
    return Clock(int(values["Number"]), block_s(connection)), values


def _retry_block(retry: str, subject: Subject, clock: Clock, values: dict[str, Any]) -> int | None:
    if retry == NEXT_BLOCK:
        return clock.number + 1
    if subject.netuid is None:
        return None
    if retry == NEXT_EPOCH:
        return schedule_of(values, subject.netuid, clock.number).next_epoch
    if retry == SERVING_RATE:
        served = values.get("Prometheus" if subject.call == "serve_prometheus" else "Axons")
        return served_until(served, values.get("ServingRateLimit"))
    return updated_until(values.get("LastUpdate"), values.get("Uids"), values.get("WeightsSetRateLimit"))


def index_of(netuid: int, mechanism: int) -> int:
    """Where a mechanism's weights, incentive and last updates are kept."""
    return netuid + MECHANISM_STEP * mechanism


def updated_until(last_update: Any, uid: int | None, limit: Any) -> int | None:
    """The first block in which a neuron may set weights again; None where nothing holds it back."""
    if uid is None or not last_update or uid >= len(last_update):
        return None
    last = int(last_update[uid])
    return last + int(limit or 0) if last else None


def served_until(served: Any, limit: Any) -> int | None:
    """The first block in which an endpoint may be published again; None where nothing holds it back."""
    block = int(served["block"]) if served else 0
    return block + int(limit or 0) if block else None
