"""What a supervisor tells whoever watches it. Each event is true at its `time`, by the supervisor's clock."""

from __future__ import annotations

import attrs

from ._reasons import ExitReason, GaveUp, StopCause


@attrs.frozen(kw_only=True)
class Event:
    """`supervisor` is the name that it was opened with."""

    supervisor: str
    time: float


@attrs.frozen(kw_only=True)
class ChildEvent(Event):
    """`incarnation` counts the starts of the child from 1, for as long as its spec is there."""

    child_id: str
    incarnation: int


@attrs.frozen(kw_only=True)
class ChildStarted(ChildEvent):
    """It is ready."""


@attrs.frozen(kw_only=True)
class ChildIgnored(ChildEvent):
    """It had nothing to do, and is stopped."""


@attrs.frozen(kw_only=True)
class ChildStartFailed(ChildEvent):
    """It ended before it was ready. `restarts` as in `ChildExited`."""

    reason: ExitReason
    restarts: int


@attrs.frozen(kw_only=True)
class ChildExited(ChildEvent):
    """It ended by itself, or was ended as `Unresponsive`. A `ChildRestarting` follows when it is restarted.

    `uptime` is how long it was ready; `restarts`, how many restarts the whole supervisor has in its window so far.
    """

    reason: ExitReason
    uptime: float
    restarts: int


@attrs.frozen(kw_only=True)
class ChildStopped(ChildEvent):
    """It was told to stop, and has ended. An abnormal reason is an error on its way down, or a kill.

    `uptime` is how long it was ready; None, if it was not.
    """

    reason: ExitReason
    cause: StopCause
    uptime: float | None


@attrs.frozen(kw_only=True)
class ChildRestarting(ChildEvent):
    """It will be started again after `delay` seconds, once the siblings that the strategy names are stopped.

    `incarnation` is the one that failed, `attempt` the number of restarts in a row, `restarts` how many the whole
    supervisor has counted in its window, this one included.
    """

    reason: ExitReason
    delay: float
    attempt: int
    restarts: int


@attrs.frozen(kw_only=True)
class SupervisorStarted(Event):
    """All of its first children are ready."""


@attrs.frozen(kw_only=True)
class SupervisorGaveUp(Event):
    """It begins to stop what is left."""

    reason: GaveUp


@attrs.frozen(kw_only=True)
class SupervisorEnded(Event):
    """None of its children is left."""

    reason: ExitReason
