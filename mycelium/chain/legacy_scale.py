"""Decoding by hand-written types, as programs for runtimes before 2025 did. Deprecated: it warns.

Owns one configuration of scalecodec, made when it is first needed and shared with nobody; what it makes, one thread
makes at a time. Mycelium's own reading uses none of it. `chain_utils` and `fetch_nodes` have these names.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from scalecodec import ScaleBytes
from scalecodec.base import RuntimeConfigurationObject, ScaleType
from scalecodec.exceptions import RemainingScaleBytesNotEmptyException
from scalecodec.type_registry import load_type_registry_preset
from scalecodec.utils.ss58 import ss58_encode

from mycelium import constants as fcst
from mycelium.chain import chain_utils, type_registries
from mycelium.chain.answers import plain
from mycelium.chain.balance import RAO_PER_TAO
from mycelium.chain.models import IP, Node, ParamWithTypes
from mycelium.chain.serving import host_of
from mycelium.errors import ChainError

_NOTHING: Final = "0x0400"
"""What an old runtime answered for None: a list that holds one zero."""
_NOT_THAT: Final = (ValueError, IndexError, RemainingScaleBytesNotEmptyException)
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _configuration() -> Any:
    made = RuntimeConfigurationObject(ss58_format=fcst.SS58_FORMAT)
    made.update_type_registry(load_type_registry_preset("legacy"))
    made.update_type_registry(type_registries.CUSTOM_TYPE_REGISTRY)
    return made


def _deprecated(name: str) -> None:
    warnings.warn(
        f"{name} decodes by types of 2024; take `Connection.runtime_api`, which asks the chain for its own",
        DeprecationWarning,
        stacklevel=3,
    )


def create_scale_object_from_scale_bytes(return_type: str, as_scale_bytes: ScaleBytes) -> ScaleType:
    """An object of that type over those bytes, not decoded yet. ValueError for a type that is not known."""
    _deprecated("create_scale_object_from_scale_bytes")
    return _created(return_type, as_scale_bytes)


def _created(return_type: str, data: ScaleBytes) -> ScaleType:
    with _lock:
        try:
            return _configuration().create_scale_object(return_type, data=data)
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"{return_type!r} is a type that is not known: {error}") from error


def create_scale_object_from_scale_encoding(
    input_: list[int] | bytes | ScaleBytes, type_name: str, is_vec: bool = False, is_option: bool = False
) -> Any:
    """What those bytes stand for, decoded. is_option, is_vec: the type is wrapped in Option<>, and then in Vec<>.

    TypeError for what are no bytes, ValueError for a type that is not known and for bytes that are not of it.
    """
    if isinstance(input_, ScaleBytes):
        data = input_
    elif isinstance(input_, list | bytes | bytearray):
        data = ScaleBytes(bytes(input_))
    else:
        raise TypeError("input_ must be a List[int], bytes, or ScaleBytes")
    name = f"Option<{type_name}>" if is_option else type_name
    name = f"Vec<{name}>" if is_vec else name
    # Programs put another one in its place.
    made = chain_utils.create_scale_object_from_scale_bytes(name, data)
    with _lock:
        try:
            return made.decode()
        except _NOT_THAT as error:
            raise ValueError(f"these bytes are no {name}: {error}") from error


# --- nodes ------------------------------------------------------------------------------------------------


def _normalise_u16_float(x: int) -> float:
    """0 to 65,535 as 0 to 1."""
    return float(x) / fcst.U16_MAX


def _rao_to_tao(rao: float | int) -> float:
    """Rao as TAO."""
    return int(rao) / RAO_PER_TAO


def _get_node_from_neuron_info(neuron_info_decoded: Mapping[str, Any]) -> Node:
    """A node of a decoded `NeuronInfoLite`. stake: what all coldkeys have staked to it, in TAO. KeyError."""
    info, axon = neuron_info_decoded, neuron_info_decoded["axon_info"]
    stake = info["stake"]
    # The one or the other, as decoders give it; a coldkey that is named twice counts twice.
    amounts = stake.values() if isinstance(stake, Mapping) else [amount for _, amount in stake]
    return Node(
        hotkey=_address(info["hotkey"]),
        coldkey=_address(info["coldkey"]),
        node_id=int(info["uid"]),
        netuid=int(info["netuid"]),
        incentive=float(info["incentive"]),
        stake=_rao_to_tao(sum(map(int, amounts))),
        trust=_normalise_u16_float(info["trust"]),
        vtrust=_normalise_u16_float(info["validator_trust"]),
        last_updated=float(info["last_update"]),
        ip=IP(host_of(int(axon["ip"]), int(axon["ip_type"]))),
        ip_type=int(axon["ip_type"]),
        port=int(axon["port"]),
        protocol=int(axon["protocol"]),
    )


def _address(account: str) -> str:
    """An account's address; a configuration that knows no prefix gives its bytes as hex."""
    return str(ss58_encode(account, ss58_format=fcst.SS58_FORMAT)) if account.startswith("0x") else account


