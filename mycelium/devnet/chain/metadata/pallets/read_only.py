"""Pallets of which clients only read, and which are empty here; as of spec 424. None of their calls is declared.

A client that finds no key of MevShield sends what it has to send in the clear.
"""

MULTISIG = """
pallet Multisig = 13;
storage {
    Multisigs?: Twox64Concat(AccountId32), Blake2_128Concat([u8; 32]) -> Multisig;
}
constants {
    DepositBase: u64 = 0x0029de0700000000;
    DepositFactor: u64 = 0x0048e80100000000;
    MaxSignatories: u32 = 0x64000000;
}
"""

MEV_SHIELD = """
pallet MevShield = 30;
storage {
    CurrentKey?: BoundedVec<u8>;
    PendingKey?: BoundedVec<u8>;
    NextKey?: BoundedVec<u8>;
}
"""

ALPHA_ASSETS = """
pallet AlphaAssets = 31;
storage {
    AlphaBurned: Twox64Concat(NetUid) -> u64 = 0x0000000000000000;
    AlphaRecycled: Twox64Concat(NetUid) -> u64 = 0x0000000000000000;
}
"""
