"""The state machine of a dynamic supervisor alone, in a `World`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supervision.world import CRASH, PLENTY, DynamicWorld, body

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    AutoShutdown,
    Backoff,
    ChildCounts,
    ChildNotFoundError,
    ChildTemplate,
    GaveUp,
    MaxChildrenError,
    Restart,
    Returned,
    Shutdown,
    SpecError,
    StartedChild,
    StartFailedError,
    Strategy,
    SupervisorEndedError,
    SupervisorFlags,
)
from reflow_supervisor.supervision import _messages as m


def template(restart: Restart = Restart.PERMANENT, **fields: Any) -> Any:
    return ChildTemplate("job", body, restart=restart, **fields)


def start(world: DynamicWorld, *args: object) -> str:
    before = set(world.tasks)
    call = world.call(m.StartDynamic, args)
    (child_id,) = set(world.tasks) - before
    world.up(child_id)
    assert world.replies[call] == StartedChild(child_id, f"value of {child_id}")
    return child_id


def test_children_are_numbered_and_have_arguments_of_their_own() -> None:
    world = DynamicWorld().begun()
    assert [start(world, "a", 1), start(world)] == ["job-1", "job-2"]
    assert world.tasks["job-1"].args == ("a", 1)
    assert world.states == {"job-1": "running", "job-2": "running"}
    assert world.machine.counts() == ChildCounts(specs=1, active=2, supervisors=0, workers=2)


def test_one_that_failed_is_started_again_alone_with_its_arguments() -> None:
    world = DynamicWorld().begun()
    start(world, "a")
    start(world, "b")
    world.take()
    world.end("job-1")
    assert world.take() == ["start job-1"]
    assert world.tasks["job-1"].args == ("a",)


@pytest.mark.parametrize(
    ("restart", "reason"),
    [(Restart.TRANSIENT, Returned()), (Restart.TEMPORARY, Returned()), (Restart.TEMPORARY, CRASH)],
)
def test_one_that_is_not_restarted_is_forgotten(restart: Restart, reason: Any) -> None:
    world = DynamicWorld(template=template(restart)).begun()
    start(world)
    world.end("job-1", reason)
    assert world.states == {}


def test_a_start_that_fails_leaves_nothing() -> None:
    world = DynamicWorld().begun()
    call = world.call(m.StartDynamic, ())
    world.end("job-1")
    assert isinstance(world.replies[call], StartFailedError)
    assert world.states == {}


def test_ignore_leaves_nothing_at_the_start_and_at_a_restart() -> None:
    world = DynamicWorld().begun()
    call = world.call(m.StartDynamic, ())
    world.end("job-1", IGNORE)
    assert world.replies[call] is IGNORE
    start(world)
    world.end("job-2")
    world.end("job-2", IGNORE)
    assert world.states == {}
    world.feed(m.ShutDown())
    assert world.outcome == Shutdown()


def test_a_failed_restart_is_tried_again_and_counts() -> None:
    world = DynamicWorld(intensity=2).begun()
    start(world)
    world.end("job-1")
    world.end("job-1")
    assert world.machine.restarts(world.now) == 2
    world.end("job-1")
    assert isinstance(world.outcome, GaveUp)


def test_terminate_forgets_also_one_that_waits_and_is_harmless_for_one_that_is_gone() -> None:
    world = DynamicWorld(backoff=Backoff(10)).begun()
    start(world)
    start(world)
    call = world.call(m.TerminateChild, "job-1")
    world.gone("job-1")
    assert world.replies[call] is None
    world.end("job-2")
    assert world.states == {"job-2": "restarting"}
    assert world.machine.counts().active == 0
    assert world.ask(m.TerminateChild, "job-2") is None
    assert world.states == {}
    assert world.timers == {}
    assert world.ask(m.TerminateChild, "job-1") is None


@pytest.mark.parametrize(
    "child_id", ["job-3", "job-0", "job-01", "job-", "job", "other-1", "job--1", "job-٢", "9" * 5000]
)
def test_terminate_of_one_that_never_was(child_id: str) -> None:
    world = DynamicWorld().begun()
    start(world)
    start(world)
    assert isinstance(world.ask(m.TerminateChild, child_id), ChildNotFoundError)


def test_no_more_than_max_children_those_that_wait_among_them() -> None:
    world = DynamicWorld(max_children=2, backoff=Backoff(10)).begun()
    start(world)
    call = world.call(m.StartDynamic, ())
    world.end("job-1")
    refused = world.ask(m.StartDynamic, ())
    assert isinstance(refused, MaxChildrenError)
    assert refused.limit == 2
    world.end("job-2")
    assert isinstance(world.replies[call], StartFailedError)
    assert start(world) == "job-3"


def test_all_are_stopped_at_once_each_with_its_own_time() -> None:
    world = DynamicWorld(template=template(shutdown=2)).begun()
    for _ in range(3):
        start(world)
    world.take()
    world.feed(m.ShutDown())
    assert sorted(world.take()) == ["cancel job-1", "cancel job-2", "cancel job-3"]
    world.gone("job-1")
    world.wait(2)
    assert sorted(world.take()) == ["kill job-2", "kill job-3"]
    world.gone("job-3")
    assert world.outcome is None
    world.gone("job-2")
    assert world.outcome == Shutdown()


def test_a_kill_is_given_the_arguments_of_the_child() -> None:
    killed: list[object] = []
    world = DynamicWorld(template=template(Restart.TEMPORARY, shutdown=BRUTAL_KILL, kill=killed.append)).begun()
    start(world, "process 7")
    world.call(m.TerminateChild, "job-1")
    world.kills["job-1"]()
    assert killed == ["process 7"]


def test_arguments_of_temporary_children_are_not_kept() -> None:
    world = DynamicWorld(template=template(Restart.TEMPORARY)).begun()
    start(world, "large")
    assert world.machine._children["job-1"].args == ()


@pytest.mark.parametrize(
    ("flags", "max_children"),
    [
        ({"strategy": Strategy.ONE_FOR_ALL}, None),
        ({"strategy": Strategy.REST_FOR_ONE}, None),
        ({"auto_shutdown": AutoShutdown.ANY_SIGNIFICANT}, None),
        ({}, -1),
        ({}, True),
        ({}, 1.5),
    ],
)
def test_flags_that_do_not_fit(flags: dict[str, Any], max_children: Any) -> None:
    with pytest.raises(SpecError, match="dynamic supervisor"):
        DynamicWorld(max_children=max_children, **flags)


# --- Change ------------------------------------------------------------------------------------------------------


def test_a_new_template_holds_for_those_that_are_there() -> None:
    world = DynamicWorld().begun()
    start(world, "a")
    world.machine.change_template(template(Restart.TRANSIENT, shutdown=7).spec, None)
    world.end("job-1", Returned())
    assert world.states == {}
    assert start(world) == "job-2"


def test_temporary_children_stay_temporary() -> None:
    world = DynamicWorld(template=template(Restart.TEMPORARY)).begun()
    start(world, "a")
    world.machine.change_template(template(Restart.PERMANENT).spec, None)
    world.end("job-1")
    assert world.states == {}


@pytest.mark.parametrize(
    ("spec", "flags"),
    [
        (ChildTemplate("other", body).spec, None),
        (template(Restart.TRANSIENT).spec, SupervisorFlags(Strategy.ONE_FOR_ALL)),
        (ChildTemplate("other", body).spec, SupervisorFlags(intensity=9)),
    ],
)
def test_a_change_that_does_not_fit_changes_nothing(spec: Any, flags: Any) -> None:
    world = DynamicWorld().begun()
    start(world)
    with pytest.raises(SpecError):
        world.machine.change_template(spec, flags)
    assert world.machine.spec("job-1").restart is Restart.PERMANENT
    assert world.machine.flags.intensity == PLENTY


def test_nothing_can_be_changed_at_the_end() -> None:
    world = DynamicWorld().begun()
    world.feed(m.ShutDown())
    with pytest.raises(SupervisorEndedError):
        world.machine.change_template(template().spec, None)


# --- Everything at once ------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, 9), st.none()),
        st.tuples(st.just("terminate"), st.integers(0, 9), st.none()),
        st.tuples(st.just("up"), st.integers(0, 9), st.none()),
        st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from([Returned(), CRASH, CRASH, IGNORE])),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.1, 1.0, 7.0])),
        st.tuples(st.just("change"), st.just(0), st.sampled_from(Restart)),
    ),
    max_size=50,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    restart=st.sampled_from(Restart),
    shutdown=st.sampled_from([0.7, INFINITY, BRUTAL_KILL]),
    liveness=st.sampled_from([None, 1.7]),
    backoff=st.sampled_from([None, Backoff(0.5, 2, 4, 0.5, 3)]),
    limit=st.sampled_from([None, 2]),
    steps=STEPS,
)
def test_invariants_hold_whatever_happens(
    restart: Restart, shutdown: Any, liveness: Any, backoff: Any, limit: Any, steps: list[tuple[str, int, Any]]
) -> None:
    fields: Any = {"shutdown": shutdown, "liveness": liveness, "start_timeout": 2.3}
    world = DynamicWorld(template=template(restart, **fields), max_children=limit, backoff=backoff, intensity=5)
    world.begin()
    for kind, number, what in steps:
        if world.outcome is not None:
            break
        live = sorted(world.tasks)
        match kind:
            case "start":
                world.call(m.StartDynamic, (number,))
            case "terminate":
                world.call(m.TerminateChild, f"job-{number}")
            case "wait":
                world.wait(what)
            case "change" if world.outcome is None and str(world.machine.phase) == "running":
                world.machine.change_template(template(what, **fields).spec, None)
            case "up" if live and not world.tasks[live[number % len(live)]].ready:
                world.up(live[number % len(live)])
            case "end" if live:
                child = live[number % len(live)]
                ready = world.tasks[child].ready
                if world.tasks[child].cancelled:
                    world.gone(child)
                else:
                    world.end(child, Returned() if what is IGNORE and ready else what)
            case _:
                pass
        assert len(world.states) <= (PLENTY if limit is None else limit)
        assert "stopped" not in world.states.values(), "what has stopped is forgotten"
        assert {c for c, s in world.states.items() if s in ("starting", "running", "stopping")} == set(world.tasks)
    if world.outcome is None:
        world.feed(m.ShutDown())
        assert all(task.cancelled for task in world.tasks.values()), "all at once"
        for child in sorted(world.tasks):
            world.gone(child)
    assert world.outcome is not None
    assert world.states == {}
    assert set(world.replies) == set(range(1, world.calls + 1)), "a call hangs"
