"""Ctrl-C: a run that waits on a pipe drains, says so, ends with 130, and leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SEED = Path(__file__).parents[2] / "examples" / "seed" / "actors" / "aggregate.actor.js"


@pytest.fixture
def workspace() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="run-interrupt-"))
    path.chmod(0o755)
    (path / "actors").mkdir()
    shutil.copy(SEED, path / "actors")
    (path / "reflow.yaml").write_text(
        "network:\n  processes: {agg: {component: StreamAggregator}}\n"
        "  inports: {s: agg.stream}\n  outports: {avg: agg.aggregated}\n"
    )
    yield path
    shutil.rmtree(path)


@pytest.mark.slow
def test_interrupt_drains_what_was_fed_and_leaves_nothing(workspace: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "reflow_supervisor", "run", "--headless", "--feed", "s=-", "--collect", "avg=-"],
        cwd=workspace,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert run.stdin
    assert run.stdout
    assert run.stderr
    try:
        run.stdin.write(b"1\n2\n3\n")
        run.stdin.flush()
        first = run.stdout.readline()  # the pipe stays open: rows come as they are fed
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the whole group
        rest, log = run.stdout.read(), run.stderr.read()
        assert run.wait(20) == 130
    finally:
        run.kill()
        run.wait()
        for stream in (run.stdin, run.stdout, run.stderr):
            stream.close()
    assert [json.loads(line) for line in (first + rest).splitlines()] == [1.0, 1.5, 2.0]
    assert b"draining" in log
    assert b"restarting" not in log
    assert b"0 restarts" in log
    assert b"Traceback" not in log
    left = [p for p in Path("/proc").glob("[0-9]*") if str(workspace) in _command(p)]
    assert left == []
    assert not (workspace / ".reflow" / "redis" / "redis.sock").exists()


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
