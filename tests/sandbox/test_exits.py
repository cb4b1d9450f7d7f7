from __future__ import annotations

import pytest

from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit
from reflow_supervisor.sandbox.exits import judge_exit

LIMITS = Limits(memory=64 << 20)


def judge(returncode: int, kill_detail: str | None = None, oom_kills: int = 0, runtime: str = "python") -> SandboxExit:
    return judge_exit(returncode, kill_detail=kill_detail, oom_kills=oom_kills, runtime=runtime, limits=LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [0, 1, 42, 127, 128, 255])
def test_an_exit_code(code: int) -> None:
    assert judge(code) == SandboxExit(ExitKind.EXITED, code=code)


@pytest.mark.parametrize(("returncode", "number"), [(-9, 9), (137, 9), (-11, 11), (139, 11), (143, 15)])
def test_a_signal_by_popen_or_by_bwrap(returncode: int, number: int) -> None:
    assert judge(returncode) == SandboxExit(ExitKind.SIGNALED, signal=number)


def test_killed_by_us() -> None:
    assert judge(137, kill_detail="overran") == SandboxExit(ExitKind.KILLED, signal=9, detail="overran")


def test_what_ended_by_itself_just_before_the_kill_was_not_killed() -> None:
    assert judge(3, kill_detail="overran") == SandboxExit(ExitKind.EXITED, code=3)
    assert judge(139, kill_detail="overran").kind is ExitKind.SIGNALED


def test_out_of_memory() -> None:
    end = judge(137, oom_kills=1)
    assert str(end) == "ran out of memory: its limit is 64 MiB"
    # A child of the agent was killed for memory, the agent coped.
    assert judge(1, oom_kills=1).kind is ExitKind.EXITED


def test_hints() -> None:
    assert "heap" in judge(134, runtime="javascript").detail
    assert "heap" in judge(139, runtime="javascript").detail
    assert judge(134).detail == ""
    assert "architecture" in judge(159).detail
