"""Names that both sides of a subnet agree on: headers, paths, networks and limits, as Fiber's programs import them.

Owns nothing but the spellings. They go over the wire or into files, so none of them may change.
"""

from __future__ import annotations

__all__ = [
    "EMPTY_COMMITMENT_FIELD_TYPE",
    "EXCHANGE_SYMMETRIC_KEY_ENDPOINT",
    "FINNEY_NETWORK",
    "FINNEY_SUBTENSOR_ADDRESS",
    "FINNEY_TEST_NETWORK",
    "FINNEY_TEST_SUBTENSOR_ADDRESS",
    "HEADER_HASH",
    "HOTKEY",
    "MINER_HOTKEY",
    "NEURON_INFO_LITE",
    "NONCE",
    "PUBLIC_ENCRYPTION_KEY_ENDPOINT",
    "SAVE_NODES_FILEPATH",
    "SIGNATURE",
    "SS58_FORMAT",
    "SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS",
    "SYMMETRIC_KEY_UUID",
    "U16_MAX",
    "VALIDATOR_HOTKEY",
]

# Paths of the key exchange, without the slash before them.
EXCHANGE_SYMMETRIC_KEY_ENDPOINT = "exchange-symmetric-key"
PUBLIC_ENCRYPTION_KEY_ENDPOINT = "public-encryption-key"

# HTTP headers.
SYMMETRIC_KEY_UUID = "symmetric-key-uuid"
HEADER_HASH = "header-hash"
HOTKEY = "hotkey"
MINER_HOTKEY = "miner-hotkey"
VALIDATOR_HOTKEY = "validator-hotkey"
NONCE = "nonce"
SIGNATURE = "signature"

# The chain.
NEURON_INFO_LITE = "NeuronInfoLite"
EMPTY_COMMITMENT_FIELD_TYPE = "None"
SS58_FORMAT = 42
U16_MAX = 65_535
FINNEY_NETWORK = "finney"
FINNEY_TEST_NETWORK = "test"
FINNEY_SUBTENSOR_ADDRESS = "wss://entrypoint-finney.opentensor.ai:443"
FINNEY_TEST_SUBTENSOR_ADDRESS = "wss://test.finney.opentensor.ai:443/"
SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS = {
    FINNEY_NETWORK: FINNEY_SUBTENSOR_ADDRESS,
    FINNEY_TEST_NETWORK: FINNEY_TEST_SUBTENSOR_ADDRESS,
}
"""Programs add networks of their own to it; `chain.interface.get_substrate` looks here first."""

SAVE_NODES_FILEPATH = "nodes.json"
"""Where a list of nodes is kept between two runs, in the working directory."""
