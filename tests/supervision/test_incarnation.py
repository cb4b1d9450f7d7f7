"""Progress, told from inside a child."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reflow_supervisor.supervision import (
    ChildExited,
    ChildSpec,
    ChildType,
    Event,
    Restart,
    SupervisorFailedError,
    SupervisorFlags,
    Unresponsive,
    open_supervisor,
    progress,
    run_supervisor,
)

Status = trio.TaskStatus[Any]


def run_in_virtual_time(*args: Any, clock: object, **fields: Any) -> Any:
    return trio.run(*args, clock=MockClock(autojump_threshold=0), **fields)


pytestmark = pytest.mark.trio(run=run_in_virtual_time)


async def works_for(seconds: float, *, task_status: Status) -> None:
    """Makes progress every second for a while, then hangs."""
    task_status.started()
    for _ in range(int(seconds)):
        await trio.sleep(1)
        progress()
    await trio.sleep_forever()


async def test_a_child_that_hangs_is_ended_and_restarted() -> None:
    events: list[Event] = []
    flags = SupervisorFlags(intensity=1, period=1000)
    with pytest.raises(SupervisorFailedError) as caught:
        async with open_supervisor([ChildSpec("a", partial(works_for, 10), liveness=3)], flags, on_event=events.append):
            await trio.sleep_forever()
    exits = [event for event in events if isinstance(event, ChildExited)]
    assert [(event.reason, event.uptime) for event in exits] == [(Unresponsive(3), 13), (Unresponsive(3), 13)]
    assert "made no progress for 3 s" in str(caught.value)


async def test_progress_from_a_task_of_the_child() -> None:
    async def child(*, task_status: Status) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(works_for, 50, task_status=task_status))

    async with open_supervisor([ChildSpec("a", child, liveness=3)]) as supervisor:
        await trio.sleep(52)
        assert supervisor.child("a").incarnation == 1
        await trio.sleep(10)
        assert supervisor.child("a").incarnation == 2


async def test_progress_of_a_child_is_not_that_of_its_sibling_nor_of_its_supervisor() -> None:
    specs = [
        ChildSpec("works", partial(works_for, 1000)),
        ChildSpec("hangs", partial(works_for, 0), liveness=5, restart=Restart.TEMPORARY),
    ]
    nested = ChildSpec("nested", partial(run_supervisor, specs), type=ChildType.SUPERVISOR)
    async with open_supervisor([nested]) as supervisor:
        below: Any = supervisor.child("nested").value
        await trio.sleep(4)
        assert [info.id for info in below.which_children()] == ["hangs", "works"]
        await trio.sleep(2)
        assert [info.id for info in below.which_children()] == ["works"]


async def test_without_liveness_or_without_a_child_progress_means_nothing() -> None:
    progress()
    async with open_supervisor([ChildSpec("a", partial(works_for, 3))]) as supervisor:
        await trio.sleep(1000)
        assert supervisor.child("a").incarnation == 1


async def test_a_child_that_does_not_need_a_timer_sets_none() -> None:
    async with open_supervisor([ChildSpec(str(n), partial(works_for, 0)) for n in range(100)]):
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
