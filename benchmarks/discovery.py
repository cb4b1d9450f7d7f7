"""Finding 100 actors, 50 of each language, without running any.

In one process, from the walk of the directory to the checked declarations; and as the command `actors`, with the
start of its interpreter and its imports.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Figure, interleaved, main, scaled
from benchmarks.networks import COUNT_JAVASCRIPT, COUNT_PYTHON, directory, write_actors
from reflow_supervisor.actors.discovery import discover

EACH = 50
PEER = "compile() of the 50 Python files"


def _discover(path: Path) -> float:
    start = time.perf_counter()
    found = discover(path)
    elapsed = time.perf_counter() - start
    if len(found.components) != 2 * EACH:
        raise RuntimeError(f"found {len(found.components)} actors: {found.problems[:3]}")
    return elapsed * 1000


def _command(path: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "reflow_supervisor", "actors"]
    subprocess.run(command, cwd=path, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def _compile(path: Path) -> float:
    start = time.perf_counter()
    for file in path.glob("*.actor.py"):
        compile(file.read_bytes(), file, "exec")
    return (time.perf_counter() - start) * 1000


def measure(scale: float) -> list[Figure]:
    with directory() as path:
        for i in range(EACH):
            write_actors(
                path,
                {
                    f"count_{i}.actor.py": COUNT_PYTHON.replace("CountPython", f"CountPython{i}"),
                    f"count_{i}.actor.js": COUNT_JAVASCRIPT.replace("CountJavascript", f"CountJavascript{i}"),
                },
            )
        found = interleaved(
            {
                "discovery of 100 actors": lambda: _discover(path),
                "reflow-supervise actors": lambda: _command(path),
                PEER: lambda: _compile(path),
            },
            scaled(9, scale, least=3),
        )
    return [
        Figure(
            name,
            "ms",
            values,
            aim=50 if name.startswith("discovery") else None,
            beside=PEER if name.startswith("discovery") else None,
            peer=name == PEER,
        )
        for name, values in found.items()
    ]


if __name__ == "__main__":
    main(__doc__, measure)
