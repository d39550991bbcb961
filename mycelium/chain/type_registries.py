"""Types of runtimes before the chain described itself, for programs that decode old answers. Deprecated.

Owns the tables, in the form of scalecodec's registries. Nothing here decodes, and Mycelium's own reading uses none of
it: today's runtimes say in their metadata what their types are.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CUSTOM_TYPE_REGISTRY", "TYPE_REGISTERY", "Any", "get_custom_type_registry", "get_type_registry"]


def _function(returns: str, **params: str) -> dict[str, Any]:
    return {"params": [{"name": name, "type": kind} for name, kind in params.items()], "type": returns}


_BYTES: Final = "Vec<u8>"

TYPE_REGISTERY: dict[str, dict[str, Any]] = {
    "types": {"Balance": "u64"},
    "runtime_api": {
        api: {"methods": methods}
        for api, methods in {
            "NeuronInfoRuntimeApi": {
                "get_neuron_lite": _function(_BYTES, netuid="u16", uid="u16"),
                "get_neurons_lite": _function(_BYTES, netuid="u16"),
            },
            "StakeInfoRuntimeApi": {
                "get_stake_info_for_coldkey": _function(_BYTES, coldkey_account_vec=_BYTES),
                "get_stake_info_for_coldkeys": _function(_BYTES, coldkey_account_vecs="Vec<Vec<u8>>"),
            },
            "ValidatorIPRuntimeApi": {
                "get_associated_validator_ip_info_for_subnet": _function(_BYTES, netuid="u16")
            },
            "SubnetInfoRuntimeApi": {"get_subnet_hyperparams": _function(_BYTES, netuid="u16")},
            "SubnetRegistrationRuntimeApi": {"get_network_registration_cost": _function("u64")},
            "ColdkeySwapRuntimeApi": {
                "get_scheduled_coldkey_swap": _function(_BYTES, coldkey_account_vec=_BYTES),
                "get_remaining_arbitration_period": _function(_BYTES, coldkey_account_vec=_BYTES),
                "get_coldkey_swap_destinations": _function(_BYTES, coldkey_account_vec=_BYTES),
            },
        }.items()
    },
}
"""Runtime APIs as they were at the end of 2024; the name is spelt as programs know it."""

_STRUCTS: Final = """
struct SubnetInfo
    netuid rho kappa: Compact<u16>; difficulty: Compact<u64>; immunity_period max_allowed_validators
    min_allowed_weights max_weights_limit scaling_law_power subnetwork_n max_allowed_uids:
    Compact<u16>; blocks_since_last_step: Compact<u64>; tempo network_modality: Compact<u16>;
    network_connect: Vec<[u16| 2]>; emission_values burn: Compact<u64>; owner: AccountId;
struct DelegateInfo
    delegate_ss58: AccountId; take: Compact<u16>; nominators: Vec<(AccountId, Compact<u64>)>;
    owner_ss58: AccountId; registrations validator_permits: Vec<Compact<u16>>; return_per_1000
    total_daily_return: Compact<u64>;
struct NeuronInfo
    hotkey coldkey: AccountId; uid netuid: Compact<u16>; active: bool; axon_info: axon_info;
    prometheus_info: PrometheusInfo; stake: Vec<(AccountId, Compact<u64>)>; rank: Compact<u16>;
    emission: Compact<u64>; incentive consensus trust validator_trust dividends: Compact<u16>;
    last_update: Compact<u64>; validator_permit: bool; weights bonds: Vec<(Compact<u16>,
    Compact<u16>)>; pruning_score: Compact<u16>;
struct NeuronInfoLite
    hotkey coldkey: AccountId; uid netuid: Compact<u16>; active: bool; axon_info: axon_info;
    prometheus_info: PrometheusInfo; stake: Vec<(AccountId, Compact<u64>)>; rank: Compact<u16>;
    emission: Compact<u64>; incentive consensus trust validator_trust dividends: Compact<u16>;
    last_update: Compact<u64>; validator_permit: bool; pruning_score: Compact<u16>;
struct axon_info
    block: u64; version: u32; ip: u128; port: u16; ip_type protocol placeholder1 placeholder2: u8;
struct PrometheusInfo
    block: u64; version: u32; ip: u128; port: u16; ip_type: u8;
struct IPInfo
    ip: Compact<u128>; ip_type_and_protocol: Compact<u8>;
struct StakeInfo
    hotkey coldkey: AccountId; stake: Compact<u64>;
struct SubnetHyperparameters
    rho kappa immunity_period min_allowed_weights max_weights_limit tempo: Compact<u16>;
    min_difficulty max_difficulty weights_version weights_rate_limit: Compact<u64>;
    adjustment_interval activity_cutoff: Compact<u16>; registration_allowed: bool;
    target_regs_per_interval: Compact<u16>; min_burn max_burn bonds_moving_avg: Compact<u64>;
    max_regs_per_block: Compact<u16>; serving_rate_limit: Compact<u64>; max_validators:
    Compact<u16>; adjustment_alpha difficulty commit_reveal_weights_interval: Compact<u64>;
    commit_reveal_weights_enabled: bool; alpha_high alpha_low: Compact<u16>; liquid_alpha_enabled:
    bool;
struct ScheduledColdkeySwapInfo
    old_coldkey new_coldkey: AccountId; arbitration_block: Compact<u64>;
"""
"""Each struct's fields, in order: names that share a type before it."""


def _structs(declared: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in declared.split("struct ")[1:]:
        name, _, rest = one.partition("\n")
        # The semicolon of an array's type is written as a bar.
        groups = [" ".join(group.split()) for group in rest.split(";")]
        fields = [
            [field, kind.replace("|", ";")]
            for names, _, kind in (group.partition(": ") for group in groups if group)
            for field in names.split()
        ]
        found[name] = {"type": "struct", "type_mapping": fields}
    return found


CUSTOM_TYPE_REGISTRY: dict[str, dict[str, Any]] = {"types": _structs(_STRUCTS)}
"""Structs that runtimes before 2025 returned as bytes."""


def get_type_registry() -> dict[str, dict[str, Any]]:
    """Runtime APIs of 2024, as scalecodec takes them."""
    return TYPE_REGISTERY


def get_custom_type_registry() -> dict[str, dict[str, Any]]:
    """Structs of 2024, as scalecodec takes them."""
    return CUSTOM_TYPE_REGISTRY
