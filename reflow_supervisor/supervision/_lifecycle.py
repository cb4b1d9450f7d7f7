"""The life of a child as a table: what each signal does to a child in each state.

A pair that is not in the table cannot happen: the state machine asserts it. When a signal is given, the state machine
decides; docs/supervision.md shows the table as a diagram, which scripts/supervision_diagram.py draws from it.
"""

from __future__ import annotations

import enum
from typing import Final

from ._states import ChildState


class Signal(enum.StrEnum):
    START = "start"
    READY = "ready"
    """It called `task_status.started()`."""
    STOP = "stop"
    """Its supervisor, a sibling's restart or a management call wants it to end."""
    START_TIMEOUT = "start timeout"
    SILENT = "no progress"
    OVERDUE = "shutdown time over"
    ENDED = "task ended"
    STRUCK = "task ended, unresponsive"
    """It was stopped for lack of progress, and by nobody else since: that counts as an end of its own."""
    RETRY = "retry"
    """Its restart failed, and the next attempt is to be decided."""
    WAIT = "wait"
    """Its restart is put off."""
    REST = "not restarted"


class Effect(enum.StrEnum):
    """What the supervisor does when it gives a signal, in the order of the table."""

    START_TASK = "start the task"
    CANCEL_TASK = "cancel the task"
    KILL = "kill"
    SET_START_TIMER = "set the start timer"
    SET_LIVENESS_TIMER = "set the liveness timer"
    SET_SHUTDOWN_TIMER = "set the shutdown timer"
    SET_BACKOFF_TIMER = "set the backoff timer"
    CLEAR_TIMER = "clear the timer"


_STARTING: Final = (ChildState.STARTING, (Effect.START_TASK, Effect.SET_START_TIMER))
_STOPPING: Final = (ChildState.STOPPING, (Effect.CLEAR_TIMER, Effect.CANCEL_TASK, Effect.SET_SHUTDOWN_TIMER))

TRANSITIONS: Final[dict[tuple[ChildState, Signal], tuple[ChildState, tuple[Effect, ...]]]] = {
    (ChildState.STOPPED, Signal.START): _STARTING,
    (ChildState.STOPPED, Signal.RETRY): (ChildState.RESTARTING, ()),
    (ChildState.STARTING, Signal.READY): (ChildState.RUNNING, (Effect.CLEAR_TIMER, Effect.SET_LIVENESS_TIMER)),
    (ChildState.STARTING, Signal.ENDED): (ChildState.STOPPED, (Effect.CLEAR_TIMER,)),
    (ChildState.STARTING, Signal.START_TIMEOUT): _STOPPING,
    (ChildState.STARTING, Signal.STOP): _STOPPING,
    (ChildState.RUNNING, Signal.ENDED): (ChildState.EXITED, (Effect.CLEAR_TIMER,)),
    (ChildState.RUNNING, Signal.SILENT): _STOPPING,
    (ChildState.RUNNING, Signal.STOP): _STOPPING,
    (ChildState.STOPPING, Signal.OVERDUE): (ChildState.STOPPING, (Effect.KILL,)),
    (ChildState.STOPPING, Signal.ENDED): (ChildState.STOPPED, (Effect.CLEAR_TIMER,)),
    (ChildState.STOPPING, Signal.STRUCK): (ChildState.EXITED, (Effect.CLEAR_TIMER,)),
    (ChildState.EXITED, Signal.START): _STARTING,
    (ChildState.EXITED, Signal.WAIT): (ChildState.RESTARTING, (Effect.SET_BACKOFF_TIMER,)),
    (ChildState.EXITED, Signal.REST): (ChildState.STOPPED, ()),
    (ChildState.RESTARTING, Signal.START): _STARTING,
    (ChildState.RESTARTING, Signal.WAIT): (ChildState.RESTARTING, (Effect.SET_BACKOFF_TIMER,)),
    (ChildState.RESTARTING, Signal.REST): (ChildState.STOPPED, (Effect.CLEAR_TIMER,)),
}

LIVE: Final = frozenset({ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING})
"""The states in which there is a task."""