def _get_nodes_from_vec8(vec_u8: bytes) -> list[Node]:
    """Nodes of an encoded `Vec<NeuronInfoLite>`. ValueError for bytes that are none."""
    _deprecated("_get_nodes_from_vec8")
    made = _created(f"Vec<{fcst.NEURON_INFO_LITE}>", ScaleBytes(bytes(vec_u8)))
    with _lock:
        try:
            decoded = made.decode()
        except _NOT_THAT as error:
            raise ValueError(f"these bytes are no list of {fcst.NEURON_INFO_LITE}: {error}") from error
    return [_get_node_from_neuron_info(info) for info in decoded]


# --- runtime APIs -----------------------------------------------------------------------------------------


def _encode_params(
    substrate: Any, call_definition: Sequence[ParamWithTypes], params: Sequence[Any] | Mapping[str, Any]
) -> str:
    """Arguments of a runtime API as hex, by a definition of `type_registries`. ValueError for one that is missing."""
    del substrate
    encoded = b""
    for place, param in enumerate(call_definition):
        if isinstance(params, Mapping):
            if param["name"] not in params:
                raise ValueError(f"Missing param {param['name']} in params dict.")
            value = params[param["name"]]
        elif place < len(params):
            value = params[place]
        else:
            raise ValueError(f"Missing param {param['name']} in params list.")
        made = _created(param["type"], ScaleBytes(b""))
        with _lock:
            encoded += bytes(made.encode(plain(value)).data)
    return f"0x{encoded.hex()}"


def _execute_rpc_request(substrate: Any, method: str, data: str, block: int | None = None) -> dict[str, Any]:
    """A runtime function's answer under "result", as hex. method: as in "NeuronInfoRuntimeApi_get_neurons_lite".

    ChainRefused, ChainUnreachable; ChainError for a block that is not there yet.
    """
    connection = chain_utils.as_connection(substrate)
    at = [] if block is None else [chain_utils.block_hash(connection, block)]
    return {"jsonrpc": "2.0", "result": connection.access.request("state_call", [method, data, *at])}


def _query_runtime_api(
    substrate: Any,
    runtime_api: str,
    method: str,
    params: list[int] | dict[str, int] | None,
    block: int | None = None,
) -> str | None:
    """A runtime function's answer as hex, by the functions of `type_registries`; None for none.

    ChainError for a function that the registry has not, and as `_execute_rpc_request`.
    """
    _deprecated("_query_runtime_api")
    try:
        definition = type_registries.TYPE_REGISTERY["runtime_api"][runtime_api]["methods"][method]
    except KeyError:
        raise ChainError(f"the types of 2024 have no runtime API {runtime_api}.{method}") from None
    data = "0x" if params is None else _encode_params(substrate, definition["params"], params)
    found = _execute_rpc_request(substrate, f"{runtime_api}_{method}", data, block).get("result")
    return None if found in (None, _NOTHING) else str(found)
