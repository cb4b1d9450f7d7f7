"""The state machine of a static supervisor alone, in a `World`."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supervision.world import CRASH, World, spec

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    AutoShutdown,
    Backoff,
    Cancelled,
    ChildAlreadyPresentError,
    ChildAlreadyStartedError,
    ChildCounts,
    ChildExited,
    ChildIgnored,
    ChildNotFoundError,
    ChildRestarting,
    ChildRestartingError,
    ChildRunningError,
    ChildSpec,
    ChildStarted,
    ChildStartFailed,
    ChildState,
    ChildStopped,
    ChildType,
    Exited,
    ExitReason,
    FailedToStart,
    GaveUp,
    Killed,
    NeverReady,
    Phase,
    Restart,
    Returned,
    Shutdown,
    SpecChange,
    SpecError,
    StartFailedError,
    StopCause,
    Strategy,
    SupervisorEndedError,
    SupervisorGaveUp,
    TimedOut,
    Unresponsive,
)
from reflow_supervisor.supervision import _messages as m

# --- Starting up -------------------------------------------------------------------------------------------------


def test_children_start_one_after_the_other() -> None:
    world = World("abc").begin()
    assert world.take() == ["start a"]
    world.up("a")
    assert world.take() == ["start b"]
    world.up("b")
    assert not world.ready
    world.up("c")
    assert world.ready
    assert world.take() == ["start c"]
    assert world.states == {"a": "running", "b": "running", "c": "running"}


def test_without_children_it_is_ready_at_once() -> None:
    assert World([]).begin().ready


def test_a_failure_at_start_up_stops_what_was_started_and_is_not_retried() -> None:
    world = World("abcd").begin()
    world.up("a", "b")
    world.end("c")
    assert world.take() == ["start a", "start b", "start c", "cancel b"]
    world.gone("b")
    world.gone("a")
    assert world.outcome == FailedToStart("c", CRASH)
    assert not world.ready


def test_returning_before_being_ready_is_a_failure() -> None:
    world = World("a").begin()
    world.end("a", Returned())
    assert world.outcome == FailedToStart("a", NeverReady())


def test_ignore_keeps_the_spec_except_for_temporary_children() -> None:
    world = World([spec("a"), spec("t", Restart.TEMPORARY), spec("b")]).begin()
    world.end("a", IGNORE)
    world.end("t", IGNORE)
    world.up("b")
    assert world.ready
    assert world.states == {"a": "stopped", "b": "running"}
    assert [event.child_id for event in world.saw(ChildIgnored)] == ["a", "t"]
    assert world.machine.counts() == ChildCounts(specs=2, active=1, supervisors=0, workers=2)


def test_an_exit_during_start_up_is_decided_after_it() -> None:
    world = World("ab").begin()
    world.up("a")
    world.end("a")
    assert world.states == {"a": "exited", "b": "starting"}
    world.up("b")
    assert world.ready
    assert world.take() == ["start a", "start b", "start a"]


def test_a_start_timeout_stops_and_then_kills() -> None:
    world = World([spec("a", start_timeout=3, shutdown=2)]).begin()
    world.wait(2.9)
    assert world.take() == ["start a"]
    world.wait(0.1)
    assert world.take() == ["cancel a"]
    world.wait(2)
    assert world.take() == ["kill a"]
    world.gone("a")
    assert world.outcome == FailedToStart("a", TimedOut("start", 3))


def test_a_child_that_is_ready_in_time_is_not_timed_out() -> None:
    world = World([spec("a", start_timeout=3)]).begin()
    world.wait(2.9)
    world.up("a")
    world.wait(100)
    assert world.states == {"a": "running"}
    assert world.timers == {}


def test_getting_ready_after_being_told_to_stop_does_not_count() -> None:
    world = World([spec("a", start_timeout=3)]).begin()
    world.wait(3)
    world.up("a")
    assert world.states == {"a": "stopping"}
    assert not world.ready
    assert world.saw(ChildStarted) == []


def test_what_comes_too_late_changes_nothing() -> None:
    world = World([spec("a", Restart.TRANSIENT, start_timeout=3)]).begin()
    timer = min(world.timers)
    world.up("a")
    world.feed(m.TimerFired(timer))
    assert world.states == {"a": "running"}
    world.end("a", Returned())
    world.feed(m.BecameReady("a", 1, "late"))
    assert world.states == {"a": "stopped"}


def test_specs_are_checked() -> None:
    with pytest.raises(SpecError):
        World("aa")


# --- Restart types -----------------------------------------------------------------------------------------------

NORMAL = [Returned(), Shutdown(), Shutdown("done")]
ABNORMAL = [CRASH, Killed(9), GaveUp("x", CRASH, 1, 5), FailedToStart("x", CRASH), TimedOut("activation", 1)]


@pytest.mark.parametrize("reason", NORMAL + ABNORMAL, ids=str)
def test_permanent_is_always_restarted(reason: ExitReason) -> None:
    world = World("a").begun()
    world.end("a", reason)
    assert world.take() == ["start a"]


@pytest.mark.parametrize("reason", NORMAL, ids=str)
def test_transient_stays_down_after_a_normal_end_and_keeps_its_spec(reason: ExitReason) -> None:
    world = World([spec("a", Restart.TRANSIENT)]).begun()
    world.end("a", reason)
    assert world.take() == []
    assert world.states == {"a": "stopped"}
    assert world.info("a").last_exit == reason
    call = world.call(m.RestartChild, "a")
    world.up("a")
    assert world.replies[call] == "value of a"


@pytest.mark.parametrize("reason", ABNORMAL, ids=str)
def test_transient_is_restarted_after_an_abnormal_end_and_giving_up_is_one(reason: ExitReason) -> None:
    world = World([spec("a", Restart.TRANSIENT)]).begun()
    world.end("a", reason)
    assert world.take() == ["start a"]


@pytest.mark.parametrize("reason", NORMAL + ABNORMAL, ids=str)
def test_temporary_is_never_restarted_and_forgotten(reason: ExitReason) -> None:
    world = World([spec("a", Restart.TEMPORARY)]).begun()
    world.end("a", reason)
    assert world.take() == []
    assert world.states == {}
    assert [event.reason for event in world.saw(ChildExited)] == [reason]


# --- Strategies --------------------------------------------------------------------------------------------------


def test_one_for_one_restarts_it_alone() -> None:
    world = World("abc").begun()
    world.end("b")
    assert world.take() == ["start b"]
    world.up("b")
    assert [world.info(one).incarnation for one in "abc"] == [1, 2, 1]


def test_one_for_all_stops_all_in_reverse_and_starts_all_in_order() -> None:
    world = World("dacb", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    assert world.take() == ["cancel b"]
    world.gone("b")
    world.gone("c")
    world.gone("d")
    world.up("d", "a", "c", "b")
    assert world.take() == ["cancel c", "cancel d", "start d", "start a", "start c", "start b"]
    assert [event.reason for event in world.saw(ChildStopped)] == [Cancelled(StopCause.SIBLING)] * 3
    assert world.machine.restarts(world.now) == 1


def test_rest_for_one_leaves_those_before_it_alone() -> None:
    world = World("dacb", strategy=Strategy.REST_FOR_ONE).begun()
    world.end("a")
    world.gone("b")
    world.gone("c")
    world.up("a", "c", "b")
    assert world.take() == ["cancel b", "cancel c", "start a", "start c", "start b"]
    assert world.info("d").incarnation == 1


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_a_temporary_sibling_is_stopped_and_forgotten(strategy: Strategy) -> None:
    world = World([spec("a"), spec("t", Restart.TEMPORARY), spec("b")], strategy=strategy).begun()
    world.end("a")
    world.gone("b")
    world.gone("t")
    world.up("a", "b")
    assert world.states == {"a": "running", "b": "running"}


def test_stopped_siblings_come_back_with_the_group() -> None:
    world = World([spec("a"), spec("b"), spec("c", Restart.TRANSIENT)], strategy=Strategy.ONE_FOR_ALL).begun()
    call = world.call(m.TerminateChild, "b")
    world.gone("b")
    assert world.replies[call] is None
    world.end("c", Returned())
    assert world.states == {"a": "running", "b": "stopped", "c": "stopped"}
    world.end("a")
    world.up("a", "b", "c")
    assert set(world.states.values()) == {"running"}


def test_a_sibling_that_dies_before_its_turn_keeps_its_own_reason() -> None:
    world = World("abc", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("c")
    world.end("a", Killed(9))
    world.gone("b")
    world.up("a", "b", "c")
    assert world.take() == ["cancel b", "start a", "start b", "start c"]
    assert world.machine.restarts(world.now) == 1, "it was stopped with the group: that is not a second restart"
    assert [event.reason for event in world.saw(ChildExited)] == [CRASH, Killed(9)]


def test_a_sibling_that_dies_after_it_came_back_is_a_second_restart() -> None:
    world = World("abc", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("c")
    world.gone("b")
    world.gone("a")
    world.up("a")
    world.end("a")
    world.up("b")
    assert world.states == {"a": "exited", "b": "running", "c": "starting"}
    world.up("c")
    assert world.machine.restarts(world.now) == 2
    assert world.states == {"a": "exited", "b": "running", "c": "stopping"}


def test_failures_of_independent_children_are_handled_side_by_side() -> None:
    world = World("abc").begun()
    world.end("a")
    world.end("b")
    assert world.take() == ["start a", "start b"]
    world.up("b")
    assert world.states == {"a": "starting", "b": "running", "c": "running"}


def test_overlapping_groups_wait_for_each_other() -> None:
    world = World("abc", strategy=Strategy.REST_FOR_ONE).begun()
    world.end("b")
    world.end("a")
    assert world.take() == ["cancel c"]
    world.gone("c")
    world.up("b", "c")
    assert world.take() == ["start b", "start c", "cancel c"]
    world.gone("c")
    world.gone("b")
    world.up("a", "b", "c")
    assert world.take() == ["cancel b", "start a", "start b", "start c"]


# --- Failing to restart ------------------------------------------------------------------------------------------


def test_a_failed_restart_is_retried_and_each_try_counts() -> None:
    world = World("ab", intensity=3).begun()
    world.end("a")
    world.end("a")
    world.end("a")
    assert world.machine.restarts(world.now) == 3
    world.end("a", Exited(7))
    assert world.saw(SupervisorGaveUp)[0].reason == GaveUp("a", Exited(7), 3, 5)
    world.gone("b")
    assert world.outcome == GaveUp("a", Exited(7), 3, 5)
    assert [event.attempt for event in world.saw(ChildRestarting)] == [1, 2, 3]
    assert [event.reason for event in world.saw(ChildStartFailed)] == [CRASH, CRASH, Exited(7)]


def test_one_for_all_begins_again_when_a_sibling_fails_to_start() -> None:
    world = World("ab", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    world.gone("b")
    world.up("a")
    world.end("b")
    assert world.take() == ["cancel b", "start a", "start b", "cancel a"]
    world.gone("a")
    world.up("a", "b")
    assert world.take() == ["start a", "start b"]


def test_rest_for_one_tries_again_from_the_one_that_failed() -> None:
    world = World("abc", strategy=Strategy.REST_FOR_ONE).begun()
    world.end("a")
    world.gone("c")
    world.gone("b")
    world.up("a")
    world.end("b")
    assert world.take() == ["cancel c", "cancel b", "start a", "start b", "start b"]
    world.up("b", "c")
    assert world.info("a").incarnation == 2


def test_ignore_at_a_restart_ends_the_retries() -> None:
    world = World("a").begun()
    world.end("a")
    world.end("a", IGNORE)
    assert world.states == {"a": "stopped"}
    assert world.take() == ["start a"]


def test_a_start_timeout_at_a_restart_is_a_failed_try() -> None:
    world = World([spec("a", start_timeout=1)], intensity=2).begun()
    world.end("a")
    world.wait(1)
    world.gone("a")
    assert world.info("a").last_exit == TimedOut("start", 1)
    assert world.take() == ["start a", "cancel a", "start a"]
    world.wait(1)
    world.gone("a")
    assert world.outcome == GaveUp("a", TimedOut("start", 1), 2, 5)


# --- Intensity ---------------------------------------------------------------------------------------------------


def test_intensity_zero_makes_the_first_failure_fatal() -> None:
    world = World("a", intensity=0).begun()
    world.end("a")
    assert world.outcome == GaveUp("a", CRASH, 0, 5)


def test_the_lower_edge_of_the_period_is_inside() -> None:
    for gap, survives in ((5.0, False), (5.001, True)):
        world = World("a", intensity=1, period=5).begun()
        world.end("a")
        world.up("a")
        world.wait(gap)
        world.end("a")
        assert (world.outcome is None) is survives


def test_restarts_of_all_children_count_together_and_a_group_counts_once() -> None:
    world = World("ab", intensity=2, strategy=Strategy.ONE_FOR_ALL).begun()
    for child, other in ("ab", "ba"):
        world.end(child)
        world.gone(other)
        world.up("a", "b")
    assert (world.info("a").restarts, world.info("b").restarts) == (1, 1)
    world.end("a")
    world.gone("b")
    assert world.outcome == GaveUp("a", CRASH, 2, 5)


def test_giving_up_stops_the_rest_in_reverse() -> None:
    world = World("abc", intensity=0).begun()
    world.end("b")
    world.gone("c")
    world.gone("a")
    assert world.take() == ["cancel c", "cancel a"]


# --- Backoff -----------------------------------------------------------------------------------------------------

STEADY = Backoff(initial=1, factor=2, max=5, jitter=0, reset_after=10)


def test_delays_grow_to_the_cap_and_are_reset_by_a_long_run() -> None:
    world = World("a", backoff=STEADY).begun()
    for _ in range(5):
        world.end("a")
        world.wait(world.saw(ChildRestarting)[-1].delay)
        world.up("a")
        world.wait(9.5)
    assert [event.delay for event in world.saw(ChildRestarting)] == [1, 2, 4, 5, 5]
    world.wait(0.5)
    world.end("a")
    assert world.saw(ChildRestarting)[-1].delay == 1
    assert world.saw(ChildRestarting)[-1].attempt == 1


def test_a_failed_try_waits_longer_for_the_next() -> None:
    world = World("a", backoff=STEADY).begun()
    world.end("a")
    assert world.info("a").state is ChildState.RESTARTING
    assert world.info("a").next_retry_at == 1
    world.wait(1)
    assert world.info("a").next_retry_at is None
    world.end("a")
    assert world.info("a").next_retry_at == 3
    world.wait(1.9)
    assert world.take() == ["start a"]
    world.wait(0.1)
    assert world.take() == ["start a"]


def test_jitter_is_drawn_from_the_generator_that_was_passed_in() -> None:
    delays: list[float] = []
    for seed in (1, 1, 2):
        world = World("a", seed=seed, backoff=Backoff(initial=1, jitter=0.5)).begun()
        world.end("a")
        delays.append(world.saw(ChildRestarting)[0].delay)
    assert delays[0] == delays[1] != delays[2]
    assert all(0.5 < delay <= 1 for delay in delays)


def test_siblings_stop_at_once_and_start_when_the_wait_is_over() -> None:
    world = World("abc", backoff=STEADY, strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("b")
    world.gone("c")
    world.gone("a")
    assert world.take() == ["cancel c", "cancel a"]
    assert world.states == {"a": "stopped", "b": "restarting", "c": "stopped"}
    world.wait(1)
    world.up("a", "b", "c")
    assert world.take() == ["start a", "start b", "start c"]


def test_a_sibling_that_stops_slowly_delays_the_start() -> None:
    world = World([spec("a"), spec("b", shutdown=INFINITY)], backoff=STEADY, strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    world.wait(3)
    assert world.take() == ["cancel b"]
    world.gone("b")
    assert world.take() == ["start a"]


def test_giving_up_does_not_wait() -> None:
    world = World("a", backoff=STEADY, intensity=1).begun()
    world.end("a")
    world.wait(1)
    world.end("a")
    assert world.outcome == GaveUp("a", CRASH, 1, 5)


def test_a_shutdown_does_not_wait_for_a_backoff() -> None:
    world = World("ab", backoff=STEADY).begun()
    world.end("b")
    world.feed(m.ShutDown())
    assert world.take() == ["cancel a"]
    world.gone("a")
    assert world.outcome == Shutdown()
    assert world.now == 0


def test_an_earlier_sibling_takes_a_waiting_one_with_it() -> None:
    world = World("abc", backoff=STEADY, strategy=Strategy.REST_FOR_ONE).begun()
    world.end("c")
    world.end("b")
    world.wait(1)
    world.up("b", "c")
    assert world.take() == ["start b", "start c"]
    assert [(event.child_id, event.reason) for event in world.saw(ChildStopped)] == [("c", CRASH)]


def test_the_end_of_a_wait_during_the_end_changes_nothing() -> None:
    world = World("ab", backoff=STEADY).begun()
    world.end("a")
    world.feed(m.ShutDown())
    world.wait(2)
    assert world.take() == ["cancel b"]
    world.gone("b")
    assert world.outcome == Shutdown()


# --- Stopping ----------------------------------------------------------------------------------------------------


def test_shutdown_stops_one_at_a_time_in_reverse() -> None:
    world = World("bca").begun()
    world.feed(m.ShutDown())
    assert world.take() == ["cancel a"]
    world.gone("a")
    assert world.take() == ["cancel c"]
    world.gone("c")
    world.gone("b")
    assert world.outcome == Shutdown()
    assert [event.reason for event in world.saw(ChildStopped)] == [Cancelled(StopCause.SHUTDOWN)] * 3


def test_after_its_shutdown_time_a_child_is_killed_and_then_waited_for() -> None:
    world = World([spec("a", shutdown=1)]).begun()
    world.feed(m.ShutDown())
    world.wait(0.9)
    assert world.take() == ["cancel a"]
    world.wait(100)
    assert world.take() == ["kill a"]
    assert world.outcome is None
    world.gone("a")
    assert world.saw(ChildStopped)[0].reason == Killed(detail="it did not stop within 1 s")


def test_a_killed_child_that_reports_how_keeps_its_reason_and_one_that_returns_was_still_killed() -> None:
    for reported, reason in ((Killed(9), Killed(9)), (Returned(), Killed(detail="it did not stop within 1 s"))):
        world = World([spec("a", shutdown=1)]).begun()
        world.feed(m.ShutDown())
        world.wait(1)
        world.end("a", reported)
        assert world.saw(ChildStopped)[0].reason == reason


def test_brutal_kill_does_not_wait_and_infinity_does() -> None:
    world = World([spec("a", shutdown=BRUTAL_KILL), spec("b", shutdown=INFINITY)]).begun()
    world.feed(m.ShutDown())
    world.wait(10_000)
    assert world.take() == ["cancel b"]
    world.gone("b")
    assert world.take() == ["cancel a", "kill a"]
    world.gone("a")
    assert [event.reason for event in world.saw(ChildStopped)] == [Cancelled(StopCause.SHUTDOWN), Killed()]


@pytest.mark.parametrize("restart", Restart)
@pytest.mark.parametrize("reason", [Returned(), Shutdown("mine"), CRASH], ids=str)
def test_children_that_end_by_themselves_while_another_is_stopped(restart: Restart, reason: ExitReason) -> None:
    world = World([spec("a", restart), spec("slow")]).begun()
    world.feed(m.ShutDown())
    world.end("a", reason)
    world.gone("slow")
    assert world.outcome == Shutdown()
    assert world.saw(ChildExited)[0].reason == reason
    assert world.take() == ["cancel slow"]


def test_shutdown_at_start_up_stops_what_is_starting_first() -> None:
    world = World("abc").begin()
    world.up("a")
    world.feed(m.ShutDown())
    world.gone("b")
    world.gone("a")
    assert world.take() == ["start a", "start b", "cancel b", "cancel a"]
    assert world.outcome == Shutdown()


def test_shutdown_stops_first_what_is_stopping_or_not_ready() -> None:
    world = World("abcd").begun()
    world.end("a")
    world.call(m.TerminateChild, "b")
    world.take()
    world.feed(m.ShutDown())
    world.gone("b")
    world.gone("a")
    world.gone("d")
    world.gone("c")
    assert world.take() == ["cancel a", "cancel d", "cancel c"]
    assert world.outcome == Shutdown()


def test_a_kill_is_forgotten_by_the_next_incarnation() -> None:
    world = World([spec("a", shutdown=1)]).begun()
    reasons: list[ExitReason] = []
    for seconds in (1.0, 0.5):
        world.call(m.CycleChild, "a")
        world.wait(seconds)
        world.gone("a")
        world.up("a")
        reasons.append(world.saw(ChildStopped)[-1].reason)
    assert reasons == [Killed(detail="it did not stop within 1 s"), Cancelled(StopCause.OPERATOR)]


def test_shutdown_in_the_middle_of_a_group_restart() -> None:
    world = World("abc", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    assert world.take() == ["cancel c"]
    world.feed(m.ShutDown())
    assert world.take() == []
    world.gone("c")
    world.gone("b")
    assert world.take() == ["cancel b"]
    assert world.outcome == Shutdown()


def test_a_child_that_becomes_ready_fails_or_ignores_while_the_supervisor_ends() -> None:
    for end in ("up", "fail", "ignore"):
        world = World([spec("t", Restart.TEMPORARY), spec("a"), spec("slow")]).begun()
        world.end("a")
        call = world.call(m.TerminateChild, "slow")
        again = world.call(m.StartChild, spec("new", Restart.TEMPORARY))
        world.feed(m.ShutDown())
        assert isinstance(world.replies[call], SupervisorEndedError)
        assert isinstance(world.replies[again], SupervisorEndedError)
        if end == "up":
            world.up("new", "a")
        else:
            world.end("new", IGNORE if end == "ignore" else CRASH)
            world.end("a", IGNORE if end == "ignore" else CRASH)
        world.gone("slow")
        world.gone(*(["new", "a"] if end == "up" else []))
        world.gone("t")
        assert world.outcome == Shutdown()


def test_shutdown_before_the_beginning_and_twice() -> None:
    world = World("a")
    world.feed(m.ShutDown())
    assert world.outcome == Shutdown()
    world.feed(m.ShutDown())
    world.feed(m.Begin())
    assert world.tasks == {}


# --- Management calls --------------------------------------------------------------------------------------------


def test_start_child() -> None:
    world = World("a").begun()
    call = world.call(m.StartChild, spec("b"))
    assert call not in world.replies
    world.up("b")
    assert world.replies[call] == "value of b"
    assert list(world.states) == ["a", "b"]
    error = world.ask(m.StartChild, spec("b"))
    assert isinstance(error, ChildAlreadyStartedError)
    assert error.value == "value of b"


def test_start_child_that_fails_leaves_nothing_behind() -> None:
    world = World([]).begun()
    call = world.call(m.StartChild, spec("b"))
    world.end("b")
    error = world.replies[call]
    assert isinstance(error, StartFailedError)
    assert error.reason == CRASH
    assert str(error) == "child 'b' failed to start: exited with code 1"
    assert world.states == {}


@pytest.mark.parametrize("restart", Restart)
def test_start_child_that_ignores(restart: Restart) -> None:
    world = World([]).begun()
    call = world.call(m.StartChild, spec("b", restart))
    world.end("b", IGNORE)
    assert world.replies[call] is IGNORE
    assert world.states == ({} if restart is Restart.TEMPORARY else {"b": "stopped"})


def test_start_child_is_refused_for_a_spec_that_does_not_fit() -> None:
    world = World([]).begun()
    assert isinstance(world.ask(m.StartChild, spec("b", Restart.TRANSIENT, significant=True)), SpecError)
    assert world.states == {}


def test_the_life_of_a_child_by_calls() -> None:
    world = World("a").begun()
    assert isinstance(world.ask(m.RestartChild, "a"), ChildRunningError)
    assert isinstance(world.ask(m.DeleteChild, "a"), ChildRunningError)
    call = world.call(m.TerminateChild, "a")
    world.gone("a")
    assert world.replies[call] is None
    assert world.ask(m.TerminateChild, "a") is None
    assert isinstance(world.ask(m.StartChild, spec("a")), ChildAlreadyPresentError)
    call = world.call(m.RestartChild, "a")
    world.end("a")
    assert isinstance(world.replies[call], StartFailedError)
    assert world.states == {"a": "stopped"}
    assert world.ask(m.DeleteChild, "a") is None
    for command in (m.TerminateChild, m.RestartChild, m.CycleChild, m.DeleteChild):
        assert isinstance(world.ask(command, "a"), ChildNotFoundError)
    assert world.machine.restarts(world.now) == 0


def test_terminating_a_temporary_child_deletes_it() -> None:
    world = World([spec("t", Restart.TEMPORARY)]).begun()
    call = world.call(m.TerminateChild, "t")
    world.gone("t")
    assert world.replies[call] is None
    assert world.states == {}


def test_a_child_that_dies_before_its_termination_is_not_restarted() -> None:
    world = World("ab", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    call = world.call(m.TerminateChild, "b")
    world.gone("b")
    assert world.replies[call] is None
    world.up("a")
    assert world.states == {"a": "running", "b": "stopped"}


def test_while_retries_loop_every_call_is_answered() -> None:
    world = World("ab", backoff=STEADY).begun()
    world.end("a")
    assert isinstance(world.ask(m.StartChild, spec("a")), ChildAlreadyPresentError)
    assert isinstance(world.ask(m.RestartChild, "a"), ChildRestartingError)
    assert isinstance(world.ask(m.DeleteChild, "a"), ChildRestartingError)
    assert world.machine.counts().active == 1
    assert world.ask(m.TerminateChild, "a") is None
    world.wait(100)
    assert world.take() == []
    assert world.states == {"a": "stopped", "b": "running"}


@pytest.mark.parametrize("command", [m.RestartChild, m.DeleteChild])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE])
def test_a_child_whose_restart_hangs_is_restarting_and_so_is_one_that_waits_for_its_turn(
    command: Any, strategy: Strategy
) -> None:
    world = World("abc", strategy=strategy).begun()
    world.end("b")
    if strategy is Strategy.REST_FOR_ONE:
        assert isinstance(world.ask(command, "b"), ChildRestartingError)
        world.gone("c")
        assert isinstance(world.ask(command, "c"), ChildRestartingError)
    assert world.states["b"] == "starting"
    assert isinstance(world.ask(command, "b"), ChildRestartingError)
    assert isinstance(world.ask(command, "a"), ChildRunningError)


def test_a_child_that_a_call_starts_is_running_to_other_callers() -> None:
    world = World("a").begun()
    world.call(m.StartChild, spec("b"))
    assert isinstance(world.ask(m.DeleteChild, "b"), ChildRunningError)


def test_terminating_the_retried_child_leaves_its_later_siblings_stopped() -> None:
    world = World("abc", backoff=STEADY, strategy=Strategy.REST_FOR_ONE).begun()
    world.end("b")
    world.gone("c")
    assert world.ask(m.TerminateChild, "b") is None
    world.wait(100)
    assert world.states == {"a": "running", "b": "stopped", "c": "stopped"}


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
def test_terminating_a_child_whose_restart_hangs_leaves_its_later_siblings_stopped(strategy: Strategy) -> None:
    world = World("abc", strategy=strategy).begun()
    world.end("a")
    world.gone("c")
    world.gone("b")
    world.up("a")
    call = world.call(m.TerminateChild, "b")
    world.gone("b")
    assert world.replies[call] is None
    assert world.states == {"a": "running", "b": "stopped", "c": "stopped"}
    call = world.call(m.RestartChild, "c")
    world.up("c")
    assert world.replies[call] == "value of c"


def test_an_operators_restart_of_a_child_whose_restart_hangs_lets_its_later_siblings_start() -> None:
    world = World("abc", strategy=Strategy.REST_FOR_ONE).begun()
    world.end("b")
    world.gone("c")
    world.call(m.CycleChild, "b")
    world.gone("b")
    world.up("b", "c")
    assert world.states == {"a": "running", "b": "running", "c": "running"}


def test_terminate_interrupts_a_start_that_hangs() -> None:
    world = World("a").begun()
    world.end("a")
    call = world.call(m.TerminateChild, "a")
    assert world.take() == ["start a", "cancel a"]
    world.gone("a")
    assert world.replies[call] is None
    assert world.states == {"a": "stopped"}


@pytest.mark.parametrize("restart", Restart)
def test_terminate_interrupts_start_child(restart: Restart) -> None:
    world = World([]).begun()
    start = world.call(m.StartChild, spec("a", restart))
    stop = world.call(m.TerminateChild, "a")
    world.gone("a")
    error = world.replies[start]
    assert isinstance(error, StartFailedError)
    assert error.reason == Cancelled(StopCause.OPERATOR)
    assert world.replies[stop] is None
    assert world.states == ({} if restart is Restart.TEMPORARY else {"a": "stopped"})


def test_terminate_does_not_wait_for_the_start_of_another() -> None:
    world = World("abcd", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("d")
    for one in "cba":
        world.gone(one)
    world.up("a")
    assert world.states == {"a": "running", "b": "starting", "c": "stopped", "d": "exited"}
    assert world.ask(m.TerminateChild, "c") is None
    assert world.ask(m.TerminateChild, "d") is None
    call = world.call(m.TerminateChild, "a")
    world.gone("a")
    assert world.replies[call] is None
    world.up("b")
    assert world.states == {"a": "stopped", "b": "running", "c": "stopped", "d": "stopped"}


def test_a_child_whose_group_is_starting_is_restarting_to_callers() -> None:
    world = World("ab", strategy=Strategy.ONE_FOR_ALL).begun()
    world.end("a")
    world.gone("b")
    assert world.states == {"a": "starting", "b": "stopped"}
    assert isinstance(world.ask(m.RestartChild, "b"), ChildRestartingError)
    assert isinstance(world.ask(m.DeleteChild, "b"), ChildRestartingError)


def test_an_operators_restart_is_not_counted_and_resets_the_backoff() -> None:
    world = World("ab", backoff=STEADY, intensity=2).begun()
    world.end("a")
    world.wait(1)
    world.up("a")
    call = world.call(m.CycleChild, "a")
    assert world.take() == ["start a", "cancel a"]
    world.gone("a")
    world.up("a")
    assert world.replies[call] == "value of a"
    assert world.machine.restarts(world.now) == 1
    assert world.saw(ChildStopped)[0].reason == Cancelled(StopCause.OPERATOR)
    world.end("a")
    assert world.saw(ChildRestarting)[-1].delay == 1


def test_an_operators_restart_does_not_wait_for_a_backoff() -> None:
    world = World("a", backoff=STEADY).begun()
    world.end("a")
    world.call(m.CycleChild, "a")
    assert world.take() == ["start a"]
    world.up("a")
    world.wait(100)
    assert world.states == {"a": "running"}
    assert world.info("a").incarnation == 2


def test_an_operators_restart_of_a_temporary_child_keeps_it_unless_it_fails() -> None:
    world = World([spec("t", Restart.TEMPORARY)]).begun()
    call = world.call(m.CycleChild, "t")
    world.gone("t")
    world.up("t")
    assert world.replies[call] == "value of t"
    call = world.call(m.CycleChild, "t")
    world.gone("t")
    world.end("t")
    assert isinstance(world.replies[call], StartFailedError)
    assert world.states == {}


def test_an_operators_restart_interrupts_a_start() -> None:
    world = World("a").begun()
    world.end("a")
    call = world.call(m.CycleChild, "a")
    world.gone("a")
    world.up("a")
    assert world.replies[call] == "value of a"
    assert world.info("a").incarnation == 3


def test_terminate_overrides_a_restart_that_has_not_stopped_the_child_yet() -> None:
    world = World("a").begun()
    first = world.call(m.CycleChild, "a")
    second = world.call(m.TerminateChild, "a")
    world.gone("a")
    assert isinstance(world.replies[first], StartFailedError)
    assert world.replies[second] is None
    assert world.states == {"a": "stopped"}


def test_a_start_that_has_timed_out_ends_before_terminate_does() -> None:
    world = World([spec("a", start_timeout=1)]).begun()
    world.end("a")
    world.wait(1)
    call = world.call(m.TerminateChild, "a")
    world.gone("a")
    assert world.replies[call] is None
    assert world.states == {"a": "stopped"}


def test_calls_are_refused_at_the_end_and_after() -> None:
    world = World("a").begun()
    world.feed(m.ShutDown())
    assert isinstance(world.ask(m.StartChild, spec("b")), SupervisorEndedError)
    world.gone("a")
    world.outcome = None  # An answer may still come.
    assert isinstance(world.ask(m.TerminateChild, "a"), SupervisorEndedError)


def test_calls_during_start_up_wait_for_it() -> None:
    world = World("ab").begin()
    stop = world.call(m.TerminateChild, "b")
    start = world.call(m.StartChild, spec("c"))
    assert world.replies == {}
    world.up("a")
    assert world.ready
    assert world.replies == {stop: None}
    world.up("c")
    assert world.replies[start] == "value of c"


def test_questions() -> None:
    sub = spec("sub", type=ChildType.SUPERVISOR)
    world = World([spec("a"), sub, spec("b")]).begun()
    assert [info.id for info in world.machine.infos(0)] == ["b", "sub", "a"]
    assert world.machine.counts() == ChildCounts(specs=3, active=3, supervisors=1, workers=2)
    assert world.machine.spec("sub") is sub
    assert world.info("a").value == "value of a"
    world.wait(2)
    world.end("a")
    assert world.info("a").value is None
    assert world.info("a").last_exit == CRASH
    world.up("a")
    assert world.info("a").started_at == 2
    for question in (world.machine.spec, world.info):
        with pytest.raises(ChildNotFoundError, match="child 'nobody' does not exist"):
            question("nobody")


# --- Significant children ----------------------------------------------------------------------------------------

TRANSIENT, TEMPORARY = Restart.TRANSIENT, Restart.TEMPORARY


@pytest.mark.parametrize(
    ("restart", "reason", "ends"),
    [
        (TRANSIENT, Returned(), True),
        (TRANSIENT, Shutdown(), True),
        (TRANSIENT, CRASH, False),
        (TEMPORARY, Returned(), True),
        (TEMPORARY, CRASH, True),
    ],
)
def test_any_significant(restart: Restart, reason: ExitReason, ends: bool) -> None:
    specs = [spec("a"), spec("s", restart, significant=True), spec("r", restart, significant=True)]
    world = World(specs, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT).begun()
    world.end("s", reason)
    if not ends:
        assert world.take() == ["start s"]
        return
    world.gone("r")
    world.gone("a")
    assert world.outcome == Shutdown(f"significant child 's' {reason}")


def test_all_significant_waits_for_the_last() -> None:
    specs = [spec("a"), spec("s", TRANSIENT, significant=True), spec("r", TEMPORARY, significant=True)]
    world = World(specs, auto_shutdown=AutoShutdown.ALL_SIGNIFICANT).begun()
    world.end("s", Returned())
    assert world.take() == []
    world.end("r", CRASH)
    assert world.take() == ["cancel a"]


@pytest.mark.parametrize("mode", [AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT])
@pytest.mark.parametrize("restart", [TRANSIENT, TEMPORARY])
def test_what_does_not_trigger_an_auto_shutdown(mode: AutoShutdown, restart: Restart) -> None:
    specs = [spec("a"), spec("s", restart, significant=True), spec("n", restart)]
    world = World(specs, auto_shutdown=mode, strategy=Strategy.REST_FOR_ONE).begun()
    world.end("n", Returned())
    world.end("a")
    world.gone("s")
    world.up("a")
    if restart is TRANSIENT:
        world.up("s")
        world.up("n")
        world.call(m.TerminateChild, "s")
        world.gone("s")
    assert world.outcome is None
    assert world.states["a"] == "running"


# --- Liveness ----------------------------------------------------------------------------------------------------


def test_without_progress_a_child_is_ended_and_restarted_as_unresponsive() -> None:
    world = World([spec("a", liveness=10), "b"]).begun()
    world.wait(9.9)
    assert world.states == {"a": "running", "b": "running"}
    world.wait(0.1)
    assert world.take() == ["cancel a"]
    world.gone("a")
    assert world.take() == ["start a"]
    (exited,) = world.saw(ChildExited)
    assert (exited.reason, exited.uptime) == (Unresponsive(10), 10)
    assert world.saw(ChildStopped) == []
    assert world.machine.restarts(world.now) == 1


def test_progress_keeps_it_running_and_its_deadline_counts_from_the_last() -> None:
    world = World([spec("a", liveness=10)]).begun()
    for _ in range(5):
        world.wait(7)
        world.progress("a")
    world.wait(9.9)
    assert world.states == {"a": "running"}
    world.wait(0.1)
    assert world.states == {"a": "stopping"}


def test_liveness_begins_when_it_is_ready_and_anew_with_each_incarnation() -> None:
    world = World([spec("a", liveness=10)]).begin()
    world.wait(100)
    world.progress("a")
    world.wait(50)
    world.up("a")
    world.wait(9.9)
    world.end("a")
    world.up("a")
    world.wait(9.9)
    assert world.states == {"a": "running"}
    world.wait(0.1)
    assert world.states == {"a": "stopping"}


def test_one_that_does_not_stop_either_is_killed_after_its_shutdown_time() -> None:
    world = World([spec("a", liveness=10, shutdown=2)]).begun()
    world.wait(12)
    assert world.take() == ["cancel a", "kill a"]
    world.end("a", Killed(9))
    assert world.take() == ["start a"]
    assert world.saw(ChildExited)[0].reason == Unresponsive(10)


def test_a_transient_one_is_restarted_and_a_temporary_one_forgotten() -> None:
    world = World([spec("a", Restart.TRANSIENT, liveness=1), spec("b", Restart.TEMPORARY, liveness=1)]).begun()
    world.wait(1)
    world.gone("a", "b")
    assert world.states == {"a": "starting"}


def test_who_stops_an_unresponsive_child_meanwhile_has_it() -> None:
    world = World([spec("a", liveness=1), "b"], strategy=Strategy.ONE_FOR_ALL).begun()
    world.wait(1)
    call = world.call(m.TerminateChild, "a")
    world.gone("a")
    assert world.replies[call] is None
    assert world.states == {"a": "stopped", "b": "running"}
    (stopped,) = world.saw(ChildStopped)
    assert (stopped.reason, stopped.cause) == (Unresponsive(1), StopCause.UNRESPONSIVE)
    assert world.machine.restarts(world.now) == 0


def test_a_group_restart_waits_for_an_unresponsive_sibling_and_counts_once() -> None:
    world = World([spec("a", liveness=1), "b"], strategy=Strategy.ONE_FOR_ALL).begun()
    world.wait(1)
    world.end("b")
    assert world.take() == ["cancel a"]
    world.gone("a")
    assert world.take() == ["start a"]
    assert world.machine.restarts(world.now) == 1


def test_a_shutdown_while_it_is_being_ended() -> None:
    world = World([spec("a", liveness=1), "b"]).begun()
    world.wait(1)
    world.feed(m.ShutDown())
    world.gone("a")
    world.gone("b")
    assert world.outcome == Shutdown()


# --- Change ------------------------------------------------------------------------------------------------------


def change(world: World, specs: list[ChildSpec] | None = None, **flags: Any) -> SpecChange:
    given = attrs.evolve(world.machine.flags, **flags) if flags else None
    return world.machine.change(specs, given)


def test_what_is_named_is_replaced_what_is_new_added_and_the_rest_kept_behind() -> None:
    world = World("abc").begun()
    done = change(world, [spec("n"), spec("c", Restart.TRANSIENT), spec("a")])
    assert done == SpecChange(changed=("c", "a"), added=("n",), kept=("b",))
    assert world.take() == []
    assert world.states == {"n": "stopped", "c": "running", "a": "running", "b": "running"}
    world.end("c", Returned())
    assert world.states["c"] == "stopped"
    call = world.call(m.RestartChild, "n")
    world.up("n")
    assert world.replies[call] == "value of n"


def test_the_new_order_is_that_of_stops_and_of_groups() -> None:
    world = World("abc", strategy=Strategy.REST_FOR_ONE).begun()
    change(world, [spec("c"), spec("a")])
    world.end("a")
    assert world.take() == ["cancel b"]
    world.gone("b")
    world.up("a", "b")
    world.feed(m.ShutDown())
    world.gone("b")
    world.gone("a")
    world.gone("c")
    assert world.outcome == Shutdown()


def test_a_child_is_stopped_as_its_new_spec_says_and_killed_as_the_one_it_was_started_with() -> None:
    killed: list[str] = []
    world = World([spec("a", shutdown=100, kill=lambda: killed.append("old"))]).begun()
    change(world, [spec("a", shutdown=2, kill=lambda: killed.append("new"))])
    world.call(m.TerminateChild, "a")
    world.wait(2)
    assert world.take() == ["cancel a", "kill a"]
    assert world.kills["a"] is not None
    world.kills["a"]()
    assert killed == ["old"]


def test_a_start_time_that_is_taken_away_while_it_runs_out() -> None:
    world = World([spec("a", start_timeout=3), "b"]).begin()
    change(world, [spec("a")])
    world.wait(3)
    world.gone("a")
    assert world.outcome == FailedToStart("a", TimedOut("start", 3))


def test_flags_hold_from_the_next_failure_on() -> None:
    world = World("ab", intensity=1, period=5).begun()
    world.end("a")
    world.up("a")
    change(world, strategy=Strategy.ONE_FOR_ALL, intensity=2, period=60)
    world.wait(30)
    world.end("a")
    assert world.take() == ["start a", "cancel b"]
    world.gone("b")
    world.up("a", "b")
    assert world.machine.restarts(world.now) == 2, "what is in the window stays there"
    world.end("a")
    world.gone("b")
    assert isinstance(world.outcome, GaveUp)


@pytest.mark.parametrize(
    ("specs", "flags"),
    [
        ([spec("a"), spec("a")], {}),
        ([spec("a", Restart.TRANSIENT, significant=True)], {}),
        (
            [spec("a", Restart.TRANSIENT, significant=True)],
            {"strategy": Strategy.ONE_FOR_ALL, "auto_shutdown": AutoShutdown.NEVER},
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(specs: list[ChildSpec], flags: dict[str, Any]) -> None:
    world = World("ab").begun()
    with pytest.raises(SpecError):
        change(world, specs, **flags)
    assert world.machine.flags.strategy is Strategy.ONE_FOR_ONE
    assert world.machine.spec("a").restart is Restart.PERMANENT
    assert list(world.states) == ["a", "b"]


def test_auto_shutdown_can_be_changed_under_significant_children() -> None:
    world = World([spec("s", Restart.TRANSIENT, significant=True)], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT).begun()
    change(world, auto_shutdown=AutoShutdown.NEVER)
    world.end("s", Returned())
    assert world.outcome is None
    call = world.call(m.RestartChild, "s")
    world.up("s")
    assert world.replies[call] == "value of s"
    change(world, auto_shutdown=AutoShutdown.ALL_SIGNIFICANT)
    world.end("s", Returned())
    assert isinstance(world.outcome, Shutdown)


def test_nothing_can_be_changed_at_the_end() -> None:
    world = World("a").begun()
    world.feed(m.ShutDown())
    with pytest.raises(SupervisorEndedError):
        change(world, [spec("b")])


@pytest.mark.parametrize("waits", [True, False])
def test_a_child_that_becomes_temporary_while_it_is_restarted_is_forgotten(waits: bool) -> None:
    world = World("ab", backoff=Backoff(2, jitter=0) if waits else None).begun()
    world.end("a")
    change(world, [spec("a", Restart.TEMPORARY)])
    if waits:
        world.wait(2)
    else:
        world.end("a")
    assert world.states == {"b": "running"}


def test_an_added_child_is_started_with_its_group() -> None:
    world = World("ab", strategy=Strategy.ONE_FOR_ALL).begun()
    change(world, [spec("n")])
    world.end("a")
    world.gone("b")
    world.up("n", "a", "b")
    assert world.take() == ["cancel b", "start n", "start a", "start b"]


# --- Scale -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", Strategy)
def test_when_all_fail_at_once_the_work_grows_with_their_number(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in looks at what waits, not in seconds: those would tell of the machine that the test runs on."""

    def looks(number: int) -> int:
        world = World([spec(str(n)) for n in range(number)], strategy=strategy).begun()
        count = 0
        blocker = world.machine._blocker

        def counted(item: Any) -> Any:
            nonlocal count
            count += 1
            return blocker(item)

        monkeypatch.setattr(world.machine, "_blocker", counted)
        order = sorted(world.tasks)
        random.Random(number).shuffle(order)
        for child in order:
            world.end(child)
        while at_work := [child for child, task in world.tasks.items() if task.cancelled or not task.ready]:
            for child in at_work:
                world.gone(child) if world.tasks[child].cancelled else world.up(child)
        assert set(world.states.values()) == {"running"}
        return count

    assert looks(400) <= 10 * looks(100)


