"""How the reasons of an incarnation's end read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire.messages import Failure

from reflow_supervisor.actors.endings import LinkDown, LoadFailedError, one_line, reason_for
from reflow_supervisor.rpc.link import ClosedBy, LinkEnd
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit
from reflow_supervisor.supervision import Exited, ExitReason, Killed, OutOfMemory


@given(st.text(alphabet=st.characters() | st.sampled_from(" \n\t"), max_size=2000))
def test_one_line_is_one_bounded_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
    if len(text) <= 200:
        assert line == " ".join(text.split())


@pytest.mark.parametrize("text", ["x" * 201, "x" + " " * 1000, "x" * 100_000])
def test_what_is_cut_says_so(text: str) -> None:
    assert one_line(text).endswith("…")


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        (SandboxExit(ExitKind.EXITED, code=3, detail="d"), Exited(3, "d")),
        (SandboxExit(ExitKind.EXITED), Exited(0)),
        (SandboxExit(ExitKind.SIGNALED, signal=11), Killed(11)),
        (SandboxExit(ExitKind.KILLED, detail="overran"), Killed(9, "overran")),
        (SandboxExit(ExitKind.OUT_OF_MEMORY), OutOfMemory(5)),
    ],
)
def test_a_sandbox_s_exit_is_a_reason_and_never_a_normal_one(gone: SandboxExit, reason: ExitReason) -> None:
    assert reason_for(gone, Limits(memory=5)) == reason
    assert not reason.normal


@pytest.mark.parametrize(
    ("file", "line", "where"),
    [(None, None, "a.actor.py"), (None, 3, "a.actor.py:3"), ("lib.py", 3, "lib.py:3"), ("lib.py", None, "a.actor.py")],
)
def test_a_failed_load_names_the_line_where_it_is_known(file: str | None, line: int | None, where: str) -> None:
    error = LoadFailedError(Failure(type="E", message="two\nlines", file=file, line=line), "a.actor.py")
    assert str(error.reason) == str(error) == f"could not be loaded: E: two lines ({where})"


def test_a_link_s_end_reads_as_the_link_says_it() -> None:
    reason = LinkDown(LinkEnd(ClosedBy.VIOLATION, "why"))
    assert (str(reason), reason.normal) == ("the agent broke the protocol: why", False)
