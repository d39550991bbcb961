"""The change feed on NATS JetStream: one stream for each space, snapshots beside it, and who reads them."""
