"""Runs a supervisor on Trio: carries out what the state machine decides, and tells it what happened.

No decision is made here. Each child runs in a task with a cancel scope of its own, each timer in another; both report
to the machine at once, from their own task, so there is no queue to fill and nothing that could be stuck between.

The children are shielded from the cancellation around their supervisor: it is taken as the order to shut down, so
that they end one at a time, newest first, each with its own shutdown time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from ._errors import SupervisionError, SupervisorEndedError
from ._events import Event
from ._machine import Machine
from ._messages import (
    Action,
    BecameReady,
    Begin,
    Cancel,
    ClearTimer,
    Command,
    CycleChild,
    DeleteChild,
    End,
    Ended,
    Input,
    Kill,
    Ready,
    Reply,
    Report,
    RestartChild,
    SetTimer,
    ShutDown,
    Start,
    StartChild,
    TerminateChild,
    TimerFired,
)
from ._reasons import ExitReason, FailedToStart, GaveUp, Returned, SupervisorFailedError, reason_from
from ._specs import IGNORE, ChildSpec, Ignore, SupervisorFlags
from ._states import ChildCounts, ChildInfo

DEFAULT_FLAGS: Final = SupervisorFlags()


def _ignore_event(event: Event) -> None:
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


class Supervisor:
    """A running supervisor. Made by `open_supervisor` and `run_supervisor`.

    Questions are answered at once. Calls that start or stop a child wait until that is done, and so for what is
    already being done to the same child; a caller that is cancelled stops waiting, and what it asked for goes on.
    All of them raise `SupervisorEndedError` once the supervisor is ending, `ChildNotFoundError` for an unknown id.
    """

    def __init__(
        self,
        specs: Iterable[ChildSpec],
        flags: SupervisorFlags,
        *,
        name: str,
        clock: Callable[[], float],
        rng: random.Random | None,
        on_event: Callable[[Event], None],
    ) -> None:
        self._machine = Machine(name, specs, flags, random.Random() if rng is None else rng)
        self._name = name
        self._clock = clock
        self._on_event = on_event
        self._tasks: trio.Nursery | None = None
        self._scopes: dict[tuple[str, int], trio.CancelScope] = {}
        self._timers: dict[int, trio.CancelScope] = {}
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

    def get_childspec(self, child_id: str) -> ChildSpec:
        return self._machine.spec(child_id)

    # Management calls.

    async def start_child(self, spec: ChildSpec) -> object:
        """Adds a child after the others and starts it. Returns what it was started with, or IGNORE.

        Raises:
            ChildAlreadyStartedError: a child of that id is running.
            ChildAlreadyPresentError: a child of that id exists and is not running.
            SpecError: the spec does not fit to the supervisor's flags.
            StartFailedError: it did not become ready; its spec is discarded.
        """
        return await self._call(lambda call: StartChild(call, spec))

    async def terminate_child(self, child_id: str) -> None:
        """Stops a child, also while it is starting or waits to be restarted. Its spec is kept, unless it is
        temporary. Harmless when it is stopped already."""
        await self._call(lambda call: TerminateChild(call, child_id))

    async def restart_child(self, child_id: str) -> object:
        """Starts a stopped child. Not counted as a restart. Returns what it was started with, or IGNORE.

        Raises:
            ChildRunningError, ChildRestartingError: it is not stopped.
            StartFailedError: it did not become ready, and stays stopped.
        """
        return await self._call(lambda call: RestartChild(call, child_id))

    async def restart(self, child_id: str) -> object:
        """Stops a child, whatever it is doing, and starts it anew. Not counted as a restart, and the backoff begins
        again at its first step. Returns what it was started with, or IGNORE.

        Raises:
            StartFailedError: it did not become ready, and stays stopped.
        """
        return await self._call(lambda call: CycleChild(call, child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forgets a stopped child.

        Raises:
            ChildRunningError, ChildRestartingError: it is not stopped.
        """
        await self._call(lambda call: DeleteChild(call, child_id))

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

    async def run(self, *, task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until it is shut down, or the scope around it is cancelled. Ready when its first children are.

        Raises:
            SupervisorFailedError: it gave up, or could not start.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
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
            outer.cancel_scope.cancel()
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
            case Start(spec, incarnation):
                scope = self._scopes[spec.id, incarnation] = trio.CancelScope()
                self._nursery.start_soon(self._run_child, spec, incarnation, scope, name=f"{self._name}/{spec.id}")
            case Cancel(child_id, incarnation):
                self._scopes[child_id, incarnation].cancel()
            case Kill(spec):
                if spec.kill is not None:
                    spec.kill()
            case SetTimer(timer, delay):
                scope = self._timers[timer] = trio.CancelScope()
                self._nursery.start_soon(self._run_timer, timer, delay, scope)
            case ClearTimer(timer):
                self._timers[timer].cancel()
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

    @property
    def _nursery(self) -> trio.Nursery:
        assert self._tasks is not None, "the machine acts only after Begin"
        return self._tasks

    async def _run_child(self, spec: ChildSpec, incarnation: int, scope: trio.CancelScope) -> None:
        readiness = _Readiness(lambda value: self._feed(BecameReady(spec.id, incarnation, value)))
        reason: ExitReason | Ignore | None = None
        try:
            with scope:
                result = await spec.start(task_status=readiness)
                reason = IGNORE if result is IGNORE and not readiness.called else Returned()
        except Exception as error:
            # KeyboardInterrupt and SystemExit are the whole program's business, and pass.
            reason = reason_from(error)
        del self._scopes[spec.id, incarnation]
        self._feed(Ended(spec.id, incarnation, reason))

    async def _run_timer(self, timer: int, delay: float, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(delay)
        del self._timers[timer]
        if not scope.cancelled_caught:
            self._feed(TimerFired(timer))


async def run_supervisor(
    specs: Iterable[ChildSpec] = (),
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = _ignore_event,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A supervisor as the child of another: `ChildSpec(id, partial(run_supervisor, specs), type=ChildType.SUPERVISOR)`.

    Each start of that child is a fresh supervisor with these specs; the `value` of the child is its `Supervisor`.

    Args:
        clock: monotonic seconds, for the restart intensity and the times of events.
        rng: draws the jitter of backoffs.
        on_event: called with each event, at once, from within the supervisor: it must not block or raise.

    Raises:
        SpecError: the specs do not fit together or to the flags.
        SupervisorFailedError: it gave up, or could not start.
    """
    supervisor = Supervisor(specs, flags, name=name, clock=clock, rng=rng, on_event=on_event)
    await supervisor.run(task_status=task_status)


@asynccontextmanager
async def open_supervisor(
    specs: Iterable[ChildSpec] = (),
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = _ignore_event,
) -> AsyncGenerator[Supervisor]:
    """A supervisor around a block: entered when the first children are ready, shut down in order at its end.

    When the supervisor gives up, the block is cancelled. When it ends in good order (`auto_shutdown`, `shutdown`),
    the block goes on; `Supervisor.wait` tells. Arguments and exceptions as for `run_supervisor`.
    """
    supervisor = Supervisor(specs, flags, name=name, clock=clock, rng=rng, on_event=on_event)
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
