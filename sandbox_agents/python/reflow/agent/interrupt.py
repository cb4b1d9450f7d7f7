"""Stops a script that runs too long or is no longer wanted, also one that never awaits.

A timer's signal comes to the main thread, and its handler decides: where the script itself is at work, it raises
`Interrupted` there; where it waits in the event loop, its task is cancelled; where the agent or the event loop is at
work on the script's behalf, it comes back a moment later, since an exception there would leave them half done.
"""

from __future__ import annotations

import enum
import signal
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import asyncio

SIGNAL: Final = signal.SIGALRM

RETRY: Final = 0.1
"""Seconds until a script that caught the exception is interrupted again. The supervisor kills it in the end."""

UNHEARD: Final = 0.05
"""Seconds until the timer goes off again by itself: a signal that comes between the interpreter's last look and a
system call that blocks is not looked at before that returns, which may be never."""

BUSY_RETRY: Final = 0.001
"""Seconds until the next look when the agent itself was at work."""


class Reason(enum.Enum):
    TIMEOUT = "deadline exceeded"
    CANCELLED = "cancelled"


class Interrupted(BaseException):
    """Raised inside a script whose time is over. Not an Exception, so that `except Exception` lets it pass."""


class Place(enum.Enum):
    """Whose code a stack is executing."""

    SCRIPT = enum.auto()
    """The script's, called by the agent."""
    TASK = enum.auto()
    """The script's, called by the event loop: another task of it, or a callback."""
    WAITING = enum.auto()
    """The event loop's, with the script's task suspended."""
    AGENT = enum.auto()
    """The agent's or a library's, which must not be left half done."""


F = TypeVar("F", bound=Callable[..., Any])

_interruptible: set[CodeType] = set()
_boundaries: set[CodeType] = set()


def interruptible(function: F) -> F:
    """Marks an agent's function that blocks on the script's behalf: an exception at any point of it does no harm."""
    _interruptible.add(function.__code__)
    return function


def boundary(function: F) -> F:
    """Marks a function that calls the script."""
    _boundaries.add(function.__code__)
    return function


def place_of(frame: FrameType | None) -> Place:
    """Looks at a stack from its innermost frame outwards, until it is clear."""
    if frame is not None and frame.f_code in _interruptible:
        return Place.SCRIPT
    script = guarded = False
    while frame is not None:
        code = frame.f_code
        name = str(frame.f_globals.get("__name__", ""))
        if code in _boundaries:
            return Place.SCRIPT if script and not guarded else Place.AGENT
        if name == "asyncio.base_events" and code.co_name == "run_forever":
            if script:
                return Place.AGENT if guarded else Place.TASK
            return Place.WAITING
        if name.startswith("reflow."):
            guarded = True
        elif name.startswith("asyncio.") or name == "selectors":
            # What asyncio does itself must be finished; the script's code that asyncio calls need not be.
            guarded = guarded or not script
        else:
            script = True
        frame = frame.f_back
    return Place.AGENT


class Interrupter:
    """One script's guard. All methods but `cancel` are the main thread's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._main = threading.main_thread().ident
        self._id: int | str | None = None
        """The request that the script works on."""
        self._deadline: float | None = None
        self._cancelled: set[int | str] = set()
        """Requests whose work is no longer wanted, begun or not. Written by the link's thread."""
        self._armed: float | None = None
        """When the timer goes off. It is left running over activations: that saves two system calls for each."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self.reason: Reason | None = None
        """Why the script was interrupted, once it was."""

    def install(self) -> None:
        signal.signal(SIGNAL, self._on_signal)

    def use_loop(self, task: asyncio.Task[Any]) -> None:
        """From now on the script runs in this task."""
        self._task = task
        self._loop = task.get_loop()

    def begin(self, id_: int | str, timeout: float | None) -> None:
        self.reason = None
        self._deadline = None
        self._id = id_
        if id_ in self._cancelled:
            self._arm(BUSY_RETRY)
        elif timeout is not None:
            self._deadline = deadline = self._clock() + timeout
            if self._armed is None or self._armed > deadline:
                self._arm(timeout)

    def end(self) -> Reason | None:
        """The script returned or failed. Says whether it was interrupted."""
        id_, self._id = self._id, None
        self._deadline = None
        if id_ is not None:
            self._cancelled.discard(id_)
        return self.reason

    def take_cancelled(self, id_: int | str) -> bool:
        """Whether a request that has not begun, and now will not, was cancelled."""
        cancelled = id_ in self._cancelled
        self._cancelled.discard(id_)
        return cancelled

    def cancel(self, id_: int | str) -> None:
        """Interrupts the script if it works on that request, or as soon as it does. Any thread may call it."""
        self._cancelled.add(id_)
        if self._main is not None:
            # The timer as well, should the signal not be heard.
            signal.setitimer(signal.ITIMER_REAL, UNHEARD, UNHEARD)
            signal.pthread_kill(self._main, SIGNAL)

    def _arm(self, seconds: float) -> None:
        self._armed = self._clock() + seconds
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6), UNHEARD)

    def _disarm(self) -> None:
        self._armed = None
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self._armed is not None and now >= self._armed:
            self._disarm()
        if self._id is None:
            self._disarm()
            return
        if self._id in self._cancelled:
            self.reason = self.reason or Reason.CANCELLED
        elif self._deadline is not None and now >= self._deadline:
            self.reason = self.reason or Reason.TIMEOUT
        elif self._deadline is not None:
            if self._armed is None:
                self._arm(self._deadline - now)
            return
        else:
            return
        place = place_of(frame)
        self._arm(BUSY_RETRY if place is Place.AGENT else RETRY)
        if place in (Place.WAITING, Place.TASK) and self._loop is not None:
            # The loop sleeps in a system call that is resumed after this handler: only its own wake-up ends that.
            self._loop.call_soon_threadsafe(self._cancel_task, self._id)
            if place is Place.WAITING:
                return
        if place is not Place.AGENT:
            raise Interrupted(self.reason.value)

    def _cancel_task(self, id_: int | str) -> None:
        if self._task is not None and self._id == id_:
            self._task.cancel()
