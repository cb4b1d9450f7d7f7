"""Actor state: the store protocol, Redis and memory stores, and the embedded Redis server."""
