"""Why a child is gone, as types.

This module decides how reasons read, which of them count as normal, and how an exception becomes one. What
follows from a reason (restart, escalate, nothing) the state machine decides.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import ClassVar

import attrs


class StopCause(enum.StrEnum):
    """Who wanted a child to stop."""

    SHUTDOWN = "shutdown"
    """Its supervisor is ending."""
    SIBLING = "sibling"
    """A sibling failed, and the strategy restarts them together."""
    OPERATOR = "operator"
    """`terminate_child` or `restart` was called."""
    START_TIMEOUT = "start-timeout"
    """It was not ready within its `start_timeout`."""
    UNRESPONSIVE = "unresponsive"
    """It made no progress within its `liveness`."""


@attrs.frozen
class ExitReason:
    """Base of all reasons. A transient child is restarted unless its reason is normal."""

    normal: ClassVar[bool] = False


@attrs.frozen
class Returned(ExitReason):
    """Its function returned: OTP's `normal`."""

    normal: ClassVar[bool] = True

    def __str__(self) -> str:
        return "returned"


@attrs.frozen
class Shutdown(ExitReason):
    """It chose to end in good order: OTP's `shutdown` and `{shutdown, Term}`."""

    detail: str = ""
    normal: ClassVar[bool] = True

    def __str__(self) -> str:
        return _with_detail("shut down", self.detail)


@attrs.frozen
class Cancelled(ExitReason):
    """It was told to stop, and stopped within its shutdown time."""

    by: StopCause
    normal: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"stopped ({self.by})"


@attrs.frozen
class Raised(ExitReason):
    """Its function raised."""

    error: BaseException

    def __str__(self) -> str:
        try:
            text = str(self.error)
        except Exception as error:
            # Reasons are shown where nobody expects an error: a broken exception must not become one.
            text = f"(its text cannot be had: {type(error).__name__})"
        name = type(self.error).__name__
        return f"raised {name}: {text}" if text else f"raised {name}"


@attrs.frozen
class Exited(ExitReason):
    """The process it stands for ended with a code. Always abnormal: a child whose process may end with 0 returns."""

    code: int
    detail: str = ""

    def __str__(self) -> str:
        return _with_detail(f"exited with code {self.code}", self.detail)


@attrs.frozen
class Killed(ExitReason):
    """It was ended by force: `signal` where it was a process and the number is known."""

    signal: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        text = "was killed" if self.signal is None else f"was killed by signal {self.signal}"
        return _with_detail(text, self.detail)


@attrs.frozen
class OutOfMemory(ExitReason):
    """It used more memory than it may; `limit` in bytes, where it is known."""

    limit: int | None = None

    def __str__(self) -> str:
        return "ran out of memory" if self.limit is None else f"ran out of memory (limit {self.limit} bytes)"


@attrs.frozen
class TimedOut(ExitReason):
    """`what` was not done within `seconds`."""

    what: str
    seconds: float

    def __str__(self) -> str:
        return f"timed out: {self.what} took longer than {self.seconds:g} s"


@attrs.frozen
class Unresponsive(ExitReason):
    """It did not call `progress()` for `seconds`, its `liveness`, and was ended."""

    seconds: float

    def __str__(self) -> str:
        return f"made no progress for {self.seconds:g} s"


@attrs.frozen
class NeverReady(ExitReason):
    """Its function returned without having called `task_status.started()`."""

    def __str__(self) -> str:
        return "returned before it was ready (task_status.started() was not called)"


@attrs.frozen
class FailedToStart(ExitReason):
    """A supervisor could not start one of its first children, so it did not start itself."""

    child_id: str
    reason: ExitReason

    def __str__(self) -> str:
        return f"child {self.child_id!r} failed to start: {self.reason}"


@attrs.frozen
class GaveUp(ExitReason):
    """A supervisor restarted as often as it may, and `child_id` failed once more.

    In OTP this is `shutdown`, which a parent takes for a normal end, so that a transient supervisor which gave up
    is silently not restarted. Here it is abnormal: the parent of a permanent or transient supervisor always acts. A
    temporary one is not restarted even so: that is what temporary says.
    """

    child_id: str
    reason: ExitReason
    restarts: int
    period: float

    def __str__(self) -> str:
        times = "1 restart" if self.restarts == 1 else f"{self.restarts} restarts"
        return f"gave up: child {self.child_id!r} failed after {times} in {self.period:g} s: {self.reason}"


def reason_chain(reason: ExitReason) -> Iterator[ExitReason]:
    """The reason, the reason of the child that led to it, and so on down to the first cause."""
    yield reason
    while isinstance(reason, GaveUp | FailedToStart):
        reason = reason.reason
        yield reason


class ChildExit(Exception):
    """Raised by a child to end with a typed reason, from its function or from any task in its nurseries."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class SupervisorFailedError(ChildExit):
    """A supervisor gave up or could not start. `reason` says which; `reason_chain(error.reason)` leads to the root.

    The exception of the child at the end of the chain, where there is one, is the `__cause__`.
    """

    def __init__(self, reason: GaveUp | FailedToStart) -> None:
        super().__init__(reason)
        *_, root = reason_chain(reason)
        if isinstance(root, Raised):
            self.__cause__ = root.error


def reason_from(error: BaseException) -> ExitReason:
    """The reason that an exception stands for.

    Nurseries wrap what they raise in groups, so a group around a single `ChildExit` is looked through. A group of
    several exceptions is no typed exit: picking one would hide the others.
    """
    inner: BaseException = error
    while True:
        match inner:
            case ChildExit():
                return inner.reason
            case BaseExceptionGroup(exceptions=(single,)):
                inner = single
            case _:
                return Raised(error)


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text
