"""Every decision of a supervisor, as a pure state machine: inputs and the time go in, actions come out.

It never runs a child, sleeps or reads a clock: `_driver.py` does that, and holds no decisions. It knows nothing of
Trio, so it can be tested and model-checked by the hundred thousand cases.

Three ideas carry it:

* A child lives by the table in `_lifecycle.py`. This module decides when which signal is given.
* An *operation* stops some children, one at a time and newest first, then starts some, one at a time and oldest
  first. Starting up, a restart, a management call and the end are all operations. An operation owns each child until
  it is done with it, and operations that own different children run side by side.
* What cannot be done yet, because its children are owned, waits in the *inbox*. Between two attempts of a restart
  nothing is owned, so that calls get through.

Who is restarted, and with whom, is in `_strategy.py`, how often in `_intensity.py`; what is different for a dynamic
supervisor is in `_dynamic_machine.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import attrs

from ._children import Child, Operation, Purpose
from ._effects import Effects, running_spec
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
    SupervisorEnded,
    SupervisorGaveUp,
    SupervisorStarted,
)
from ._inbox import Inbox
from ._intensity import RestartWindow
from ._lifecycle import LIVE, Signal
from ._messages import (
    Action,
    BecameReady,
    Begin,
    Command,
    CycleChild,
    DeleteChild,
    End,
    Ended,
    Input,
    Ready,
    RestartChild,
    ShutDown,
    StartChild,
    StartDynamic,
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
    Unresponsive,
)
from ._specs import (
    IGNORE,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Ignore,
    SpecChange,
    Strategy,
    SupervisorFlags,
    check_child_specs,
)
from ._states import ChildCounts, ChildInfo, ChildState, Phase
from ._strategy import group, is_restarted, overlaps


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
        specs = check_child_specs(specs, flags)
        self._name = name
        self._flags = flags
        self._rng = rng
        self._children = {spec.id: Child(spec.id, position, spec) for position, spec in enumerate(specs)}
        """In start order; a child that is added later comes last."""
        self._last_position = len(specs)
        self._phase = Phase.NEW
        self._window = RestartWindow(flags.period)
        self._inbox: Inbox[_Pending] = Inbox()
        self._operations: set[Operation] = set()
        self._outcome: ExitReason = Shutdown()
        self._effects = Effects(name)

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

    def change(self, specs: Iterable[ChildSpec] | None, flags: SupervisorFlags | None) -> SpecChange:
        """OTP's `code_change`: all of it, or nothing. See `Supervisor.change`."""
        if self._phase in (Phase.ENDING, Phase.ENDED):
            raise SupervisorEndedError(self._name)
        named = check_child_specs(() if specs is None else specs, self._flags if flags is None else flags)
        if flags is not None:
            self._flags = flags
            self._window.period = flags.period
        children: dict[str, Child] = {}
        for spec in named:
            child = children[spec.id] = self._children.get(spec.id) or Child(spec.id, 0, spec)
            child.spec = spec
        change = SpecChange(
            changed=tuple(id for id in children if id in self._children),
            added=tuple(id for id in children if id not in self._children),
            kept=tuple(id for id in self._children if id not in children),
        )
        if named:
            self._children = children | {id: self._children[id] for id in change.kept}
            self._last_position = len(self._children)
            for position, child in enumerate(self._children.values()):
                child.position = position
            for operation in self._operations:
                operation.measure()
        return change

    # Inputs.

    def handle(self, item: Input, now: float) -> list[Action]:
        """Takes one input, at a time that never goes back, and returns what is to be done, in that order."""
        self._effects.now = now
        match item:
            case Begin():
                self._begin()
            case BecameReady():
                self._became_ready(item)
            case Ended():
                self._ended(item)
            case TimerFired(timer):
                self._timer_fired(timer, item.progress)
            case ShutDown():
                self._end(Shutdown())
            case _:
                self._command(item)
        self._work_off_inbox()
        return self._effects.take()

    def _begin(self) -> None:
        if self._phase is not Phase.NEW:
            return
        self._phase = Phase.STARTING
        self._run(Operation(Purpose.START_UP, StopCause.SHUTDOWN, start=self._children.values()))

    def _became_ready(self, item: BecameReady) -> None:
        child = self._live(item.child_id, item.incarnation)
        if child is None or child.state is not ChildState.STARTING:
            return  # It was told to stop meanwhile.
        child.value = item.value
        child.started_at = self._effects.now
        self._effects.signal(child, Signal.READY)
        self._effects.report(ChildStarted(**self._effects.about(child)))
        self._started(child, item.value)

    def _ended(self, item: Ended) -> None:
        child = self._live(item.child_id, item.incarnation)
        assert child is not None, f"no such incarnation is alive: {item}"
        child.value = None
        reason = item.reason
        if child.state is ChildState.STOPPING:
            if child.stop_cause is StopCause.UNRESPONSIVE and child.owner is None:
                assert child.overrun is not None
                self._exited(child, Signal.STRUCK, child.overrun)
            else:
                self._stopped(child, Returned() if isinstance(reason, Ignore) else reason)
        elif isinstance(reason, Ignore):
            self._ignored(child)
        else:
            assert reason is not None, f"cancelled by nobody: {item}"
            if child.state is ChildState.RUNNING:
                self._exited(child, Signal.ENDED, reason)
            else:
                self._effects.signal(child, Signal.ENDED)
                self._start_failed(child, NeverReady() if reason == Returned() else reason)

    def _timer_fired(self, timer: int, progress: float | None) -> None:
        child = self._effects.fired(timer)
        if child is None:
            return
        match child.state:
            case ChildState.STARTING:
                limit = running_spec(child).start_timeout
                assert limit is not None
                self._strike(child, Signal.START_TIMEOUT, StopCause.START_TIMEOUT, TimedOut("start", limit))
            case ChildState.RUNNING:
                limit = running_spec(child).liveness
                assert limit is not None
                left = 0.0 if progress is None else progress + limit - self._effects.now
                if left > 0:
                    self._effects.watch(child, left)
                else:
                    self._strike(child, Signal.SILENT, StopCause.UNRESPONSIVE, Unresponsive(limit))
            case ChildState.STOPPING:
                self._effects.signal(child, Signal.OVERDUE)
            case _:
                child.next_retry_at = None
                self._inbox.add(_Due(child.id, child.incarnation))

    def _strike(self, child: Child, signal: Signal, cause: StopCause, reason: ExitReason) -> None:
        """It has taken longer than it may, and is stopped for it."""
        child.overrun = reason
        child.stop_cause = cause
        self._effects.signal(child, signal)

    def _command(self, command: Command) -> None:
        if self._phase in (Phase.ENDING, Phase.ENDED):
            self._effects.reply(command.call, SupervisorEndedError(self._name))
            return
        if isinstance(command, TerminateChild | CycleChild):
            child = self._children.get(command.child_id)
            if child is not None and child.state is ChildState.STARTING:
                operation = self._owner(child)
                if isinstance(command, TerminateChild) and operation.purpose is Purpose.RESTART:
                    # Without it, those after it are not started either, as when its start had failed.
                    for other in operation.drop_others():
                        self._free(other)
                self._stop(child, StopCause.OPERATOR)  # Its start may hang.
            elif child is not None and isinstance(command, TerminateChild):
                self._withdraw(child)
        self._inbox.add(command)

    def _withdraw(self, child: Child) -> None:
        """Takes a child out of the starts that an operation still has before it: it, or one before it, may hang."""
        operation = child.owner
        if operation is None or child not in operation.comes_back:
            return
        if operation.is_starting(child):
            return  # Its start has timed out, and ends by itself.
        operation.drop(child)
        if child not in operation.stop:
            self._free(child)
        if operation.call is not None:
            self._effects.reply(operation.call, StartFailedError(child.id, Cancelled(StopCause.OPERATOR)))
            operation.call = None

    # The inbox.

    def _work_off_inbox(self) -> None:
        while self._phase is Phase.RUNNING and (item := self._inbox.take(self._blocker)) is not None:
            if isinstance(item, _Decide | _Retry | _Due):
                self._follow_up(item)
            else:
                self._do_command(item)

    def _do_command(self, command: Command) -> None:
        match command:
            case StartChild():
                self._start_child(command)
            case TerminateChild():
                self._terminate_child(command)
            case RestartChild():
                self._restart_child(command)
            case CycleChild():
                self._cycle_child(command)
            case DeleteChild():
                self._delete_child(command)
            case StartDynamic():
                raise AssertionError("only a dynamic supervisor has dynamic children")

    def _blocker(self, item: _Pending) -> Child | Operation | None:
        """A child that must be free, or an operation that must be over, before the item can be done."""
        match item:
            case _Decide():
                child = self._still(item, ChildState.EXITED)
                if child is None:
                    return None
                if not self._restarts(child):
                    return child if child.owner is not None else None
            case _Retry() | _Due():
                child = self._still(item, ChildState.RESTARTING)
                if child is None:
                    return None
            case StartChild() | StartDynamic() | RestartChild() | DeleteChild():
                return None
            case TerminateChild() | CycleChild():
                child = self._children.get(item.child_id)
                return child if child is not None and child.owner is not None else None
        if self._flags.strategy is Strategy.ONE_FOR_ONE:
            return child if child.owner is not None else None
        return next((one for one in self._operations if overlaps(self._flags.strategy, child, one)), None)

    def _still(self, item: _Decide | _Retry | _Due, state: ChildState) -> Child | None:
        """The child of the item, unless it was stopped, or started again, since the item was put there."""
        child = self._children.get(item.child_id)
        if child is None or child.incarnation != item.incarnation or child.state is not state:
            return None
        return child

    # Restarts.

    def _restarts(self, child: Child) -> bool:
        assert child.last_exit is not None
        return is_restarted(child.spec.restart, child.last_exit)

    def _group(self, child: Child) -> Iterator[Child]:
        return group(self._flags.strategy, self._children, child)

    def _follow_up(self, item: _Decide | _Retry | _Due) -> None:
        state = ChildState.EXITED if isinstance(item, _Decide) else ChildState.RESTARTING
        child = self._still(item, state)
        if child is None:
            return
        # One that waits may have become temporary.
        restarted = self._restarts(child) if isinstance(item, _Decide) else not child.temporary
        if not restarted:
            self._effects.signal(child, Signal.REST)
            if self._forgets(child):
                self._remove(child)
            self._consider_auto_shutdown(child)
        elif isinstance(item, _Due):
            self._restart_group(child)
        else:
            self._restart(child)

    def _restart(self, child: Child) -> None:
        assert child.last_exit is not None
        restarts = self._window.add(self._effects.now, child.id)
        if restarts > self._flags.intensity:
            reason = GaveUp(child.id, child.last_exit, restarts - 1, self._flags.period)
            self._effects.report(SupervisorGaveUp(supervisor=self._name, time=self._effects.now, reason=reason))
            self._end(reason)
            return
        child.failures += 1
        backoff = self._flags.backoff
        delay = 0.0 if backoff is None else backoff.delay(child.failures, self._rng.random())
        self._effects.report(
            ChildRestarting(
                **self._effects.about(child),
                reason=child.last_exit,
                delay=delay,
                attempt=child.failures,
                restarts=restarts,
            )
        )
        if delay == 0:
            self._restart_group(child)
            return
        self._effects.signal(child, Signal.WAIT, delay)
        # The child is not owned while it waits, so that it can be terminated, and its siblings stop meanwhile.
        self._run(Operation(Purpose.RESTART, StopCause.SIBLING, stop=self._siblings(child)))

    def _restart_group(self, child: Child) -> None:
        start = [member for member in self._group(child) if not member.temporary]
        self._run(Operation(Purpose.RESTART, StopCause.SIBLING, stop=self._siblings(child), start=start))

    def _siblings(self, child: Child) -> list[Child]:
        """Who must stop before `child` is restarted, in that order."""
        siblings = [member for member in self._group(child) if member is not child]
        siblings.reverse()
        return siblings

    def _consider_auto_shutdown(self, child: Child) -> None:
        mode = self._flags.auto_shutdown
        if mode is AutoShutdown.NEVER or not child.spec.significant:
            return
        if mode is AutoShutdown.ALL_SIGNIFICANT and any(
            other.spec.significant and other.state is not ChildState.STOPPED for other in self._children.values()
        ):
            return
        self._end(Shutdown(f"significant child {child.id!r} {child.last_exit}"))

    # Management calls.

    def _start_child(self, command: StartChild) -> None:
        try:
            (spec,) = check_child_specs([command.spec], self._flags)
        except SpecError as error:
            self._effects.reply(command.call, error)
            return
        present = self._children.get(spec.id)
        if present is not None:
            running = present.state is ChildState.RUNNING
            error = ChildAlreadyStartedError(spec.id, present.value) if running else ChildAlreadyPresentError(spec.id)
            self._effects.reply(command.call, error)
            return
        child = self._add(spec.id, spec)
        self._run(Operation(Purpose.START_CHILD, StopCause.OPERATOR, start=[child], call=command.call))

    def _terminate_child(self, command: TerminateChild) -> None:
        child = self._children.get(command.child_id)
        if child is None:
            self._effects.reply(command.call, ChildNotFoundError(command.child_id))
            return
        self._run(Operation(Purpose.TERMINATE_CHILD, StopCause.OPERATOR, stop=[child], call=command.call))

    def _restart_child(self, command: RestartChild) -> None:
        child = self._stopped_child(command)
        if child is not None:
            child.failures = 0
            self._run(Operation(Purpose.RESTART_CHILD, StopCause.OPERATOR, start=[child], call=command.call))

    def _cycle_child(self, command: CycleChild) -> None:
        child = self._children.get(command.child_id)
        if child is None:
            self._effects.reply(command.call, ChildNotFoundError(command.child_id))
            return
        child.failures = 0
        operation = Operation(Purpose.RESTART_CHILD, StopCause.OPERATOR, stop=[child], start=[child], call=command.call)
        self._run(operation)

    def _delete_child(self, command: DeleteChild) -> None:
        child = self._stopped_child(command)
        if child is not None:
            self._remove(child)
            self._effects.reply(command.call, None)

    def _stopped_child(self, command: RestartChild | DeleteChild) -> Child | None:
        """The child, if it is stopped; otherwise the caller is told what it is instead."""
        child = self._children.get(command.child_id)
        if child is None:
            self._effects.reply(command.call, ChildNotFoundError(command.child_id))
        elif child.state is ChildState.STOPPED and child.owner is None:
            return child
        elif self._is_restarting(child):
            self._effects.reply(command.call, ChildRestartingError(command.child_id))
        else:
            self._effects.reply(command.call, ChildRunningError(command.child_id))
        return None

    def _is_restarting(self, child: Child) -> bool:
        """Whether it is down, and a restart has to do with it: at work, to be decided, or due later."""
        if child.state is ChildState.STARTING:
            return self._owner(child).purpose is Purpose.RESTART
        return child.state in (ChildState.STOPPED, ChildState.EXITED, ChildState.RESTARTING)

    # The end.

    def _end(self, outcome: ExitReason) -> None:
        if self._phase in (Phase.ENDING, Phase.ENDED):
            return
        self._phase = Phase.ENDING
        self._outcome = outcome
        for item in (*self._operations, *self._inbox.clear()):
            if isinstance(item, Operation | Command) and item.call is not None:
                self._effects.reply(item.call, SupervisorEndedError(self._name))
        self._operations.clear()
        self._run(Operation(Purpose.END, StopCause.SHUTDOWN, stop=self._stop_order()))

    def _stop_order(self) -> list[Child]:
        """What is already stopping goes first, then what is not ready yet and so of no use to anybody."""
        urgency = {ChildState.STOPPING: 0, ChildState.STARTING: 1}
        order = list(self._children.values())
        order.reverse()
        order.sort(key=lambda child: urgency.get(child.state, 2))
        return order

    # Operations.

    def _run(self, operation: Operation) -> None:
        self._operations.add(operation)
        for child in (*operation.stop, *operation.start):
            child.owner = operation
        self._advance(operation)

    def _advance(self, operation: Operation) -> None:
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

    def _settle(self, child: Child, operation: Operation) -> None:
        """Its task is gone, now or since long: for this operation it counts as stopped."""
        if child.state is ChildState.RESTARTING:
            assert child.last_exit is not None
            self._effects.report(
                ChildStopped(**self._effects.about(child), reason=child.last_exit, cause=operation.cause, uptime=None)
            )
        if child.state is not ChildState.STOPPED:
            self._effects.signal(child, Signal.REST)
            child.next_retry_at = None
        if child in operation.comes_back:
            return
        self._free(child)
        if self._forgets(child):
            self._remove(child)

    def _finish(self, operation: Operation, outcome: object | SupervisionError) -> None:
        self._operations.discard(operation)
        self._inbox.unblock(operation)
        for child in operation.start:
            self._free(child)
        if operation.call is not None:
            self._effects.reply(operation.call, outcome)
        if operation.purpose is Purpose.START_UP:
            self._phase = Phase.RUNNING
            self._effects.report(SupervisorStarted(supervisor=self._name, time=self._effects.now))
            self._effects.add(Ready())
        elif operation.purpose is Purpose.END:
            self._phase = Phase.ENDED
            self._effects.report(SupervisorEnded(supervisor=self._name, time=self._effects.now, reason=self._outcome))
            self._effects.add(End(self._outcome))

    # What becomes of a task, seen by the operation that works on it.

    def _started(self, child: Child, value: object) -> None:
        operation = self._owner(child)
        if operation.purpose is Purpose.END:
            return  # Its turn to be stopped has not come.
        self._release(child, operation)
        if operation.start:
            self._advance(operation)
        else:
            self._finish(operation, value)

    def _release(self, child: Child, operation: Operation) -> None:
        """The operation has done what it can to start its next child."""
        assert operation.is_starting(child), f"{child.id} is not the next"
        operation.drop(child)
        self._free(child)

    def _ignored(self, child: Child) -> None:
        self._effects.signal(child, Signal.ENDED)
        self._effects.report(ChildIgnored(**self._effects.about(child)))
        if self._forgets(child) and self._owner(child).purpose is not Purpose.END:
            self._remove(child)
        self._started(child, IGNORE)

    def _start_failed(self, child: Child, reason: ExitReason) -> None:
        child.last_exit = reason
        restarts = self._window.count(self._effects.now)
        self._effects.report(ChildStartFailed(**self._effects.about(child), reason=reason, restarts=restarts))
        operation = self._owner(child)
        match operation.purpose:
            case Purpose.START_UP:
                self._end(FailedToStart(child.id, reason))
            case Purpose.RESTART:
                # This child is the one to be tried again. Those after it are not started; they stay stopped till then.
                self._effects.signal(child, Signal.RETRY)
                self._inbox.add(_Retry(child.id, child.incarnation))
                self._finish(operation, None)
            case Purpose.START_CHILD | Purpose.RESTART_CHILD:
                if operation.purpose is Purpose.START_CHILD or self._forgets(child):
                    self._remove(child)
                self._finish(operation, StartFailedError(child.id, reason))
            case Purpose.END:
                pass  # Its turn comes, and finds it stopped.
            case Purpose.TERMINATE_CHILD:
                raise AssertionError("terminate_child starts nothing")

    def _exited(self, child: Child, signal: Signal, reason: ExitReason) -> None:
        backoff = self._flags.backoff
        uptime = self._uptime(child)
        assert uptime is not None
        if uptime >= (0 if backoff is None else backoff.reset_after):
            child.failures = 0
        child.last_exit = reason
        child.started_at = None
        self._effects.signal(child, signal)
        restarts = self._window.count(self._effects.now)
        self._effects.report(ChildExited(**self._effects.about(child), reason=reason, uptime=uptime, restarts=restarts))
        self._inbox.add(_Decide(child.id, child.incarnation))

    def _stopped(self, child: Child, reason: ExitReason | None) -> None:
        self._effects.signal(child, Signal.ENDED)
        uptime = self._uptime(child)
        child.started_at = None
        operation = self._owner(child)
        starting = operation.is_starting(child)
        if child.overrun is not None:
            reason = child.overrun
            if starting:
                self._start_failed(child, reason)
                return
        elif child.killed and (reason is None or reason.normal):
            reason = self._killed(child)
        elif reason is None:
            reason = Cancelled(child.stop_cause)
        child.last_exit = reason
        self._effects.report(
            ChildStopped(**self._effects.about(child), reason=reason, cause=child.stop_cause, uptime=uptime)
        )
        if not starting:
            self._advance(operation)
            return
        # Its start was interrupted by a management call, which waits in the inbox and is next.
        self._release(child, operation)
        if operation.call is not None:
            self._finish(operation, StartFailedError(child.id, reason))
        else:
            self._advance(operation)

    # Tasks.

    def _start(self, child: Child) -> None:
        child.incarnation += 1
        child.killed = False
        child.overrun = None
        child.next_retry_at = None
        self._effects.signal(child, Signal.START)

    def _stop(self, child: Child, cause: StopCause) -> None:
        child.stop_cause = cause
        self._effects.signal(child, Signal.STOP)

    def _killed(self, child: Child) -> Killed:
        if child.shutdown_time is None:
            return Killed()
        return Killed(detail=f"it did not stop within {child.shutdown_time:g} s")

    # Bookkeeping.

    def _get(self, child_id: str) -> Child:
        try:
            return self._children[child_id]
        except KeyError:
            raise ChildNotFoundError(child_id) from None

    def _live(self, child_id: str, incarnation: int) -> Child | None:
        child = self._children.get(child_id)
        if child is None or child.incarnation != incarnation or child.state not in LIVE:
            return None
        return child

    def _owner(self, child: Child) -> Operation:
        assert child.owner is not None, f"{child.id} is {child.state} and nobody's"
        return child.owner

    def _add(self, child_id: str, spec: ChildSpec, args: tuple[object, ...] = ()) -> Child:
        child = self._children[child_id] = Child(child_id, self._last_position, spec, args)
        self._last_position += 1
        return child

    def _free(self, child: Child) -> None:
        """No operation owns it from now on."""
        child.owner = None
        self._inbox.unblock(child)

    def _forgets(self, child: Child) -> bool:
        """Whether the spec goes when the child does."""
        return child.temporary

    def _uptime(self, child: Child) -> float | None:
        return None if child.started_at is None else self._effects.now - child.started_at

    def _remove(self, child: Child) -> None:
        del self._children[child.id]

    def _info(self, child: Child, now: float) -> ChildInfo:
        return ChildInfo(
            id=child.id,
            type=child.spec.type,
            state=child.state,
            value=child.value,
            incarnation=child.incarnation,
            restarts=self._window.count(now, child.id),
            started_at=child.started_at,
            last_exit=child.last_exit,
            next_retry_at=child.next_retry_at,
        )
