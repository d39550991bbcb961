"""Hyperparameters set by root and by subnet owners (pallet-admin-utils, and pallet-subtensor's `tempo_control`).

Each call writes one storage item. The real chain's bounds of single values are kept where clients can run into them;
its limits of how often an owner may change the same one are not.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call
from mycelium.devnet.chain.runtime.epoch import blocks_left
from mycelium.devnet.chain.runtime.state import PALLET, Subnet

TEMPO_MIN: Final = 360
TEMPO_MAX: Final = 50_400
CUTOFF_MIN_MILLI: Final = 1_000
CUTOFF_MAX_MILLI: Final = 50_000
MECHANISMS_MAX: Final = 2
_ADMIN: Final = "AdminUtils"

_OWNERS: Final = {
    "sudo_set_serving_rate_limit": ("ServingRateLimit", "serving_rate_limit"),
    "sudo_set_max_difficulty": ("MaxDifficulty", "max_difficulty"),
    "sudo_set_weights_version_key": ("WeightsVersionKey", "weights_version_key"),
    "sudo_set_adjustment_alpha": ("AdjustmentAlpha", "adjustment_alpha"),
    "sudo_set_immunity_period": ("ImmunityPeriod", "immunity_period"),
    "sudo_set_min_allowed_weights": ("MinAllowedWeights", "min_allowed_weights"),
    "sudo_set_rho": ("Rho", "rho"),
    "sudo_set_activity_cutoff": ("ActivityCutoff", "activity_cutoff"),
    "sudo_set_min_burn": ("MinBurn", "min_burn"),
    "sudo_set_max_burn": ("MaxBurn", "max_burn"),
    "sudo_set_bonds_moving_average": ("BondsMovingAverage", "bonds_moving_average"),
    "sudo_set_commit_reveal_weights_enabled": ("CommitRevealWeightsEnabled", "enabled"),
    "sudo_set_commit_reveal_weights_interval": ("RevealPeriodEpochs", "interval"),
    "sudo_set_liquid_alpha_enabled": ("LiquidAlphaOn", "enabled"),
    "sudo_set_owner_immune_neuron_limit": ("ImmuneOwnerUidsLimit", "immune_neurons"),
    "sudo_set_burn_half_life": ("BurnHalfLife", "burn_half_life"),
    "sudo_set_mechanism_count": ("MechanismCountCurrent", "mechanism_count"),
    "sudo_set_max_allowed_uids": ("MaxAllowedUids", "max_allowed_uids"),
}
"""Call -> storage item and parameter; of one subnet, by its owner or root."""
_ROOTS: Final = {
    "sudo_set_min_difficulty": ("MinDifficulty", "min_difficulty"),
    "sudo_set_weights_set_rate_limit": ("WeightsSetRateLimit", "weights_set_rate_limit"),
    "sudo_set_adjustment_interval": ("AdjustmentInterval", "adjustment_interval"),
    "sudo_set_kappa": ("Kappa", "kappa"),
    "sudo_set_network_registration_allowed": ("NetworkRegistrationAllowed", "registration_allowed"),
    "sudo_set_target_registrations_per_interval": (
        "TargetRegistrationsPerInterval",
        "target_registrations_per_interval",
    ),
    "sudo_set_difficulty": ("Difficulty", "difficulty"),
    "sudo_set_max_allowed_validators": ("MaxAllowedValidators", "max_allowed_validators"),
    "sudo_set_max_registrations_per_block": ("MaxRegistrationsPerBlock", "max_registrations_per_block"),
    "sudo_set_tempo": ("Tempo", "tempo"),
    "sudo_set_subtoken_enabled": ("SubtokenEnabled", "subtoken_enabled"),
    "sudo_set_min_non_immune_uids": ("MinNonImmuneUids", "min"),
}
"""The same, by root alone."""
_GLOBAL: Final = {
    "sudo_set_subnet_limit": ("SubnetLimit", "max_subnets"),
    "sudo_set_stake_threshold": ("StakeThreshold", "min_stake"),
    "sudo_set_commit_reveal_version": ("CommitRevealWeightsVersion", "version"),
    "sudo_set_admin_freeze_window": ("AdminFreezeWindow", "window"),
    "sudo_set_start_call_delay": ("StartCallDelay", "delay"),
    "sudo_set_max_epochs_per_block": ("MaxEpochsPerBlock", "max_epochs_per_block"),
}
"""Of the whole chain, by root alone."""


def _refuse_out_of_bounds(context: Context, subnet: Subnet, item: str, value: Any) -> None:
    if item == "MaxAllowedValidators" and value > subnet["MaxAllowedUids"]:
        context.refuse("MaxValidatorsLargerThanMaxUIds", _ADMIN)
    if item == "MaxAllowedUids":
        if value < subnet["SubnetworkN"]:
            context.refuse("MaxAllowedUIdsLessThanCurrentUIds", _ADMIN)
        if value > subnet.default("MaxAllowedUids"):
            context.refuse("MaxAllowedUidsGreaterThanDefaultMaxAllowedUids", _ADMIN)
    if item == "RevealPeriodEpochs" and value < 1:
        context.refuse("RevealPeriodTooSmall")
    if item == "RevealPeriodEpochs" and value > 100:
        context.refuse("RevealPeriodTooLarge")
    if item == "MechanismCountCurrent" and not 1 <= value <= MECHANISMS_MAX:
        context.refuse("InvalidValue")


def _of_subnet(item: str, parameter: str, *, by_owner: bool) -> Any:
    def handle(context: Context, netuid: int, **given: Any) -> None:
        subnet, value = Subnet(context.state, netuid), given[parameter]
        if by_owner:
            context.owner(subnet, or_root=True)
        else:
            context.root()
        check_window(context, subnet)
        if not subnet.exists:
            context.refuse("SubnetDoesNotExist", _ADMIN)
        _refuse_out_of_bounds(context, subnet, item, value)
        if item == "Tempo":
            apply_tempo(context, subnet, value)
        else:
            subnet[item] = value

    return handle


def _of_chain(item: str, parameter: str) -> Any:
    def handle(context: Context, **given: Any) -> None:
        context.root()
        context.state.put(PALLET, item, value=given[parameter])

    return handle


for _table, _by_owner in ((_OWNERS, True), (_ROOTS, False)):
    for _name, (_item, _parameter) in _table.items():
        call(_ADMIN, _name)(_of_subnet(_item, _parameter, by_owner=_by_owner))
for _name, (_item, _parameter) in _GLOBAL.items():
    call(_ADMIN, _name)(_of_chain(_item, _parameter))


def check_window(context: Context, subnet: Subnet) -> None:
    """AdminActionProhibitedDuringWeightsWindow in the last blocks before an epoch (`AdminFreezeWindow`)."""
    if not subnet["Tempo"]:
        return
    pending = subnet["PendingEpochAt"] > context.number
    if pending or blocks_left(subnet, context.number) < context.state.get(PALLET, "AdminFreezeWindow"):
        context.refuse("AdminActionProhibitedDuringWeightsWindow")


def apply_tempo(context: Context, subnet: Subnet, tempo: int) -> None:
    """A new tempo begins a new cycle: the next epoch is a whole tempo away."""
    subnet["Tempo"] = tempo
    subnet["LastEpochBlock"] = context.number
    context.deposit(PALLET, "TempoSet", (subnet.netuid, tempo))


@call(PALLET, "set_tempo")
def set_tempo(context: Context, netuid: int, tempo: int) -> None:
    subnet = Subnet(context.state, netuid)
    context.owner(subnet)
    if not TEMPO_MIN <= tempo <= TEMPO_MAX:
        context.refuse("TempoOutOfBounds")
    check_window(context, subnet)
    apply_tempo(context, subnet, tempo)


@call(PALLET, "set_activity_cutoff_factor")
def set_activity_cutoff_factor(context: Context, netuid: int, factor_milli: int) -> None:
    subnet = Subnet(context.state, netuid)
    owner = context.owner(subnet, or_root=True)
    if not CUTOFF_MIN_MILLI <= factor_milli <= CUTOFF_MAX_MILLI:
        context.refuse("ActivityCutoffFactorMilliOutOfBounds")
    if owner is not None:
        check_window(context, subnet)
    subnet["ActivityCutoffFactorMilli"] = factor_milli


@call(PALLET, "trigger_epoch")
def trigger_epoch(context: Context, netuid: int) -> None:
    """The owner has the next epoch computed early, after the freeze window."""
    subnet = Subnet(context.state, netuid)
    owner = context.owner(subnet)
    if subnet["CommitRevealWeightsEnabled"]:
        context.refuse("DynamicTempoBlockedByCommitReveal")
    if subnet["PendingEpochAt"]:
        context.refuse("EpochTriggerAlreadyPending")
    window: int = context.state.get(PALLET, "AdminFreezeWindow")
    if blocks_left(subnet, context.number) < window:
        context.refuse("AutoEpochAlreadyImminent")
    fires_at = context.number + window
    subnet["PendingEpochAt"] = fires_at
    context.deposit(PALLET, "EpochTriggered", {"netuid": netuid, "by": owner, "fires_at": fires_at})


@call(_ADMIN, "sudo_set_alpha_values")
def set_alpha_values(context: Context, netuid: int, alpha_low: int, alpha_high: int) -> None:
    subnet = Subnet(context.state, netuid)
    context.owner(subnet, or_root=True)
    check_window(context, subnet)
    if not subnet.exists:
        raise DispatchError(PALLET, "SubnetNotExists")
    if not subnet["LiquidAlphaOn"]:
        context.refuse("LiquidAlphaDisabled")
    if alpha_low > alpha_high:
        context.refuse("AlphaLowOutOfRange")
    subnet["AlphaValues"] = (alpha_low, alpha_high)
