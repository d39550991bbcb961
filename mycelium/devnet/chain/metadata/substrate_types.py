"""Types that every Substrate runtime has, as of spec 424."""

_ERA = "enum sp_runtime::generic::era::Era {{ Immortal = 0, {mortal} }}".format(
    mortal=" ".join(f"Mortal{first}(u8) = {first}," for first in range(1, 256))
)
"""A mortal era's first byte is its discriminant, so there is a variant for each."""

DECLARATION = (
    _ERA
    + """
struct sp_core::crypto::AccountId32([u8; 32]);
struct frame_system::AccountInfo<Nonce = u32, AccountData = AccountData> { nonce: u32, consumers: u32,
    providers: u32, sufficients: u32, data: AccountData };
struct sp_weights::weight_v2::Weight { ref_time: Compact<u64>, proof_size: Compact<u64> };
struct primitive_types::H256([u8; 32]);
struct sp_runtime::generic::digest::Digest { logs: Vec<DigestItem> };
struct frame_system::EventRecord<E = RuntimeEvent, T = H256> { phase: Phase, event: RuntimeEvent,
    topics: Vec<H256> };
struct frame_system::LastRuntimeUpgradeInfo { spec_version: Compact<u32>, spec_name: Cow<str> };
enum frame_system::Phase { ApplyExtrinsic(u32) = 0, Finalization = 1, Initialization = 2, }
struct frame_system::CodeUpgradeAuthorization<T> { code_hash: H256, check_version: bool };
struct frame_system::DispatchEventInfo { weight: Weight, class: DispatchClass, pays_fee: Pays };
enum sp_runtime::DispatchError { Other = 0, CannotLookup = 1, BadOrigin = 2, Module(ModuleError) = 3,
    ConsumerRemaining = 4, NoProviders = 5, TooManyConsumers = 6, Token(TokenError) = 7,
    Arithmetic(ArithmeticError) = 8, Transactional(TransactionalError) = 9, Exhausted = 10, Corruption = 11,
    Unavailable = 12, RootNotAllowed = 13, Trie(TrieError) = 14, }
struct frame_system::limits::BlockWeights { base_block: Weight, max_block: Weight,
    per_class: PerDispatchClass<WeightsPerClass> };
struct frame_system::limits::BlockLength { max: PerDispatchClass<u32> };
struct sp_weights::RuntimeDbWeight { read: u64, write: u64 };
struct sp_version::RuntimeVersion { spec_name: Cow<str>, impl_name: Cow<str>, authoring_version: u32,
    spec_version: u32, impl_version: u32, apis: Cow<Vec<([u8; 8], u32)>>, transaction_version: u32,
    system_version: u8 };
struct pallet_balances::types::AccountData<Balance = u64> { free: u64, reserved: u64, frozen: u64,
    flags: ExtraFlags };
struct pallet_balances::types::BalanceLock<Balance = u64> { id: [u8; 8], amount: u64, reasons: Reasons };
struct pallet_balances::types::ReserveData<ReserveIdentifier = [u8; 8], Balance = u64> { id: [u8; 8],
    amount: u64 };
enum sp_runtime::multiaddress::MultiAddress<AccountId = AccountId32, AccountIndex = ()> { Id(AccountId32) = 0,
    Index(Compact<()>) = 1, Raw(Vec<u8>) = 2, Address32([u8; 32]) = 3, Address20([u8; 20]) = 4, }
enum pallet_balances::types::AdjustmentDirection { Increase = 0, Decrease = 1, }
enum frame_support::traits::tokens::misc::BalanceStatus { Free = 0, Reserved = 1, }
struct sp_arithmetic::fixed_point::FixedU128(u128);
enum pallet_transaction_payment::Releases { V1Ancient = 0, V2 = 1, }
struct primitive_types::H160([u8; 20]);
struct sp_arithmetic::per_things::Percent(u8);
struct frame_support::PalletId([u8; 8]);
struct sp_consensus_aura::sr25519::app_sr25519::Public([u8; 32]);
struct app_Public = sp_consensus_grandpa::app::Public([u8; 32]);
enum sp_runtime::MultiSignature { Ed25519([u8; 64]) = 0, Sr25519([u8; 64]) = 1, Ecdsa([u8; 65]) = 2, }
struct NonZeroU64(u64);
struct sp_core::OpaqueMetadata(Vec<u8>);
struct pallet_transaction_payment::types::RuntimeDispatchInfo<Balance = u64, Weight = Weight> {
    weight: Weight, class: DispatchClass, partial_fee: u64 };
struct pallet_transaction_payment::types::FeeDetails<Balance = u64> { inclusion_fee: Option<InclusionFee>,
    tip: u64 };
struct sp_consensus_slots::SlotDuration(u64);
struct frame_system::extensions::check_non_zero_sender::CheckNonZeroSender<T>;
struct frame_system::extensions::check_spec_version::CheckSpecVersion<T>;
struct frame_system::extensions::check_tx_version::CheckTxVersion<T>;
struct frame_system::extensions::check_genesis::CheckGenesis<T>;
struct frame_system::extensions::check_weight::CheckWeight<T>;
struct pallet_transaction_payment::ChargeTransactionPayment<T>(Compact<u64>);
struct frame_metadata_hash_extension::CheckMetadataHash<T> { mode: Mode };
enum sp_runtime::generic::digest::DigestItem { PreRuntime([u8; 4], Vec<u8>) = 6, Consensus([u8; 4],
    Vec<u8>) = 4, Seal([u8; 4], Vec<u8>) = 5, Other(Vec<u8>) = 0, RuntimeEnvironmentUpdated = 8, }
enum frame_support::dispatch::DispatchClass { Normal = 0, Operational = 1, Mandatory = 2, }
enum frame_support::dispatch::Pays { Yes = 0, No = 1, }
struct sp_runtime::ModuleError { index: u8, error: [u8; 4] };
enum sp_runtime::TokenError { FundsUnavailable = 0, OnlyProvider = 1, BelowMinimum = 2, CannotCreate = 3,
    UnknownAsset = 4, Frozen = 5, Unsupported = 6, CannotCreateHold = 7, NotExpendable = 8, Blocked = 9, }
enum sp_arithmetic::ArithmeticError { Underflow = 0, Overflow = 1, DivisionByZero = 2, }
enum sp_runtime::TransactionalError { LimitReached = 0, NoLayer = 1, }
enum sp_runtime::proving_trie::TrieError { InvalidStateRoot = 0, IncompleteDatabase = 1,
    ValueAtIncompleteKey = 2, DecoderError = 3, InvalidHash = 4, DuplicateKey = 5, ExtraneousNode = 6,
    ExtraneousValue = 7, ExtraneousHashReference = 8, InvalidChildReference = 9, ValueMismatch = 10,
    IncompleteProof = 11, RootMismatch = 12, DecodeError = 13, }
struct frame_system::limits::WeightsPerClass { base_extrinsic: Weight, max_extrinsic: Option<Weight>,
    max_total: Option<Weight>, reserved: Option<Weight> };
struct pallet_balances::types::ExtraFlags(u128);
enum pallet_balances::types::Reasons { Fee = 0, Misc = 1, All = 2, }
enum pallet_preimage::pallet::HoldReason { Preimage = 0, }
enum pallet_HoldReason = pallet_safe_mode::pallet::HoldReason { EnterOrExtend = 0, }
enum pallet_contracts_pallet_HoldReason = pallet_contracts::pallet::HoldReason { CodeUploadDepositReserve = 0,
    StorageDepositReserve = 1, }
enum sp_runtime::MultiSigner { Ed25519([u8; 32]) = 0, Sr25519([u8; 32]) = 1, Ecdsa([u8; 33]) = 2, }
struct sp_arithmetic::per_things::Perquintill(u64);
struct pallet_transaction_payment::types::InclusionFee<Balance = u64> { base_fee: u64, len_fee: u64,
    adjusted_weight_fee: u64 };
struct substrate_fixed::FixedI64<Frac = U32> { bits: i64 };
enum frame_metadata_hash_extension::Mode { Disabled = 0, Enabled = 1, }
struct pallet_multisig::Multisig<BlockNumber = u32, Balance = u64, AccountId = AccountId32, MaxApprovals> {
    when: Timepoint, deposit: u64, depositor: AccountId32, approvals: BoundedVec<AccountId32> };
struct pallet_multisig::Timepoint<BlockNumber = u32> { height: u32, index: u32 };
struct substrate_typenum::uint::UTerm;
struct substrate_typenum::bit::B0;
struct substrate_typenum::bit::B1;
"""
)
