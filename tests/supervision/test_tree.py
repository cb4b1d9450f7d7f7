"""A whole tree at one moment."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reflow_supervisor.supervision import (
    Backoff,
    ChildExit,
    ChildExited,
    ChildSpec,
    ChildState,
    ChildTemplate,
    ChildType,
    Event,
    GaveUp,
    Killed,
    Phase,
    Restart,
    Strategy,
    SupervisorFailedError,
    SupervisorFlags,
    open_supervisor,
    run_dynamic_supervisor,
    run_supervisor,
)

Status = trio.TaskStatus[Any]


def run_in_virtual_time(*args: Any, clock: object, **fields: Any) -> Any:
    return trio.run(*args, clock=MockClock(autojump_threshold=0), **fields)


pytestmark = pytest.mark.trio(run=run_in_virtual_time)


async def runs(*args: object, task_status: Status) -> None:
    task_status.started()
    await trio.sleep_forever()


async def dies(after: float, *, task_status: Status) -> None:
    task_status.started()
    await trio.sleep(after)
    raise ChildExit(Killed(9))


async def never_ready(*, task_status: Status) -> None:
    await trio.sleep_forever()


def nested(name: str, specs: list[ChildSpec], flags: SupervisorFlags, **fields: Any) -> ChildSpec:
    return ChildSpec(name, partial(run_supervisor, specs, flags, name=name), type=ChildType.SUPERVISOR, **fields)


async def test_it_shows_every_level_with_its_states() -> None:
    flags = SupervisorFlags(Strategy.REST_FOR_ONE, intensity=3, period=30, backoff=Backoff(100, max=100, jitter=0))
    jobs = partial(run_dynamic_supervisor, ChildTemplate("job", runs), name="jobs")
    inner = nested("inner", [ChildSpec("a", runs), ChildSpec("b", partial(dies, 5))], flags)
    specs = [inner, ChildSpec("jobs", jobs, type=ChildType.SUPERVISOR), ChildSpec("c", runs)]
    async with open_supervisor(specs, name="top") as top:
        dynamic: Any = top.child("jobs").value
        await dynamic.start_child()
        await trio.sleep(6)
        assert str(top.tree()).splitlines() == [
            "top: running, one_for_one, restarts 0/1 in 5 s",
            "  inner: running, incarnation 1",
            "    inner: running, rest_for_one, restarts 1/3 in 30 s",
            "      a: running, incarnation 1",
            "      b: restarting, incarnation 1, was killed by signal 9, next try in 99.0 s",
            "  jobs: running, incarnation 1",
            "    jobs: running, dynamic, restarts 0/1 in 5 s",
            "      job-1: running, incarnation 1",
            "  c: running, incarnation 1",
        ]
        below = top.tree().children[0].below
        assert below is not None
        assert below.flags == flags
        assert below.children[1].info.next_retry_at == pytest.approx(below.time + 99)


async def test_a_supervisor_that_hangs_in_its_start_is_there() -> None:
    async with trio.open_nursery() as nursery:
        seen: list[Any] = []

        async def starting(*, task_status: Status) -> None:
            async with open_supervisor([ChildSpec("hangs", never_ready)], name="private"):
                raise AssertionError("not reached")

        async def watch(*, task_status: Status) -> None:
            task_status.started()
            await wait_all_tasks_blocked()
            seen.append(top.tree())
            nursery.cancel_scope.cancel()

        async with open_supervisor() as top:
            nursery.start_soon(top.start_child, ChildSpec("starting", starting))
            nursery.start_soon(top.start_child, ChildSpec("watch", watch))
            await trio.sleep_forever()
    (tree,) = seen
    (child,) = [child for child in tree.children if child.info.id == "starting"]
    assert child.info.state is ChildState.STARTING
    assert (child.below.name, child.below.phase) == ("private", Phase.STARTING)
    assert child.below.children[0].info.state is ChildState.STARTING


async def test_no_more_children_than_asked_for() -> None:
    async with open_supervisor([ChildSpec(str(number), runs) for number in range(5)]) as top:
        tree = top.tree(limit=2)
        assert [child.info.id for child in tree.children] == ["0", "1"]
        assert tree.omitted == 3
        assert str(tree).splitlines()[-1] == "  and 3 more"
        assert top.tree(limit=5).omitted == top.tree().omitted == 0


async def test_a_supervisor_that_is_gone_is_not_shown() -> None:
    inner = nested("inner", [ChildSpec("a", partial(dies, 1))], SupervisorFlags(intensity=0), restart=Restart.TEMPORARY)
    async with open_supervisor([inner, ChildSpec("b", runs)]) as top:
        assert top.tree().children[0].below is not None
        await trio.sleep(2)
        assert [(child.info.id, child.below) for child in top.tree().children] == [("b", None)]


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_giving_up_escalates_from_a_permanent_and_from_a_transient_supervisor(restart: Restart) -> None:
    events: list[Event] = []
    inner = nested("inner", [ChildSpec("a", partial(dies, 1))], SupervisorFlags(intensity=1), restart=restart)
    with pytest.raises(SupervisorFailedError) as caught:
        async with open_supervisor([inner], SupervisorFlags(intensity=2, period=100), on_event=events.append):
            await trio.sleep_forever()
    exits = [event.reason for event in events if isinstance(event, ChildExited)]
    assert exits == [GaveUp("a", Killed(9), 1, 5)] * 3
    assert caught.value.reason == GaveUp("inner", exits[0], 2, 100)


async def test_a_temporary_supervisor_that_gave_up_is_reported_and_not_restarted() -> None:
    events: list[Event] = []
    inner = nested("inner", [ChildSpec("a", partial(dies, 1))], SupervisorFlags(intensity=0), restart=Restart.TEMPORARY)
    async with open_supervisor([inner], on_event=events.append) as top:
        await trio.sleep(100)
        assert top.which_children() == []
        assert top.restarts == 0
    assert [event.reason for event in events if isinstance(event, ChildExited)] == [GaveUp("a", Killed(9), 0, 5)]
