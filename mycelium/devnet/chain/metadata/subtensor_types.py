"""Types of the Subtensor pallets and their runtime APIs, as of spec 424."""

_DATA = """
enum pallet_commitments::types::Data {{ None = 0, {raw}
    BlakeTwo256([u8; 32]) = 130, Sha256([u8; 32]) = 131, Keccak256([u8; 32]) = 132, ShaThree256([u8; 32]) = 133,
    TimelockEncrypted {{ encrypted: BoundedVec<u8>, reveal_round: u64 }} = 134, ResetBondsFlag = 135,
    BigRaw(BoundedVec<u8>) = 136, }}
""".format(raw=" ".join(f"Raw{length}([u8; {length}]) = {length + 1}," for length in range(129)))
"""What a commitment holds: raw bytes have a variant for each length."""

DECLARATION = (
    _DATA
    + """
enum node_subtensor_runtime::RuntimeHoldReason { Preimage(HoldReason) = 14, SafeMode(pallet_HoldReason) = 20,
    Contracts(pallet_contracts_pallet_HoldReason) = 29, }
enum node_subtensor_runtime::RuntimeFreezeReason {  }
struct share_pool::SafeFloat { mantissa: u128, exponent: i64 };
struct pallet_subtensor::staking::lock::LockState { locked_mass: u64, conviction: FixedU128<U64>,
    last_update: u64 };
enum pallet_subtensor::RateLimitKey<AccountId = AccountId32> { SetSNOwnerHotkey(NetUid) = 0,
    OwnerHyperparamUpdate(NetUid, Hyperparameter) = 1, NetworkLastRegistered = 2, LastTxBlock(AccountId32) = 3,
    LastTxBlockChildKeyTake(AccountId32) = 4, LastTxBlockDelegateTake(AccountId32) = 5,
    AddStakeBurn(NetUid) = 6, }
enum pallet_subtensor::pallet::RecycleOrBurnEnum { Burn = 0, Recycle = 1, }
struct pallet_subtensor::pallet::AxonInfo { block: u64, version: u32, ip: u128, port: u16, ip_type: u8,
    protocol: u8, placeholder1: u8, placeholder2: u8 };
struct pallet_subtensor::pallet::NeuronCertificate { public_key: BoundedVec<u8>, algorithm: u8 };
struct pallet_subtensor::pallet::PrometheusInfo { block: u64, version: u32, ip: u128, port: u16,
    ip_type: u8 };
struct pallet_subtensor::pallet::ChainIdentityV2 { name: Vec<u8>, url: Vec<u8>, github_repo: Vec<u8>,
    image: Vec<u8>, discord: Vec<u8>, description: Vec<u8>, additional: Vec<u8> };
struct pallet_subtensor::pallet::SubnetIdentityV3 { subnet_name: Vec<u8>, github_repo: Vec<u8>,
    subnet_contact: Vec<u8>, subnet_url: Vec<u8>, discord: Vec<u8>, description: Vec<u8>, logo_url: Vec<u8>,
    additional: Vec<u8> };
enum pallet_subtensor::pallet::RootClaimTypeEnum { Swap = 0, Keep = 1, KeepSubnets {
    subnets: BTreeSet<NetUid> } = 2, }
struct pallet_subtensor::subnets::leasing::SubnetLease<AccountId = AccountId32, BlockNumber = u32,
    Balance = u64> { beneficiary: AccountId32, coldkey: AccountId32, hotkey: AccountId32,
    emissions_share: Percent, end_block: Option<u32>, netuid: NetUid, cost: u64 };
struct pallet_subtensor_proxy::ProxyDefinition<AccountId = AccountId32, ProxyType = ProxyType,
    BlockNumber = u32> { delegate: AccountId32, proxy_type: ProxyType, delay: u32 };
struct pallet_subtensor_proxy::Announcement<AccountId = AccountId32, Hash = H256, BlockNumber = u32> {
    real: AccountId32, call_hash: H256, height: u32 };
enum subtensor_runtime_common::ProxyType { Any = 0, Owner = 1, NonCritical = 2, NonTransfer = 3, Senate = 4,
    NonFungible = 5, Triumvirate = 6, Governance = 7, Staking = 8, Registration = 9, Transfer = 10,
    SmallTransfer = 11, RootWeights = 12, ChildKeys = 13, SudoUncheckedSetCode = 14, SwapHotkey = 15,
    SubnetLeaseBeneficiary = 16, RootClaim = 17, }
enum pallet_subtensor_proxy::DepositKind { Proxies = 0, Announcements = 1, }
struct pallet_commitments::types::Registration<Balance = u64, MaxFields, BlockNumber = u32> { deposit: u64,
    block: u32, info: CommitmentInfo };
struct pallet_commitments::types::UsageTracker { last_epoch: u64, used_space: u64 };
struct pallet_commitments::types::CommitmentInfo<FieldLimit> { fields: BoundedVec<Data> };
enum pallet_admin_utils::pallet::PrecompileEnum { BalanceTransfer = 0, Staking = 1, Subnet = 2, Metagraph = 3,
    Neuron = 4, UidLookup = 5, Alpha = 6, Crowdloan = 7, Proxy = 8, Leasing = 9, AddressMapping = 10,
    VotingPower = 11, }
struct pallet_drand::types::BeaconConfiguration { public_key: BoundedVec<u8>, period: u32, genesis_time: u32,
    hash: BoundedVec<u8>, group_hash: BoundedVec<u8>, scheme_id: BoundedVec<u8>, metadata: Metadata };
struct pallet_drand::types::Pulse { round: u64, randomness: BoundedVec<u8>, signature: BoundedVec<u8> };
struct pallet_drand::types::PulsesPayload<Public = MultiSigner, BlockNumber = u32> { block_number: u32,
    pulses: Vec<Pulse>, public: MultiSigner };
struct pallet_drand::types::BeaconConfigurationPayload<Public = MultiSigner, BlockNumber = u32> {
    block_number: u32, config: BeaconConfiguration, public: MultiSigner };
struct pallet_subtensor_swap::pallet::balancer::Balancer { quote: Perquintill };
struct pallet_subtensor_swap::pallet::TickIndex(i32);
struct pallet_subtensor_swap::pallet::PositionId(u128);
struct pallet_subtensor::rpc_info::delegate_info::DelegateInfo<AccountId = AccountId32> {
    delegate_ss58: AccountId32, take: Compact<u16>, nominators: Vec<(AccountId32, Vec<(Compact<NetUid>,
    Compact<u64>)>)>, owner_ss58: AccountId32, registrations: Vec<Compact<NetUid>>,
    validator_permits: Vec<Compact<NetUid>>, return_per_1000: Compact<u64>, total_daily_return: Compact<u64> };
struct pallet_subtensor::rpc_info::neuron_info::NeuronInfo<AccountId = AccountId32> { hotkey: AccountId32,
    coldkey: AccountId32, uid: Compact<u16>, netuid: Compact<NetUid>, active: bool, axon_info: AxonInfo,
    prometheus_info: PrometheusInfo, stake: Vec<(AccountId32, Compact<u64>)>, rank: Compact<u16>,
    emission: Compact<u64>, incentive: Compact<u16>, consensus: Compact<u16>, trust: Compact<u16>,
    validator_trust: Compact<u16>, dividends: Compact<u16>, last_update: Compact<u64>, validator_permit: bool,
    weights: Vec<(Compact<u16>, Compact<u16>)>, bonds: Vec<(Compact<u16>, Compact<u16>)>,
    pruning_score: Compact<u16> };
struct pallet_subtensor::rpc_info::neuron_info::NeuronInfoLite<AccountId = AccountId32> { hotkey: AccountId32,
    coldkey: AccountId32, uid: Compact<u16>, netuid: Compact<NetUid>, active: bool, axon_info: AxonInfo,
    prometheus_info: PrometheusInfo, stake: Vec<(AccountId32, Compact<u64>)>, rank: Compact<u16>,
    emission: Compact<u64>, incentive: Compact<u16>, consensus: Compact<u16>, trust: Compact<u16>,
    validator_trust: Compact<u16>, dividends: Compact<u16>, last_update: Compact<u64>, validator_permit: bool,
    pruning_score: Compact<u16> };
struct pallet_subtensor::rpc_info::subnet_info::SubnetInfo<AccountId = AccountId32> { netuid: Compact<NetUid>,
    rho: Compact<u16>, kappa: Compact<u16>, difficulty: Compact<u64>, immunity_period: Compact<u16>,
    max_allowed_validators: Compact<u16>, min_allowed_weights: Compact<u16>, max_weights_limit: Compact<u16>,
    scaling_law_power: Compact<u16>, subnetwork_n: Compact<u16>, max_allowed_uids: Compact<u16>,
    blocks_since_last_step: Compact<u64>, tempo: Compact<u16>, network_modality: Compact<u16>,
    network_connect: Vec<[u16; 2]>, emission_values: Compact<u64>, burn: Compact<u64>, owner: AccountId32 };
struct pallet_subtensor::rpc_info::subnet_info::SubnetInfov2<AccountId = AccountId32> {
    netuid: Compact<NetUid>, rho: Compact<u16>, kappa: Compact<u16>, difficulty: Compact<u64>,
    immunity_period: Compact<u16>, max_allowed_validators: Compact<u16>, min_allowed_weights: Compact<u16>,
    max_weights_limit: Compact<u16>, scaling_law_power: Compact<u16>, subnetwork_n: Compact<u16>,
    max_allowed_uids: Compact<u16>, blocks_since_last_step: Compact<u64>, tempo: Compact<u16>,
    network_modality: Compact<u16>, network_connect: Vec<[u16; 2]>, emission_value: Compact<u64>,
    burn: Compact<u64>, owner: AccountId32, identity: Option<SubnetIdentityV3> };
struct pallet_subtensor::rpc_info::subnet_info::SubnetHyperparams { rho: Compact<u16>, kappa: Compact<u16>,
    immunity_period: Compact<u16>, min_allowed_weights: Compact<u16>, max_weights_limit: Compact<u16>,
    tempo: Compact<u16>, min_difficulty: Compact<u64>, max_difficulty: Compact<u64>,
    weights_version: Compact<u64>, weights_rate_limit: Compact<u64>, adjustment_interval: Compact<u16>,
    activity_cutoff: Compact<u64>, registration_allowed: bool, target_regs_per_interval: Compact<u16>,
    min_burn: Compact<u64>, max_burn: Compact<u64>, bonds_moving_avg: Compact<u64>,
    max_regs_per_block: Compact<u16>, serving_rate_limit: Compact<u64>, max_validators: Compact<u16>,
    adjustment_alpha: Compact<u64>, difficulty: Compact<u64>, commit_reveal_period: Compact<u64>,
    commit_reveal_weights_enabled: bool, alpha_high: Compact<u16>, alpha_low: Compact<u16>,
    liquid_alpha_enabled: bool };
struct pallet_subtensor::rpc_info::subnet_info::SubnetHyperparamsV2 { rho: Compact<u16>, kappa: Compact<u16>,
    immunity_period: Compact<u16>, min_allowed_weights: Compact<u16>, max_weights_limit: Compact<u16>,
    tempo: Compact<u16>, min_difficulty: Compact<u64>, max_difficulty: Compact<u64>,
    weights_version: Compact<u64>, weights_rate_limit: Compact<u64>, adjustment_interval: Compact<u16>,
    activity_cutoff: Compact<u64>, registration_allowed: bool, target_regs_per_interval: Compact<u16>,
    min_burn: Compact<u64>, max_burn: Compact<u64>, bonds_moving_avg: Compact<u64>,
    max_regs_per_block: Compact<u16>, serving_rate_limit: Compact<u64>, max_validators: Compact<u16>,
    adjustment_alpha: Compact<u64>, difficulty: Compact<u64>, commit_reveal_period: Compact<u64>,
    commit_reveal_weights_enabled: bool, alpha_high: Compact<u16>, alpha_low: Compact<u16>,
    liquid_alpha_enabled: bool, alpha_sigmoid_steepness: FixedI64, yuma_version: Compact<u16>,
    subnet_is_active: bool, transfers_enabled: bool, bonds_reset_enabled: bool,
    user_liquidity_enabled: bool };
struct pallet_subtensor::rpc_info::dynamic_info::DynamicInfo<AccountId = AccountId32> {
    netuid: Compact<NetUid>, owner_hotkey: AccountId32, owner_coldkey: AccountId32,
    subnet_name: Vec<Compact<u8>>, token_symbol: Vec<Compact<u8>>, tempo: Compact<u16>,
    last_step: Compact<u64>, blocks_since_last_step: Compact<u64>, emission: Compact<u64>,
    alpha_in: Compact<u64>, alpha_out: Compact<u64>, tao_in: Compact<u64>, alpha_out_emission: Compact<u64>,
    alpha_in_emission: Compact<u64>, tao_in_emission: Compact<u64>, pending_alpha_emission: Compact<u64>,
    pending_root_emission: Compact<u64>, subnet_volume: Compact<u128>, network_registered_at: Compact<u64>,
    subnet_identity: Option<SubnetIdentityV3>, moving_price: FixedI128<U32> };
struct pallet_subtensor::rpc_info::metagraph::Metagraph<AccountId = AccountId32> { netuid: Compact<NetUid>,
    name: Vec<Compact<u8>>, symbol: Vec<Compact<u8>>, identity: Option<SubnetIdentityV3>,
    network_registered_at: Compact<u64>, owner_hotkey: AccountId32, owner_coldkey: AccountId32,
    block: Compact<u64>, tempo: Compact<u16>, last_step: Compact<u64>, blocks_since_last_step: Compact<u64>,
    subnet_emission: Compact<u64>, alpha_in: Compact<u64>, alpha_out: Compact<u64>, tao_in: Compact<u64>,
    alpha_out_emission: Compact<u64>, alpha_in_emission: Compact<u64>, tao_in_emission: Compact<u64>,
    pending_alpha_emission: Compact<u64>, pending_root_emission: Compact<u64>, subnet_volume: Compact<u128>,
    moving_price: FixedI128<U32>, rho: Compact<u16>, kappa: Compact<u16>, min_allowed_weights: Compact<u16>,
    max_weights_limit: Compact<u16>, weights_version: Compact<u64>, weights_rate_limit: Compact<u64>,
    activity_cutoff: Compact<u64>, max_validators: Compact<u16>, num_uids: Compact<u16>,
    max_uids: Compact<u16>, burn: Compact<u64>, difficulty: Compact<u64>, registration_allowed: bool,
    pow_registration_allowed: bool, immunity_period: Compact<u16>, min_difficulty: Compact<u64>,
    max_difficulty: Compact<u64>, min_burn: Compact<u64>, max_burn: Compact<u64>,
    adjustment_alpha: Compact<u64>, adjustment_interval: Compact<u16>, target_regs_per_interval: Compact<u16>,
    max_regs_per_block: Compact<u16>, serving_rate_limit: Compact<u64>, commit_reveal_weights_enabled: bool,
    commit_reveal_period: Compact<u64>, liquid_alpha_enabled: bool, alpha_high: Compact<u16>,
    alpha_low: Compact<u16>, bonds_moving_avg: Compact<u64>, hotkeys: Vec<AccountId32>,
    coldkeys: Vec<AccountId32>, identities: Vec<Option<ChainIdentityV2>>, axons: Vec<AxonInfo>,
    active: Vec<bool>, validator_permit: Vec<bool>, pruning_score: Vec<Compact<u16>>,
    last_update: Vec<Compact<u64>>, emission: Vec<Compact<u64>>, dividends: Vec<Compact<u16>>,
    incentives: Vec<Compact<u16>>, consensus: Vec<Compact<u16>>, trust: Vec<Compact<u16>>,
    rank: Vec<Compact<u16>>, block_at_registration: Vec<Compact<u64>>, alpha_stake: Vec<Compact<u64>>,
    tao_stake: Vec<Compact<u64>>, total_stake: Vec<Compact<u64>>, tao_dividends_per_hotkey: Vec<(AccountId32,
    Compact<u64>)>, alpha_dividends_per_hotkey: Vec<(AccountId32, Compact<u64>)> };
struct pallet_subtensor::rpc_info::show_subnet::SubnetState<AccountId = AccountId32> {
    netuid: Compact<NetUid>, hotkeys: Vec<AccountId32>, coldkeys: Vec<AccountId32>, active: Vec<bool>,
    validator_permit: Vec<bool>, pruning_score: Vec<Compact<u16>>, last_update: Vec<Compact<u64>>,
    emission: Vec<Compact<u64>>, dividends: Vec<Compact<u16>>, incentives: Vec<Compact<u16>>,
    consensus: Vec<Compact<u16>>, trust: Vec<Compact<u16>>, rank: Vec<Compact<u16>>,
    block_at_registration: Vec<Compact<u64>>, alpha_stake: Vec<Compact<u64>>, tao_stake: Vec<Compact<u64>>,
    total_stake: Vec<Compact<u64>>, emission_history: Vec<Vec<Compact<u64>>> };
struct pallet_subtensor::rpc_info::metagraph::SelectiveMetagraph<AccountId = AccountId32> {
    netuid: Compact<NetUid>, name: Option<Vec<Compact<u8>>>, symbol: Option<Vec<Compact<u8>>>,
    identity: Option<Option<SubnetIdentityV3>>, network_registered_at: Option<Compact<u64>>,
    owner_hotkey: Option<AccountId32>, owner_coldkey: Option<AccountId32>, block: Option<Compact<u64>>,
    tempo: Option<Compact<u16>>, last_step: Option<Compact<u64>>,
    blocks_since_last_step: Option<Compact<u64>>, subnet_emission: Option<Compact<u64>>,
    alpha_in: Option<Compact<u64>>, alpha_out: Option<Compact<u64>>, tao_in: Option<Compact<u64>>,
    alpha_out_emission: Option<Compact<u64>>, alpha_in_emission: Option<Compact<u64>>,
    tao_in_emission: Option<Compact<u64>>, pending_alpha_emission: Option<Compact<u64>>,
    pending_root_emission: Option<Compact<u64>>, subnet_volume: Option<Compact<u128>>,
    moving_price: Option<FixedI128<U32>>, rho: Option<Compact<u16>>, kappa: Option<Compact<u16>>,
    min_allowed_weights: Option<Compact<u16>>, max_weights_limit: Option<Compact<u16>>,
    weights_version: Option<Compact<u64>>, weights_rate_limit: Option<Compact<u64>>,
    activity_cutoff: Option<Compact<u64>>, max_validators: Option<Compact<u16>>,
    num_uids: Option<Compact<u16>>, max_uids: Option<Compact<u16>>, burn: Option<Compact<u64>>,
    difficulty: Option<Compact<u64>>, registration_allowed: Option<bool>,
    pow_registration_allowed: Option<bool>, immunity_period: Option<Compact<u16>>,
    min_difficulty: Option<Compact<u64>>, max_difficulty: Option<Compact<u64>>,
    min_burn: Option<Compact<u64>>, max_burn: Option<Compact<u64>>, adjustment_alpha: Option<Compact<u64>>,
    adjustment_interval: Option<Compact<u16>>, target_regs_per_interval: Option<Compact<u16>>,
    max_regs_per_block: Option<Compact<u16>>, serving_rate_limit: Option<Compact<u64>>,
    commit_reveal_weights_enabled: Option<bool>, commit_reveal_period: Option<Compact<u64>>,
    liquid_alpha_enabled: Option<bool>, alpha_high: Option<Compact<u16>>, alpha_low: Option<Compact<u16>>,
    bonds_moving_avg: Option<Compact<u64>>, hotkeys: Option<Vec<AccountId32>>,
    coldkeys: Option<Vec<AccountId32>>, identities: Option<Vec<Option<ChainIdentityV2>>>,
    axons: Option<Vec<AxonInfo>>, active: Option<Vec<bool>>, validator_permit: Option<Vec<bool>>,
    pruning_score: Option<Vec<Compact<u16>>>, last_update: Option<Vec<Compact<u64>>>,
    emission: Option<Vec<Compact<u64>>>, dividends: Option<Vec<Compact<u16>>>,
    incentives: Option<Vec<Compact<u16>>>, consensus: Option<Vec<Compact<u16>>>,
    trust: Option<Vec<Compact<u16>>>, rank: Option<Vec<Compact<u16>>>,
    block_at_registration: Option<Vec<Compact<u64>>>, alpha_stake: Option<Vec<Compact<u64>>>,
    tao_stake: Option<Vec<Compact<u64>>>, total_stake: Option<Vec<Compact<u64>>>,
    tao_dividends_per_hotkey: Option<Vec<(AccountId32, Compact<u64>)>>,
    alpha_dividends_per_hotkey: Option<Vec<(AccountId32, Compact<u64>)>>,
    validators: Option<Vec<Compact<u16>>>, commitments: Option<Vec<(AccountId32, Vec<Compact<u8>>)>> };
struct pallet_subtensor::rpc_info::subnet_info::HyperparamEntry { name: Vec<u8>, value: HyperparamValue };
struct pallet_subtensor::rpc_info::stake_info::StakeInfo<AccountId = AccountId32> { hotkey: AccountId32,
    coldkey: AccountId32, netuid: Compact<NetUid>, stake: Compact<u64>, locked: Compact<u64>,
    emission: Compact<u64>, tao_emission: Compact<u64>, drain: Compact<u64>, is_registered: bool };
struct pallet_subtensor::rpc_info::stake_info::StakeAvailability { total: Compact<u64>, locked: Compact<u64>,
    available: Compact<u64> };
struct pallet_subtensor_swap_runtime_api::SubnetPrice { netuid: NetUid, price: u64 };
struct pallet_subtensor_swap_runtime_api::SimSwapResult { tao_amount: u64, alpha_amount: u64, tao_fee: u64,
    alpha_fee: u64, tao_slippage: u64, alpha_slippage: u64 };
struct node_subtensor_runtime::check_mortality::CheckMortality<T>(Era);
struct node_subtensor_runtime::check_nonce::CheckNonce<T>(Compact<u32>);
struct node_subtensor_runtime::sudo_wrapper::SudoTransactionExtension<T = Runtime>;
struct pallet_shield::extension::CheckShieldedTxValidity<T = Runtime>;
struct pallet_subtensor::extensions::subtensor::SubtensorTransactionExtension<T = Runtime>;
struct pallet_drand::drand_priority::DrandPriority<T = Runtime>;
struct node_subtensor_runtime::Runtime;
enum pallet_subtensor::utils::rate_limiting::Hyperparameter { Unknown = 0, ServingRateLimit = 1,
    MaxDifficulty = 2, AdjustmentAlpha = 3, MaxWeightLimit = 4, ImmunityPeriod = 5, MinAllowedWeights = 6,
    Kappa = 7, Rho = 8, ActivityCutoff = 9, PowRegistrationAllowed = 10, MinBurn = 11, MaxBurn = 12,
    BondsMovingAverage = 13, BondsPenalty = 14, CommitRevealEnabled = 15, LiquidAlphaEnabled = 16,
    AlphaValues = 17, WeightCommitInterval = 18, TransferEnabled = 19, AlphaSigmoidSteepness = 20,
    Yuma3Enabled = 21, BondsResetEnabled = 22, ImmuneNeuronLimit = 23, RecycleOrBurn = 24,
    MaxAllowedUids = 25, BurnHalfLife = 26, BurnIncreaseMult = 27, SubnetEmissionEnabled = 28,
    MinChildkeyTake = 29, ActivityCutoffFactorMilli = 30, TriggerEpoch = 31, }
struct pallet_drand::types::Metadata { beacon_id: BoundedVec<u8> };
struct node_subtensor_runtime::transaction_payment_wrapper::ChargeTransactionPaymentWrapper<T> {
    inner: ChargeTransactionPayment };
enum pallet_subtensor::rpc_info::subnet_info::HyperparamValue { Bool(bool) = 0, U16(Compact<u16>) = 1,
    U32(Compact<u32>) = 2, U64(Compact<u64>) = 3, U128(Compact<u128>) = 4, TaoBalance(Compact<u64>) = 5,
    I32F32(FixedI64) = 6, U64F64(FixedU128<U64>) = 7, }
"""
)
