"""The pallets of the development chain, in the order of their indices: names, types and numbers of spec 424."""

from __future__ import annotations

from mycelium.devnet.chain.metadata.pallets import (
    admin_utils,
    aura,
    balances,
    commitments,
    drand,
    proxy,
    read_only,
    subtensor_calls,
    subtensor_constants,
    subtensor_errors,
    subtensor_events,
    subtensor_storage,
    sudo,
    swap,
    system,
    timestamp,
    transaction_payment,
    utility,
)

_SUBTENSOR = (
    subtensor_storage.DECLARATION
    + subtensor_calls.DECLARATION
    + subtensor_events.DECLARATION
    + subtensor_errors.DECLARATION
    + subtensor_constants.DECLARATION
)

DECLARATIONS = (
    system.DECLARATION,
    timestamp.DECLARATION,
    aura.DECLARATION,
    balances.DECLARATION,
    transaction_payment.DECLARATION,
    _SUBTENSOR,
    utility.DECLARATION,
    sudo.DECLARATION,
    read_only.MULTISIG,
    proxy.DECLARATION,
    commitments.DECLARATION,
    admin_utils.DECLARATION,
    drand.DECLARATION,
    swap.DECLARATION,
    read_only.MEV_SHIELD,
    read_only.ALPHA_ASSETS,
)
