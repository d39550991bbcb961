"""What SubtensorModule got after spec 424, as far as clients ask for it before they sign. Items and types only.

Part of a runtime with `RuntimeSpec.recent_items`, never of the default one, which is spec 424 item by item. The
bittensor SDK 11.3 reads `SubnetEpochConsensus` before it sets weights, and `CollateralLockShare` to say what a
registration costs; a chain without them it refuses. Names and value types are those of its own catalogue. No call
changes them and no rule looks at them: every subnet stays at the default, which is what it had before.
"""

TYPES = """
enum pallet_subtensor::pallet::EpochConsensus { Yuma = 0, Null = 1, };
"""

DECLARATION = """
pallet SubtensorModule = 7;
storage {
    SubnetEpochConsensus: Identity(NetUid) -> EpochConsensus = 0x00;
    CollateralLockShare: Identity(NetUid) -> u16 = 0x0000;
}
"""
