"""Isolation: the backend protocol, its implementations, limits, and the pool of warm sandboxes."""
