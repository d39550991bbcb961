"""Runtime APIs, as of spec 424: what `state_call` answers."""

DECLARATION = """
api Core {
    version() -> RuntimeVersion;
}
api Metadata {
    metadata() -> OpaqueMetadata;
    metadata_at_version(version: u32) -> Option<OpaqueMetadata>;
    metadata_versions() -> Vec<u32>;
}
api AccountNonceApi {
    account_nonce(account: AccountId32) -> u32;
}
api TransactionPaymentApi {
    query_info(uxt: UncheckedExtrinsic, len: u32) -> RuntimeDispatchInfo;
    query_fee_details(uxt: UncheckedExtrinsic, len: u32) -> FeeDetails;
    query_weight_to_fee(weight: Weight) -> u64;
    query_length_to_fee(length: u32) -> u64;
}
api AuraApi {
    slot_duration() -> SlotDuration;
}
api DelegateInfoRuntimeApi {
    get_delegates() -> Vec<DelegateInfo>;
    get_delegate(delegate_account: AccountId32) -> Option<DelegateInfo>;
    get_delegated(delegatee_account: AccountId32) -> Vec<(DelegateInfo, (Compact<NetUid>, Compact<u64>))>;
}
api NeuronInfoRuntimeApi {
    get_neurons(netuid: NetUid) -> Vec<NeuronInfo>;
    get_neuron(netuid: NetUid, uid: u16) -> Option<NeuronInfo>;
    get_neurons_lite(netuid: NetUid) -> Vec<NeuronInfoLite>;
    get_neuron_lite(netuid: NetUid, uid: u16) -> Option<NeuronInfoLite>;
}
api SubnetInfoRuntimeApi {
    get_subnet_info(netuid: NetUid) -> Option<SubnetInfo>;
    get_subnets_info() -> Vec<Option<SubnetInfo>>;
    get_subnet_info_v2(netuid: NetUid) -> Option<SubnetInfov2>;
    get_subnets_info_v2() -> Vec<Option<SubnetInfov2>>;
    get_subnet_hyperparams(netuid: NetUid) -> Option<SubnetHyperparams>;
    get_subnet_hyperparams_v2(netuid: NetUid) -> Option<SubnetHyperparamsV2>;
    get_all_dynamic_info() -> Vec<Option<DynamicInfo>>;
    get_all_metagraphs() -> Vec<Option<Metagraph>>;
    get_metagraph(netuid: NetUid) -> Option<Metagraph>;
    get_all_mechagraphs() -> Vec<Option<Metagraph>>;
    get_mechagraph(netuid: NetUid, mecid: u8) -> Option<Metagraph>;
    get_dynamic_info(netuid: NetUid) -> Option<DynamicInfo>;
    get_subnet_state(netuid: NetUid) -> Option<SubnetState>;
    get_selective_metagraph(netuid: NetUid, metagraph_indexes: Vec<u16>) -> Option<SelectiveMetagraph>;
    get_coldkey_auto_stake_hotkey(coldkey: AccountId32, netuid: NetUid) -> Option<AccountId32>;
    get_selective_mechagraph(netuid: NetUid, subid: u8, metagraph_indexes: Vec<u16>) ->
        Option<SelectiveMetagraph>;
    get_subnet_to_prune() -> Option<NetUid>;
    get_subnet_account_id(netuid: NetUid) -> Option<AccountId32>;
    get_next_epoch_start_block(netuid: NetUid) -> Option<u64>;
    get_subnet_hyperparams_v3(netuid: NetUid) -> Option<Vec<HyperparamEntry>>;
}
api StakeInfoRuntimeApi {
    get_stake_info_for_coldkey(coldkey_account: AccountId32) -> Vec<StakeInfo>;
    get_stake_info_for_coldkeys(coldkey_accounts: Vec<AccountId32>) -> Vec<(AccountId32, Vec<StakeInfo>)>;
    get_stake_info_for_hotkey_coldkey_netuid(hotkey_account: AccountId32, coldkey_account: AccountId32,
        netuid: NetUid) -> Option<StakeInfo>;
    get_stake_availability_for_coldkeys(coldkey_accounts: Vec<AccountId32>, netuids: Option<Vec<NetUid>>) ->
        BTreeMap<AccountId32, BTreeMap<NetUid, StakeAvailability>>;
    get_stake_fee(origin: Option<(AccountId32, NetUid)>, origin_coldkey_account: AccountId32,
        destination: Option<(AccountId32, NetUid)>, destination_coldkey_account: AccountId32, amount: u64) ->
        u64;
    get_coldkey_lock(coldkey: AccountId32, netuid: NetUid) -> Option<LockState>;
    get_hotkey_conviction(hotkey: AccountId32, netuid: NetUid) -> FixedU128<U64>;
    get_most_convicted_hotkey_on_subnet(netuid: NetUid) -> Option<AccountId32>;
}
api SubnetRegistrationRuntimeApi {
    get_network_registration_cost() -> u64;
}
api SwapRuntimeApi {
    current_alpha_price(netuid: NetUid) -> u64;
    current_alpha_price_all() -> Vec<SubnetPrice>;
    sim_swap_tao_for_alpha(netuid: NetUid, tao: u64) -> SimSwapResult;
    sim_swap_alpha_for_tao(netuid: NetUid, alpha: u64) -> SimSwapResult;
}
"""