# --- Everything at once ------------------------------------------------------------------------------------------

SPECS = st.lists(
    st.builds(
        lambda restart, shutdown, timeout, liveness: (restart, shutdown, timeout, liveness),
        st.sampled_from(Restart),
        st.sampled_from([0.7, 3.1, INFINITY, BRUTAL_KILL]),
        st.sampled_from([None, 2.3]),
        st.sampled_from([None, None, 1.7]),
    ),
    max_size=4,
)
FLAGS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(Strategy),
        "intensity": st.integers(0, 6),
        "period": st.sampled_from([1.0, 5.0, 60.0]),
        "backoff": st.sampled_from([None, Backoff(0.5, 2, 4, 0.5, 3), Backoff(0, 1, 0, 0, 0)]),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("child"), st.integers(0, 9), st.sampled_from(["up", "up", "up", "end"])),
        st.tuples(st.just("reason"), st.integers(0, 9), st.sampled_from([*NORMAL, CRASH, CRASH, IGNORE])),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.1, 1.0, 7.0])),
        st.tuples(st.just("progress"), st.integers(0, 9), st.none()),
        st.tuples(st.just("change"), st.integers(0, 4), st.tuples(st.sampled_from(Restart), st.sampled_from(Strategy))),
        st.tuples(
            st.just("call"),
            st.integers(0, 4),
            st.sampled_from([m.StartChild, m.TerminateChild, m.RestartChild, m.CycleChild, m.DeleteChild]),
        ),
    ),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(specs=SPECS, flags=FLAGS, steps=STEPS)
