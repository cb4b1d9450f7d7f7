"""State: an operation in a script, and a commit to Redis.

The script times itself, in its sandbox, over keys that it has fetched before. A commit is one counter of one actor,
applied by the embedded server and answered; the peers are bare redis-py commands to the same server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import redis
import trio

from benchmarks.harness import Figure, main, percentile, scaled
from benchmarks.networks import LANGUAGE, RUNTIMES, chain, directory
from reflow_supervisor.state.embedded import EmbeddedRedis
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.store import Set, StateCommit

TIMED_PYTHON = """
from time import perf_counter
from reflow import Message, actor

def timed(count, operation):
    start = perf_counter()
    for i in range(count):
        operation(i)
    return (perf_counter() - start) / count * 1e6

@actor(name="TimedPython", inports=["v"], outports=["o"])
async def timed_python(context):
    count = context.get_payload()["v"].unwrap().get("operations", 1)
    state = context.get_state()
    return {"o": Message.object({
        "set": timed(count, lambda i: state.set("last", i)),
        "get": timed(count, lambda i: state.get("last")),
        "increment": timed(count, lambda i: state.increment("seen")),
    })}
"""
TIMED_JAVASCRIPT = """
const { actor, Message } = require('reflow');

function timed(count, operation) {
  const start = performance.now();
  for (let i = 0; i < count; i++) operation(i);
  return (performance.now() - start) / count * 1e3;
}

@actor({ name: "TimedJavascript", inports: ["v"], outports: ["o"] })
async function timedJavascript(context) {
  const { operations = 1 } = context.getPayload().get("v").unwrap();
  const state = context.getState();
  return { o: Message.object({
    set: timed(operations, i => state.set("last", i)),
    get: timed(operations, () => state.get("last")),
    increment: timed(operations, () => state.increment("seen")),
  }) };
}
"""
ACTORS = {"timed.actor.py": TIMED_PYTHON, "timed.actor.js": TIMED_JAVASCRIPT}
COMPONENT = {"python": "TimedPython", "javascript": "TimedJavascript"}
COMMIT = "commit to Redis"
PIPELINED = "16 commits in one call, each"


def _in_scripts(repetitions: int, operations: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        networks = {r: stack.enter_context(chain(COMPONENT[r], actors=ACTORS)) for r in RUNTIMES}
        for _ in range(repetitions):
            for runtime, network in networks.items():
                network.send(json.dumps({"operations": operations}).encode() + b"\n")
                for name, value in json.loads(network.receive()).items():
                    found.setdefault(f"state.{name}, {LANGUAGE[runtime]}", []).append(value)
    return found


async def _milliseconds(count: int, action: Callable[[int], Awaitable[Any]]) -> float:
    """The median of so many."""
    times: list[float] = []
    for i in range(count):
        start = time.perf_counter()
        await action(i)
        times.append(time.perf_counter() - start)
    return percentile(times, 50) * 1000


async def _commits(repetitions: int, count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with directory() as path:
        server = EmbeddedRedis(path / "redis")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            store = RedisStore(server.url, namespace="benchmark")
            await store.check()
            client: Any = redis.Redis.from_url(server.url)
            number = 0

            def one(actor: str) -> StateCommit:
                nonlocal number
                number += 1
                return StateCommit(actor, str(number), (Set("seen", str(number).encode()),))

            async def commit(_: int) -> None:
                await store.commit([one("actor")])

            async def many(_: int) -> None:
                await store.commit([one(f"actor{i}") for i in range(16)])

            async def plain(i: int) -> None:
                client.set("plain", i)

            async def transaction(i: int) -> None:
                with client.pipeline(transaction=True) as pipe:
                    pipe.set("plain", i).hset("markers", "actor", i).execute()

            subjects: dict[str, Callable[[int], Awaitable[Any]]] = {
                COMMIT: commit,
                PIPELINED: many,
                "redis-py SET": plain,
                "redis-py MULTI, SET, HSET, EXEC": transaction,
            }
            for _ in range(repetitions):
                for name, action in subjects.items():
                    value = await _milliseconds(count, action)
                    found.setdefault(name, []).append(value / (16 if name == PIPELINED else 1))
            client.close()
            await store.aclose()
            nursery.cancel_scope.cancel()
    return found


def _figure(name: str, unit: str, values: Sequence[float]) -> Figure:
    if unit == "µs":
        return Figure(name, unit, values, aim=2)
    ours = name in (COMMIT, PIPELINED)
    peer = "redis-py MULTI, SET, HSET, EXEC"
    return Figure(name, unit, values, aim=0.5 if name == COMMIT else None, beside=peer if ours else None, peer=not ours)


def measure(scale: float) -> list[Figure]:
    repetitions = scaled(5, scale, least=2)
    scripts = _in_scripts(repetitions, scaled(20_000, scale, least=1000))
    commits = trio.run(_commits, repetitions, scaled(500, scale, least=50))
    return [
        *(_figure(name, "µs", values) for name, values in scripts.items()),
        *(_figure(name, "ms", values) for name, values in commits.items()),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
