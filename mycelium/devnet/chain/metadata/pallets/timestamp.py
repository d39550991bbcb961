"""Pallet Timestamp: the time of a block; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Timestamp = 2;
storage {
    Now: u64 = 0x0000000000000000;
    DidUpdate: bool = 0x00;
}
calls pallet_timestamp::pallet::Call<T> {
    set { now: Compact<u64> } = 0,
}
constants {
    MinimumPeriod: u64 = 0x7017000000000000;
}
"""
