"""The runtime: what blocks do to state. Sans-IO, without a clock; one object for each runtime version.

Owns the order of things in a block and which checks come before which. The rules are in the pallets' own modules.
"""

from __future__ import annotations

import dataclasses
from hashlib import blake2b
from typing import Any, Final

import bittensor_core

from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.devnet.chain.runtime import (
    apis,
    balances,
    commitments,
    commits,
    drand,
    epoch,
    extrinsic,
    genesis,
    guards,
    hyperparameters,
    neurons,
    serving,
    staking,
    utility,
    weights,
)
from mycelium.devnet.chain.runtime.calls import Context, DispatchError, arguments, encoded_error, pays
from mycelium.devnet.chain.runtime.extrinsic import Extrinsic
from mycelium.devnet.chain.runtime.shapes import Shapes
from mycelium.devnet.chain.runtime.state import PALLET, Layout, State, Subnet, as_bytes
from mycelium.devnet.chain.runtime.timelock import Beacon, round_at
from mycelium.devnet.chain.spec import BLOCK_MS, ChainSpec
from mycelium.devnet.chain.storage import Overlay, View
from mycelium.devnet.chain.validity import FOREVER, ChainContext, InvalidTransaction, Validity
from mycelium.identity import account as accounts

PALLETS: Final = (
    balances,
    commitments,
    commits,
    drand,
    guards,
    hyperparameters,
    neurons,
    serving,
    staking,
    utility,
    weights,
)
"""Imported for what they register."""
HASHES_KEPT: Final = 2_400
"""Hashes of so many blocks are remembered (`System.BlockHashCount`): the longest era that can be checked."""
COMMIT_BYTES_MAX: Final = 5_000
"""A longer sealed commit does not decode (`MAX_CRV3_COMMIT_SIZE_BYTES`)."""


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
            "specName": genesis.SPEC_NAME,
            "implName": genesis.SPEC_NAME,
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

    @property
    def code(self) -> bytes:
        """What is kept as the runtime's code; there is no wasm to run.

        It differs where the metadata does, and the genesis hash with it: clients keep metadata on disk by genesis
        hash and spec version, and would read one chain by the metadata of another.
        """
        digest = blake2b(self._metadata.v15, digest_size=16).hexdigest()
        return f"{genesis.SPEC_NAME} {self.spec.spec_version} {digest}".encode()

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
        genesis.write(self.state(overlay), chain, self.code)
        return {key: value for key, value in overlay.changes.items() if value is not None}

    def begin(self, chain: ChainSpec) -> None:
        """Take over what a chain's spec says of blocks and beacon; for a runtime that comes by an upgrade too."""
        self.block_ms = chain.block_ms
        # Clients count time in blocks by what the metadata says of their distance; `codec` does not differ by it.
        self._metadata = build(dataclasses.replace(self.spec, slot_ms=chain.block_ms))
        self._beacon = Beacon(chain.seed)

    def initialise(self, view: Overlay, number: int, parent_hash: bytes, timestamp_ms: int) -> list[bytes]:
        """Begin a block; the inherent extrinsics, which are carried out already.

        Epochs and reveals come first, as on the real chain: what a block's extrinsics do counts for the next epoch.
        """
        state = self.state(view)
        state.delete("System", "Events")
        state.put("System", "EventCount", value=0)
        state.put("System", "Number", value=number)
        state.put("System", "ParentHash", value=parent_hash)
        state.put("System", "BlockHash", number - 1, value=parent_hash)
        if number > HASHES_KEPT:
            state.delete("System", "BlockHash", number - 1 - HASHES_KEPT)
        state.put("Timestamp", "Now", value=timestamp_ms)
        self._upgrade(state)
        self._step(self._context(state, None, "Initialization"))
        context = self._context(state, None, {"ApplyExtrinsic": 0})
        context.deposit("System", "ExtrinsicSuccess", {"dispatch_info": _info(False)})
        call = self.codec.compose_call("Timestamp", "set", {"now": timestamp_ms})
        return [extrinsic.inherent(bytes(call))]

    def _upgrade(self, state: State) -> None:
        """In the first block of a new runtime: note it. Its storage is the old one's, nothing is migrated."""
        last = state.get("System", "LastRuntimeUpgrade")
        if last is None or last["spec_version"] != self.spec.spec_version:
            genesis.note_runtime(state, self.spec.spec_version, self.code)

    def _step(self, context: Context) -> None:
        """What happens in each block without anybody asking for it (`block_step`)."""
        state, number = context.state, context.number
        round_now = round_at(context.timestamp_ms)
        state.put("Drand", "LastStoredRound", value=round_now)
        netuids = sorted(netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added and netuid)
        subnets = [Subnet(state, netuid) for netuid in netuids]
        put_off = epoch.deferred(subnets, number, state.get(PALLET, "MaxEpochsPerBlock"))
        for subnet in subnets:
            if subnet["RegistrationsThisBlock"]:
                subnet["RegistrationsThisBlock"] = 0
            neurons.decay_burn(subnet, number)
            if subnet.netuid not in put_off:
                commits.reveal_due(context, subnet, self._beacon, round_now)
            epoch.run_due(context, subnet, wait=subnet.netuid in put_off)

    def apply(self, view: Overlay, raw: bytes, index: int) -> None:
        """Carry out an extrinsic that `validate` let pass: fee and nonce are taken even if the call fails."""
        parsed, decoded = self._decoded(raw)
        state = self.state(view)
        signer = accounts.format(parsed.account)
        context = self._context(state, signer, {"ApplyExtrinsic": index})
        paying = pays(decoded)
        fee = balances.fee_rao(len(raw), pays=paying) + parsed.tip
        balances.next_nonce(state, signer)
        if fee:
            balances.take_fee(context, signer, fee)
        failed = self._tried(context, decoded)
        if fee:
            paid = {"who": signer, "actual_fee": fee, "tip": parsed.tip}
            context.deposit("TransactionPayment", "TransactionFeePaid", paid)
        result: dict[str, Any] = {"dispatch_info": _info(paying)}
        if failed is None:
            context.deposit("System", "ExtrinsicSuccess", result)
        else:
            context.deposit("System", "ExtrinsicFailed", {"dispatch_error": failed, **result})

    def finalise(self, view: Overlay) -> None:
        """End a block: the phase in which events happened is over."""
        self.state(view).delete("System", "ExecutionPhase")

    def _tried(self, context: Context, decoded: dict[str, Any]) -> Any:
        """Carry out a call; the error that it ended with, encoded, None when it succeeded."""
        try:
            context.dispatch(decoded["call_module"], decoded["call_function"], arguments(decoded))
        except DispatchError as error:
            return encoded_error(context.state, error)
        return None

    def _decoded(self, raw: bytes) -> tuple[Extrinsic, dict[str, Any]]:
        """An extrinsic taken apart, and its call. InvalidTransaction "Undecodable"."""
        parsed = extrinsic.parse(raw)
        decoded = extrinsic.decode_call(self.codec, parsed.call)
        commit = arguments(decoded).get("commit")
        if commit is not None and len(as_bytes(commit)) > COMMIT_BYTES_MAX:
            raise InvalidTransaction("Undecodable")
        return parsed, decoded

    def _context(self, state: State, signer: str | None, phase: Any) -> Context:
        number, now = state.get("System", "Number"), state.get("Timestamp", "Now")
        return Context(state, signer, number, now, phase, self.block_ms)

    # --- before a block ---------------------------------------------------------------------------------

    def validate(self, view: View, raw: bytes, chain: ChainContext) -> Validity:
        """Whether an extrinsic may go into the next block. Raises InvalidTransaction, as the real chain."""
        parsed, decoded = self._decoded(raw)
        state = self.state(view)
        era_block = self._era_block(parsed, chain)
        payload = parsed.payload(
            self.spec.spec_version, self.spec.transaction_version, chain.genesis_hash, era_block
        )
        if parsed.metadata_hash or not parsed.signed_by_account(payload):
            raise InvalidTransaction("BadProof")
        signer = accounts.format(parsed.account)
        paying = pays(decoded)
        # Subtensor lets who was never given anything make calls that cost nothing: hotkeys hold no balance.
        if paying and not balances.exists(state, signer):
            raise InvalidTransaction("Payment")
        nonce: int = state.get("System", "Account", signer)["nonce"]
        if parsed.nonce < nonce:
            raise InvalidTransaction("Stale")
        fee = balances.fee_rao(len(raw), pays=paying) + parsed.tip
        if fee and not balances.can_pay(state, signer, fee):
            raise InvalidTransaction("Payment")
        self._extension(state, signer, decoded, chain.number)
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

    def _extension(self, state: State, signer: str, decoded: dict[str, Any], number: int) -> None:
        """What Subtensor's extension looks at before a block (`SubtensorTransactionExtension::validate`)."""
        context = self._context(State(self.layout, Overlay(state.view)), signer, "Initialization")
        context.number = number
        try:
            guards.check(context, decoded["call_module"], decoded["call_function"], arguments(decoded))
        except DispatchError as error:
            number = guards.CUSTOM.get(error.name, guards.BAD_REQUEST)
            raise InvalidTransaction("Custom", number) from None

    def dispatch_result(self, view: Overlay, raw: bytes) -> bytes:
        """What carrying out the extrinsic would give, SCALE: `DispatchResult`, for `system_dryRun`."""
        parsed, decoded = self._decoded(raw)
        account = accounts.format(parsed.account)
        failed = self._tried(self._context(self.state(view), account, "Finalization"), decoded)
        if failed is None:
            return b"\0"
        return b"\1" + bytes(self.codec.encode(self.shapes.named("sp_runtime", "DispatchError"), failed))

    # --- runtime APIs -----------------------------------------------------------------------------------

    def call(self, view: View, method: str, data: bytes) -> bytes:
        """Answer `state_call`. UnknownRuntimeApi; ValueError for arguments that do not decode."""
        return apis.answer(self, State(self.layout, view), method, data)

    # --- by hand ----------------------------------------------------------------------------------------

    def deregister(self, view: Overlay, netuid: int, uid: int) -> None:
        """Take a neuron off its uid. KeyError when there is none.

        A uid is never empty: like on the real chain another hotkey takes it, here one that nobody has.
        """
        subnet, number = self._subnet(view, netuid, uid), self.state(view).get("System", "Number")
        place = f"deregistered {netuid} {uid} {number}".encode()
        neurons.replace(subnet, uid, accounts.format(blake2b(place, digest_size=32).digest()), number)

    def give_pulse(self, view: Overlay, round_number: int, signature: bytes) -> None:
        """Bring the real beacon's signature of a round: commits sealed to it open when their epoch comes."""
        drand.keep_pulse(self.state(view), round_number, signature)

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
