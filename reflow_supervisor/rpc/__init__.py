"""Links to agents: a WebSocket on a Unix socket, driven by Trio, around the sans-I/O session of `reflow.wire`."""
