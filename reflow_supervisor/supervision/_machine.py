"""Every decision of a supervisor, as a pure state machine: inputs and the time go in, actions come out.

It never runs a child, sleeps or reads a clock: `_supervisor.py` does that, and holds no decisions. It knows nothing
of Trio, so it can be tested and model-checked by the hundred thousand cases.

Three ideas carry it:

* A child is in one of the states of `ChildState`; `TRANSITIONS` has every legal change.
* An *operation* stops some children, one at a time and newest first, then starts some, one at a time and oldest
  first. Starting up, a restart, a management call and the end are all operations. An operation owns each child until
  it is done with it, and operations that own different children run side by side.
* What cannot be done yet, because its children are owned, waits in the *inbox*. Between two attempts of a restart
  nothing is owned, so that calls get through.
"""

from __future__ import annotations

import enum
import math
import random
from collections import deque
from collections.abc import Iterable
from typing import Final, TypedDict

import attrs

from ._errors import (
    ChildAlreadyPresentError,
    ChildAlreadyStartedError,
    ChildNotFoundError,
    ChildRestartingError,
    ChildRunningError,
    SpecError,
    StartFailedError,
    SupervisionError,
    SupervisorEndedError,
)
from ._events import (
    ChildExited,
    ChildIgnored,
    ChildRestarting,
    ChildStarted,
    ChildStartFailed,
    ChildStopped,
    Event,
    SupervisorEnded,
    SupervisorGaveUp,
    SupervisorStarted,
)
from ._intensity import RestartWindow
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
from ._reasons import (
    Cancelled,
    ExitReason,
    FailedToStart,
    GaveUp,
    Killed,
    NeverReady,
    Returned,
    Shutdown,
    StopCause,
    TimedOut,
)
from ._specs import (
    BRUTAL_KILL,
    IGNORE,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Ignore,
    Restart,
    Strategy,
    SupervisorFlags,
    check_child_specs,
)
from ._states import LIVE, TRANSITIONS, ChildCounts, ChildInfo, ChildState

# --- Tables ----------------------------------------------------------------------------------------------------


_RESTARTS_AFTER: Final[dict[tuple[Restart, bool], bool]] = {
    # (restart, was the reason normal): is it started again?
    (Restart.PERMANENT, True): True,
    (Restart.PERMANENT, False): True,
    (Restart.TRANSIENT, True): False,
    (Restart.TRANSIENT, False): True,
    (Restart.TEMPORARY, True): False,
    (Restart.TEMPORARY, False): False,
}


class Phase(enum.StrEnum):
    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"


# --- What the machine remembers --------------------------------------------------------------------------------


class _Purpose(enum.Enum):
    START_UP = enum.auto()
    RESTART = enum.auto()
    START_CHILD = enum.auto()
    RESTART_CHILD = enum.auto()
    TERMINATE_CHILD = enum.auto()
    END = enum.auto()


@attrs.define(eq=False)
class _Child:
    spec: ChildSpec
    state: ChildState = ChildState.STOPPED
    incarnation: int = 0
    value: object = None
    owner: _Operation | None = None
    timer: int | None = None
    """One at a time: start timeout, shutdown time or backoff, by the state."""
    stop_cause: StopCause = StopCause.SHUTDOWN
    killed: bool = False
    failures: int = 0
    """Restarts in a row, for the backoff."""
    started_at: float | None = None
    next_retry_at: float | None = None
    last_exit: ExitReason | None = None

    @property
    def temporary(self) -> bool:
        return self.spec.restart is Restart.TEMPORARY


def _queue(children: Iterable[_Child]) -> deque[_Child]:
    return deque(children)


@attrs.define(eq=False)
class _Operation:
    """Children to stop and then to start; the first of a queue is the one at work."""

    purpose: _Purpose
    cause: StopCause
    stop: deque[_Child] = attrs.field(factory=deque[_Child], converter=_queue)
    start: deque[_Child] = attrs.field(factory=deque[_Child], converter=_queue)
    call: int | None = None


class _About(TypedDict):
    """What every event of a child says."""

    supervisor: str
    time: float
    child_id: str
    incarnation: int


@attrs.frozen
class _Decide:
    """Inbox: a child ended by itself."""

    child_id: str
    incarnation: int


@attrs.frozen
class _Retry:
    """Inbox: a child failed to start when it was restarted. Counts as a restart."""

    child_id: str
    incarnation: int


