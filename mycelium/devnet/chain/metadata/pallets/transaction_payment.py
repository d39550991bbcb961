"""Pallet TransactionPayment: fees; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet TransactionPayment = 6;
storage {
    NextFeeMultiplier: FixedU128 = 0x000064a7b3b6e00d0000000000000000;
    StorageVersion: Releases = 0x00;
}
events pallet_transaction_payment::pallet::Event<T> {
    TransactionFeePaid { who: AccountId32, actual_fee: u64, tip: u64 } = 0,
}
constants {
    OperationalFeeMultiplier: u8 = 0x05;
}
"""
