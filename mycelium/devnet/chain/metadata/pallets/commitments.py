"""Pallet Commitments: what an account committed to on a subnet; as of spec 424. No behaviour."""

DECLARATION = """
pallet Commitments = 18;
storage {
    TimelockedIndex: BTreeSet<(NetUid, AccountId32)> = 0x00;
    CommitmentOf?: Identity(NetUid), Twox64Concat(AccountId32) -> Registration;
    LastCommitment?: Identity(NetUid), Twox64Concat(AccountId32) -> u32;
    LastBondsReset?: Identity(NetUid), Twox64Concat(AccountId32) -> u32;
    RevealedCommitments?: Identity(NetUid), Twox64Concat(AccountId32) -> Vec<(Vec<u8>, u64)>;
    UsedSpaceOf?: Identity(NetUid), Twox64Concat(AccountId32) -> UsageTracker;
    MaxSpace: u32 = 0x1c0c0000;
}
calls pallet_commitments::pallet::Call<T> {
    set_commitment { netuid: NetUid, info: CommitmentInfo } = 0,
    set_max_space { new_limit: u32 } = 2,
}
events pallet_commitments::pallet::Event<T> {
    Commitment { netuid: NetUid, who: AccountId32 } = 0,
    TimelockCommitment { netuid: NetUid, who: AccountId32, reveal_round: u64 } = 1,
    CommitmentRevealed { netuid: NetUid, who: AccountId32 } = 2,
}
errors pallet_commitments::pallet::Error<T> {
    TooManyFieldsInCommitmentInfo = 0,
    AccountNotAllowedCommit = 1,
    SpaceLimitExceeded = 2,
    UnexpectedUnreserveLeftover = 3,
}
constants {
    MaxFields: u32 = 0x03000000;
    InitialDeposit: u64 = 0x0000000000000000;
    FieldDeposit: u64 = 0x0000000000000000;
}
"""
