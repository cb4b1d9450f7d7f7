"""The example does what it says."""

import runpy
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

EXAMPLE = Path(__file__).parents[2] / "examples" / "supervision" / "heartbeat.py"


def test_the_heartbeat_is_restarted_and_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    trio.run(runpy.run_path(str(EXAMPLE))["main"], clock=MockClock(autojump_threshold=0))
    lines = capsys.readouterr().out.splitlines()
    assert "2 children are running" in lines
    assert lines[-1] == (
        "The supervisor gave up: child 'heartbeat' failed after 3 restarts in 30 s: "
        "raised ConnectionError: server:7 does not answer"
    )
    assert sum("ChildRestarting" in line for line in lines) == 3
