"""The runtime: what blocks do to state. Sans-IO, without a clock; one object for each runtime version.

Owns the order of things in a block and which checks come before which. The rules are in the pallets' own modules.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import bittensor_core

from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.devnet.chain.runtime import (
    apis,
    balances,
    commitments,
    epoch,
    extrinsic,
    genesis,
    neurons,
    staking,
    weights,
)
from mycelium.devnet.chain.runtime.calls import CALLS, Context, DispatchError, arguments
from mycelium.devnet.chain.runtime.extrinsic import Extrinsic
from mycelium.devnet.chain.runtime.neurons import PALLET
from mycelium.devnet.chain.runtime.shapes import Shapes
from mycelium.devnet.chain.runtime.state import Layout, State, Subnet
from mycelium.devnet.chain.runtime.timelock import Beacon, round_at
from mycelium.devnet.chain.spec import BLOCK_MS, ChainSpec
from mycelium.devnet.chain.storage import Overlay, View
from mycelium.devnet.chain.validity import FOREVER, ChainContext, InvalidTransaction, Validity
from mycelium.identity import account as accounts

PALLETS: Final = (balances, commitments, neurons, staking, weights)
"""Imported for what they register."""
SPEC_NAME: Final = "node-subtensor"
HASHES_KEPT: Final = 2_400
"""Hashes of so many blocks are remembered (`System.BlockHashCount`): the longest era that can be checked."""
CUSTOM: Final = {
    "NotEnoughStakeToSetWeights": 1,
    "AmountTooLow": 1,
    "NotEnoughBalanceToStake": 2,
    "SubnetNotExists": 3,
    "HotKeyAccountNotExists": 4,
    "NotEnoughStakeToWithdraw": 5,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidIpAddress": 11,
    "ServingRateLimitExceeded": 12,
    "InvalidPort": 13,
    "InvalidRevealRound": 15,
}
"""What Subtensor's transaction extension already refuses at submission, and the number it gives."""
BAD_REQUEST: Final = 255


