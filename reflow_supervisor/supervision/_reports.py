"""Failures as text of bounded size, for logs and whoever is not in this process: OTP's supervisor reports."""

from __future__ import annotations

import enum
import traceback
from typing import Final

import attrs

from ._events import ChildExited, ChildStartFailed, ChildStopped, Event, SupervisorGaveUp
from ._reasons import ExitReason, Killed, Raised, reason_chain

_REASON: Final = 1_000
_CHAIN: Final = 32
_FRAMES: Final = 20


class FailureContext(enum.StrEnum):
    START_ERROR = "start_error"
    """A child did not become ready."""
    CHILD_TERMINATED = "child_terminated"
    """A child ended by itself, and not in good order."""
    SHUTDOWN_ERROR = "shutdown_error"
    """A child that was told to stop failed at that, or had to be killed."""
    GAVE_UP = "gave_up"
    """The supervisor has restarted as often as it may."""


@attrs.frozen(kw_only=True)
class FailureReport:
    """`str` of it is a text of several lines.

    Args:
        time: by the supervisor's clock.
        reason: on one line.
        chain: what led to the reason, the first cause last; empty where the reason is that.
        uptime: seconds since it was ready; None, if it was not.
        restarts: how many the supervisor had in its window.
        traceback: of the exception at the end of the chain, shortened in the middle; empty where there is none.
    """

    context: FailureContext
    supervisor: str
    time: float
    child_id: str
    incarnation: int | None
    reason: str
    chain: tuple[str, ...]
    uptime: float | None
    restarts: int | None
    traceback: str

    def __str__(self) -> str:
        lines = [f"{self.supervisor}: {self.context}: {self.child_id}: {self.reason}"]
        facts = {"incarnation": self.incarnation, "restarts in the window": self.restarts}
        lines += [f"  {name}: {value}" for name, value in facts.items() if value is not None]
        if self.uptime is not None:
            lines.append(f"  up for: {self.uptime:.3f} s")
        lines += [f"  because: {reason}" for reason in self.chain]
        lines += [f"  {line}" for line in self.traceback.splitlines()]
        return "\n".join(lines)


def failure_report(event: Event, *, max_traceback: int = 8_000) -> FailureReport | None:
    """The report of an event that tells of a failure; None for any other.

    Args:
        max_traceback: in characters.
    """
    match event:
        case ChildStartFailed():
            return _report(event, FailureContext.START_ERROR, event.reason, max_traceback, restarts=event.restarts)
        case ChildExited() if not event.reason.normal:
            context = FailureContext.CHILD_TERMINATED
            return _report(event, context, event.reason, max_traceback, uptime=event.uptime, restarts=event.restarts)
        case ChildStopped() if not event.reason.normal and event.reason != Killed():
            # A bare `Killed` is a brutal kill, which was asked for.
            return _report(event, FailureContext.SHUTDOWN_ERROR, event.reason, max_traceback, uptime=event.uptime)
        case SupervisorGaveUp():
            return _report(event, FailureContext.GAVE_UP, event.reason, max_traceback, restarts=event.reason.restarts)
        case _:
            return None


def _report(
    event: ChildStartFailed | ChildExited | ChildStopped | SupervisorGaveUp,
    context: FailureContext,
    reason: ExitReason,
    max_traceback: int,
    *,
    uptime: float | None = None,
    restarts: int | None = None,
) -> FailureReport:
    chain = list(reason_chain(reason))
    root = chain[-1]
    gave_up = isinstance(event, SupervisorGaveUp)
    return FailureReport(
        context=context,
        supervisor=event.supervisor,
        time=event.time,
        child_id=event.reason.child_id if gave_up else event.child_id,
        incarnation=None if gave_up else event.incarnation,
        reason=_one_line(str(reason)),
        chain=tuple(_one_line(str(link)) for link in chain[1 : _CHAIN + 1]),
        uptime=uptime,
        restarts=restarts,
        traceback=_traceback(root.error, max_traceback) if isinstance(root, Raised) else "",
    )


def _one_line(text: str) -> str:
    line = " ".join(text[: 4 * _REASON].split())
    return line if len(line) <= _REASON else f"{line[: _REASON - 1]}…"


def _traceback(error: BaseException, limit: int) -> str:
    # The last frames of each exception: that is where it happened.
    text = "".join(traceback.TracebackException.from_exception(error, limit=-_FRAMES, compact=True).format())
    if len(text) <= limit:
        return text
    mark = "\n…\n"
    head = max(0, (limit - len(mark)) // 4)
    tail = max(0, limit - len(mark) - head)
    return f"{text[:head]}{mark}{text[len(text) - tail :]}"[:limit]
