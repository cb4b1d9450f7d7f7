"""Supervisors on Trio, in virtual time: that what the machine decides happens, in every phase, and leaves no task."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    AutoShutdown,
    Backoff,
    Cancelled,
    ChildEvent,
    ChildExit,
    ChildExited,
    ChildNotFoundError,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    ChildState,
    ChildStopped,
    ChildType,
    Event,
    FailedToStart,
    GaveUp,
    Killed,
    NeverReady,
    Raised,
    Restart,
    Returned,
    Shutdown,
    SpecError,
    StartFailedError,
    StopCause,
    Strategy,
    Supervisor,
    SupervisorEnded,
    SupervisorEndedError,
    SupervisorFailedError,
    SupervisorFlags,
    TimedOut,
    open_supervisor,
    reason_chain,
    run_supervisor,
)

Status = trio.TaskStatus[Any]


def run_in_virtual_time(*args: Any, clock: object, **fields: Any) -> Any:
    return trio.run(*args, clock=MockClock(autojump_threshold=0), **fields)


pytestmark = pytest.mark.trio(run=run_in_virtual_time)


@attrs.define
class Recorder:
    """Children that write down what happens to them, and an `on_event` that keeps everything."""

    log: list[str] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    crashes: dict[str, trio.Event] = attrs.field(factory=dict)

    def child(self, child_id: str, *, stop_time: float = 0.0, start_time: float = 0.0, **fields: Any) -> ChildSpec:
        """Runs until it is told to stop or to `crash`, takes `stop_time` for its cleanup."""

        async def body(*, task_status: Status) -> None:
            self.log.append(f"start {child_id}")
            crash = self.crashes[child_id] = trio.Event()
            try:
                await trio.sleep(start_time)
                task_status.started(child_id.upper())
                await crash.wait()
                raise ChildExit(Killed(9))
            except trio.Cancelled:
                self.log.append(f"stop {child_id}")
                with trio.CancelScope(shield=True):
                    await trio.sleep(stop_time)
                raise
            finally:
                self.log.append(f"end {child_id}")

        return ChildSpec(child_id, body, **fields)

    async def crash(self, child_id: str) -> None:
        self.crashes[child_id].set()
        await wait_all_tasks_blocked()

    def take(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def saw(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@asynccontextmanager
async def no_task_left() -> AsyncGenerator[None]:
    before = trio.lowlevel.current_statistics().tasks_living
    yield
    assert trio.lowlevel.current_statistics().tasks_living == before


def body_of(*steps: float | BaseException) -> Any:
    """A child that is ready at once, sleeps for each number, and raises each exception."""

    async def body(*, task_status: Status) -> None:
        task_status.started()
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            await trio.sleep(step)

    return body


# --- Start and stop ----------------------------------------------------------------------------------------------


async def test_children_start_in_order_and_stop_in_reverse(recorder: Recorder) -> None:
    async with no_task_left():
        specs = [recorder.child(one, stop_time=1) for one in "bca"]
        async with open_supervisor(specs, on_event=recorder.events.append) as supervisor:
            assert recorder.take() == ["start b", "start c", "start a"]
            assert [(info.id, info.value) for info in supervisor.which_children()] == [
                ("a", "A"),
                ("c", "C"),
                ("b", "B"),
            ]
        assert recorder.take() == ["stop a", "end a", "stop c", "end c", "stop b", "end b"]
        assert trio.current_time() == 3
        assert supervisor.outcome == await supervisor.wait() == Shutdown()


async def test_the_next_child_waits_until_the_one_before_is_ready(recorder: Recorder) -> None:
    specs = [recorder.child("a", start_time=2), recorder.child("b", start_time=1)]
    async with open_supervisor(specs, on_event=recorder.events.append):
        assert [(event.child_id, event.time) for event in recorder.saw(ChildStarted)] == [("a", 2), ("b", 3)]


async def test_an_empty_supervisor_starts_and_stops() -> None:
    async with no_task_left(), open_supervisor() as supervisor:
        assert supervisor.which_children() == []


async def test_specs_are_checked_before_anything_starts(recorder: Recorder) -> None:
    with pytest.raises(SpecError):
        async with open_supervisor([recorder.child("a"), recorder.child("a")]):
            raise AssertionError("not entered")
    assert recorder.log == []


async def test_a_child_that_cannot_start_stops_those_before_it(recorder: Recorder) -> None:
    error = ValueError("no such file")

    async def broken(*, task_status: Status) -> None:
        raise error

    async with no_task_left():
        with pytest.raises(SupervisorFailedError) as caught:
            async with open_supervisor([recorder.child("a"), ChildSpec("b", broken), recorder.child("c")]):
                raise AssertionError("not entered")
        assert caught.value.reason == FailedToStart("b", Raised(error))
        assert caught.value.__cause__ is error
        assert str(caught.value) == "child 'b' failed to start: raised ValueError: no such file"
        assert recorder.log == ["start a", "stop a", "end a"]


async def not_ready(*, task_status: Status) -> None:
    pass


def not_async(*, task_status: Status) -> None:
    pass


async def ready_twice(*, task_status: Status) -> None:
    task_status.started()
    task_status.started()


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (not_ready, "child 'a' failed to start: returned before it was ready"),
        (not_async, "raised TypeError"),
        (lambda: None, "raised TypeError"),
    ],
)
async def test_bodies_that_are_no_bodies(start: Any, text: str) -> None:
    with pytest.raises(SupervisorFailedError, match=text):
        async with open_supervisor([ChildSpec("a", start)]):
            raise AssertionError("not entered")


async def test_being_ready_twice_is_an_error_of_the_child(recorder: Recorder) -> None:
    specs = [ChildSpec("a", ready_twice, restart=Restart.TEMPORARY)]
    async with open_supervisor(specs, on_event=recorder.events.append):
        await wait_all_tasks_blocked()
    assert str(recorder.saw(ChildExited)[0].reason) == "raised RuntimeError: task_status.started() was called twice"


async def test_ignore_is_not_a_failure() -> None:
    async def nothing_to_do(*, task_status: Status) -> object:
        return IGNORE

    async with open_supervisor([ChildSpec("a", nothing_to_do)]) as supervisor:
        assert supervisor.child("a").state is ChildState.STOPPED
        assert await supervisor.restart_child("a") is IGNORE
        temporary = ChildSpec("t", nothing_to_do, restart=Restart.TEMPORARY)
        assert await supervisor.start_child(temporary) is IGNORE
        assert supervisor.count_children().specs == 1


async def test_a_start_timeout_ends_a_start_that_hangs(recorder: Recorder) -> None:
    with pytest.raises(SupervisorFailedError) as caught:
        async with open_supervisor([recorder.child("a", start_time=100, start_timeout=3)]):
            raise AssertionError("not entered")
    assert caught.value.reason == FailedToStart("a", TimedOut("start", 3))
    assert trio.current_time() == 3


async def test_after_the_shutdown_time_kill_is_called_and_the_task_waited_for(recorder: Recorder) -> None:
    killed = trio.Event()
    calls: list[float] = []

    def kill() -> None:
        calls.append(trio.current_time())
        killed.set()

    async def stubborn(*, task_status: Status) -> None:
        task_status.started()
        with trio.CancelScope(shield=True):
            await killed.wait()
            await trio.sleep(1)

    specs = [ChildSpec("a", stubborn, shutdown=2, kill=kill), recorder.child("b", shutdown=2, kill=kill)]
    async with no_task_left():
        async with open_supervisor(specs, on_event=recorder.events.append):
            pass
        assert calls == [2]
        assert trio.current_time() == 3
        assert [event.reason for event in recorder.saw(ChildStopped)] == [
            Cancelled(StopCause.SHUTDOWN),
            Killed(detail="it did not stop within 2 s"),
        ]


async def test_brutal_kill_calls_kill_at_once(recorder: Recorder) -> None:
    calls: list[str] = []
    spec = recorder.child("a", stop_time=1, shutdown=BRUTAL_KILL, kill=lambda: calls.append("kill"))
    async with open_supervisor([spec], on_event=recorder.events.append):
        pass
    assert calls == ["kill"]
    assert recorder.saw(ChildStopped)[0].reason == Killed()


# --- Restarts ----------------------------------------------------------------------------------------------------


async def test_a_child_that_crashes_is_restarted_and_seen(recorder: Recorder) -> None:
    async with open_supervisor([recorder.child("a"), recorder.child("b")], on_event=recorder.events.append) as sup:
        await recorder.crash("a")
        info = sup.child("a")
        assert (info.state, info.incarnation, info.restarts, info.last_exit) == (ChildState.RUNNING, 2, 1, Killed(9))
        assert sup.child("b").incarnation == 1
        assert sup.restarts == 1
        await trio.sleep(5.1)
        assert sup.restarts == sup.child("a").restarts == 0
    seen = [type(event) for event in recorder.events if isinstance(event, ChildEvent) and event.child_id == "a"]
    assert seen == [ChildStarted, ChildExited, ChildRestarting, ChildStarted, ChildStopped]


async def test_one_for_all_on_trio(recorder: Recorder) -> None:
    specs = [recorder.child(one, stop_time=1) for one in "abc"]
    async with open_supervisor(specs, SupervisorFlags(Strategy.ONE_FOR_ALL)):
        recorder.take()
        recorder.crashes["b"].set()
        await trio.sleep(3)
        assert recorder.take() == ["end b", "stop c", "end c", "stop a", "end a", "start a", "start b", "start c"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ChildExit(Shutdown("drained")), Shutdown("drained")),
        (ExceptionGroup("nursery", [ChildExit(Killed(11))]), Killed(11)),
    ],
)
async def test_a_child_says_why_it_ends(recorder: Recorder, error: Exception, reason: object) -> None:
    specs = [ChildSpec("a", body_of(error), restart=Restart.TEMPORARY)]
    async with open_supervisor(specs, on_event=recorder.events.append):
        await wait_all_tasks_blocked()
    assert [event.reason for event in recorder.saw(ChildExited)] == [reason]


async def test_a_typed_exit_gets_out_of_a_nursery_of_the_child(recorder: Recorder) -> None:
    async def body(*, task_status: Status) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            task_status.started()
            raise ChildExit(Killed(9))

    specs = [ChildSpec("a", body, restart=Restart.TEMPORARY)]
    async with open_supervisor(specs, on_event=recorder.events.append):
        await wait_all_tasks_blocked()
    assert [event.reason for event in recorder.saw(ChildExited)] == [Killed(9)]


async def test_backoff_in_virtual_time(recorder: Recorder) -> None:
    backoff = Backoff(initial=1, factor=2, max=4, jitter=0, reset_after=100)
    specs = [ChildSpec("a", body_of(0.5, ValueError()))]
    with pytest.raises(SupervisorFailedError):
        async with open_supervisor(
            specs, SupervisorFlags(intensity=4, period=100, backoff=backoff), on_event=recorder.events.append
        ):
            await trio.sleep_forever()
    assert [event.time for event in recorder.saw(ChildStarted)] == [0, 1.5, 4, 8.5, 13]
    assert trio.current_time() == 13.5


async def test_the_clock_and_the_generator_are_those_passed_in(recorder: Recorder) -> None:
    backoff = Backoff(initial=1, jitter=0.5)
    draw = random.Random(7).random()
    async with open_supervisor(
        [recorder.child("a")],
        SupervisorFlags(backoff=backoff),
        name="net",
        clock=lambda: trio.current_time() + 1000,
        rng=random.Random(7),
        on_event=recorder.events.append,
    ) as supervisor:
        assert (supervisor.name, supervisor.flags.backoff) == ("net", backoff)
        await trio.sleep(1)
        await recorder.crash("a")
        assert supervisor.child("a").next_retry_at == 1001 + backoff.delay(1, draw)
    assert {event.supervisor for event in recorder.events} == {"net"}
    assert recorder.saw(ChildExited)[0].time == 1001


async def test_a_shutdown_inside_a_backoff_is_immediate(recorder: Recorder) -> None:
    async with no_task_left():
        async with open_supervisor(
            [recorder.child("a")], SupervisorFlags(backoff=Backoff(initial=20, jitter=0))
        ) as sup:
            await recorder.crash("a")
            assert sup.child("a").state is ChildState.RESTARTING
        assert trio.current_time() == 0


# --- Giving up ---------------------------------------------------------------------------------------------------


async def test_giving_up_cancels_the_block_and_carries_the_chain(recorder: Recorder) -> None:
    boom = ValueError("boom")
    inner = partial(
        run_supervisor,
        [recorder.child("steady"), ChildSpec("c", body_of(1, boom))],
        SupervisorFlags(intensity=2, period=30),
        name="inner",
        on_event=recorder.events.append,
    )
    specs = [recorder.child("service"), ChildSpec("net", inner, type=ChildType.SUPERVISOR)]
    async with no_task_left():
        with pytest.raises(SupervisorFailedError) as caught:
            async with open_supervisor(specs, SupervisorFlags(intensity=1, period=60)):
                await trio.sleep_forever()
        root = Raised(boom)
        assert caught.value.reason == GaveUp("net", GaveUp("c", root, 2, 30), 1, 60)
        assert list(reason_chain(caught.value.reason))[-1] == root
        assert caught.value.__cause__ is boom
        assert trio.current_time() == 6, "(2 + 1) tries by the inner supervisor, times (1 + 1) by the outer"
        assert recorder.log.count("start steady") == recorder.log.count("end steady") == 2
        assert recorder.log[-1] == "end service"


async def test_a_transient_supervisor_that_gave_up_is_restarted(recorder: Recorder) -> None:
    inner = partial(run_supervisor, [recorder.child("a")], SupervisorFlags(intensity=0))
    spec = ChildSpec("net", inner, type=ChildType.SUPERVISOR, restart=Restart.TRANSIENT)
    async with open_supervisor([spec], on_event=recorder.events.append) as supervisor:
        await recorder.crash("a")
        assert supervisor.child("net").last_exit == GaveUp("a", Killed(9), 0, 5)
        assert supervisor.child("net").incarnation == 2
        assert recorder.take() == ["start a", "end a", "start a"]


async def test_a_restarted_supervisor_has_its_first_children_again_and_not_the_added_ones(recorder: Recorder) -> None:
    inner = partial(run_supervisor, [recorder.child("a")], SupervisorFlags(intensity=0))
    async with open_supervisor([ChildSpec("net", inner, type=ChildType.SUPERVISOR)]) as supervisor:
        first = supervisor.child("net").value
        assert isinstance(first, Supervisor)
        await first.start_child(recorder.child("b"))
        await recorder.crash("a")
        second = supervisor.child("net").value
        assert isinstance(second, Supervisor)
        assert second is not first
        assert [info.id for info in second.which_children()] == ["a"]
        with pytest.raises(SupervisorEndedError):
            await first.terminate_child("a")


async def test_an_error_of_the_block_beside_giving_up_is_not_lost(recorder: Recorder) -> None:
    async def block() -> None:
        async with open_supervisor([recorder.child("a")], SupervisorFlags(intensity=0)):
            try:
                await recorder.crash("a")
            finally:
                raise KeyError("block")

    with pytest.raises(BaseExceptionGroup) as caught:
        await block()
    assert {type(error) for error in caught.value.exceptions} == {KeyError, SupervisorFailedError}


# --- The block, and cancellation from outside ----------------------------------------------------------------------


async def test_an_error_of_the_block_leaves_as_it_came(recorder: Recorder) -> None:
    error = KeyError("block")
    cause = ValueError("cause")
    async with no_task_left():
        with pytest.raises(KeyError) as caught:
            async with open_supervisor([recorder.child("a", stop_time=1)]):
                raise error from cause
        assert caught.value is error
        assert error.__cause__ is cause
        assert recorder.log == ["start a", "stop a", "end a"]


async def test_a_group_raised_by_the_block_leaves_as_it_came() -> None:
    group = ExceptionGroup("of the block", [ValueError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_supervisor():
            raise group
    assert (caught.value.message, caught.value.exceptions) == (group.message, group.exceptions)


async def test_cancelled_while_running_stops_in_reverse_order(recorder: Recorder) -> None:
    async with no_task_left():
        with trio.move_on_after(5) as scope:
            async with open_supervisor([recorder.child(one, stop_time=1) for one in "abc"]):
                recorder.take()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert recorder.take() == ["stop c", "end c", "stop b", "end b", "stop a", "end a"]
        assert trio.current_time() == 8


async def test_cancelled_while_starting(recorder: Recorder) -> None:
    async with no_task_left():
        with trio.move_on_after(5) as scope:
            async with open_supervisor([recorder.child("a"), recorder.child("b", start_time=100), recorder.child("c")]):
                raise AssertionError("not entered")
        assert scope.cancelled_caught
        assert recorder.log == ["start a", "start b", "stop b", "end b", "stop a", "end a"]


async def test_cancelled_before_it_began(recorder: Recorder) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_supervisor([recorder.child("a")]):
            raise AssertionError("not entered")
    assert recorder.log == []


@pytest.mark.parametrize("strategy", Strategy)
async def test_cancelled_in_a_backoff(recorder: Recorder, strategy: Strategy) -> None:
    flags = SupervisorFlags(strategy, backoff=Backoff(initial=20, jitter=0))
    async with no_task_left():
        with trio.move_on_after(5):
            async with open_supervisor([recorder.child("a"), recorder.child("b")], flags):
                await recorder.crash("b")
                await trio.sleep_forever()
        assert trio.current_time() == 5
        assert recorder.log.count("start b") == 1


@pytest.mark.parametrize("moment", [0.5, 1.5, 2.5, 3.5])
async def test_cancelled_in_a_group_restart(recorder: Recorder, moment: float) -> None:
    specs = [recorder.child("a", stop_time=1), recorder.child("b", stop_time=1), recorder.child("c", start_time=1)]
    async with no_task_left():
        with trio.CancelScope() as scope:
            async with open_supervisor(specs, SupervisorFlags(Strategy.ONE_FOR_ALL)) as supervisor:
                await recorder.crash("c")
                scope.deadline = trio.current_time() + moment
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert supervisor.outcome == Shutdown()
        starts = sum(line.startswith("start") for line in recorder.log)
        assert starts == sum(line.startswith("end") for line in recorder.log)


async def test_cancelled_while_stopping_changes_nothing(recorder: Recorder) -> None:
    async with no_task_left():
        with trio.move_on_after(1):
            async with open_supervisor([recorder.child("a", stop_time=2), recorder.child("b", stop_time=2)]):
                pass
        assert recorder.log == ["start a", "start b", "stop b", "end b", "stop a", "end a"]
        assert trio.current_time() == 4


async def test_cancelled_after_giving_up_still_says_so(recorder: Recorder) -> None:
    specs = [recorder.child("slow", stop_time=2), ChildSpec("a", body_of(ValueError()))]
    with trio.move_on_after(1), pytest.raises(SupervisorFailedError):
        async with open_supervisor(specs, SupervisorFlags(intensity=0)):
            await trio.sleep_forever()
    assert trio.current_time() == 2


async def test_a_parent_stops_its_supervisors_in_order_down_the_tree(recorder: Recorder) -> None:
    def tree(name: str, *specs: ChildSpec) -> ChildSpec:
        return ChildSpec(name, partial(run_supervisor, specs, name=name), type=ChildType.SUPERVISOR)

    specs = [
        recorder.child("a"),
        tree("left", recorder.child("b"), tree("deep", recorder.child("c"))),
        recorder.child("d"),
    ]
    async with no_task_left(), open_supervisor(specs, on_event=recorder.events.append):
        recorder.take()
    assert recorder.take() == ["stop d", "end d", "stop c", "end c", "stop b", "end b", "stop a", "end a"]
    assert {event.reason for event in recorder.saw(ChildStopped)} == {Cancelled(StopCause.SHUTDOWN)}


async def test_keyboard_interrupt_is_not_a_reason_to_restart() -> None:
    async with no_task_left():
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_supervisor([ChildSpec("a", body_of(1, KeyboardInterrupt()))]):
                await trio.sleep_forever()
        matched, rest = caught.value.split(KeyboardInterrupt)
        assert matched is not None
        assert rest is None


async def test_a_bug_in_on_event_tears_it_down_and_leaves_no_caller_waiting(recorder: Recorder) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, ChildStopped):
            raise ZeroDivisionError

    outcomes: list[str] = []

    async def ask(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except SupervisorEndedError:
            outcomes.append("ended")

    async def block(callers: trio.Nursery) -> None:
        async with open_supervisor([recorder.child("a", stop_time=1)], on_event=on_event) as supervisor:
            callers.start_soon(ask, partial(supervisor.terminate_child, "a"))
            callers.start_soon(ask, supervisor.wait)
            await trio.sleep_forever()

    async with no_task_left(), trio.open_nursery() as nursery:
        with pytest.raises(BaseExceptionGroup) as caught:
            await block(nursery)
        assert caught.value.split(ZeroDivisionError)[1] is None
    assert outcomes == ["ended", "ended"]


# --- Management calls ----------------------------------------------------------------------------------------------


async def test_the_life_of_a_child_by_calls(recorder: Recorder) -> None:
    async with open_supervisor(on_event=recorder.events.append) as supervisor:
        spec = recorder.child("a", start_time=1, stop_time=1)
        assert await supervisor.start_child(spec) == "A"
        assert supervisor.get_childspec("a") is spec
        assert supervisor.count_children().active == 1
        assert await supervisor.restart("a") == "A"
        assert trio.current_time() == 3
        await supervisor.terminate_child("a")
        assert await supervisor.restart_child("a") == "A"
        await supervisor.terminate_child("a")
        await supervisor.terminate_child("a")
        await supervisor.delete_child("a")
        assert supervisor.which_children() == []
        assert supervisor.restarts == 0
        for call in (supervisor.terminate_child, supervisor.restart_child, supervisor.restart, supervisor.delete_child):
            with pytest.raises(ChildNotFoundError, match="child 'a' does not exist"):
                await call("a")
        with pytest.raises(ChildNotFoundError):
            supervisor.child("a")
    assert [event.incarnation for event in recorder.saw(ChildStarted)] == [1, 2, 3]


async def test_start_child_says_why_it_failed() -> None:
    async with open_supervisor() as supervisor:
        with pytest.raises(StartFailedError) as caught:
            await supervisor.start_child(ChildSpec("a", not_ready))
        assert caught.value.reason == NeverReady()
        assert supervisor.which_children() == []


async def test_a_call_whose_caller_is_cancelled_goes_on(recorder: Recorder) -> None:
    async with open_supervisor() as supervisor:
        with trio.move_on_after(1):
            await supervisor.start_child(recorder.child("a", start_time=2))
        assert supervisor.child("a").state is ChildState.STARTING
        await trio.sleep(1.5)
        assert supervisor.child("a").state is ChildState.RUNNING


async def test_calls_get_through_while_a_restart_hangs(recorder: Recorder) -> None:
    starts = 0

    async def hangs_when_restarted(*, task_status: Status) -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            await trio.sleep_forever()
        task_status.started()
        await trio.sleep(1)

    specs = [ChildSpec("a", hangs_when_restarted), recorder.child("b")]
    async with open_supervisor(specs, SupervisorFlags(intensity=2)) as supervisor:
        await trio.sleep(2)
        assert supervisor.child("a").state is ChildState.STARTING
        assert await supervisor.start_child(recorder.child("c")) == "C"
        await supervisor.restart("b")
        await recorder.crash("c")
        assert supervisor.child("c").incarnation == 2
        await supervisor.terminate_child("a")
        assert supervisor.child("a").state is ChildState.STOPPED


async def test_calls_from_a_child_to_its_own_supervisor(recorder: Recorder) -> None:
    async with open_supervisor(on_event=recorder.events.append) as supervisor:

        async def starts_another(*, task_status: Status) -> None:
            await supervisor.start_child(recorder.child("b"))
            task_status.started()
            await supervisor.terminate_child("a")

        await supervisor.start_child(ChildSpec("a", starts_another))
        await wait_all_tasks_blocked()
        assert {info.id: info.state for info in supervisor.which_children()} == {
            "a": ChildState.STOPPED,
            "b": ChildState.RUNNING,
        }


async def test_callers_get_an_answer_when_it_ends(recorder: Recorder) -> None:
    async with trio.open_nursery() as nursery:
        async with open_supervisor([recorder.child("a", stop_time=3)]) as supervisor:

            async def ask() -> None:
                with pytest.raises(SupervisorEndedError, match="supervisor 'supervisor' has ended or is ending"):
                    await supervisor.terminate_child("a")

            nursery.start_soon(ask)
            await trio.sleep(1)
        assert trio.current_time() == 3
        with pytest.raises(SupervisorEndedError):
            await supervisor.start_child(recorder.child("b"))


async def test_shutdown_from_a_callback(recorder: Recorder) -> None:
    def on_event(event: Event) -> None:
        recorder.events.append(event)
        if isinstance(event, ChildExited):
            supervisor.shutdown()

    async with open_supervisor([recorder.child("a"), recorder.child("b")], on_event=on_event) as supervisor:
        await recorder.crash("a")
        assert await supervisor.wait() == Shutdown()
    assert [type(event) for event in recorder.events[-2:]] == [ChildStopped, SupervisorEnded]


# --- Significant children ------------------------------------------------------------------------------------------


async def test_auto_shutdown_ends_a_supervisor_and_lets_the_block_go_on(recorder: Recorder) -> None:
    specs = [recorder.child("a"), ChildSpec("job", body_of(2), restart=Restart.TRANSIENT, significant=True)]
    async with open_supervisor(specs, SupervisorFlags(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)) as supervisor:
        assert await supervisor.wait() == Shutdown("significant child 'job' returned")
        assert recorder.log == ["start a", "stop a", "end a"]


async def test_a_significant_supervisor_passes_its_end_up(recorder: Recorder) -> None:
    flags = SupervisorFlags(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    job = ChildSpec("job", body_of(2), restart=Restart.TRANSIENT, significant=True)
    inner = ChildSpec(
        "inner",
        partial(run_supervisor, [job], flags),
        type=ChildType.SUPERVISOR,
        restart=Restart.TRANSIENT,
        significant=True,
    )
    async with open_supervisor([recorder.child("a"), inner], flags, on_event=recorder.events.append) as supervisor:
        assert await supervisor.wait() == Shutdown("significant child 'inner' returned")
    assert recorder.saw(ChildExited)[0].reason == Returned()


async def test_a_supervisor_that_is_done_as_soon_as_it_is_ready() -> None:
    specs = [ChildSpec("job", body_of(), restart=Restart.TEMPORARY, significant=True)]
    async with open_supervisor(specs, SupervisorFlags(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)) as supervisor:
        assert await supervisor.wait() == Shutdown("significant child 'job' returned")


# --- What is no spec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "flags"), [(["junk"], SupervisorFlags()), ("junk", SupervisorFlags()), (7, SupervisorFlags()), ([], "x")]
)
async def test_junk_is_refused_by_name(specs: Any, flags: Any, recorder: Recorder) -> None:
    with pytest.raises(SpecError, match="must be a "):
        await run_supervisor(specs, flags)
    async with open_supervisor([recorder.child("a")]) as supervisor:
        with pytest.raises(SpecError, match="must be a "):
            supervisor.change(specs, flags)
        assert supervisor.flags == SupervisorFlags()
        with pytest.raises(SpecError, match="must be a ChildSpec, not 'junk'"):
            await supervisor.start_child("junk")  # pyright: ignore[reportArgumentType]
        assert [info.id for info in supervisor.which_children()] == ["a"]


# --- Change ------------------------------------------------------------------------------------------------------


async def test_specs_and_flags_are_changed_while_it_runs(recorder: Recorder) -> None:
    async with open_supervisor([recorder.child("a"), recorder.child("b")]) as supervisor:
        change = supervisor.change([recorder.child("a"), recorder.child("c")], SupervisorFlags(Strategy.ONE_FOR_ALL))
        assert (change.changed, change.added, change.kept) == (("a",), ("c",), ("b",))
        assert supervisor.flags.strategy is Strategy.ONE_FOR_ALL
        assert recorder.take() == ["start a", "start b"]
        assert await supervisor.restart_child("c") == "C"
        await recorder.crash("a")
        assert recorder.take()[-3:] == ["start a", "start c", "start b"]
    with pytest.raises(SupervisorEndedError):
        supervisor.change()


async def test_change_from_a_callback(recorder: Recorder) -> None:
    """It is done at once also from within the supervisor, in the middle of what that is doing."""
    changes: list[object] = []

    def on_event(event: Event) -> None:
        if isinstance(event, ChildExited) and not changes:
            changes.append(supervisor.change([recorder.child("a", restart=Restart.TEMPORARY)]))

    async with open_supervisor([recorder.child("a")], on_event=on_event) as supervisor:
        await recorder.crash("a")
        assert recorder.take() == ["start a", "end a", "start a"]
        await recorder.crash("a")
        assert supervisor.which_children() == []
