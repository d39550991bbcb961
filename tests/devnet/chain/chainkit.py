"""A chain without its server, and accounts that sign for it: for tests of what blocks do."""

from __future__ import annotations

from typing import Any

import pytest

from mycelium.devnet.chain.core import MANUAL, Core
from mycelium.devnet.chain.pool import PoolRefusal
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair

TAO = 10**9
GENESIS_MS = 1_760_000_000_000
ALICE, BOB = Keypair.development("//Alice"), Keypair.development("//Bob")
OWNER, COLD = Keypair.development("//owner"), Keypair.development("//cold")
VALIDATORS = [Keypair.development(f"//validator//{number}") for number in range(3)]
MINERS = [Keypair.development(f"//miner//{number}") for number in range(3)]
NETUID = 1


def ss58(keypair: Keypair) -> str:
    return accounts.format(keypair.account)


def spec(
    *, commit_reveal: bool = False, tempo: int = 10, balances: Any = None, **hyperparameters: Any
) -> ChainSpec:
    """Three validators of 3000, 2000 and 1000 TAO, three miners; the first validator's hotkey owns the subnet."""
    neurons = [
        Neuron(pair.account, COLD.account, stake_rao=(3 - at) * 1000 * TAO, validator=True)
        for at, pair in enumerate(VALIDATORS)
    ]
    neurons += [Neuron(pair.account, COLD.account) for pair in MINERS]
    hyper = {"WeightsSetRateLimit": 5, "MinAllowedWeights": 1, "MaxWeightsLimit": 65_535, **hyperparameters}
    subnet = Subnet(
        NETUID,
        VALIDATORS[0].account,
        OWNER.account,
        tempo=tempo,
        neurons=tuple(neurons),
        commit_reveal=commit_reveal,
        hyperparameters=hyper,
    )
    rich = {pair.account: 10_000 * TAO for pair in (ALICE, OWNER, COLD)}
    return ChainSpec(
        balances=rich if balances is None else balances,
        subnets=(subnet,),
        genesis_time_ms=GENESIS_MS,
        sudo=ALICE.account,
    )


def refused(bench: Bench, keypair, pallet, function, **params) -> str:
    """What a submission is refused with."""
    with pytest.raises(PoolRefusal) as refusal:
        bench.submit(keypair, pallet, function, **params)
    return str(refusal.value.data)


class Bench:
    """A chain whose blocks are made by hand."""

    def __init__(self, chain: ChainSpec | None = None) -> None:
        self.core = Core(chain or spec(), clock=lambda: GENESIS_MS, blocks=MANUAL, block_ms=250)
        self.nonces: dict[bytes, int] = {}

    @property
    def runtime(self):
        return self.core.runtime

    @property
    def state(self):
        return self.runtime.state(self.core.chain.storage)

    def read(self, pallet: str, item: str, *keys: Any) -> Any:
        return self.state.get(pallet, item, *keys)

    def subnet(self, item: str) -> Any:
        return self.read("SubtensorModule", item, NETUID)

    def extrinsic(
        self, keypair, pallet, function, *, nonce=None, era="00", tip=0, genesis=None, **params
    ) -> bytes:
        call = self.composed(pallet, function, params)
        return self.signed(keypair, call, nonce=nonce, era=era, tip=tip, genesis=genesis)

    def signed(self, keypair, call: bytes, *, nonce=None, era="00", tip=0, genesis=None) -> bytes:
        """A call in an extrinsic."""
        codec = self.runtime.codec
        if nonce is None:
            nonce = self.read("System", "Account", ss58(keypair))["nonce"]
        chain = self.core.chain
        genesis = chain.genesis if genesis is None else genesis
        era_block = genesis
        if era != "00":
            era_block = chain.hash_of(era["current"])
        parts = {"era": era, "nonce": nonce, "tip": tip, "tip_asset_id": None}
        payload = bytes(
            codec.signature_payload(call, genesis_hash=genesis, era_block_hash=era_block, **parts)
        )
        signature = keypair.sign_preimage(payload)
        raw, _ = codec.encode_signed_extrinsic(
            call, public_key=keypair.account, signature=signature, signature_version=1, **parts
        )
        return bytes(raw)

    def submit(self, keypair, pallet, function, **params) -> bytes:
        return self.core.submit(self.extrinsic(keypair, pallet, function, **params))

    def submit_raw(self, keypair, call: bytes) -> bytes:
        return self.core.submit(self.signed(keypair, call))

    def call(self, keypair, pallet, function, **params) -> str | None:
        """Submit, make a block; the name of the error, None when it succeeded."""
        self.submit(keypair, pallet, function, **params)
        self.core.step()
        return self.outcome()

    def sudo(self, pallet, function, **params) -> Any:
        """Make a call as root; the name of the error or the error itself, None when it succeeded."""
        assert self.call(ALICE, "Sudo", "sudo", call=self.composed(pallet, function, params)) is None
        return self.failure(self.event("Sudid")["sudo_result"])

    def composed(self, pallet, function, params) -> bytes:
        return bytes(self.runtime.codec.compose_call(pallet, function, params))

    def failure(self, result: Any) -> Any:
        if "Ok" in result:
            return None
        error = result["Err"]
        return self._name(error) if isinstance(error, dict) else error

    def bring_pulse(self, round_number: int, signature: bytes) -> None:
        pulse = {"round": round_number, "randomness": bytes(32), "signature": signature}
        public = {"Sr25519": ALICE.account}
        brought = {"block_number": 1, "pulses": [pulse], "public": public}
        assert self.sudo("Drand", "write_pulse", pulses_payload=brought, signature=None) is None

    def to_block(self, number: int) -> None:
        """Make blocks until that one is there."""
        self.core.step(number - self.core.chain.best.number)

    def edit_item(self, pallet: str, item: str, *keys: Any, value: Any) -> None:
        """Change a storage item by hand, in a block of its own."""
        self.core.edit(lambda view: self.runtime.state(view).put(pallet, item, *keys, value=value))

    def _name(self, error: dict) -> str:
        kind, value = next(iter(error.items()))
        if kind != "Module":
            return value
        number = bytes.fromhex(value["error"].removeprefix("0x"))[0]
        return self.runtime.codec.module_error(value["index"], number)[0]

    def outcome(self) -> str | None:
        """Of the newest block's first signed extrinsic."""
        for event in self.events():
            if event["event_id"] == "ExtrinsicFailed":
                error = event["attributes"]["dispatch_error"]
                return self._name(error) if isinstance(error, dict) else error
        return None

    def events(self) -> list[dict]:
        return self.read("System", "Events")

    def event(self, name: str) -> Any:
        """The attributes of the newest block's event of that name."""
        found = [event["attributes"] for event in self.events() if event["event_id"] == name]
        assert found, f"no {name} among {[event['event_id'] for event in self.events()]}"
        return found[-1]

    def api(self, method: str, *arguments: Any) -> Any:
        name, _, function = method.partition("_")
        known = self.runtime.codec.runtime_api_map()[name][function]
        data = b"".join(
            bytes(self.runtime.codec.encode(kind, value))
            for (_, kind), value in zip(known["inputs"], arguments, strict=True)
        )
        return self.runtime.codec.decode(
            known["output"], self.runtime.call(self.core.chain.storage, method, data)
        )
