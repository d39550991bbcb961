"""Pallet SubtensorModule: what subnets, neurons and stake are kept as; as of spec 424. No behaviour.

Weights, bonds, commits, incentives and last updates are kept per mechanism: their first key is not a netuid but an
index made of both (`NetUidStorageIndex`), a plain u16 also where netuid is a type of its own. So it is in events.
"""

DECLARATION = """
pallet SubtensorModule = 7;
storage {
    MinActivityCutoff: u16 = 0x6801;
    AdminFreezeWindow: u16 = 0x0a00;
    OwnerHyperparamRateLimit: u16 = 0x0200;
    DissolveNetworkScheduleDuration: u32 = 0xa08c0000;
    LastHotkeySwapOnNetuid: Identity(NetUid), Blake2_128Concat(AccountId32) -> u64 = 0x0000000000000000;
    NextStakeJobId: u64 = 0x0000000000000000;
    TaoWeight: u64 = 0xfc62e03efa3c7c0d;
    CKBurn: u64 = 0x0000000000000000;
    MaxDelegateTake: u16 = 0x142e;
    MinDelegateTake: u16 = 0x0000;
    MaxChildkeyTake: u16 = 0x142e;
    MinChildkeyTake: u16 = 0x0000;
    MinChildkeyTakePerSubnet: Identity(NetUid) -> u16 = 0x0000;
    Owner: Blake2_128Concat(AccountId32) -> AccountId32 =
        0x0000000000000000000000000000000000000000000000000000000000000000;
    AccountFlags: Blake2_128Concat(AccountId32) -> u128 = 0x00000000000000000000000000000000;
    Delegates: Blake2_128Concat(AccountId32) -> u16 = 0x142e;
    ChildkeyTake: Blake2_128Concat(AccountId32), Identity(NetUid) -> u16 = 0x0000;
    PendingChildKeys: Identity(NetUid), Blake2_128Concat(AccountId32) -> (Vec<(u64, AccountId32)>, u64) =
        0x000000000000000000;
    ChildKeys: Blake2_128Concat(AccountId32), Identity(NetUid) -> Vec<(u64, AccountId32)> = 0x00;
    ParentKeys: Blake2_128Concat(AccountId32), Identity(NetUid) -> Vec<(u64, AccountId32)> = 0x00;
    AlphaDividendsPerSubnet: Identity(NetUid), Blake2_128Concat(AccountId32) -> u64 = 0x0000000000000000;
    RootAlphaDividendsPerSubnet: Identity(NetUid), Blake2_128Concat(AccountId32) -> u64 = 0x0000000000000000;
    BlockEmission: u64 = 0x00ca9a3b00000000;
    LastHotkeyEmissionOnNetuid: Blake2_128Concat(AccountId32), Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetLimit: u16 = 0x8000;
    TotalIssuance: u64 = 0x0000000000000000;
    TotalStake: u64 = 0x0000000000000000;
    SubnetMovingAlpha: FixedI128<U32> = 0x55320000000000000000000000000000;
    SubnetMovingPrice: Identity(NetUid) -> FixedI128<U32> = 0x00000000000000000000000000000000;
    RootProp: Identity(NetUid) -> FixedU128<U32> = 0x00000000000000000000000000000000;
    SubnetVolume: Identity(NetUid) -> u128 = 0x00000000000000000000000000000000;
    SubnetTAO: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetAlphaInEmission: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetEmissionEnabled: Identity(NetUid) -> bool = 0x01;
    SubnetAlphaOutEmission: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetTaoInEmission: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetExcessTao: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetRootSellTao: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetAlphaIn: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetAlphaOut: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetProtocolAlpha: Identity(NetUid) -> u64 = 0x0000000000000000;
    StakingHotkeys: Blake2_128Concat(AccountId32) -> Vec<AccountId32> = 0x00;
    OwnedHotkeys: Blake2_128Concat(AccountId32) -> Vec<AccountId32> = 0x00;
    AutoStakeDestination?: Blake2_128Concat(AccountId32), Identity(NetUid) -> AccountId32;
    AutoStakeDestinationColdkeys: Blake2_128Concat(AccountId32), Identity(NetUid) -> Vec<AccountId32> = 0x00;
    ColdkeySwapAnnouncementDelay: u32 = 0xa08c0000;
    ColdkeySwapReannouncementDelay: u32 = 0x201c0000;
    ColdkeySwapAnnouncements?: Twox64Concat(AccountId32) -> (u32, H256);
    ColdkeySwapDisputes?: Twox64Concat(AccountId32) -> u32;
    TotalHotkeyAlpha: Blake2_128Concat(AccountId32), Identity(NetUid) -> u64 = 0x0000000000000000;
    TotalHotkeyAlphaLastEpoch: Blake2_128Concat(AccountId32), Identity(NetUid) -> u64 = 0x0000000000000000;
    TotalHotkeyShares: Blake2_128Concat(AccountId32), Identity(NetUid) -> FixedU128<U64> =
        0x00000000000000000000000000000000;
    Alpha: Blake2_128Concat(AccountId32), Blake2_128Concat(AccountId32), Identity(NetUid) -> FixedU128<U64> =
        0x00000000000000000000000000000000;
    TotalHotkeySharesV2: Blake2_128Concat(AccountId32), Identity(NetUid) -> SafeFloat =
        0x000000000000000000000000000000000000000000000000;
    AlphaV2: Blake2_128Concat(AccountId32), Blake2_128Concat(AccountId32), Identity(NetUid) -> SafeFloat =
        0x000000000000000000000000000000000000000000000000;
    Lock?: Blake2_128Concat(AccountId32), Identity(NetUid), Blake2_128Concat(AccountId32) -> LockState;
    LockingColdkeys?: Identity(NetUid), Blake2_128Concat(AccountId32), Blake2_128Concat(AccountId32) -> ();
    HotkeyLock?: Identity(NetUid), Blake2_128Concat(AccountId32) -> LockState;
    DecayingHotkeyLock?: Identity(NetUid), Blake2_128Concat(AccountId32) -> LockState;
    OwnerLock?: Identity(NetUid) -> LockState;
    DecayingOwnerLock?: Identity(NetUid) -> LockState;
    DecayingLock?: Blake2_128Concat(AccountId32), Identity(NetUid) -> bool;
    OwnerCutAutoLockEnabled: Identity(NetUid) -> bool = 0x00;
    MaturityRate: u64 = 0xd2430e0000000000;
    UnlockRate: u64 = 0xd2430e0000000000;
    AlphaMapLastKey: Option<Vec<u8>> = 0x00;
    AlphaV2MapLastKey: Option<Vec<u8>> = 0x00;
    TokenSymbol: Identity(NetUid) -> Vec<u8> = 0x10f09d9c8f;
    SubnetTaoFlow: Identity(NetUid) -> i64 = 0x0000000000000000;
    SubnetEmaTaoFlow?: Identity(NetUid) -> (u64, FixedI128<U64>);
    NetTaoFlowEnabled: bool = 0x01;
    SubnetProtocolFlow: Identity(NetUid) -> i64 = 0x0000000000000000;
    SubnetEmaProtocolFlow?: Identity(NetUid) -> (u64, FixedI128<U64>);
    TaoFlowCutoff: FixedI128<U64> = 0x00000000000000000000000000000000;
    FlowNormExponent: FixedU128<U64> = 0x00000000000000000100000000000000;
    FlowEmaSmoothingFactor: u64 = 0x9dd5ab4beb1a0000;
    UsedWork: Identity(Vec<u8>) -> u64 = 0x0000000000000000;
    MaxRegistrationsPerBlock: Identity(NetUid) -> u16 = 0x0100;
    TotalNetworks: u16 = 0x0000;
    NetworkImmunityPeriod: u64 = 0x80c6130000000000;
    StartCallDelay: u64 = 0x0000000000000000;
    NetworkMinLockCost: u64 = 0x0010a5d4e8000000;
    NetworkLastLockCost: u64 = 0x0010a5d4e8000000;
    NetworkLockReductionInterval: u64 = 0xc089010000000000;
    SubnetOwnerCut: u16 = 0x142e;
    OwnerCutEnabled: Identity(NetUid) -> bool = 0x01;
    NetworkRateLimit: u64 = 0x201c000000000000;
    NominatorMinRequiredStake: u64 = 0x0000000000000000;
    WeightsVersionKeyRateLimit: u64 = 0x0500000000000000;
    LastRateLimitedBlock: Identity(RateLimitKey) -> u64 = 0x0000000000000000;
    TransferToggle: Identity(NetUid) -> bool = 0x01;
    SubnetLocked: Identity(NetUid) -> u64 = 0x0000000000000000;
    LargestLocked: Identity(NetUid) -> u64 = 0x0000000000000000;
    Tempo: Identity(NetUid) -> u16 = 0x6801;
    LastEpochBlock: Identity(NetUid) -> u64 = 0x0000000000000000;
    PendingEpochAt: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetEpochIndex: Identity(NetUid) -> u64 = 0x0000000000000000;
    ActivityCutoffFactorMilli: Identity(NetUid) -> u32 = 0x41360000;
    FirstEmissionBlockNumber?: Identity(NetUid) -> u64;
    SubnetMechanism: Identity(NetUid) -> u16 = 0x0000;
    SubnetworkN: Identity(NetUid) -> u16 = 0x0000;
    NetworksAdded: Identity(NetUid) -> bool = 0x00;
    IsNetworkMember: Blake2_128Concat(AccountId32), Identity(NetUid) -> bool = 0x00;
    NetworkRegistrationAllowed: Identity(NetUid) -> bool = 0x01;
    NetworkPowRegistrationAllowed: Identity(NetUid) -> bool = 0x01;
    NetworkRegisteredAt: Identity(NetUid) -> u64 = 0x0000000000000000;
    RegisteredSubnetCounter: Identity(NetUid) -> u64 = 0x0000000000000000;
    PendingServerEmission: Identity(NetUid) -> u64 = 0x0000000000000000;
    PendingValidatorEmission: Identity(NetUid) -> u64 = 0x0000000000000000;
    PendingRootAlphaDivs: Identity(NetUid) -> u64 = 0x0000000000000000;
    PendingOwnerCut: Identity(NetUid) -> u64 = 0x0000000000000000;
    MinerBurned: Identity(NetUid) -> FixedU128<U32> = 0x00000000000000000000000000000000;
    BlocksSinceLastStep: Identity(NetUid) -> u64 = 0x0000000000000000;
    LastMechansimStepBlock: Identity(NetUid) -> u64 = 0x0000000000000000;
    SubnetOwner: Identity(NetUid) -> AccountId32 =
        0x0000000000000000000000000000000000000000000000000000000000000000;
    SubnetOwnerHotkey: Identity(NetUid) -> AccountId32 =
        0x0000000000000000000000000000000000000000000000000000000000000000;
    RecycleOrBurn: Identity(NetUid) -> RecycleOrBurnEnum = 0x00;
    ServingRateLimit: Identity(NetUid) -> u64 = 0x3200000000000000;
    Rho: Identity(NetUid) -> u16 = 0x0a00;
    AlphaSigmoidSteepness: Identity(NetUid) -> i16 = 0xe803;
    Kappa: Identity(NetUid) -> u16 = 0xff7f;
    RegistrationsThisInterval: Identity(NetUid) -> u16 = 0x0000;
    POWRegistrationsThisInterval: Identity(NetUid) -> u16 = 0x0000;
    BurnRegistrationsThisInterval: Identity(NetUid) -> u16 = 0x0000;
    MinAllowedUids: Identity(NetUid) -> u16 = 0x4000;
    MaxAllowedUids: Identity(NetUid) -> u16 = 0x0001;
    ImmunityPeriod: Identity(NetUid) -> u16 = 0x0010;
    ActivityCutoff: Identity(NetUid) -> u16 = 0x8813;
    MaxWeightsLimit: Identity(NetUid) -> u16 = 0xffff;
    WeightsVersionKey: Identity(NetUid) -> u64 = 0x0000000000000000;
    MinAllowedWeights: Identity(NetUid) -> u16 = 0x0004;
    MaxAllowedValidators: Identity(NetUid) -> u16 = 0x8000;
    AdjustmentInterval: Identity(NetUid) -> u16 = 0x6400;
    BondsMovingAverage: Identity(NetUid) -> u64 = 0xa0bb0d0000000000;
    BondsPenalty: Identity(NetUid) -> u16 = 0xffff;
    BondsResetOn: Identity(NetUid) -> bool = 0x00;
    WeightsSetRateLimit: Identity(NetUid) -> u64 = 0x6400000000000000;
    ValidatorPruneLen: Identity(NetUid) -> u64 = 0x0100000000000000;
    ScalingLawPower: Identity(NetUid) -> u16 = 0x3200;
    TargetRegistrationsPerInterval: Identity(NetUid) -> u16 = 0x0200;
    AdjustmentAlpha: Identity(NetUid) -> u64 = 0x0000000000000000;
    CommitRevealWeightsEnabled: Identity(NetUid) -> bool = 0x01;
    Burn: Identity(NetUid) -> u64 = 0x00e1f50500000000;
    Difficulty: Identity(NetUid) -> u64 = 0x8096980000000000;
    MinBurn: Identity(NetUid) -> u64 = 0x20a1070000000000;
    MaxBurn: Identity(NetUid) -> u64 = 0x00e8764817000000;
    MinDifficulty: Identity(NetUid) -> u64 = 0x8096980000000000;
    MaxDifficulty: Identity(NetUid) -> u64 = 0xffffffffffffff3f;
    LastAdjustmentBlock: Identity(NetUid) -> u64 = 0x0000000000000000;
    RegistrationsThisBlock: Identity(NetUid) -> u16 = 0x0000;
    EMAPriceHalvingBlocks: Identity(NetUid) -> u64 = 0x8013030000000000;
    RAORecycledForRegistration: Identity(NetUid) -> u64 = 0x0000000000000000;
    MaxEpochsPerBlock: u8 = 0x02;
    TxRateLimit: u64 = 0xe803000000000000;
    TxDelegateTakeRateLimit: u64 = 0xc04b030000000000;
    TxChildkeyTakeRateLimit: u64 = 0xc04b030000000000;
    LiquidAlphaOn: Blake2_128Concat(NetUid) -> bool = 0x00;
    Yuma3On: Blake2_128Concat(NetUid) -> bool = 0x00;
    AlphaValues: Identity(NetUid) -> (u16, u16) = 0x33b366e6;
    SubtokenEnabled: Identity(NetUid) -> bool = 0x00;
    VotingPower: Identity(NetUid), Blake2_128Concat(AccountId32) -> u64 = 0x0000000000000000;
    VotingPowerTrackingEnabled: Identity(NetUid) -> bool = 0x00;
    VotingPowerDisableAtBlock: Identity(NetUid) -> u64 = 0x0000000000000000;
    VotingPowerEmaAlpha: Identity(NetUid) -> u64 = 0x0020d965e5ae0c00;
    ImmuneOwnerUidsLimit: Identity(NetUid) -> u16 = 0x0100;
    StakeWeight: Identity(NetUid) -> Vec<u16> = 0x00;
    Uids?: Identity(NetUid), Blake2_128Concat(AccountId32) -> u16;
    Keys: Identity(NetUid), Identity(u16) -> AccountId32 =
        0x0000000000000000000000000000000000000000000000000000000000000000;
    LoadedEmission?: Identity(NetUid) -> Vec<(AccountId32, u64, u64)>;
    Active: Identity(NetUid) -> Vec<bool> = 0x00;
    Consensus: Identity(NetUid) -> Vec<u16> = 0x00;
    Incentive: Identity(u16) -> Vec<u16> = 0x00;
    Dividends: Identity(NetUid) -> Vec<u16> = 0x00;
    Emission: Identity(NetUid) -> Vec<u64> = 0x00;
    LastUpdate: Identity(u16) -> Vec<u64> = 0x00;
    ValidatorTrust: Identity(NetUid) -> Vec<u16> = 0x00;
    ValidatorPermit: Identity(NetUid) -> Vec<bool> = 0x00;
    Weights: Identity(u16), Identity(u16) -> Vec<(u16, u16)> = 0x00;
    Bonds: Identity(u16), Identity(u16) -> Vec<(u16, u16)> = 0x00;
    BlockAtRegistration: Identity(NetUid), Identity(u16) -> u64 = 0x0000000000000000;
    Axons?: Identity(NetUid), Blake2_128Concat(AccountId32) -> AxonInfo;
    NeuronCertificates?: Identity(NetUid), Blake2_128Concat(AccountId32) -> NeuronCertificate;
    Prometheus?: Identity(NetUid), Blake2_128Concat(AccountId32) -> PrometheusInfo;
    IdentitiesV2?: Blake2_128Concat(AccountId32) -> ChainIdentityV2;
    SubnetIdentitiesV3?: Blake2_128Concat(NetUid) -> SubnetIdentityV3;
    TransactionKeyLastBlock: Blake2_128Concat(AccountId32), Identity(NetUid), Identity(u16) -> u64 =
        0x0000000000000000;
    LastTxBlock: Identity(AccountId32) -> u64 = 0x0000000000000000;
    LastTxBlockChildKeyTake: Identity(AccountId32) -> u64 = 0x0000000000000000;
    LastTxBlockDelegateTake: Identity(AccountId32) -> u64 = 0x0000000000000000;
    StakeThreshold: u64 = 0x0000000000000000;
    WeightCommits?: Twox64Concat(u16), Twox64Concat(AccountId32) -> Vec<(H256, u64, u64, u64)>;
    TimelockedWeightCommits: Twox64Concat(u16), Twox64Concat(u64) -> Vec<(AccountId32, u64, BoundedVec<u8>,
        u64)> = 0x00;
    CRV3WeightCommits: Twox64Concat(u16), Twox64Concat(u64) -> Vec<(AccountId32, BoundedVec<u8>, u64)> = 0x00;
    CRV3WeightCommitsV2: Twox64Concat(u16), Twox64Concat(u64) -> Vec<(AccountId32, u64, BoundedVec<u8>, u64)>
        = 0x00;
    RevealPeriodEpochs: Twox64Concat(NetUid) -> u64 = 0x0100000000000000;
    LastColdkeyHotkeyStakeBlock?: Twox64Concat(AccountId32), Twox64Concat(AccountId32) -> u64;
    RootClaimableThreshold: Blake2_128Concat(NetUid) -> FixedI128<U32> = 0x0000000020a107000000000000000000;
    RootClaimable: Blake2_128Concat(AccountId32) -> BTreeMap<NetUid, FixedI128<U32>> = 0x00;
    RootClaimed: Identity(NetUid), Blake2_128Concat(AccountId32), Blake2_128Concat(AccountId32) -> u128 =
        0x00000000000000000000000000000000;
    RootClaimType: Blake2_128Concat(AccountId32) -> RootClaimTypeEnum = 0x00;
    StakingColdkeysByIndex?: Identity(u64) -> AccountId32;
    StakingColdkeys?: Identity(AccountId32) -> u64;
    NumStakingColdkeys: u64 = 0x0000000000000000;
    NumRootClaim: u64 = 0x0500000000000000;
    AssociatedEvmAddress?: Twox64Concat(NetUid), Twox64Concat(u16) -> (H160, u64);
    SubnetLeases?: Twox64Concat(u32) -> SubnetLease;
    SubnetLeaseShares: Twox64Concat(u32), Identity(AccountId32) -> FixedU128<U64> =
        0x00000000000000000000000000000000;
    SubnetUidToLeaseId?: Twox64Concat(NetUid) -> u32;
    NextSubnetLeaseId: u32 = 0x00000000;
    AccumulatedLeaseDividends: Twox64Concat(u32) -> u64 = 0x0000000000000000;
    CommitRevealWeightsVersion: u16 = 0x0400;
    NetworkRegistrationStartBlock: u64 = 0x0000000000000000;
    TaoInRefundDeploymentBlock: u64 = 0x0000000000000000;
    MinNonImmuneUids: Identity(NetUid) -> u16 = 0x0a00;
    MaxMechanismCount: u8 = 0x02;
    MechanismCountCurrent: Twox64Concat(NetUid) -> u8 = 0x01;
    MechanismEmissionSplit?: Twox64Concat(NetUid) -> Vec<u16>;
    BurnHalfLife: Identity(NetUid) -> u16 = 0x6801;
    BurnIncreaseMult: Identity(NetUid) -> FixedU128<U64> = 0x0090c2f5285c8f420100000000000000;
    AutoParentDelegationEnabled: Blake2_128Concat(AccountId32) -> bool = 0x01;
    HasMigrationRun: Identity(Vec<u8>) -> bool = 0x00;
    PendingChildKeyCooldown: u64 = 0x201c000000000000;
}
"""
