"""Bounds on what one side accepts from the other. Both ends enforce them; neither trusts the other to."""

from __future__ import annotations

import msgspec

PROTOCOL_VERSION = 1
SUBPROTOCOL = "reflow.v1"
RESOURCE = "/agent"

KIB = 1024
MIB = 1024 * KIB


MESSAGE_DEPTH = 6
"""How deep the value of an output stands in its frame, at most: batch, response, result, outputs, the pair of port and
message, and in text the pair of type and value."""


class WireLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes of encoded MessagePack; depth counts nested arrays and maps.

    `max_frame` is over `max_message`, since a frame carries the largest message with its envelope and what is
    batched with it. The supervisor's values reach the agent in the answer to `hello`.
    """

    max_message: int = 64 * MIB
    max_frame: int = 80 * MIB
    max_depth: int = 64
    max_batch: int = 1024
    max_pending: int = 4096
    """Requests of the peer that may be unanswered at once."""
    batch_bytes: int = 256 * KIB
    """A frame is closed when it has grown to this: what is batched is small, what is large travels alone."""
