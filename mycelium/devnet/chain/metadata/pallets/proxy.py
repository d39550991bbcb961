"""Pallet Proxy: calls on behalf of another account; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Proxy = 16;
storage {
    Proxies: Twox64Concat(AccountId32) -> (BoundedVec<ProxyDefinition>, u64) = 0x000000000000000000;
    Announcements: Twox64Concat(AccountId32) -> (BoundedVec<Announcement>, u64) = 0x000000000000000000;
    LastCallResult?: Twox64Concat(AccountId32) -> Result<(), DispatchError>;
    RealPaysFee?: Twox64Concat(AccountId32), Twox64Concat(AccountId32) -> ();
}
calls pallet_subtensor_proxy::pallet::Call<T> {
    proxy { real: MultiAddress, force_proxy_type: Option<ProxyType>, call: RuntimeCall } = 0,
    add_proxy { delegate: MultiAddress, proxy_type: ProxyType, delay: u32 } = 1,
    remove_proxy { delegate: MultiAddress, proxy_type: ProxyType, delay: u32 } = 2,
    remove_proxies = 3,
    create_pure { proxy_type: ProxyType, delay: u32, index: u16 } = 4,
    kill_pure { spawner: MultiAddress, proxy_type: ProxyType, index: u16, height: Compact<u32>,
        ext_index: Compact<u32> } = 5,
    announce { real: MultiAddress, call_hash: H256 } = 6,
    remove_announcement { real: MultiAddress, call_hash: H256 } = 7,
    reject_announcement { delegate: MultiAddress, call_hash: H256 } = 8,
    proxy_announced { delegate: MultiAddress, real: MultiAddress, force_proxy_type: Option<ProxyType>,
        call: RuntimeCall } = 9,
    poke_deposit = 10,
    set_real_pays_fee { delegate: MultiAddress, pays_fee: bool } = 11,
}
events pallet_subtensor_proxy::pallet::Event<T> {
    ProxyExecuted { result: Result<(), DispatchError> } = 0,
    PureCreated { pure: AccountId32, who: AccountId32, proxy_type: ProxyType, disambiguation_index: u16 } = 1,
    PureKilled { pure: AccountId32, spawner: AccountId32, proxy_type: ProxyType,
        disambiguation_index: u16 } = 2,
    Announced { real: AccountId32, proxy: AccountId32, call_hash: H256 } = 3,
    ProxyAdded { delegator: AccountId32, delegatee: AccountId32, proxy_type: ProxyType, delay: u32 } = 4,
    ProxyRemoved { delegator: AccountId32, delegatee: AccountId32, proxy_type: ProxyType, delay: u32 } = 5,
    DepositPoked { who: AccountId32, kind: DepositKind, old_deposit: u64, new_deposit: u64 } = 6,
    RealPaysFeeSet { real: AccountId32, delegate: AccountId32, pays_fee: bool } = 7,
}
errors pallet_subtensor_proxy::pallet::Error<T> {
    TooMany = 0,
    NotFound = 1,
    NotProxy = 2,
    Unproxyable = 3,
    Duplicate = 4,
    NoPermission = 5,
    Unannounced = 6,
    NoSelfProxy = 7,
    AnnouncementDepositInvariantViolated = 8,
    InvalidDerivedAccountId = 9,
}
constants {
    ProxyDepositBase: u64 = 0x0087930300000000;
    ProxyDepositFactor: u64 = 0x408af70100000000;
    MaxProxies: u32 = 0x14000000;
    MaxPending: u32 = 0x4b000000;
    AnnouncementDepositBase: u64 = 0x0051250200000000;
    AnnouncementDepositFactor: u64 = 0x00990d0400000000;
}
"""
