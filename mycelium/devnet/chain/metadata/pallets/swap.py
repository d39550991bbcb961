"""Pallet Swap: the pools of subnets; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Swap = 28;
storage {
    FeeRate: Twox64Concat(NetUid) -> u16 = 0x2100;
    SwapBalancer: Twox64Concat(NetUid) -> Balancer = 0x0000b2d3595bf006;
    PalSwapInitialized: Twox64Concat(NetUid) -> bool = 0x00;
    HasMigrationRun: Identity(BoundedVec<u8>) -> bool = 0x00;
    ScrapReservoirAlpha: Twox64Concat(NetUid) -> u64 = 0x0000000000000000;
}
calls pallet_subtensor_swap::pallet::pallet::Call<T> {
    set_fee_rate { netuid: NetUid, rate: u16 } = 0,
    toggle_user_liquidity { netuid: NetUid, enable: bool } = 4,
    add_liquidity { hotkey: AccountId32, netuid: NetUid, tick_low: TickIndex, tick_high: TickIndex,
        liquidity: u64 } = 1,
    remove_liquidity { hotkey: AccountId32, netuid: NetUid, position_id: PositionId } = 2,
    modify_position { hotkey: AccountId32, netuid: NetUid, position_id: PositionId,
        liquidity_delta: i64 } = 3,
    disable_lp = 5,
}
events pallet_subtensor_swap::pallet::pallet::Event<T> {
    FeeRateSet { netuid: NetUid, rate: u16 } = 0,
}
errors pallet_subtensor_swap::pallet::pallet::Error<T> {
    FeeRateTooHigh = 0,
    InsufficientInputAmount = 1,
    InsufficientLiquidity = 2,
    PriceLimitExceeded = 3,
    InsufficientBalance = 4,
    InvalidTickRange = 5,
    InvalidLiquidityValue = 6,
    ReservesTooLow = 7,
    MechanismDoesNotExist = 8,
    SubtokenDisabled = 9,
    ReservesOutOfBalance = 10,
    SwapInputTooLarge = 11,
    Deprecated = 12,
}
constants {
    ProtocolId: PalletId = 0x74656e2f73776170;
    MaxFeeRate: u16 = 0x1027;
    MinimumLiquidity: u64 = 0xe803000000000000;
    MinimumReserve: NonZeroU64 = 0x40420f0000000000;
}
"""