class Runtime:
    """One runtime version. `codec` encodes and decodes by its metadata."""

    def __init__(self, spec: RuntimeSpec) -> None:
        self.spec = spec
        self._metadata = build(spec)
        self.codec = bittensor_core.Runtime(self._metadata.v15, spec.spec_version, spec.transaction_version)
        self.layout = Layout(self.codec)
        self.shapes = Shapes(self.codec.registry_json())
        self._apis = self.codec.runtime_api_map()
        self.block_ms = BLOCK_MS
        self._beacon = Beacon(0)

    @property
    def version(self) -> dict[str, Any]:
        """What `state_getRuntimeVersion` answers. An API's id is blake2b-64 of its name."""
        return {
            "specName": SPEC_NAME,
            "implName": SPEC_NAME,
            "authoringVersion": 1,
            "specVersion": self.spec.spec_version,
            "implVersion": 1,
            "apis": [
                ["0x" + blake2b(name.encode(), digest_size=8).hexdigest(), apis.VERSIONS.get(name, 1)]
                for name in self._apis
            ],
            "transactionVersion": self.spec.transaction_version,
            "systemVersion": 1,
            "stateVersion": 1,
        }

    def metadata(self, version: int) -> bytes | None:
        """Raw metadata; None for a version that this runtime does not give."""
        return {14: self._metadata.v14, 15: self._metadata.v15}.get(version)

    def state(self, view: View) -> State:
        """The state with its values decoded."""
        return State(self.layout, view)

    # --- blocks -----------------------------------------------------------------------------------------

    def genesis(self, chain: ChainSpec) -> dict[bytes, bytes]:
        """Raw storage of block 0."""
        self.begin(chain)
        overlay = Overlay(_Nothing())
        genesis.write(self.state(overlay), chain)
        return {key: value for key, value in overlay.changes.items() if value is not None}

    def begin(self, chain: ChainSpec) -> None:
        """Take over what a chain's spec says of blocks and beacon; for a runtime that comes by an upgrade too."""
        self.block_ms = chain.block_ms
        self._beacon = Beacon(chain.seed)

    def initialise(self, view: Overlay, number: int, parent_hash: bytes, timestamp_ms: int) -> list[bytes]:
        """Begin a block; the inherent extrinsics, which are carried out already."""
        state = self.state(view)
        state.delete("System", "Events")
        state.put("System", "EventCount", value=0)
        state.put("System", "Number", value=number)
        state.put("System", "ParentHash", value=parent_hash)
        state.put("System", "BlockHash", number - 1, value=parent_hash)
        if number > HASHES_KEPT:
            state.delete("System", "BlockHash", number - 1 - HASHES_KEPT)
        state.put("Timestamp", "Now", value=timestamp_ms)
        for netuid, added in state.map(PALLET, "NetworksAdded"):
            if added and Subnet(state, netuid)["RegistrationsThisBlock"]:
                Subnet(state, netuid)["RegistrationsThisBlock"] = 0
        context = self._context(state, None, {"ApplyExtrinsic": 0})
        self._succeeded(context, pays=False)
        call = self.codec.compose_call("Timestamp", "set", {"now": timestamp_ms})
        return [extrinsic.inherent(bytes(call))]

    def apply(self, view: Overlay, raw: bytes, index: int) -> None:
        """Carry out an extrinsic that `validate` let pass: fee and nonce are taken even if the call fails."""
        parsed = extrinsic.parse(raw)
        decoded = extrinsic.decode_call(self.codec, parsed.call)
        state = self.state(view)
        signer = accounts.format(parsed.account)
        context = self._context(state, signer, {"ApplyExtrinsic": index})
        pays = _pays(decoded)
        fee = balances.fee_rao(len(raw), pays=pays) + parsed.tip
        balances.next_nonce(state, signer)
        if fee:
            balances.change(state, signer, -fee)
            paid = {"who": signer, "actual_fee": fee, "tip": parsed.tip}
            context.deposit("TransactionPayment", "TransactionFeePaid", paid)
        try:
            context.dispatch(decoded["call_module"], decoded["call_function"], arguments(decoded))
        except DispatchError as error:
            failed = {"dispatch_error": balances.encoded_error(state, error), "dispatch_info": _info(pays)}
            context.deposit("System", "ExtrinsicFailed", failed)
            return
        self._succeeded(context, pays=pays)

    def finalise(self, view: Overlay) -> None:
        """End a block: epochs that are due, commits whose round is out."""
        state = self.state(view)
        context = self._context(state, None, "Finalization")
        round_now = round_at(context.timestamp_ms)
        state.put("Drand", "LastStoredRound", value=round_now)
        for netuid, added in list(state.map(PALLET, "NetworksAdded")):
            if added and netuid:
                subnet = Subnet(state, netuid)
                weights.reveal_due(context, subnet, self._beacon, round_now)
                epoch.run_due(context, subnet)

    def _context(self, state: State, signer: str | None, phase: Any) -> Context:
        number, now = state.get("System", "Number"), state.get("Timestamp", "Now")
        return Context(state, signer, number, now, phase, self.block_ms)

    def _succeeded(self, context: Context, *, pays: bool) -> None:
        context.deposit("System", "ExtrinsicSuccess", {"dispatch_info": _info(pays)})

    # --- before a block ---------------------------------------------------------------------------------

    def validate(self, view: View, raw: bytes, chain: ChainContext) -> Validity:
        """Whether an extrinsic may go into the next block. Raises InvalidTransaction, as the real chain."""
        parsed = extrinsic.parse(raw)
        decoded = extrinsic.decode_call(self.codec, parsed.call)
        state = self.state(view)
        era_block = self._era_block(parsed, chain)
        payload = parsed.payload(
            self.spec.spec_version, self.spec.transaction_version, chain.genesis_hash, era_block
        )
        if parsed.metadata_hash or not parsed.signed_by_account(payload):
            raise InvalidTransaction("BadProof")
        signer = accounts.format(parsed.account)
        pays = _pays(decoded)
        # Subtensor lets who was never given anything make calls that cost nothing: hotkeys hold no balance.
        if pays and not balances.exists(state, signer):
            raise InvalidTransaction("Payment")
        nonce: int = state.get("System", "Account", signer)["nonce"]
        if parsed.nonce < nonce:
            raise InvalidTransaction("Stale")
        fee = balances.fee_rao(len(raw), pays=pays) + parsed.tip
        if balances.free_rao(state, signer) < fee:
            raise InvalidTransaction("Payment")
        self._extension(state, signer, decoded)
        return Validity(
            hash=blake2b(raw, digest_size=32).digest(),
            account=parsed.account,
            nonce=parsed.nonce,
            requires=(_tag(parsed.account, parsed.nonce - 1),) if parsed.nonce > nonce else (),
            provides=(_tag(parsed.account, parsed.nonce),),
            longevity=max(1, parsed.death(chain.number) - chain.number) if parsed.period else FOREVER,
            priority=parsed.tip,
        )

    def _era_block(self, parsed: Extrinsic, chain: ChainContext) -> bytes:
        if not parsed.period:
            return chain.genesis_hash
        # Seen from the newest block there is, not from the one being made.
        found = chain.block_hash(parsed.birth(max(0, chain.number - 1)))
        if found is None:
            raise InvalidTransaction("AncientBirthBlock")
        return found

    def _extension(self, state: State, signer: str, decoded: dict[str, Any]) -> None:
        """What Subtensor's extension looks at before a block (`SubtensorTransactionExtension::validate`)."""
        if decoded["call_module"] != PALLET:
            return
        context = self._context(State(self.layout, Overlay(state.view)), signer, "Initialization")
        given = arguments(decoded)
        try:
            _check_before(context, decoded["call_function"], given)
        except DispatchError as error:
            raise InvalidTransaction("Custom", CUSTOM.get(error.name, BAD_REQUEST)) from None

    def dispatch_result(self, view: Overlay, raw: bytes) -> bytes:
        """What carrying out the extrinsic would give, SCALE: `DispatchResult`, for `system_dryRun`."""
        parsed = extrinsic.parse(raw)
        decoded = extrinsic.decode_call(self.codec, parsed.call)
        state = self.state(view)
        context = self._context(state, accounts.format(parsed.account), "Finalization")
        try:
            context.dispatch(decoded["call_module"], decoded["call_function"], arguments(decoded))
        except DispatchError as error:
            return b"\1" + bytes(self.codec.encode("DispatchError", balances.encoded_error(state, error)))
        return b"\0"

    # --- runtime APIs -----------------------------------------------------------------------------------

    def call(self, view: View, method: str, data: bytes) -> bytes:
        """Answer `state_call`. UnknownRuntimeApi; ValueError for arguments that do not decode."""
        return apis.answer(self, State(self.layout, view), method, data)

    # --- by hand ----------------------------------------------------------------------------------------

    def deregister(self, view: Overlay, netuid: int, uid: int) -> None:
        """Take a neuron off its uid. KeyError when there is none."""
        self._subnet(view, netuid, uid)
        neurons.remove(self._subnet(view, netuid, uid), uid)

    def remove_permit(self, view: Overlay, netuid: int, uid: int) -> None:
        """Take a validator's permit, until it is given back: epochs do not return it."""
        subnet = self._subnet(view, netuid, uid)
        view.put(epoch.removed_key(netuid, subnet.hotkey(uid)), b"\1")
        subnet.set_in("ValidatorPermit", uid, False)

    def give_permit(self, view: Overlay, netuid: int, uid: int) -> None:
        """Give a permit at once; from the next epoch on the hotkey keeps it if its stake earns it."""
        subnet = self._subnet(view, netuid, uid)
        view.delete(epoch.removed_key(netuid, subnet.hotkey(uid)))
        subnet.set_in("ValidatorPermit", uid, True)

    def _subnet(self, view: Overlay, netuid: int, uid: int) -> Subnet:
        subnet = Subnet(self.state(view), netuid)
        if not subnet.exists or uid >= subnet["SubnetworkN"]:
            raise KeyError(f"netuid {netuid} has no uid {uid}")
        return subnet


