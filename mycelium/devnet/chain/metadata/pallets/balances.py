"""Pallet Balances: free and reserved balances, transfers; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Balances = 5;
storage {
    TotalIssuance: u64 = 0x0000000000000000;
    InactiveIssuance: u64 = 0x0000000000000000;
    Account: Blake2_128Concat(AccountId32) -> AccountData =
        0x00000000000000000000000000000000000000000000000000000000000000000000000000000080;
    Locks: Blake2_128Concat(AccountId32) -> WeakBoundedVec<BalanceLock> = 0x00;
    Reserves: Blake2_128Concat(AccountId32) -> BoundedVec<ReserveData> = 0x00;
    Holds: Blake2_128Concat(AccountId32) -> BoundedVec<IdAmount<RuntimeHoldReason, u64>> = 0x00;
    Freezes: Blake2_128Concat(AccountId32) -> BoundedVec<IdAmount<RuntimeFreezeReason, u64>> = 0x00;
}
calls pallet_balances::pallet::Call<T, I> {
    transfer_allow_death { dest: MultiAddress, value: Compact<u64> } = 0,
    force_transfer { source: MultiAddress, dest: MultiAddress, value: Compact<u64> } = 2,
    transfer_keep_alive { dest: MultiAddress, value: Compact<u64> } = 3,
    transfer_all { dest: MultiAddress, keep_alive: bool } = 4,
    force_unreserve { who: MultiAddress, amount: u64 } = 5,
    upgrade_accounts { who: Vec<AccountId32> } = 6,
    force_set_balance { who: MultiAddress, new_free: Compact<u64> } = 8,
    force_adjust_total_issuance { direction: AdjustmentDirection, delta: Compact<u64> } = 9,
    burn { value: Compact<u64>, keep_alive: bool } = 10,
}
events pallet_balances::pallet::Event<T, I> {
    Endowed { account: AccountId32, free_balance: u64 } = 0,
    DustLost { account: AccountId32, amount: u64 } = 1,
    Transfer { from: AccountId32, to: AccountId32, amount: u64 } = 2,
    BalanceSet { who: AccountId32, free: u64 } = 3,
    Reserved { who: AccountId32, amount: u64 } = 4,
    Unreserved { who: AccountId32, amount: u64 } = 5,
    ReserveRepatriated { from: AccountId32, to: AccountId32, amount: u64,
        destination_status: BalanceStatus } = 6,
    Deposit { who: AccountId32, amount: u64 } = 7,
    Withdraw { who: AccountId32, amount: u64 } = 8,
    Slashed { who: AccountId32, amount: u64 } = 9,
    Minted { who: AccountId32, amount: u64 } = 10,
    Burned { who: AccountId32, amount: u64 } = 11,
    Suspended { who: AccountId32, amount: u64 } = 12,
    Restored { who: AccountId32, amount: u64 } = 13,
    Upgraded { who: AccountId32 } = 14,
    Issued { amount: u64 } = 15,
    Rescinded { amount: u64 } = 16,
    Locked { who: AccountId32, amount: u64 } = 17,
    Unlocked { who: AccountId32, amount: u64 } = 18,
    Frozen { who: AccountId32, amount: u64 } = 19,
    Thawed { who: AccountId32, amount: u64 } = 20,
    TotalIssuanceForced { old: u64, new: u64 } = 21,
}
errors pallet_balances::pallet::Error<T, I> {
    VestingBalance = 0,
    LiquidityRestrictions = 1,
    InsufficientBalance = 2,
    ExistentialDeposit = 3,
    Expendability = 4,
    ExistingVestingSchedule = 5,
    DeadAccount = 6,
    TooManyReserves = 7,
    TooManyHolds = 8,
    TooManyFreezes = 9,
    IssuanceDeactivated = 10,
    DeltaZero = 11,
}
constants {
    ExistentialDeposit: u64 = 0xf401000000000000;
    MaxLocks: u32 = 0x32000000;
    MaxReserves: u32 = 0x32000000;
    MaxFreezes: u32 = 0x32000000;
}
"""
