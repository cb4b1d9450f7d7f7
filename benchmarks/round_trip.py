"""Round trip of one small message, one at a time.

From the line written to the command's stdin to the line read from its stdout: JSON, mailbox, link, sandbox, script,
commit, and back. The link alone is a ping from a process that does nothing else, answered by the agent's I/O thread.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import trio
from reflow.wire.messages import Pong

from benchmarks.harness import Figure, main, percentile, scaled
from benchmarks.lines import Lines, plain_subprocess
from benchmarks.networks import LANGUAGE, RUNTIMES, chain
from benchmarks.peers import Executor, QueuePair
from benchmarks.start import open_pool

PEER = "plain subprocess, JSON lines over pipes"


async def _pings(rounds: int, count: int) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    async with open_pool(0) as pool:
        for runtime in RUNTIMES:
            async with await pool.lease(runtime) as lease:
                for _ in range(rounds):
                    times: list[float] = []
                    for _ in range(count):
                        start = time.perf_counter()
                        await lease.link.request("ping", {}, Pong)
                        times.append(time.perf_counter() - start)
                    found.setdefault(f"of it the link alone, {LANGUAGE[runtime]}", []).append(times)
    return found


def measure(scale: float) -> list[Figure]:
    rounds, count = scaled(5, scale, least=2), scaled(600, scale, least=100)
    with ExitStack() as stack:
        subjects: dict[str, Lines | QueuePair | Executor] = {
            "sandboxed Python actor": stack.enter_context(chain("PassPython")),
            "sandboxed JavaScript actor": stack.enter_context(chain("PassJavascript")),
            PEER: stack.enter_context(plain_subprocess()),
            "multiprocessing.Queue, there and back": stack.enter_context(QueuePair()),
            "ProcessPoolExecutor, submit and result": stack.enter_context(Executor()),
        }
        times: dict[str, list[list[float]]] = {name: [] for name in subjects}
        for _ in range(rounds):
            for name, subject in subjects.items():
                times[name].append(subject.round_trips(count))
    links = trio.run(_pings, rounds, count)
    networks, peers = ({n: t for n, t in times.items() if n.startswith("sandboxed") is ours} for ours in (True, False))
    figures: list[Figure] = []
    for name, values in {**networks, **links, **peers}.items():
        ours = name in networks
        for percent, aim in ((50, 0.15), (99, 1.0)):
            figures.append(
                Figure(
                    f"{name}, p{percent}",
                    "ms",
                    [percentile(each, percent) * 1000 for each in values],
                    aim=aim if ours else None,
                    beside=f"{PEER}, p{percent}" if ours else None,
                    peer=name in peers,
                )
            )
    return figures


if __name__ == "__main__":
    main(__doc__, measure)