def _check_before(context: Context, function: str, given: dict[str, Any]) -> None:
    if function.endswith(("_weights", "_weights_batch")) and "netuid" in given:
        subnet = context.subnet(given["netuid"])
        weights.check_stake(context.state, subnet, context.account())
        reveal_round = given.get("reveal_round")
        if reveal_round is not None and reveal_round < context.state.get("Drand", "LastStoredRound"):
            context.refuse("InvalidRevealRound")
    elif function in ("serve_axon", "serve_axon_tls"):
        shown = {name: value for name, value in given.items() if name not in ("netuid", "certificate")}
        neurons.check_axon(context, given["netuid"], **shown)
    elif function in ("add_stake", "add_stake_limit"):
        staking.check_add(context, given["hotkey"], given["netuid"], given["amount_staked"])
    elif function in ("remove_stake", "remove_stake_limit"):
        staking.check_remove(context, given["hotkey"], given["netuid"], given["amount_unstaked"])


def _pays(decoded: dict[str, Any]) -> bool:
    found = CALLS.get((decoded["call_module"], decoded["call_function"]))
    return found is None or found.pays


def _info(pays: bool) -> dict[str, Any]:
    weight = {"ref_time": 0, "proof_size": 0}
    return {"weight": weight, "class": "Normal", "pays_fee": "Yes" if pays else "No"}


def _tag(account: bytes, nonce: int) -> bytes:
    return account + nonce.to_bytes(4, "little")


class _Nothing:
    """The state before block 0."""

    def get(self, key: bytes) -> bytes | None:
        del key
        return None

    def keys(self, prefix: bytes, after: bytes | None = None) -> Any:
        del prefix, after
        return iter(())