@attrs.frozen
class _Due:
    """Inbox: the backoff of a child is over. Its restart has been counted."""

    child_id: str
    incarnation: int


_Pending = _Decide | _Retry | _Due | Command


# --- The machine -----------------------------------------------------------------------------------------------


class Machine:
    """One supervisor.

    Args:
        name: for its reports.
        specs: the first children, in start order.
        rng: draws the jitter.

    Raises:
        SpecError: the specs do not fit together or to the flags.
    """

    def __init__(self, name: str, specs: Iterable[ChildSpec], flags: SupervisorFlags, rng: random.Random) -> None:
        specs = tuple(specs)
        check_child_specs(specs, flags)
        self._name = name
        self._flags = flags
        self._rng = rng
        self._children = {spec.id: _Child(spec) for spec in specs}
        """In start order; a child that is added later comes last."""
        self._phase = Phase.NEW
        self._window = RestartWindow(flags.period)
        self._inbox: deque[_Pending] = deque()
        self._timers: dict[int, _Child] = {}
        self._last_timer = 0
        self._operations: set[_Operation] = set()
        self._outcome: ExitReason = Shutdown()
        self._actions: list[Action] = []
        self._now = 0.0

    # Questions: answered at once, whatever is going on.

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def flags(self) -> SupervisorFlags:
        return self._flags

    def spec(self, child_id: str) -> ChildSpec:
        return self._get(child_id).spec

    def restarts(self, now: float) -> int:
        """How many restarts are in the window."""
        return self._window.count(now)

    def info(self, child_id: str, now: float) -> ChildInfo:
        return self._info(self._get(child_id), now)

    def infos(self, now: float) -> list[ChildInfo]:
        """Newest first, as in OTP."""
        return [self._info(child, now) for child in reversed(self._children.values())]

    def counts(self) -> ChildCounts:
        inactive = (ChildState.STOPPED, ChildState.RESTARTING)
        children = self._children.values()
        supervisors = sum(child.spec.type is ChildType.SUPERVISOR for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(child.state not in inactive for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    # Inputs.

    def handle(self, item: Input, now: float) -> list[Action]:
        """Takes one input, at a time that never goes back, and returns what is to be done, in that order."""
        self._now = now
        match item:
            case Begin():
                self._begin()
            case BecameReady():
                self._became_ready(item)
            case Ended():
                self._ended(item)
            case TimerFired(timer):
                self._timer_fired(timer)
            case ShutDown():
                self._end(Shutdown())
            case _:
                self._command(item)
        self._work_off_inbox()
        actions, self._actions = self._actions, []
        return actions

    def _begin(self) -> None:
        if self._phase is not Phase.NEW:
            return
        self._phase = Phase.STARTING
        self._run(_Operation(_Purpose.START_UP, StopCause.SHUTDOWN, start=self._children.values()))

    def _became_ready(self, item: BecameReady) -> None:
        child = self._live(item.child_id, item.incarnation)
        if child is None or child.state is not ChildState.STARTING:
            return  # It was told to stop meanwhile.
        self._clear_timer(child)
        self._set(child, ChildState.RUNNING)
        child.value = item.value
        child.started_at = self._now
        self._report(ChildStarted(**self._about(child)))
        self._started(child, item.value)

    def _ended(self, item: Ended) -> None:
        child = self._live(item.child_id, item.incarnation)
        assert child is not None, f"no such incarnation is alive: {item}"
        self._clear_timer(child)
        child.value = None
        reason = item.reason
        if child.state is ChildState.STOPPING:
            self._stopped(child, Returned() if isinstance(reason, Ignore) else reason)
        elif isinstance(reason, Ignore):
            self._ignored(child)
        else:
            assert reason is not None, f"cancelled by nobody: {item}"
            if child.state is ChildState.RUNNING:
                self._exited(child, reason)
            else:
                self._set(child, ChildState.STOPPED)
                self._start_failed(child, NeverReady() if reason == Returned() else reason)

    def _timer_fired(self, timer: int) -> None:
        child = self._timers.pop(timer, None)
        if child is None:
            return  # It was cleared while it fired.
        child.timer = None
        if child.state is ChildState.STARTING:
            self._stop(child, StopCause.START_TIMEOUT)
        elif child.state is ChildState.STOPPING:
            self._kill(child)
        else:
            child.next_retry_at = None
            self._inbox.append(_Due(child.spec.id, child.incarnation))

    def _command(self, command: Command) -> None:
        if self._phase in (Phase.ENDING, Phase.ENDED):
            self._reply(command.call, SupervisorEndedError(self._name))
            return
        if isinstance(command, TerminateChild | CycleChild):
            child = self._children.get(command.child_id)
            if child is not None and child.state is ChildState.STARTING:
                self._stop(child, StopCause.OPERATOR)  # Its start may hang.
            elif child is not None and isinstance(command, TerminateChild):
                self._withdraw(child)
        self._inbox.append(command)

    def _withdraw(self, child: _Child) -> None:
        """Takes a child out of the starts that an operation still has before it: it, or one before it, may hang."""
        operation = child.owner
        if operation is None or child not in operation.start:
            return
        if operation.start[0] is child and not operation.stop:
            return  # Its start has timed out, and ends by itself.
        operation.start.remove(child)
        if child not in operation.stop:
            child.owner = None
        if operation.call is not None:
            self._reply(operation.call, StartFailedError(child.spec.id, Cancelled(StopCause.OPERATOR)))
            operation.call = None

    # The inbox.

    def _work_off_inbox(self) -> None:
        while self._phase is Phase.RUNNING and (item := self._take()) is not None:
            match item:
                case _Decide() | _Retry() | _Due():
                    self._follow_up(item)
                case StartChild():
                    self._start_child(item)
                case TerminateChild():
                    self._terminate_child(item)
                case RestartChild():
                    self._restart_child(item)
                case CycleChild():
                    self._cycle_child(item)
                case DeleteChild():
                    self._delete_child(item)

    def _take(self) -> _Pending | None:
        """The first item of the inbox whose children are all free."""
        for index, item in enumerate(self._inbox):
            if all(child.owner is None for child in self._touches(item)):
                del self._inbox[index]
                return item
        return None

    def _touches(self, item: _Pending) -> list[_Child]:
        """The children that must be free before the item can be done; none, if it can be answered at once."""
        match item:
            case _Decide():
                child = self._still(item, ChildState.EXITED)
                if child is None:
                    return []
                return self._group(child) if self._restarts(child) else [child]
            case _Retry() | _Due():
                child = self._still(item, ChildState.RESTARTING)
                return [] if child is None else self._group(child)
            case StartChild() | RestartChild() | DeleteChild():
                return []
            case TerminateChild() | CycleChild():
                child = self._children.get(item.child_id)
                return [child] if child is not None else []

    def _still(self, item: _Decide | _Retry | _Due, state: ChildState) -> _Child | None:
        """The child of the item, unless it was stopped, or started again, since the item was put there."""
        child = self._children.get(item.child_id)
        if child is None or child.incarnation != item.incarnation or child.state is not state:
            return None
        return child

    # Restarts.

    def _restarts(self, child: _Child) -> bool:
        assert child.last_exit is not None
        return _RESTARTS_AFTER[child.spec.restart, child.last_exit.normal]

    def _group(self, child: _Child) -> list[_Child]:
        """The children that are restarted when `child` fails, in start order."""
        match self._flags.strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return list(self._children.values())
            case Strategy.REST_FOR_ONE:
                children = list(self._children.values())
                return children[children.index(child) :]

    def _follow_up(self, item: _Decide | _Retry | _Due) -> None:
        state = ChildState.EXITED if isinstance(item, _Decide) else ChildState.RESTARTING
        child = self._still(item, state)
        if child is None:
            return
        if isinstance(item, _Due):
            self._restart_group(child)
        elif self._restarts(child) or isinstance(item, _Retry):
            self._restart(child)
        else:
            self._set(child, ChildState.STOPPED)
            if child.temporary:
                self._remove(child)
            self._consider_auto_shutdown(child)

    def _restart(self, child: _Child) -> None:
        assert child.last_exit is not None
        restarts = self._window.add(self._now, child.spec.id)
        if restarts > self._flags.intensity:
            reason = GaveUp(child.spec.id, child.last_exit, restarts - 1, self._flags.period)
            self._report(SupervisorGaveUp(supervisor=self._name, time=self._now, reason=reason))
            self._end(reason)
            return
        child.failures += 1
        backoff = self._flags.backoff
        delay = 0.0 if backoff is None else backoff.delay(child.failures, self._rng.random())
        self._report(
            ChildRestarting(
                **self._about(child),
                reason=child.last_exit,
                delay=delay,
                attempt=child.failures,
                restarts=restarts,
            )
        )
        if delay == 0:
            self._restart_group(child)
            return
        if child.state is not ChildState.RESTARTING:
            self._set(child, ChildState.RESTARTING)
        self._set_timer(child, delay)
        child.next_retry_at = self._now + delay
        # The child is not owned while it waits, so that it can be terminated, and its siblings stop meanwhile.
        self._run(_Operation(_Purpose.RESTART, StopCause.SIBLING, stop=self._siblings(child)))

    def _restart_group(self, child: _Child) -> None:
        start = [member for member in self._group(child) if not member.temporary]
        self._run(_Operation(_Purpose.RESTART, StopCause.SIBLING, stop=self._siblings(child), start=start))

    def _siblings(self, child: _Child) -> list[_Child]:
        """Who must stop before `child` is restarted, in that order."""
        return [member for member in reversed(self._group(child)) if member is not child]

    def _consider_auto_shutdown(self, child: _Child) -> None:
        mode = self._flags.auto_shutdown
        if mode is AutoShutdown.NEVER or not child.spec.significant:
            return
        if mode is AutoShutdown.ALL_SIGNIFICANT and any(
            other.spec.significant and other.state is not ChildState.STOPPED for other in self._children.values()
        ):
            return
        self._end(Shutdown(f"significant child {child.spec.id!r} {child.last_exit}"))

    # Management calls.

    def _start_child(self, command: StartChild) -> None:
        spec = command.spec
        present = self._children.get(spec.id)
        if present is not None:
            running = present.state is ChildState.RUNNING
            error = ChildAlreadyStartedError(spec.id, present.value) if running else ChildAlreadyPresentError(spec.id)
            self._reply(command.call, error)
            return
        try:
            check_child_specs([spec], self._flags)
        except SpecError as error:
            self._reply(command.call, error)
            return
        child = self._children[spec.id] = _Child(spec)
        self._run(_Operation(_Purpose.START_CHILD, StopCause.OPERATOR, start=[child], call=command.call))

    def _terminate_child(self, command: TerminateChild) -> None:
        child = self._children.get(command.child_id)
        if child is None:
            self._reply(command.call, ChildNotFoundError(command.child_id))
            return
        self._run(_Operation(_Purpose.TERMINATE_CHILD, StopCause.OPERATOR, stop=[child], call=command.call))

    def _restart_child(self, command: RestartChild) -> None:
        child = self._stopped_child(command)
        if child is not None:
            child.failures = 0
            self._run(_Operation(_Purpose.RESTART_CHILD, StopCause.OPERATOR, start=[child], call=command.call))

    def _cycle_child(self, command: CycleChild) -> None:
        child = self._children.get(command.child_id)
        if child is None:
            self._reply(command.call, ChildNotFoundError(command.child_id))
            return
        child.failures = 0
        operation = _Operation(
            _Purpose.RESTART_CHILD, StopCause.OPERATOR, stop=[child], start=[child], call=command.call
        )
        self._run(operation)

    def _delete_child(self, command: DeleteChild) -> None:
        child = self._stopped_child(command)
        if child is not None:
            self._remove(child)
            self._reply(command.call, None)

    def _stopped_child(self, command: RestartChild | DeleteChild) -> _Child | None:
        """The child, if it is stopped; otherwise the caller is told what it is instead."""
        child = self._children.get(command.child_id)
        if child is None:
            self._reply(command.call, ChildNotFoundError(command.child_id))
        elif child.state is ChildState.STOPPED and child.owner is None:
            return child
        elif child.state in (ChildState.STOPPED, ChildState.RESTARTING):
            self._reply(command.call, ChildRestartingError(command.child_id))
        else:
            self._reply(command.call, ChildRunningError(command.child_id))
        return None

    # The end.

    def _end(self, outcome: ExitReason) -> None:
        if self._phase in (Phase.ENDING, Phase.ENDED):
            return
        self._phase = Phase.ENDING
        self._outcome = outcome
        for item in (*self._operations, *self._inbox):
            if isinstance(item, _Operation | Command) and item.call is not None:
                self._reply(item.call, SupervisorEndedError(self._name))
        self._operations.clear()
        self._inbox.clear()
        # What is already stopping goes first, then what is not ready yet and so of no use to anybody.
        urgency = {ChildState.STOPPING: 0, ChildState.STARTING: 1}
        stop = list(reversed(self._children.values()))
        stop.sort(key=lambda child: urgency.get(child.state, 2))
        self._run(_Operation(_Purpose.END, StopCause.SHUTDOWN, stop=stop))

    # Operations.

    def _run(self, operation: _Operation) -> None:
        self._operations.add(operation)
        for child in (*operation.stop, *operation.start):
            child.owner = operation
        self._advance(operation)

    def _advance(self, operation: _Operation) -> None:
        """Goes on as far as it can: until a task must end or become ready first, or to the end."""
        while operation.stop:
            child = operation.stop[0]
            if child.state in LIVE:
                if child.state is not ChildState.STOPPING:
                    self._stop(child, operation.cause)
                return
            operation.stop.popleft()
            self._settle(child, operation)
        if operation.start:
            self._start(operation.start[0])
            return
        self._finish(operation, None)

    def _settle(self, child: _Child, operation: _Operation) -> None:
        """Its task is gone, now or since long: for this operation it counts as stopped."""
        self._clear_timer(child)
        if child.state is ChildState.RESTARTING:
            assert child.last_exit is not None
            child.next_retry_at = None
            self._report(ChildStopped(**self._about(child), reason=child.last_exit, cause=operation.cause))
        if child.state is not ChildState.STOPPED:
            self._set(child, ChildState.STOPPED)
        if child in operation.start:
            return
        child.owner = None
        if child.temporary:
            self._remove(child)

    def _finish(self, operation: _Operation, outcome: object | SupervisionError) -> None:
        self._operations.discard(operation)
        for child in operation.start:
            child.owner = None
        if operation.call is not None:
            self._reply(operation.call, outcome)
        if operation.purpose is _Purpose.START_UP:
            self._phase = Phase.RUNNING
            self._report(SupervisorStarted(supervisor=self._name, time=self._now))
            self._actions.append(Ready())
        elif operation.purpose is _Purpose.END:
            self._phase = Phase.ENDED
            self._report(SupervisorEnded(supervisor=self._name, time=self._now, reason=self._outcome))
            self._actions.append(End(self._outcome))

    # What becomes of a task, seen by the operation that works on it.

    def _started(self, child: _Child, value: object) -> None:
        operation = self._owner(child)
        if operation.purpose is _Purpose.END:
            return  # Its turn to be stopped has not come.
        self._release(child, operation)
        if operation.start:
            self._advance(operation)
        else:
            self._finish(operation, value)

    def _release(self, child: _Child, operation: _Operation) -> None:
        """The operation has done what it can to start its next child."""
        started = operation.start.popleft()
        assert started is child, f"{started.spec.id} is next, not {child.spec.id}"
        child.owner = None

    def _ignored(self, child: _Child) -> None:
        self._set(child, ChildState.STOPPED)
        self._report(ChildIgnored(**self._about(child)))
        if child.temporary and self._owner(child).purpose is not _Purpose.END:
            self._remove(child)
        self._started(child, IGNORE)

    def _start_failed(self, child: _Child, reason: ExitReason) -> None:
        child.last_exit = reason
        self._report(ChildStartFailed(**self._about(child), reason=reason))
        operation = self._owner(child)
        match operation.purpose:
            case _Purpose.START_UP:
                self._end(FailedToStart(child.spec.id, reason))
            case _Purpose.RESTART:
                # This child is the one to be tried again. Those after it are not started; they stay stopped till then.
                self._set(child, ChildState.RESTARTING)
                self._inbox.append(_Retry(child.spec.id, child.incarnation))
                self._finish(operation, None)
            case _Purpose.START_CHILD | _Purpose.RESTART_CHILD:
                if operation.purpose is _Purpose.START_CHILD or child.temporary:
                    self._remove(child)
                self._finish(operation, StartFailedError(child.spec.id, reason))
            case _Purpose.END:
                pass  # Its turn comes, and finds it stopped.
            case _Purpose.TERMINATE_CHILD:
                raise AssertionError("terminate_child starts nothing")

    def _exited(self, child: _Child, reason: ExitReason) -> None:
        backoff = self._flags.backoff
        assert child.started_at is not None
        if self._now - child.started_at >= (0 if backoff is None else backoff.reset_after):
            child.failures = 0
        child.last_exit = reason
        child.started_at = None
        self._set(child, ChildState.EXITED)
        self._report(ChildExited(**self._about(child), reason=reason))
        self._inbox.append(_Decide(child.spec.id, child.incarnation))

    def _stopped(self, child: _Child, reason: ExitReason | None) -> None:
        self._set(child, ChildState.STOPPED)
        child.started_at = None
        operation = self._owner(child)
        starting = bool(operation.start) and operation.start[0] is child and not operation.stop
        if child.stop_cause is StopCause.START_TIMEOUT:
            assert child.spec.start_timeout is not None
            reason = TimedOut("start", child.spec.start_timeout)
            if starting:
                self._start_failed(child, reason)
                return
        elif child.killed and (reason is None or reason.normal):
            reason = self._killed(child)
        elif reason is None:
            reason = Cancelled(child.stop_cause)
        child.last_exit = reason
        self._report(ChildStopped(**self._about(child), reason=reason, cause=child.stop_cause))
        if not starting:
            self._advance(operation)
            return
        # Its start was interrupted by a management call, which waits in the inbox and is next.
        self._release(child, operation)
        if operation.call is not None:
            self._finish(operation, StartFailedError(child.spec.id, reason))
        else:
            self._advance(operation)

    # Tasks and timers.

    def _start(self, child: _Child) -> None:
        self._set(child, ChildState.STARTING)
        child.incarnation += 1
        child.killed = False
        child.next_retry_at = None
        self._actions.append(Start(child.spec, child.incarnation))
        if child.spec.start_timeout is not None:
            self._set_timer(child, child.spec.start_timeout)

    def _stop(self, child: _Child, cause: StopCause) -> None:
        self._clear_timer(child)
        self._set(child, ChildState.STOPPING)
        child.stop_cause = cause
        self._actions.append(Cancel(child.spec.id, child.incarnation))
        if child.spec.shutdown is BRUTAL_KILL:
            self._kill(child)
        elif math.isfinite(child.spec.shutdown):
            self._set_timer(child, child.spec.shutdown)

    def _kill(self, child: _Child) -> None:
        child.killed = True
        self._actions.append(Kill(child.spec))

    def _killed(self, child: _Child) -> Killed:
        if child.spec.shutdown is BRUTAL_KILL:
            return Killed()
        return Killed(detail=f"it did not stop within {child.spec.shutdown:g} s")

    def _set_timer(self, child: _Child, delay: float) -> None:
        self._last_timer += 1
        child.timer = self._last_timer
        self._timers[child.timer] = child
        self._actions.append(SetTimer(child.timer, delay))

    def _clear_timer(self, child: _Child) -> None:
        if child.timer is not None:
            del self._timers[child.timer]
            self._actions.append(ClearTimer(child.timer))
            child.timer = None

    # Bookkeeping.

    def _set(self, child: _Child, state: ChildState) -> None:
        assert state in TRANSITIONS[child.state], f"{child.spec.id}: {child.state} -> {state}"
        child.state = state

    def _get(self, child_id: str) -> _Child:
        try:
            return self._children[child_id]
        except KeyError:
            raise ChildNotFoundError(child_id) from None

    def _live(self, child_id: str, incarnation: int) -> _Child | None:
        child = self._children.get(child_id)
        if child is None or child.incarnation != incarnation or child.state not in LIVE:
            return None
        return child

    def _owner(self, child: _Child) -> _Operation:
        assert child.owner is not None, f"{child.spec.id} is {child.state} and nobody's"
        return child.owner

    def _remove(self, child: _Child) -> None:
        del self._children[child.spec.id]

    def _about(self, child: _Child) -> _About:
        return {
            "supervisor": self._name,
            "time": self._now,
            "child_id": child.spec.id,
            "incarnation": child.incarnation,
        }

    def _report(self, event: Event) -> None:
        self._actions.append(Report(event))

    def _reply(self, call: int, outcome: object | SupervisionError) -> None:
        self._actions.append(Reply(call, outcome))

    def _info(self, child: _Child, now: float) -> ChildInfo:
        return ChildInfo(
            id=child.spec.id,
            type=child.spec.type,
            state=child.state,
            value=child.value,
            incarnation=child.incarnation,
            restarts=self._window.count(now, child.spec.id),
            started_at=child.started_at,
            last_exit=child.last_exit,
            next_retry_at=child.next_retry_at,
        )
