"""How a signed extrinsic is put together, as of spec 424: its parts and the signed extensions, in order."""

DECLARATION = """
extrinsic 4 {
    address: MultiAddress;
    call: RuntimeCall;
    signature: MultiSignature;
    nested: ((CheckNonZeroSender, CheckSpecVersion, CheckTxVersion, CheckGenesis, CheckMortality, CheckNonce,
        CheckWeight), (ChargeTransactionPaymentWrapper, SudoTransactionExtension, CheckShieldedTxValidity,
        SubtensorTransactionExtension, DrandPriority), CheckMetadataHash);
    CheckNonZeroSender: CheckNonZeroSender + ();
    CheckSpecVersion: CheckSpecVersion + u32;
    CheckTxVersion: CheckTxVersion + u32;
    CheckGenesis: CheckGenesis + H256;
    CheckMortality: CheckMortality + H256;
    CheckNonce: CheckNonce + ();
    CheckWeight: CheckWeight + ();
    ChargeTransactionPayment: ChargeTransactionPayment + ();
    SudoTransactionExtension: SudoTransactionExtension + ();
    CheckShieldedTxValidity: CheckShieldedTxValidity + ();
    SubtensorTransactionExtension: SubtensorTransactionExtension + ();
    DrandPriority: DrandPriority + ();
    CheckMetadataHash: CheckMetadataHash + Option<[u8; 32]>;
}
"""
