"""Many timers on one task."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from reflow_supervisor.supervision._timers import Timers


def run_in_virtual_time(*args: Any, clock: object, **fields: Any) -> Any:
    return trio.run(*args, clock=MockClock(autojump_threshold=0), **fields)


in_virtual_time = pytest.mark.trio(run=run_in_virtual_time)


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[Timers, list[tuple[int, float]]]]:
    fired: list[tuple[int, float]] = []
    timers = Timers(lambda timer: fired.append((timer, trio.current_time())))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers, fired
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_they_fire_when_due_and_once() -> None:
    async with running() as (timers, fired):
        begin = trio.current_time()
        timers.set(1, 3)
        timers.set(2, 1)
        timers.set(3, 2)
        await trio.sleep(10)
    assert [(timer, time - begin) for timer, time in fired] == [(2, 1), (3, 2), (1, 3)]


@in_virtual_time
async def test_one_that_is_cleared_does_not_fire_nor_wake_anybody() -> None:
    async with running() as (timers, fired):
        timers.set(1, 1)
        timers.set(2, 5)
        await trio.sleep(0.5)
        timers.clear(1)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 4.5
        timers.clear(2)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        await trio.sleep(10)
    assert fired == []


@in_virtual_time
async def test_those_due_together_fire_in_the_order_they_were_set() -> None:
    async with running() as (timers, fired):
        for timer in range(20):
            timers.set(timer, 1)
        await trio.sleep(1.5)
    assert [timer for timer, _ in fired] == list(range(20))


@in_virtual_time
async def test_one_may_be_set_and_another_cleared_while_one_fires() -> None:
    fired: list[int] = []

    def fire(timer: int) -> None:
        fired.append(timer)
        if timer == 1:
            timers.clear(2)
            timers.set(3, 0)

    timers = Timers(fire)
    timers.set(1, 1)
    timers.set(2, 1)
    with trio.move_on_after(5):
        await timers.run()
    assert fired == [1, 3]


@in_virtual_time
async def test_cleared_ones_do_not_pile_up() -> None:
    timers = Timers(lambda _: None)
    timers.set(0, 1)
    for timer in range(1, 10_000):
        timers.set(timer, 3600)
        timers.clear(timer)
    assert len(timers._heap) < 200


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["set", "clear"]), st.integers(0, 9)), max_size=30),
    st.integers(0, 2**32),
)
def test_as_many_tasks_as_timers_would_do_it(steps: list[tuple[int, str, int]], seed: int) -> None:
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    due: dict[int, float] = {}

    async def main() -> None:
        async with running() as (timers, fired):
            begin = trio.current_time()
            expected: list[tuple[int, float]] = []
            for number, (wait, what, argument) in enumerate(steps):
                now = round(trio.current_time() - begin, 6)
                until = now + wait + 0.3719
                if what == "set":
                    timers.set(number, argument)
                    due[number] = round(now + argument, 6)
                elif argument in due:
                    timers.clear(argument)
                    del due[argument]
                expected += sorted(((n, t) for n, t in due.items() if t <= until), key=lambda one: (one[1], one[0]))
                for one in [n for n, t in due.items() if t <= until]:
                    del due[one]
                await trio.sleep(wait + 0.3719)
            assert [(timer, round(time - begin, 6)) for timer, time in fired] == expected

    trio.run(main, clock=MockClock(autojump_threshold=0))
