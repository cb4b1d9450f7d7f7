"""Networks as a user runs them: a workspace in a directory of its own, and `reflow-supervise run` in it.

The command's stdin is the network's inport, its stdout the outport: what is measured includes both pipes and the
JSON at the edges.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Literal

from benchmarks.lines import Lines

Runtime = Literal["python", "javascript"]
RUNTIMES: Sequence[Runtime] = ("python", "javascript")
LANGUAGE = {"python": "Python", "javascript": "JavaScript"}

PASS_PYTHON = """
from reflow import actor

@actor(name="PassPython", inports=["v"], outports=["o"], state_backend="memory")
async def pass_python(context):
    return {"o": context.get_payload()["v"]}
"""
PASS_JAVASCRIPT = """
const { actor } = require('reflow');

@actor({ name: "PassJavascript", inports: ["v"], outports: ["o"], stateBackend: "memory" })
async function passJavascript(context) {
  return { o: context.getPayload().get("v") };
}
"""
COUNT_PYTHON = """
from reflow import actor

@actor(name="CountPython", inports=["v"], outports=["o"], state_backend="redis")
async def count_python(context):
    context.get_state().increment("seen")
    return {"o": context.get_payload()["v"]}
"""
COUNT_JAVASCRIPT = """
const { actor } = require('reflow');

@actor({ name: "CountJavascript", inports: ["v"], outports: ["o"], stateBackend: "redis" })
async function countJavascript(context) {
  context.getState().increment("seen");
  return { o: context.getPayload().get("v") };
}
"""
ACTORS = {
    "pass.actor.py": PASS_PYTHON,
    "pass.actor.js": PASS_JAVASCRIPT,
    "count.actor.py": COUNT_PYTHON,
    "count.actor.js": COUNT_JAVASCRIPT,
}


@contextmanager
def directory() -> Iterator[Path]:
    """A temporary one that sandboxes, which run under other user ids, can enter."""
    path = Path(tempfile.mkdtemp(prefix="reflow-benchmark-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def write_actors(path: Path, actors: Mapping[str, str]) -> None:
    for name, source in actors.items():
        (path / name).write_text(source)


@contextmanager
def chain(
    *components: str,
    actors: Mapping[str, str] = ACTORS,
    supervision: str = "{}",
    warm: int = 0,
    first: int = 20,
) -> Iterator[Lines]:
    """These components in a row, each in a sandbox of its own, ready to answer.

    Args:
        supervision: that section of reflow.yaml.
        warm: sandboxes that stand by.
        first: how many messages go through before it counts as ready.
    """
    nodes = [f"n{i}" for i in range(len(components))]
    processes = "".join(f"    {n}: {{component: {c}}}\n" for n, c in zip(nodes, components, strict=True))
    connections = "".join(f"    - {a}.o -> {b}.v\n" for a, b in pairwise(nodes))
    with directory() as path:
        write_actors(path, actors)
        # No processor limit: the default, half a core, would be what is measured.
        (path / "reflow.yaml").write_text(
            f"workspace: {{sandbox: {{preload_count: {warm}, cpu_limit: null}}}}\n"
            f"supervision: {supervision}\n"
            f"network:\n  processes:\n{processes}"
            + (f"  connections:\n{connections}" if connections else "")
            + f"  inports: {{v: n0.v}}\n  outports: {{o: {nodes[-1]}.o}}\n"
        )
        command = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", "--feed", "v=-", "--collect", "o=-"]
        with Lines(command, path) as lines:
            lines.round_trips(first)
            yield lines
