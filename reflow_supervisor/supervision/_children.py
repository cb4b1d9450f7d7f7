"""What the state machine remembers of a child, and of the work it has under way."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

import attrs

from ._reasons import ExitReason, StopCause
from ._specs import ChildSpec, Restart
from ._states import ChildState


@attrs.define(eq=False)
class Child:
    id: str
    position: int
    """In the start order: the greater, the later."""
    spec: ChildSpec
    """May be replaced while it runs; what it was started with is `running_spec`."""
    args: tuple[object, ...] = ()
    """For a dynamic child; `()` also for one that will not be started again."""
    state: ChildState = ChildState.STOPPED
    incarnation: int = 0
    running_spec: ChildSpec | None = None
    value: object = None
    owner: Operation | None = None
    timer: int | None = None
    """One at a time: start timeout, liveness, shutdown time or backoff, by the state."""
    stop_cause: StopCause = StopCause.SHUTDOWN
    overrun: ExitReason | None = None
    """Why it is being stopped, where that was a timer's doing."""
    shutdown_time: float | None = None
    """What it had when it was told to stop, in seconds; None for a brutal kill."""
    killed: bool = False
    failures: int = 0
    """Restarts in a row, for the backoff."""
    started_at: float | None = None
    next_retry_at: float | None = None
    last_exit: ExitReason | None = None

    @property
    def temporary(self) -> bool:
        return self.spec.restart is Restart.TEMPORARY


class Purpose(enum.Enum):
    START_UP = enum.auto()
    RESTART = enum.auto()
    START_CHILD = enum.auto()
    RESTART_CHILD = enum.auto()
    TERMINATE_CHILD = enum.auto()
    END = enum.auto()


def _queue(children: Iterable[Child]) -> deque[Child]:
    return deque(children)


@attrs.define(eq=False)
class Operation:
    """Children to stop and then to start, one at a time; the first of a queue is the one at work."""

    purpose: Purpose
    cause: StopCause
    stop: deque[Child] = attrs.field(factory=deque[Child], converter=_queue)
    start: deque[Child] = attrs.field(factory=deque[Child], converter=_queue)
    call: int | None = None
    comes_back: set[Child] = attrs.field(init=False)
    """Those in `start`, to ask in no time whether one is."""
    last: int = attrs.field(init=False)
    """The greatest position among its children."""

    def __attrs_post_init__(self) -> None:
        self.comes_back = set(self.start)
        self.measure()

    def measure(self) -> None:
        """To be called again when positions change."""
        self.last = max((child.position for child in (*self.stop, *self.start)), default=-1)

    def is_starting(self, child: Child) -> bool:
        """Whether it is the one whose start is under way."""
        return not self.stop and bool(self.start) and self.start[0] is child

    def drop_others(self) -> list[Child]:
        """Takes all out but the one whose start is under way, and returns them."""
        first, *others = self.start
        self.start = deque([first])
        self.comes_back = {first}
        return others

    def drop(self, child: Child) -> None:
        """Takes a child out of those to start."""
        self.comes_back.discard(child)
        if self.start[0] is child:
            self.start.popleft()
        else:
            self.start.remove(child)
