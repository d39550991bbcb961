"""Types of a miner's configuration."""
