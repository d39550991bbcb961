"""Pallet Sudo: calls as root; as of spec 424. Items and types, no behaviour."""

DECLARATION = """
pallet Sudo = 12;
storage {
    Key?: AccountId32;
}
calls pallet_sudo::pallet::Call<T> {
    sudo { call: RuntimeCall } = 0,
    sudo_unchecked_weight { call: RuntimeCall, weight: Weight } = 1,
    set_key { new: MultiAddress } = 2,
    sudo_as { who: MultiAddress, call: RuntimeCall } = 3,
    remove_key = 4,
}
events pallet_sudo::pallet::Event<T> {
    Sudid { sudo_result: Result<(), DispatchError> } = 0,
    KeyChanged { old: Option<AccountId32>, new: AccountId32 } = 1,
    KeyRemoved = 2,
    SudoAsDone { sudo_result: Result<(), DispatchError> } = 3,
}
errors pallet_sudo::pallet::Error<T> {
    RequireSudo = 0,
}
"""
