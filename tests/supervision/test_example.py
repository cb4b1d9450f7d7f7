"""The examples do what they say."""

import runpy
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

EXAMPLES = Path(__file__).parents[2] / "examples" / "supervision"


def test_the_heartbeat_is_restarted_and_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    trio.run(runpy.run_path(str(EXAMPLES / "heartbeat.py"))["main"], clock=MockClock(autojump_threshold=0))
    lines = capsys.readouterr().out.splitlines()
    assert "2 children are running" in lines
    assert lines[-1] == (
        "The supervisor gave up: child 'heartbeat' failed after 3 restarts in 30 s: "
        "raised ConnectionError: server:7 does not answer"
    )
    assert sum("ChildRestarting" in line for line in lines) == 3


def test_jobs_fail_and_hang_and_the_tree_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    trio.run(runpy.run_path(str(EXAMPLES / "jobs.py"))["main"], clock=MockClock(autojump_threshold=0))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "jobs: job-1 returned after 0.4 s",
        "jobs: job-2 raised ConnectionError: b lost its server after 0.6 s",
        "jobs: job-3 made no progress for 0.5 s after 1.5 s",
    ]
    assert lines[3] == "top: running, one_for_one, restarts 0/1 in 5 s"
    assert any(line.startswith("      job-3: restarting, incarnation 1, made no progress for 0.5 s") for line in lines)
