"""What a validator does: `client` has its operations on the chain."""

from mycelium.extras import need

need("fiber", "httpx", "httptools")
