"""Supervision beside plain Trio nurseries.

Children that only wait, all in one process: started one after the other, restarted together (`one_for_all`), stopped.
Microseconds a child, so that what grows with the number of children shows. The peer starts each with `nursery.start`
and ends all with the nursery's cancel scope. Below it the processor time that 10 000 children take while they wait,
plain ones first, and what a call of `progress()` takes.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
import trio.testing

from benchmarks.harness import Figure, main, scaled
from reflow_supervisor.supervision import (
    ChildSpec,
    ChildStarted,
    ChildTemplate,
    Event,
    Strategy,
    SupervisorFlags,
    open_dynamic_supervisor,
    open_supervisor,
    progress,
)

COUNTS = (10, 1_000, 10_000, 100_000)
REPETITIONS = 3
IDLE_CHILDREN, IDLE_SECONDS = 10_000, 5.0

Times = dict[str, float]
"""Seconds, by what was done."""


async def child(*, task_status: trio.TaskStatus[Any]) -> None:
    task_status.started()
    await trio.sleep_forever()


async def plain(count: int) -> Times:
    begin = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(child)
        started = time.perf_counter()
        nursery.cancel_scope.cancel()
    return {"start": started - begin, "stop": time.perf_counter() - started}


async def static(count: int) -> Times:
    specs = [ChildSpec(str(number), child) for number in range(count)]
    begin = time.perf_counter()
    async with open_supervisor(specs):
        started = time.perf_counter()
    return {"start": started - begin, "stop": time.perf_counter() - started}


async def dynamic(count: int) -> Times:
    begin = time.perf_counter()
    async with open_dynamic_supervisor(ChildTemplate("child", child)) as supervisor:
        for _ in range(count):
            await supervisor.start_child()
        started = time.perf_counter()
    return {"start": started - begin, "stop": time.perf_counter() - started}


async def group_restart(count: int) -> Times:
    """The first of all fails."""
    fail, done = trio.Event(), trio.Event()

    async def first(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        if fail.is_set():
            await trio.sleep_forever()
        await fail.wait()
        raise OSError

    def on_event(event: Event) -> None:
        if isinstance(event, ChildStarted) and event.incarnation == 2 and event.child_id == str(count - 1):
            done.set()

    specs = [ChildSpec(str(number), child if number else first) for number in range(count)]
    async with open_supervisor(specs, SupervisorFlags(Strategy.ONE_FOR_ALL), on_event=on_event):
        begin = time.perf_counter()
        fail.set()
        await done.wait()
        return {"restart": time.perf_counter() - begin}


async def idle_plain(seconds: float) -> float:
    async with trio.open_nursery() as nursery:
        for _ in range(IDLE_CHILDREN):
            await nursery.start(child)
        used = await _processor_time(seconds)
        nursery.cancel_scope.cancel()
    return used


async def idle_supervised(seconds: float) -> float:
    async with open_supervisor([ChildSpec(str(number), child) for number in range(IDLE_CHILDREN)]):
        return await _processor_time(seconds)


async def _processor_time(seconds: float) -> float:
    await trio.testing.wait_all_tasks_blocked()
    begin = time.process_time()
    await trio.sleep(seconds)
    return time.process_time() - begin


async def progress_calls(count: int) -> float:
    async def works(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        begin = time.perf_counter()
        for _ in range(count):
            progress()
        taken.append(time.perf_counter() - begin)
        await trio.sleep_forever()

    taken: list[float] = []
    async with open_supervisor([ChildSpec("works", works, liveness=3600)]):
        await trio.testing.wait_all_tasks_blocked()
    return taken[0] / count


def _repeated(run: Callable[[int], Awaitable[Times]], count: int) -> dict[str, list[float]]:
    """Microseconds a child, of each repetition."""
    values: dict[str, list[float]] = {}
    for _ in range(REPETITIONS):
        gc.collect()
        for what, seconds in trio.run(run, count).items():
            values.setdefault(what, []).append(seconds / count * 1e6)
    return values


def measure(scale: float) -> Sequence[Figure]:
    figures: list[Figure] = []
    for count in dict.fromkeys(scaled(count, scale, least=10) for count in COUNTS):
        for what, values in _repeated(plain, count).items():
            figures.append(Figure(f"nursery: {what} {count}", "µs", tuple(values), peer=True))
        for name, run in (("static", static), ("dynamic", dynamic)):
            for what, values in _repeated(run, count).items():
                beside = f"nursery: {what} {count}"
                figures.append(Figure(f"{name} supervisor: {what} {count}", "µs", tuple(values), beside=beside))
        for what, values in _repeated(group_restart, count).items():
            figures.append(Figure(f"static supervisor: {what} {count}", "µs", tuple(values)))
    idle = f"{IDLE_CHILDREN} that wait for {IDLE_SECONDS:g} s"
    for name, wait in (("nursery", idle_plain), ("static supervisor", idle_supervised)):
        used = [trio.run(wait, IDLE_SECONDS) * 1e3 for _ in range(REPETITIONS)]
        figures.append(Figure(f"{name}: {idle}", "ms", tuple(used), peer=wait is idle_plain))
    calls = [trio.run(progress_calls, scaled(100_000, scale)) * 1e6 for _ in range(REPETITIONS)]
    figures.append(Figure("progress()", "µs", tuple(calls)))
    return figures


if __name__ == "__main__":
    main(__doc__, measure)
