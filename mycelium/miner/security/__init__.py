"""What guards a miner."""
