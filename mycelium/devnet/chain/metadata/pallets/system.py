"""Pallet System: accounts, blocks and events; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet System = 0;
storage {
    Account: Blake2_128Concat(AccountId32) -> AccountInfo =
        0x000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
        0x0000000000000080;
    ExtrinsicCount?: u32;
    InherentsApplied: bool = 0x00;
    BlockWeight: PerDispatchClass<Weight> = 0x000000000000;
    AllExtrinsicsLen?: u32;
    BlockHash: Twox64Concat(u32) -> H256 = 0x0000000000000000000000000000000000000000000000000000000000000000;
    ExtrinsicData: Twox64Concat(u32) -> Vec<u8> = 0x00;
    Number: u32 = 0x00000000;
    ParentHash: H256 = 0x0000000000000000000000000000000000000000000000000000000000000000;
    Digest: Digest = 0x00;
    Events: Vec<EventRecord> = 0x00;
    EventCount: u32 = 0x00000000;
    EventTopics: Blake2_128Concat(H256) -> Vec<(u32, u32)> = 0x00;
    LastRuntimeUpgrade?: LastRuntimeUpgradeInfo;
    UpgradedToU32RefCount: bool = 0x00;
    UpgradedToTripleRefCount: bool = 0x00;
    ExecutionPhase?: Phase;
    AuthorizedUpgrade?: CodeUpgradeAuthorization;
    ExtrinsicWeightReclaimed: Weight = 0x0000;
}
calls frame_system::pallet::Call<T> {
    remark { remark: Vec<u8> } = 0,
    set_heap_pages { pages: u64 } = 1,
    set_code { code: Vec<u8> } = 2,
    set_code_without_checks { code: Vec<u8> } = 3,
    set_storage { items: Vec<(Vec<u8>, Vec<u8>)> } = 4,
    kill_storage { keys: Vec<Vec<u8>> } = 5,
    kill_prefix { prefix: Vec<u8>, subkeys: u32 } = 6,
    remark_with_event { remark: Vec<u8> } = 7,
    authorize_upgrade { code_hash: H256 } = 9,
    authorize_upgrade_without_checks { code_hash: H256 } = 10,
    apply_authorized_upgrade { code: Vec<u8> } = 11,
}
events frame_system::pallet::Event<T> {
    ExtrinsicSuccess { dispatch_info: DispatchEventInfo } = 0,
    ExtrinsicFailed { dispatch_error: DispatchError, dispatch_info: DispatchEventInfo } = 1,
    CodeUpdated = 2,
    NewAccount { account: AccountId32 } = 3,
    KilledAccount { account: AccountId32 } = 4,
    Remarked { sender: AccountId32, hash: H256 } = 5,
    UpgradeAuthorized { code_hash: H256, check_version: bool } = 6,
    RejectedInvalidAuthorizedUpgrade { code_hash: H256, error: DispatchError } = 7,
}
errors frame_system::pallet::Error<T> {
    InvalidSpecName = 0,
    SpecVersionNeedsToIncrease = 1,
    FailedToExtractRuntimeVersion = 2,
    NonDefaultComposite = 3,
    NonZeroRefCount = 4,
    CallFiltered = 5,
    MultiBlockMigrationsOngoing = 6,
    NothingAuthorized = 7,
    Unauthorized = 8,
}
constants {
    BlockWeights: BlockWeights =
        0xc2a0e766000b00409452a30313ffffffffffffffff2261c91900010bb837a1555d021366666666666666a6010b0030ef
        0x7dba0213ffffffffffffffbf0100002261c91900010bb847462a46031366666666666666e6010b00409452a30313ffff
        0xffffffffffff01070010a5d4e81300000000000000402261c91900000000;
    BlockLength: BlockLength = 0x000078000000a0000000a000;
    BlockHashCount: u32 = 0x60090000;
    DbWeight: RuntimeDbWeight = 0x40787d010000000000e1f50500000000;
    Version: RuntimeVersion =
        0x386e6f64652d73756274656e736f72386e6f64652d73756274656e736f7201000000a80100000100000060df6acb6899
        0x07609b0500000037e397fc7c91f5e40200000040fe3ad401f8959a06000000fbc577b9d747efd601000000d2bc9897ee
        0xd08f1503000000f78b278be53f454c02000000dd718d5cc53262d401000000ab3c0572291feb8b01000000ed99c5acb2
        0x5eedf503000000bc9d89904f5b923f0100000037c8bb1350a9a2a804000000f3ff14d5ab52705903000000582211f65b
        0xb14b8906000000e65b00e46cedd0aa0200000068b66ba122c93fa70200000042e62be4a39e5b6001000000806df4ccaa
        0x9ed485010000008375104b299b74c5020000005d1fbfbe852f280701000000c6886e2f8e598b0a01000000c0de4984d1
        0x12f3b401000000cbca25e39f14238702000000a8b093e6508d9e9c010000001c4585bd5c707202010000000100000001;
    SS58Prefix: u16 = 0x2a00;
}
"""
