"""Recovery: from SIGKILL of the sandbox to the answer of a message that was sent after it.

A sandbox stands by, as it does by default. `backoff.initial` is the wait before a first restart: 0.1 s by default,
so it is most of the time that is measured with it, and the mechanism's own time is measured without.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Figure, main, scaled
from benchmarks.lines import ECHO, Lines, encoded
from benchmarks.networks import chain
from benchmarks.processes import descendants, processor_time, program

NEVER_GIVE_UP = "intensity: 1000, period: 1s"
PEER = "plain subprocess: SIGKILL, start again, first answer"
REFILL = 1.0
"""Seconds until another sandbox stands by: a second failure at once would measure a cold start."""


def _busy(network: Lines, agent: str) -> int:
    """The agent that answers: of those alive, the one that runs while messages go through."""
    agents = [pid for pid in descendants(network.process.pid) if program(pid).startswith(agent)]
    before = {pid: processor_time(pid) for pid in agents}
    network.round_trips(30)
    return max(agents, key=lambda pid: processor_time(pid) - before[pid])


def _recover(network: Lines, agent: str) -> float:
    time.sleep(REFILL)
    victim = _busy(network, agent)
    start = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    network.send(encoded(0))
    network.receive()
    elapsed = time.perf_counter() - start
    if Path(f"/proc/{victim}").exists() and program(victim):
        raise RuntimeError("the sandbox that was killed is still there")
    return elapsed


def _plain() -> float:
    command = [sys.executable, "-I", "-S", "-c", ECHO]
    with Lines(command, Path("/")) as first:
        first.round_trips(3)
        start = time.perf_counter()
        first.kill()
        with Lines(command, Path("/")) as second:
            second.round_trips(1)
            return time.perf_counter() - start


def measure(scale: float) -> list[Figure]:
    at_once = f"{{{NEVER_GIVE_UP}, backoff: {{initial: 0}}}}"
    by_default = f"{{{NEVER_GIVE_UP}, backoff: {{factor: 1}}}}"
    with ExitStack() as stack:
        subjects = {
            "Python, no backoff": (stack.enter_context(chain("PassPython", supervision=at_once, warm=1)), "python"),
            "JavaScript, no backoff": (
                stack.enter_context(chain("PassJavascript", supervision=at_once, warm=1)),
                "node",
            ),
            "Python with state in Redis, no backoff": (
                stack.enter_context(chain("CountPython", supervision=at_once, warm=1)),
                "python",
            ),
            "Python, backoff of 0.1 s as by default": (
                stack.enter_context(chain("PassPython", supervision=by_default, warm=1)),
                "python",
            ),
        }
        found: dict[str, list[float]] = {}
        for _ in range(scaled(7, scale, least=2)):
            for name, (network, agent) in subjects.items():
                found.setdefault(name, []).append(_recover(network, agent) * 1000)
            found.setdefault(PEER, []).append(_plain() * 1000)
    return [
        Figure(
            name,
            "ms",
            values,
            aim=20 if name in subjects else None,
            beside=PEER if name in subjects else None,
            peer=name == PEER,
        )
        for name, values in found.items()
    ]


if __name__ == "__main__":
    main(__doc__, measure)
