"""What a miner is configured with."""
