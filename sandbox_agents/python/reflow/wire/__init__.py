"""The wire: what both ends of a link share. Standard library and msgspec only; no I/O anywhere.

`values` says what a message is and how it is encoded, `messages` what requests look like, `session` what may be
sent when, `replay` what is sent again when a connection was cut. The contract is specs/protocol.md.
"""
