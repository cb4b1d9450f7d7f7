"""The control endpoint: what a running supervisor tells and is told over a Unix socket, and its client."""
