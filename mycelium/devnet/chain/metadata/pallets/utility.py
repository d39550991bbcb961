"""Pallet Utility: batches of calls; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Utility = 11;
calls pallet_subtensor_utility::pallet::Call<T> {
    batch { calls: Vec<RuntimeCall> } = 0,
    as_derivative { index: u16, call: RuntimeCall } = 1,
    batch_all { calls: Vec<RuntimeCall> } = 2,
    force_batch { calls: Vec<RuntimeCall> } = 4,
    with_weight { call: RuntimeCall, weight: Weight } = 5,
    if_else { main: RuntimeCall, fallback: RuntimeCall } = 6,
}
events pallet_subtensor_utility::pallet::Event {
    BatchInterrupted { index: u32, error: DispatchError } = 0,
    BatchCompleted = 1,
    BatchCompletedWithErrors = 2,
    ItemCompleted = 3,
    ItemFailed { error: DispatchError } = 4,
    DispatchedAs { result: Result<(), DispatchError> } = 5,
    IfElseMainSuccess = 6,
    IfElseFallbackCalled { main_error: DispatchError } = 7,
}
errors pallet_subtensor_utility::pallet::Error<T> {
    TooManyCalls = 0,
    InvalidDerivedAccount = 1,
}
constants {
    batched_calls_limit: u32 = 0xaa2a0000;
}
"""
