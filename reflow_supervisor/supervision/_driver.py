"""Runs a supervisor on Trio: carries out what the state machine decides, and tells it what happened.

No decision is made here. Each child runs in a task with a cancel scope of its own, all timers in another; both report
to the machine at once, from their own task, so there is no queue to fill and nothing that could be stuck between.

The children are shielded from the cancellation around their supervisor: it is taken as the order to shut down, so
that they end in order, each with its own shutdown time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

import attrs
import trio

from ._errors import SupervisionError, SupervisorEndedError
from ._events import Event
from ._incarnation import Incarnation, current
from ._machine import Machine
from ._messages import (
    Action,
    BecameReady,
    Begin,
    Cancel,
    ClearTimer,
    Command,
    End,
    Ended,
    Input,
    Kill,
    Ready,
    Reply,
    Report,
    SetTimer,
    ShutDown,
    Start,
    TerminateChild,
    TimerFired,
)
from ._reasons import ExitReason, FailedToStart, GaveUp, Returned, SupervisorFailedError, reason_from
from ._specs import IGNORE, Ignore, SupervisorFlags
from ._states import ChildCounts, ChildInfo
from ._timers import Timers
from ._tree import ChildTree, SupervisorTree

DEFAULT_FLAGS: Final = SupervisorFlags()


def ignore_event(event: Event) -> None:
    del event


@attrs.define(eq=False)
class _Call:
    """A management call that waits for its answer."""

    answered: trio.Event = attrs.field(factory=trio.Event)
    outcome: object | SupervisionError = None


@attrs.define(eq=False)
class _Readiness(trio.TaskStatus[object]):
    """The `task_status` of one incarnation."""

    announce: Callable[[object], None]
    called: bool = False

    def started(self, value: object = None) -> None:
        if self.called:
            raise RuntimeError("task_status.started() was called twice")
        self.called = True
        self.announce(value)


MachineT = TypeVar("MachineT", bound=Machine)


class RunningSupervisor(Generic[MachineT]):
    """What a static and a dynamic supervisor have in common.

    Questions are answered at once. Calls that start or stop a child wait until that is done, and so for what is
    already being done to the same child; a caller that is cancelled stops waiting, and what it asked for goes on.
    All of them raise `SupervisorEndedError` once the supervisor is ending, `ChildNotFoundError` for an unknown id.
    """

    dynamic: ClassVar[bool] = False

    def __init__(
        self, machine: MachineT, *, name: str, clock: Callable[[], float], on_event: Callable[[Event], None]
    ) -> None:
        self._machine = machine
        self._name = name
        self._clock = clock
        self._on_event = on_event
        self._tasks: trio.Nursery | None = None
        self._incarnations: dict[tuple[str, int], Incarnation[RunningSupervisor[Any]]] = {}
        self._timers = Timers(self._timer_fired)
        self._timers_run = False
        self._watched: dict[int, Incarnation[RunningSupervisor[Any]] | None] = {}
        """For each timer that is set, whose progress it watches."""
        self._calls: dict[int, _Call] = {}
        self._last_call = 0
        self._inputs: deque[Input] = deque()
        self._feeding = False
        self._ready = False
        self._begun = trio.Event()
        """Set when its first children are ready, or will not be."""
        self._ended = trio.Event()
        self._outcome: ExitReason | None = None

    # Questions.

    @property
    def name(self) -> str:
        return self._name

    @property
    def flags(self) -> SupervisorFlags:
        return self._machine.flags

    @property
    def outcome(self) -> ExitReason | None:
        """Why it ended: `Shutdown`, `GaveUp` or `FailedToStart`; None while it has not."""
        return self._outcome

    @property
    def restarts(self) -> int:
        """How many restarts are in the window that `intensity` limits."""
        return self._machine.restarts(self._clock())

    def which_children(self) -> list[ChildInfo]:
        """All children, newest first."""
        return self._machine.infos(self._clock())

    def child(self, child_id: str) -> ChildInfo:
        return self._machine.info(child_id, self._clock())

    def count_children(self) -> ChildCounts:
        return self._machine.counts()

    def tree(self, limit: int | None = None) -> SupervisorTree:
        """This supervisor and all below it at this moment, also those that are still starting.

        Args:
            limit: how many children of each supervisor to show at most; None: all.
        """
        now = self._clock()
        infos = self._machine.infos(now)
        infos.reverse()
        shown = infos if limit is None else infos[:limit]
        return SupervisorTree(
            name=self._name,
            time=now,
            dynamic=self.dynamic,
            phase=self._machine.phase,
            flags=self.flags,
            restarts=self._machine.restarts(now),
            children=tuple(ChildTree(info, self._tree_below(info, limit)) for info in shown),
            omitted=len(infos) - len(shown),
        )

    def _tree_below(self, info: ChildInfo, limit: int | None) -> SupervisorTree | None:
        incarnation = self._incarnations.get((info.id, info.incarnation))
        return None if incarnation is None or incarnation.below is None else incarnation.below.tree(limit)

    # Management calls.

    async def terminate_child(self, child_id: str) -> None:
        """Stops a child, also while it is starting or waits to be restarted. Its spec is kept, unless it is
        temporary or dynamic. Harmless when it is stopped already."""
        await self._call(lambda call: TerminateChild(call, child_id))

    def shutdown(self) -> None:
        """Asks it to stop all children and end. Does not wait: see `wait`."""
        self._feed(ShutDown())

    async def wait(self) -> ExitReason:
        """Returns the outcome, when no child is left."""
        await self._ended.wait()
        if self._outcome is None:
            raise SupervisorEndedError(self._name)
        return self._outcome

    async def _call(self, command: Callable[[int], Command]) -> object:
        if self._ended.is_set():
            raise SupervisorEndedError(self._name)
        self._last_call += 1
        number = self._last_call
        call = self._calls[number] = _Call()
        self._feed(command(number))
        await call.answered.wait()
        if isinstance(call.outcome, SupervisionError):
            raise call.outcome
        return call.outcome

    # The run.

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until it is shut down, or the scope around it is cancelled. Ready when its first children are.

        Raises:
            SupervisorFailedError: it gave up, or could not start.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        around = cast("Incarnation[RunningSupervisor[Any]] | None", current.get())
        if around is not None:
            around.below = self
        try:
            async with trio.open_nursery() as outer:
                outer.start_soon(self._shut_down_when_cancelled)
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as self._tasks:
                        try:
                            self._feed(Begin())
                            await self._begun.wait()
                            if self._ready:
                                task_status.started(self)
                            await self._ended.wait()
                        finally:
                            self._close()
                        # No child is left, but perhaps the task of the timers.
                        self._tasks.cancel_scope.cancel()
                outer.cancel_scope.cancel()
        finally:
            if around is not None and around.below is self:
                around.below = None
        # Before the cancellation that may have ended it: a failure that came first must not be lost.
        if isinstance(self._outcome, GaveUp | FailedToStart):
            raise SupervisorFailedError(self._outcome)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _shut_down_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            # Not passed on from here: `run` does that, when the children have stopped.
            self._feed(ShutDown())

    def _close(self) -> None:
        """Nothing is fed from now on, and nobody waits: needed where a bug or KeyboardInterrupt tears it down."""
        self._ended.set()
        for call in self._calls.values():
            call.outcome = SupervisorEndedError(self._name)
            call.answered.set()

    def _feed(self, item: Input) -> None:
        """Gives the machine an input and does what it answers. An input that arises from doing so comes after."""
        if self._ended.is_set():
            return
        self._inputs.append(item)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._inputs:
                for action in self._machine.handle(self._inputs.popleft(), self._clock()):
                    self._perform(action)
        finally:
            self._feeding = False

    def _perform(self, action: Action) -> None:
        match action:
            case Start():
                self._start(action)
            case Cancel(child_id, incarnation):
                self._incarnations[child_id, incarnation].scope.cancel()
            case Kill(_, spec, args):
                if spec.kill is not None:
                    spec.kill(*args)
            case SetTimer(timer, delay, watch):
                if not self._timers_run:
                    self._timers_run = True
                    self._nursery.start_soon(self._timers.run, name=f"{self._name}: timers")
                self._watched[timer] = None if watch is None else self._incarnations[watch]
                self._timers.set(timer, delay)
            case ClearTimer(timer):
                # One that is firing is cleared already.
                self._watched.pop(timer, None)
                self._timers.clear(timer)
            case Report(event):
                self._on_event(event)
            case Reply(number, outcome):
                call = self._calls.pop(number)
                call.outcome = outcome
                call.answered.set()
            case Ready():
                self._ready = True
                self._begun.set()
            case End(reason):
                self._outcome = reason
                self._begun.set()
                self._ended.set()

    def _timer_fired(self, timer: int) -> None:
        watched = self._watched.pop(timer)
        self._feed(TimerFired(timer, None if watched is None else watched.progress_at))

    @property
    def _nursery(self) -> trio.Nursery:
        assert self._tasks is not None, "the machine acts only after Begin"
        return self._tasks

    def _start(self, action: Start) -> None:
        incarnation = Incarnation["RunningSupervisor[Any]"](trio.CancelScope(), self._clock)
        self._incarnations[action.child_id, action.incarnation] = incarnation
        self._nursery.start_soon(self._run_child, action, incarnation, name=f"{self._name}/{action.child_id}")

    async def _run_child(self, action: Start, incarnation: Incarnation[RunningSupervisor[Any]]) -> None:
        child_id, number = action.child_id, action.incarnation
        readiness = _Readiness(lambda value: self._feed(BecameReady(child_id, number, value)))
        reason: ExitReason | Ignore | None = None
        current.set(cast("Incarnation[object]", incarnation))
        try:
            with incarnation.scope:
                start: Any = action.spec.start
                body = start(*action.args, task_status=readiness)
                # What it was given lives on only as long as the body itself wants it.
                del action
                result = await body
                reason = IGNORE if result is IGNORE and not readiness.called else Returned()
        except Exception as error:
            # KeyboardInterrupt and SystemExit are the whole program's business, and pass.
            reason = reason_from(error)
        del self._incarnations[child_id, number]
        self._feed(Ended(child_id, number, reason))


SupervisorT = TypeVar("SupervisorT", bound=RunningSupervisor[Any])


@asynccontextmanager
async def around_a_block(supervisor: SupervisorT) -> AsyncGenerator[SupervisorT]:
    """Runs it around a block, see `open_supervisor`."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            try:
                yield supervisor
            finally:
                supervisor.shutdown()
    except BaseExceptionGroup as group:
        errors = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
        if len(errors) != 1:
            raise
        alone = errors[0]
    else:
        return
    # That there is a nursery is nobody's business: a lone exception leaves as it came, its own context untouched.
    raise alone
