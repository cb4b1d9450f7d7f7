"""The states of a child and of a supervisor, and what a child looks like from outside."""

from __future__ import annotations

import enum

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


class Phase(enum.StrEnum):
    """Where a supervisor is in its own life."""

    NEW = "new"
    STARTING = "starting"
    """Its first children are not all ready."""
    RUNNING = "running"
    ENDING = "ending"
    """It stops its children; management calls are refused."""
    ENDED = "ended"


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
    """`active` are those that have a task or had one a moment ago: neither stopped nor between two attempts.

    A dynamic supervisor has one spec, whatever the number of its children.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


@attrs.frozen
class StartedChild:
    """A child of a dynamic supervisor: its id, and what it called `task_status.started` with."""

    id: str
    value: object
