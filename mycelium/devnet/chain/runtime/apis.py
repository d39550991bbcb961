"""Runtime APIs: what `state_call` answers, encoded by the types that the metadata gives each function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mycelium.devnet.chain.runtime import balances, extrinsic, info, neurons, staking
from mycelium.devnet.chain.runtime.calls import pays
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet
from mycelium.devnet.chain.validity import InvalidTransaction, UnknownRuntimeApi
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from mycelium.devnet.chain.runtime.runtime import Runtime

VERSIONS: Final = {"Core": 5, "Metadata": 2, "TransactionPaymentApi": 4}
"""Of those that are not at their first version."""
Answer = Callable[..., Any]
_ANSWERS: Final[dict[str, Answer]] = {}
_FILLED: Final[set[str]] = set()
_OF_EXTRINSICS: Final = {"TransactionPaymentApi_query_info", "TransactionPaymentApi_query_fee_details"}


def api(name: str, *, filled: bool = False) -> Callable[[Answer], Answer]:
    """Register the answer to a function: `(runtime, state, *arguments)`. filled: structs, to be completed."""

    def register(answer: Answer) -> Answer:
        _ANSWERS[name] = answer
        if filled:
            _FILLED.add(name)
        return answer

    return register


def answer(runtime: Runtime, state: State, method: str, data: bytes) -> bytes:
    """Decode the arguments, answer, encode. UnknownRuntimeApi; ValueError for arguments that do not decode."""
    name, _, function = method.partition("_")
    known = runtime.codec.runtime_api_map().get(name, {}).get(function)
    found = _ANSWERS.get(method)
    if known is None or found is None:
        raise UnknownRuntimeApi(method)
    given = found(runtime, state, *_arguments(runtime, method, known["inputs"], data))
    if method in _FILLED:
        given = _fill(runtime, known["output"], given)
    return bytes(runtime.codec.encode(known["output"], given))


def _arguments(runtime: Runtime, method: str, inputs: list[Any], data: bytes) -> list[Any]:
    if method in _OF_EXTRINSICS:
        # The extrinsic says itself how long it is.
        size = extrinsic.size_of(data)
        if len(data) != size + 4:
            raise ValueError(f"{method} takes an extrinsic and its length")
        return [data[:size]]
    arguments = []
    for _, kind in inputs:
        value = runtime.codec.decode(kind, data, strict=False)
        size = len(bytes(runtime.codec.encode(kind, value)))
        arguments.append(value)
        data = data[size:]
    if data:
        raise ValueError(f"{len(data)} bytes more than {method} takes")
    return arguments


def _fill(runtime: Runtime, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        inner = runtime.shapes.item(kind)
        return [_fill(runtime, inner, one) for one in value]
    if not runtime.shapes.fields(kind):
        return _fill(runtime, runtime.shapes.item(kind), value)
    return runtime.shapes.fill(kind, value)


def _existing(state: State, netuid: int) -> Subnet | None:
    subnet = Subnet(state, netuid)
    return subnet if subnet.exists else None


def _netuids(state: State) -> list[int]:
    """Of all subnets; the root is 0."""
    return sorted(netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added)


# --- what every runtime has -------------------------------------------------------------------------------


@api("Core_version")
def core_version(runtime: Runtime, state: State) -> Any:
    del state
    return runtime.codec.constant("System", "Version")


@api("Metadata_metadata")
def metadata(runtime: Runtime, state: State) -> bytes | None:
    del state
    return runtime.metadata(14)


@api("Metadata_metadata_at_version")
def metadata_at_version(runtime: Runtime, state: State, version: int) -> bytes | None:
    del state
    return runtime.metadata(version)


@api("Metadata_metadata_versions")
def metadata_versions(runtime: Runtime, state: State) -> list[int]:
    del state
    return [version for version in (14, 15) if runtime.metadata(version) is not None]


@api("AccountNonceApi_account_nonce")
def account_nonce(runtime: Runtime, state: State, account: str) -> int:
    del runtime
    nonce: int = state.get("System", "Account", account)["nonce"]
    return nonce


@api("TransactionPaymentApi_query_length_to_fee")
def query_length_to_fee(runtime: Runtime, state: State, length: int) -> int:
    del runtime, state
    return balances.FEE_BYTE_RAO * length


@api("TransactionPaymentApi_query_weight_to_fee")
def query_weight_to_fee(runtime: Runtime, state: State, weight: Any) -> int:
    del runtime, state, weight
    return balances.FEE_BASE_RAO


@api("TransactionPaymentApi_query_info", filled=True)
def query_info(runtime: Runtime, state: State, raw: bytes) -> Any:
    """What an extrinsic will cost, whether it is validly signed or not."""
    weight = {"ref_time": 0, "proof_size": 0}
    return {"weight": weight, "class": "Normal", "partial_fee": _fee(runtime, raw)}


@api("TransactionPaymentApi_query_fee_details", filled=True)
def query_fee_details(runtime: Runtime, state: State, raw: bytes) -> Any:
    fee = _fee(runtime, raw)
    if not fee:
        return {"inclusion_fee": None}
    base = balances.FEE_BASE_RAO
    return {"inclusion_fee": {"base_fee": base, "len_fee": fee - base, "adjusted_weight_fee": 0}}


def _fee(runtime: Runtime, raw: bytes) -> int:
    try:
        decoded = extrinsic.decode_call(runtime.codec, extrinsic.parse(raw).call)
    except InvalidTransaction:
        raise ValueError("no extrinsic of this runtime") from None
    return balances.fee_rao(len(raw), pays=pays(decoded))


@api("AuraApi_slot_duration")
def slot_duration(runtime: Runtime, state: State) -> int:
    del state
    return runtime.block_ms


@api("SubnetRegistrationRuntimeApi_get_network_registration_cost")
def network_registration_cost(runtime: Runtime, state: State) -> int:
    del runtime, state
    return neurons.NETWORK_COST_RAO


# --- neurons ----------------------------------------------------------------------------------------------


def _neurons(state: State, netuid: int, *, whole: bool) -> list[Any]:
    subnet = _existing(state, netuid)
    if subnet is None:
        return []
    vectors = info.vectors(subnet)
    return [info.neuron(state, subnet, uid, vectors, whole=whole) for uid in range(subnet["SubnetworkN"])]


def _neuron(state: State, netuid: int, uid: int, *, whole: bool) -> Any:
    subnet = _existing(state, netuid)
    if subnet is None or uid >= subnet["SubnetworkN"]:
        return None
    return info.neuron(state, subnet, uid, info.vectors(subnet), whole=whole)


@api("NeuronInfoRuntimeApi_get_neurons_lite", filled=True)
def get_neurons_lite(runtime: Runtime, state: State, netuid: int) -> Any:
    return _neurons(state, netuid, whole=False)


@api("NeuronInfoRuntimeApi_get_neurons", filled=True)
def get_neurons(runtime: Runtime, state: State, netuid: int) -> Any:
    return _neurons(state, netuid, whole=True)


@api("NeuronInfoRuntimeApi_get_neuron_lite", filled=True)
def get_neuron_lite(runtime: Runtime, state: State, netuid: int, uid: int) -> Any:
    return _neuron(state, netuid, uid, whole=False)


@api("NeuronInfoRuntimeApi_get_neuron", filled=True)
def get_neuron(runtime: Runtime, state: State, netuid: int, uid: int) -> Any:
    return _neuron(state, netuid, uid, whole=True)


# --- subnets ----------------------------------------------------------------------------------------------


@api("SubnetInfoRuntimeApi_get_metagraph", filled=True)
def get_metagraph(runtime: Runtime, state: State, netuid: int) -> Any:
    return get_mechagraph(runtime, state, netuid, 0)


@api("SubnetInfoRuntimeApi_get_mechagraph", filled=True)
def get_mechagraph(runtime: Runtime, state: State, netuid: int, mecid: int) -> Any:
    subnet = _existing(state, netuid)
    if subnet is None or mecid >= subnet["MechanismCountCurrent"]:
        return None
    return info.metagraph(state, subnet, mecid)


@api("SubnetInfoRuntimeApi_get_all_metagraphs", filled=True)
@api("SubnetInfoRuntimeApi_get_all_mechagraphs", filled=True)
def get_all_metagraphs(runtime: Runtime, state: State) -> Any:
    return [info.metagraph(state, Subnet(state, netuid)) for netuid in _netuids(state)]


@api("SubnetInfoRuntimeApi_get_selective_metagraph", filled=True)
def get_selective_metagraph(runtime: Runtime, state: State, netuid: int, indices: list[int]) -> Any:
    return get_selective_mechagraph(runtime, state, netuid, 0, indices)


@api("SubnetInfoRuntimeApi_get_selective_mechagraph", filled=True)
def get_selective_mechagraph(
    runtime: Runtime, state: State, netuid: int, mecid: int, indices: list[int]
) -> Any:
    subnet = _existing(state, netuid)
    if subnet is None or mecid >= subnet["MechanismCountCurrent"]:
        return None
    functions = runtime.codec.runtime_api_map()["SubnetInfoRuntimeApi"]
    kind = runtime.shapes.item(functions["get_selective_metagraph"]["output"])
    return info.selective(state, subnet, list(runtime.shapes.fields(kind)), list(indices), mecid)


@api("SubnetInfoRuntimeApi_get_subnet_state", filled=True)
def get_subnet_state(runtime: Runtime, state: State, netuid: int) -> Any:
    return get_mechagraph(runtime, state, netuid, 0)


@api("SubnetInfoRuntimeApi_get_subnet_hyperparams", filled=True)
@api("SubnetInfoRuntimeApi_get_subnet_hyperparams_v2", filled=True)
def get_subnet_hyperparams(runtime: Runtime, state: State, netuid: int) -> Any:
    subnet = _existing(state, netuid)
    return None if subnet is None else info.hyperparameters(subnet)


@api("SubnetInfoRuntimeApi_get_subnet_hyperparams_v3")
def get_subnet_hyperparams_v3(runtime: Runtime, state: State, netuid: int) -> Any:
    """By name: booleans, and whole numbers as the widest kind there is."""
    subnet = _existing(state, netuid)
    if subnet is None:
        return None
    functions = runtime.codec.runtime_api_map()["SubnetInfoRuntimeApi"]
    known = runtime.shapes.fields(runtime.shapes.item(functions["get_subnet_hyperparams_v2"]["output"]))
    return [
        {"name": list(name.encode()), "value": {"Bool" if isinstance(value, bool) else "U64": value}}
        for name, value in info.hyperparameters(subnet).items()
        if name in known
    ]


@api("SubnetInfoRuntimeApi_get_subnet_info", filled=True)
@api("SubnetInfoRuntimeApi_get_subnet_info_v2", filled=True)
def get_subnet_info(runtime: Runtime, state: State, netuid: int) -> Any:
    subnet = _existing(state, netuid)
    return None if subnet is None else info.subnet_info(subnet)


@api("SubnetInfoRuntimeApi_get_subnets_info", filled=True)
@api("SubnetInfoRuntimeApi_get_subnets_info_v2", filled=True)
def get_subnets_info(runtime: Runtime, state: State) -> Any:
    return [info.subnet_info(Subnet(state, netuid)) for netuid in _netuids(state)]


@api("SubnetInfoRuntimeApi_get_dynamic_info", filled=True)
def get_dynamic_info(runtime: Runtime, state: State, netuid: int) -> Any:
    subnet = Subnet(state, netuid)
    return info.dynamic(subnet, state.get("System", "Number")) if subnet.exists else None


@api("SubnetInfoRuntimeApi_get_all_dynamic_info", filled=True)
def get_all_dynamic_info(runtime: Runtime, state: State) -> Any:
    block = state.get("System", "Number")
    return [info.dynamic(Subnet(state, netuid), block) for netuid in _netuids(state)]


@api("SubnetInfoRuntimeApi_get_next_epoch_start_block")
def get_next_epoch_start_block(runtime: Runtime, state: State, netuid: int) -> Any:
    subnet = _existing(state, netuid)
    return None if subnet is None else info.next_epoch(subnet)


@api("SubnetInfoRuntimeApi_get_subnet_to_prune")
def get_subnet_to_prune(runtime: Runtime, state: State) -> Any:
    """None is ever pruned here."""
    return None


@api("SubnetInfoRuntimeApi_get_subnet_account_id")
def get_subnet_account_id(runtime: Runtime, state: State, netuid: int) -> Any:
    """The account of a pallet's sub-account: its mark, the pallet's name and the netuid."""
    if _existing(state, netuid) is None:
        return None
    return accounts.format((b"modlsubtensr" + netuid.to_bytes(2, "little")).ljust(32, b"\0"))


@api("SubnetInfoRuntimeApi_get_coldkey_auto_stake_hotkey")
def get_coldkey_auto_stake_hotkey(runtime: Runtime, state: State, coldkey: str, netuid: int) -> Any:
    return state.get(PALLET, "AutoStakeDestination", coldkey, netuid)


# --- stake ------------------------------------------------------------------------------------------------


@api("StakeInfoRuntimeApi_get_stake_info_for_coldkey", filled=True)
def get_stake_info_for_coldkey(runtime: Runtime, state: State, coldkey: str) -> Any:
    return info.stakes(state, coldkey)


@api("StakeInfoRuntimeApi_get_stake_info_for_coldkeys")
def get_stake_info_for_coldkeys(runtime: Runtime, state: State, coldkeys: list[str]) -> Any:
    functions = runtime.codec.runtime_api_map()["StakeInfoRuntimeApi"]
    kind = functions["get_stake_info_for_coldkey"]["output"]
    return [(coldkey, _fill(runtime, kind, info.stakes(state, coldkey))) for coldkey in coldkeys]


@api("StakeInfoRuntimeApi_get_stake_info_for_hotkey_coldkey_netuid", filled=True)
def get_stake_info(runtime: Runtime, state: State, hotkey: str, coldkey: str, netuid: int) -> Any:
    return info.stake(state, hotkey, coldkey, netuid) if Subnet(state, netuid).exists else None


@api("StakeInfoRuntimeApi_get_stake_availability_for_coldkeys")
def get_stake_availability(runtime: Runtime, state: State, coldkeys: list[str], netuids: Any) -> Any:
    """Nothing is ever locked here."""
    return {coldkey: _available(state, coldkey, netuids) for coldkey in coldkeys}


def _available(state: State, coldkey: str, netuids: Any) -> dict[int, Any]:
    totals: dict[int, int] = {}
    for one in info.stakes(state, coldkey):
        totals[one["netuid"]] = totals.get(one["netuid"], 0) + one["stake"]
    return {
        netuid: {"total": total, "locked": 0, "available": total}
        for netuid, total in sorted(totals.items())
        if netuids is None or netuid in netuids
    }


@api("StakeInfoRuntimeApi_get_stake_fee")
def get_stake_fee(runtime: Runtime, state: State, *arguments: Any) -> int:
    """Trades cost nothing here but the fee of their extrinsic."""
    return 0


@api("StakeInfoRuntimeApi_get_coldkey_lock")
@api("StakeInfoRuntimeApi_get_most_convicted_hotkey_on_subnet")
def get_no_lock(runtime: Runtime, state: State, *arguments: Any) -> Any:
    """Nothing is ever locked here."""
    return None


@api("StakeInfoRuntimeApi_get_hotkey_conviction")
def get_hotkey_conviction(runtime: Runtime, state: State, hotkey: str, netuid: int) -> Any:
    return {"bits": 0}


@api("DelegateInfoRuntimeApi_get_delegated")
def get_delegated(runtime: Runtime, state: State, coldkey: str) -> Any:
    """What a coldkey has staked with hotkeys: each with its netuid and the amount."""
    kind = runtime.shapes.item(
        runtime.codec.runtime_api_map()["DelegateInfoRuntimeApi"]["get_delegate"]["output"]
    )
    return [
        (_fill(runtime, kind, info.delegate(state, one["hotkey"])), (one["netuid"], one["stake"]))
        for one in info.stakes(state, coldkey)
    ]


@api("DelegateInfoRuntimeApi_get_delegate", filled=True)
def get_delegate(runtime: Runtime, state: State, hotkey: str) -> Any:
    return info.delegate(state, hotkey)


@api("DelegateInfoRuntimeApi_get_delegates", filled=True)
def get_delegates(runtime: Runtime, state: State) -> Any:
    return [info.delegate(state, hotkey) for hotkey, _ in state.map(PALLET, "Delegates")]


# --- prices -----------------------------------------------------------------------------------------------


@api("SwapRuntimeApi_current_alpha_price")
def current_alpha_price(runtime: Runtime, state: State, netuid: int) -> int:
    return staking.PRICE_RAO


@api("SwapRuntimeApi_current_alpha_price_all", filled=True)
def current_alpha_price_all(runtime: Runtime, state: State) -> Any:
    return [{"netuid": netuid, "price": staking.PRICE_RAO} for netuid in _netuids(state)]


@api("SwapRuntimeApi_sim_swap_tao_for_alpha", filled=True)
@api("SwapRuntimeApi_sim_swap_alpha_for_tao", filled=True)
def sim_swap(runtime: Runtime, state: State, netuid: int, amount: int) -> Any:
    return {"tao_amount": amount, "alpha_amount": amount}


__all__ = ["VERSIONS", "answer"]
