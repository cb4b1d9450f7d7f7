"""The states of a child, every legal change between them, and what a child looks like from outside."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from ._reasons import ExitReason
from ._specs import ChildType


class ChildState(enum.StrEnum):
    STOPPED = "stopped"
    """OTP's `undefined`."""
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    """Ended by itself; what follows is not decided yet, or its siblings are being stopped first."""
    RESTARTING = "restarting"
    """Between two attempts: it waits for its backoff, or for its turn."""
    STOPPING = "stopping"


TRANSITIONS: Final[dict[ChildState, frozenset[ChildState]]] = {
    ChildState.STOPPED: frozenset({ChildState.STARTING, ChildState.RESTARTING}),
    ChildState.STARTING: frozenset({ChildState.RUNNING, ChildState.STOPPING, ChildState.STOPPED}),
    ChildState.RUNNING: frozenset({ChildState.EXITED, ChildState.STOPPING}),
    ChildState.EXITED: frozenset({ChildState.STARTING, ChildState.RESTARTING, ChildState.STOPPED}),
    ChildState.RESTARTING: frozenset({ChildState.STARTING, ChildState.STOPPED}),
    ChildState.STOPPING: frozenset({ChildState.STOPPED}),
}

LIVE: Final = frozenset({ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING})
"""The states in which there is a task."""


@attrs.frozen
class ChildInfo:
    """A child at one moment. Times are those of the supervisor's clock.

    Args:
        value: what it called `task_status.started` with; a nested supervisor gives its `Supervisor`.
        incarnation: how often it was started, 0 for never.
        restarts: how many of the restarts in the supervisor's window were its own.
        last_exit: why its last incarnation is gone, None for never.
        next_retry_at: when its backoff is over.
    """

    id: str
    type: ChildType
    state: ChildState
    value: object
    incarnation: int
    restarts: int
    started_at: float | None
    last_exit: ExitReason | None
    next_retry_at: float | None


@attrs.frozen
class ChildCounts:
    """`active` are those that have a task or had one a moment ago: neither stopped nor between two attempts."""

    specs: int
    active: int
    supervisors: int
    workers: int
