"""Pallet Drand: pulses of the drand beacon; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Drand = 26;
storage {
    BeaconConfig: BeaconConfiguration =
        0x810183cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d10
        0x64510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ec
        0xe45a030000002721e6648052db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e97180f477d5c8
        0x9f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e60626c732d756e636861696e65642d67312d7266
        0x633933383020717569636b6e6574;
    HasMigrationRun: Identity(BoundedVec<u8>) -> bool = 0x00;
    Pulses?: Blake2_128Concat(u64) -> Pulse;
    LastStoredRound: u64 = 0x0000000000000000;
    OldestStoredRound: u64 = 0x0000000000000000;
    NextUnsignedAt: u32 = 0x00000000;
}
calls pallet_drand::pallet::Call<T> {
    write_pulse { pulses_payload: PulsesPayload, signature: Option<MultiSignature> } = 0,
    set_beacon_config { config_payload: BeaconConfigurationPayload, signature: Option<MultiSignature> } = 1,
    set_oldest_stored_round { oldest_round: u64 } = 2,
}
events pallet_drand::pallet::Event<T> {
    BeaconConfigChanged = 0,
    NewPulse { rounds: Vec<u64> } = 1,
    SetOldestStoredRound(u64) = 2,
}
errors pallet_drand::pallet::Error<T> {
    NoneValue = 0,
    StorageOverflow = 1,
    DrandConnectionFailure = 2,
    UnverifiedPulse = 3,
    InvalidRoundNumber = 4,
    PulseVerificationError = 5,
}
constants {
    UnsignedPriority: u64 = 0x0000100000000000;
    HttpFetchTimeout: u64 = 0xe803000000000000;
}
"""
