"""What can go wrong with a peer, and with a user of this package: the exceptions that its modules share."""

from __future__ import annotations


class ProtocolViolationError(Exception):
    """The peer did what specs/protocol.md does not allow. The link must be closed with 4001."""


class InvalidPayloadError(ProtocolViolationError):
    """Params or a result that are well encoded, and not of the shape that their method has."""


class LocalProtocolError(Exception):
    """This side asked the session for something that the protocol does not allow: a bug here, not at the peer."""


class FrameGapError(Exception):
    """A frame is missing before the one that came. Its connection is of no more use; the session is, on another."""