def test_invariants_hold_whatever_happens(
    specs: list[tuple[Any, ...]], flags: dict[str, Any], steps: list[tuple[str, int, Any]]
) -> None:
    """No child lives twice, every call gets one answer, no more restarts than allowed, and an end with nothing left.

    The first, and that no task or timer outlives the supervisor, `World.feed` asserts at every action.
    """
    world = World(
        [
            spec(str(n), restart, shutdown=shutdown, start_timeout=timeout, liveness=liveness)
            for n, (restart, shutdown, timeout, liveness) in enumerate(specs)
        ],
        **flags,
    ).begin()
    for kind, number, what in steps:
        if world.outcome is not None:
            break
        live = sorted(world.tasks)
        match kind:
            case "child" if live:
                child = live[number % len(live)]
                if world.tasks[child].cancelled and what == "end":
                    world.gone(child)
                elif not world.tasks[child].ready:
                    world.up(child)
            case "reason" if live:
                child = live[number % len(live)]
                world.end(child, Returned() if what is IGNORE and world.tasks[child].ready else what)
            case "wait":
                world.wait(what)
            case "progress" if live:
                world.progress(live[number % len(live)])
            case "change" if world.machine.phase is not Phase.ENDING:
                restart, strategy = what
                named = [spec(str(number), restart, liveness=1.3, shutdown=0.9), spec(str((number + 1) % 5), restart)]
                world.machine.change(named, attrs.evolve(world.machine.flags, strategy=strategy))
            case "call":
                world.call(what, spec(str(number)) if what is m.StartChild else str(number))
            case _:
                pass
        assert world.machine.restarts(world.now) <= flags["intensity"] + 1
        assert {c for c, s in world.states.items() if s in ("starting", "running", "stopping")} == set(world.tasks)

    # Every start that is under way succeeds and every stop too: nobody may be left without an answer.
    for _ in range(200):
        if world.outcome is not None or all(task.ready and not task.cancelled for task in world.tasks.values()):
            break
        for child in sorted(world.tasks):
            if world.tasks[child].cancelled:
                world.gone(child)
                break
            if not world.tasks[child].ready:
                world.up(child)
                break
    assert set(world.replies) == set(range(1, world.calls + 1)), "a call hangs"

    if world.outcome is None:
        ending = world.machine.phase is Phase.ENDING
        world.feed(m.ShutDown())
        world.take()
        live = [one for one in world.states if one in world.tasks]
        for child in reversed(live):
            assert [one for one, task in world.tasks.items() if task.cancelled] == [child], (
                "one at a time, newest first"
            )
            world.gone(child)
        assert not ending
    assert world.outcome is not None
    assert set(world.replies) == set(range(1, world.calls + 1))
