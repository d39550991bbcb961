"""Pallet Aura: how far blocks are apart, which clients read here; as of spec 424. No storage: nobody takes turns."""

DECLARATION = """
pallet Aura = 3;
constants {
    SlotDuration: u64 = 0xe02e000000000000;
}
"""
