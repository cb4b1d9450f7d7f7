"""Frames that outlive their connection: how they are numbered, acknowledged, kept, and sent again.

The frames of a session are numbered from 1 in each direction. Each carries its own number and the highest one that has
come in order from the other side; what is not acknowledged is kept. When a connection is cut, each side tells the other
what it has, over the next one, and the rest is sent again. So each frame arrives once and in order, whatever becomes of
the connections.

This module decides which frames are new, which may leave, which are kept and when an acknowledgement is due. It knows
neither messages nor sockets nor time: a frame is what its user says it is, and the user says when there is another
connection (`resume`) and when an acknowledgement has waited long enough (`insist`). JavaScript's is `lib/replay.js`.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, Generic, TypeVar

import msgspec

from .errors import ProtocolViolationError

KIB: Final = 1024
MIB: Final = 1024 * KIB

MAX_NUMBER: Final = 2**53 - 1
"""What every language counts to exactly. A frame a microsecond takes 285 years to get there."""

ACK_DELAY: Final = 0.2
"""Seconds that an acknowledgement waits for a frame to go with, before it goes alone. It frees memory at the peer,
which waits for none until its window is full: so it need not be soon."""

F = TypeVar("F")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be unacknowledged before nothing new leaves, and after how much an acknowledgement is due.

    Both ends have the same, and the latter is well below the former: a peer that reads holds nobody up. One frame may
    be larger than `max_bytes`: it leaves while less than that is unacknowledged.
    """

    max_frames: int = 1024
    max_bytes: int = 8 * MIB
    ack_frames: int = 64
    ack_bytes: int = 1 * MIB


class Arrival(enum.Enum):
    """What a frame that arrived is."""

    NEW = "new"
    """The next one: its messages count."""
    DUPLICATE = "duplicate"
    """It came before: it is ignored."""
    GAP = "gap"
    """One before it is missing: it is ignored, and the connection must be replaced."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """It carries no messages."""


class Replay(Generic[F]):
    """One session's frames, on either side."""

    def __init__(self, window: Window | None = None) -> None:
        self._window = window = window or Window()
        self._max_frames, self._max_bytes = window.max_frames, window.max_bytes
        self.received = 0
        """The highest number that came in order."""
        self.acknowledged = 0
        """The highest number that the peer is known to have."""
        self.sent = 0
        """The highest number that a connection was given."""
        self._kept: deque[tuple[F, int]] = deque()
        """Frames with their sizes, from number `acknowledged + 1` on."""
        self._bytes = 0
        self._next = 1
        """The number of the frame that goes next on this connection."""
        self.is_due = False
        """So much came that was not acknowledged, or so long ago, that it is to be done even without a frame."""
        self._told = 0
        """The highest number that was acknowledged to the peer."""
        self._untold_bytes = 0

    # -- what leaves --------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a new frame may be kept. Where not, it waits until the peer acknowledges some."""
        return self._bytes < self._max_bytes and len(self._kept) < self._max_frames

    @property
    def kept(self) -> int:
        """How many frames wait to be acknowledged."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    @property
    def has_next(self) -> bool:
        """Whether a kept frame is still to be sent on this connection."""
        return self._next <= self.acknowledged + len(self._kept)

    @property
    def following(self) -> int:
        """The number that the next new frame gets."""
        return self.acknowledged + len(self._kept) + 1

    def send(self, frame: F, size: int) -> None:
        """Keeps a new frame that leaves now, with an acknowledgement of `received`. Only where `has_room`, and nothing
        `has_next`."""
        self._kept.append((frame, size))
        self._bytes += size
        self.sent = self._next
        self._next += 1
        self.told()

    def keep(self, frame: F, size: int) -> None:
        """Keeps a new frame, of so many bytes, to be sent later. Only where `has_room`."""
        self._kept.append((frame, size))
        self._bytes += size

    def next(self) -> tuple[int, F]:
        """The frame to send now, with its number; it goes with an acknowledgement of `received`. Only where
        `has_next`."""
        number = self._next
        frame, _ = self._kept[number - self.acknowledged - 1]
        self._next = number + 1
        if number > self.sent:
            self.sent = number
        self.told()
        return number, frame

    # -- acknowledgements ---------------------------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether something came that was not acknowledged."""
        return self._told < self.received

    def insist(self) -> None:
        """What came and was not acknowledged has waited long enough."""
        self.is_due = self.owes

    def told(self) -> None:
        """An acknowledgement of `received` is sent."""
        self._told = self.received
        self._untold_bytes = 0
        self.is_due = False

    # -- what arrives -------------------------------------------------------------------------------------------

    def arrived(self, number: int, acknowledged: int, size: int) -> Arrival:
        """A frame of so many bytes came.

        An acknowledgement that is older than what is known already says nothing: a frame that is sent twice has one.

        Raises:
            ProtocolViolationError: it acknowledges what was never sent.
        """
        if acknowledged > self.acknowledged:
            if acknowledged > self.sent:
                raise ProtocolViolationError(f"frame {acknowledged} is acknowledged, and only {self.sent} were sent")
            self._drop(acknowledged)
        if number == self.received + 1:
            self.received = number
            self._untold_bytes += size
            if number - self._told >= self._window.ack_frames or self._untold_bytes >= self._window.ack_bytes:
                self.is_due = True
            return Arrival.NEW
        if number == 0:
            return Arrival.ACKNOWLEDGEMENT
        return Arrival.DUPLICATE if number <= self.received else Arrival.GAP

    def _drop(self, acknowledged: int) -> None:
        for _ in range(acknowledged - self.acknowledged):
            self._bytes -= self._kept.popleft()[1]
        self.acknowledged = acknowledged
        if self._next <= acknowledged:
            # What was to be sent again has come after all, with the connection before.
            self._next = acknowledged + 1

    # -- another connection -------------------------------------------------------------------------------------

    def resume(self, received: int) -> None:
        """There is another connection, over which the peer has said what it has, and was told what came (`received`).
        What it has not is sent again.

        Raises:
            ProtocolViolationError: that cannot be.
        """
        if received > self.sent:
            raise ProtocolViolationError(f"the peer says that it has frame {received}, and only {self.sent} were sent")
        if received < self.acknowledged:
            raise ProtocolViolationError(
                f"the peer says that it has {received} frames, after it had acknowledged {self.acknowledged}"
            )
        self._drop(received)
        self._next = received + 1
        self.told()

    def clear(self) -> None:
        """The session is over: nothing is kept."""
        self._kept.clear()
        self._bytes = 0
        self._next = self.following
