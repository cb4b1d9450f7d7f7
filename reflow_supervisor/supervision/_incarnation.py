"""One run of a child, as seen from inside of it: where its progress goes, and which supervisors it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, TypeVar

import attrs
import trio

SupervisorT = TypeVar("SupervisorT")


@attrs.define(eq=False)
class Incarnation(Generic[SupervisorT]):
    scope: trio.CancelScope
    clock: Callable[[], float]
    progress_at: float | None = None
    """When it made progress last; None, before it was ready or called `progress`."""
    below: SupervisorT | None = None
    """The supervisor that it runs, from the moment that begins to start."""


current: ContextVar[Incarnation[object] | None] = ContextVar("reflow_supervisor.supervision.incarnation", default=None)
"""That of the child whose task this is, or a task in its nurseries."""


def progress() -> None:
    """Says that the child from which it is called gets on: a child with a `liveness` has to, at least that often.

    It takes well under a microsecond, and may be called from any task that the child has started. Where there is no
    child around, or it has no `liveness`, nothing happens.
    """
    incarnation = current.get()
    if incarnation is not None:
        incarnation.progress_at = incarnation.clock()
