"""What an actor at work notices when sandboxes are started that stand by.

One Python actor answers one activation after another, on its link, for as long as it takes to start eight sandboxes of
one language; beside it the same with nothing else going on. And an actor is instantiated in a warm sandbox meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio
from reflow.wire import messages, values

from benchmarks.harness import Figure, main, percentile, scaled
from benchmarks.networks import ACTORS, LANGUAGE, RUNTIMES, Runtime, directory, write_actors
from benchmarks.start import COMPONENT, Pool, load_into, open_pool, until_warm
from reflow_supervisor.actors.discovery import discover
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.rpc.link import Link

MORE = 8
QUIET = 0.5
"""Seconds of work with nothing else going on; also the pause before."""
ALONE = "nothing else going on"


class Worker:
    """Answers activations, numbered through its life."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._count = 0
        self._inputs = {"v": values.encode(values.INTEGER, 1)}

    async def work(self, enough: Callable[[], bool]) -> list[float]:
        """Seconds of each activation, one at a time, until it is enough."""
        times: list[float] = []
        while not enough():
            self._count += 1
            activate = messages.Activate(activation=self._count, attempt=1, epoch=self._count, inputs=self._inputs)
            start = time.perf_counter()
            await self._link.request("activate", activate, messages.Commit)
            times.append(time.perf_counter() - start)
        return times


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


async def _start_more(
    pool: Pool, runtime: Runtime, worker: Worker, registry: Registry, path: Path
) -> tuple[list[float], float]:
    """The times of activations until they are all there, and of an instantiation meanwhile."""
    instantiated: list[float] = []

    async def instantiate() -> None:
        await until_warm(pool, **{runtime: 1})
        start = time.perf_counter()
        async with await pool.lease(runtime) as lease:
            await load_into(lease, registry.lookup(COMPONENT[runtime]), registry, path)
            instantiated.append(time.perf_counter() - start)

    async with trio.open_nursery() as nursery:
        pool.set_preload({runtime: MORE})
        nursery.start_soon(instantiate)
        times = await worker.work(lambda: pool.statistics().warm[runtime] >= MORE)
    pool.set_preload({})
    while sum(pool.statistics().warm.values()):  # noqa: ASYNC110 - it says to nobody when it is
        await trio.sleep(0.01)
    return times, instantiated[0]


async def _run(repetitions: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def note(name: str, times: list[float]) -> None:
        found.setdefault(f"activations a second, {name}", []).append(len(times) / sum(times))
        found.setdefault(f"one activation, p99, {name}", []).append(percentile(times, 99) * 1000)

    with directory() as path:
        write_actors(path, ACTORS)
        registry = Registry(discover(path))
        async with open_pool(0) as pool, await pool.lease("python") as lease:
            await load_into(lease, registry.lookup(COMPONENT["python"]), registry, path)
            worker = Worker(lease.link)
            await worker.work(_after(QUIET))
            for _ in range(repetitions):
                for runtime in RUNTIMES:
                    await trio.sleep(QUIET)
                    note(ALONE, await worker.work(_after(QUIET)))
                    times, instantiated = await _start_more(pool, runtime, worker, registry, path)
                    note(f"while {LANGUAGE[runtime]} sandboxes are started", times)
                    found.setdefault(f"warm instantiate meanwhile, {LANGUAGE[runtime]}", []).append(instantiated * 1000)
    return found


def measure(scale: float) -> list[Figure]:
    figures: list[Figure] = []
    for name, measured in trio.run(_run, scaled(5, scale, least=2)).items():
        alone = name.endswith(ALONE)
        kind = name.partition(", ")[0] if name.startswith("activations") else "one activation, p99"
        beside = None if alone or "instantiate" in name else f"{kind}, {ALONE}"
        unit = "/s" if name.startswith("activations") else "ms"
        figures.append(Figure(name, unit, measured, beside=beside, peer=alone))
    return sorted(figures, key=lambda figure: (figure.unit, figure.what.partition(",")[0], not figure.peer))


if __name__ == "__main__":
    main(__doc__, measure)
