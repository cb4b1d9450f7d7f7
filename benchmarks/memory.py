"""Memory of an idle sandbox, with eight alike.

PSS of all processes, bwrap's own included, and for Python the zygote and the fork that it has ready for the next start:
what eight sandboxes share is counted once. The peer is eight idle interpreters with no agent, no link and no isolation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

import trio

from benchmarks.harness import Figure, main, scaled
from benchmarks.networks import LANGUAGE, RUNTIMES
from benchmarks.processes import descendants, proportional_set
from benchmarks.start import open_pool, until_warm
from reflow_supervisor.sandbox.interpreters import node

ALIKE = 8
AIM = {"python": 3.0, "javascript": 18.0}
PEER = {"python": "plain python -I -S", "javascript": "plain node"}


def _each() -> float:
    """Megabytes of all processes below this one, divided by ALIKE."""
    return sum(map(proportional_set, descendants(os.getpid()))) / ALIKE / 1e6


async def _sandboxes(repetitions: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(repetitions):
        for runtime in RUNTIMES:
            async with open_pool(ALIKE, [runtime]) as pool:
                await until_warm(pool, **{runtime: ALIKE})
                await trio.sleep(0.5)  # what an agent frees after its start
                found.setdefault(runtime, []).append(_each())
    return found


def _plain(command: list[str]) -> float:
    """`command` says a line when it is up, and ends with its stdin."""
    with ExitStack() as stack:
        for _ in range(ALIKE):
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdout
            process.stdout.readline()
        return _each()


def measure(scale: float) -> list[Figure]:
    repetitions = scaled(3, scale)
    found = trio.run(_sandboxes, repetitions)
    commands = {
        "python": [sys.executable, "-I", "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"],
        "javascript": [str(node().executable), "-e", "console.log(); process.stdin.resume()"],
    }
    figures = [Figure(f"idle sandbox, {LANGUAGE[r]}", "MB", found[r], aim=AIM[r], beside=PEER[r]) for r in RUNTIMES]
    for runtime in RUNTIMES:
        values = [_plain(commands[runtime]) for _ in range(repetitions)]
        figures.append(Figure(PEER[runtime], "MB", values, peer=True))
    return figures


if __name__ == "__main__":
    main(__doc__, measure)
