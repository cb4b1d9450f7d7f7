"""Failures as bounded text."""

from __future__ import annotations

from typing import Any

import pytest

from reflow_supervisor.supervision import (
    Cancelled,
    ChildExited,
    ChildIgnored,
    ChildStarted,
    ChildStartFailed,
    ChildStopped,
    Event,
    Exited,
    FailedToStart,
    FailureContext,
    GaveUp,
    Killed,
    NeverReady,
    Raised,
    Returned,
    StopCause,
    SupervisorGaveUp,
    failure_report,
)

ABOUT: Any = {"supervisor": "sup", "time": 7.0, "child_id": "a", "incarnation": 3}


def raised(message: str = "boom") -> Raised:
    try:
        raise ValueError(message)
    except ValueError as error:
        return Raised(error)


def test_a_child_that_terminated() -> None:
    report = failure_report(ChildExited(**ABOUT, reason=raised(), uptime=12.5, restarts=2))
    assert report is not None
    assert report.context is FailureContext.CHILD_TERMINATED
    assert (report.supervisor, report.child_id, report.incarnation, report.time) == ("sup", "a", 3, 7.0)
    assert (report.reason, report.chain, report.uptime, report.restarts) == ("raised ValueError: boom", (), 12.5, 2)
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert report.traceback.endswith("ValueError: boom\n")
    lines = str(report).splitlines()
    assert lines[:4] == [
        "sup: child_terminated: a: raised ValueError: boom",
        "  incarnation: 3",
        "  restarts in the window: 2",
        "  up for: 12.500 s",
    ]


def test_a_chain_down_to_the_first_cause() -> None:
    reason = GaveUp("network", GaveUp("parse", raised(), 5, 30), 1, 60)
    report = failure_report(SupervisorGaveUp(supervisor="top", time=1.0, reason=reason))
    assert report is not None
    assert (report.context, report.child_id, report.incarnation) == (FailureContext.GAVE_UP, "network", None)
    assert [text.split(":")[0] for text in report.chain] == ["gave up", "raised ValueError"]
    assert "ValueError: boom" in report.traceback


@pytest.mark.parametrize(
    ("event", "context"),
    [
        (ChildStartFailed(**ABOUT, reason=NeverReady(), restarts=0), FailureContext.START_ERROR),
        (ChildStartFailed(**ABOUT, reason=Returned(), restarts=0), FailureContext.START_ERROR),
        (ChildExited(**ABOUT, reason=Exited(1), uptime=1, restarts=0), FailureContext.CHILD_TERMINATED),
        (
            ChildStopped(**ABOUT, reason=Killed(detail="slow"), cause=StopCause.SHUTDOWN, uptime=1),
            FailureContext.SHUTDOWN_ERROR,
        ),
        (ChildStopped(**ABOUT, reason=Killed(9), cause=StopCause.SHUTDOWN, uptime=1), FailureContext.SHUTDOWN_ERROR),
        (ChildStopped(**ABOUT, reason=Killed(), cause=StopCause.SHUTDOWN, uptime=1), None),
        (ChildStopped(**ABOUT, reason=Cancelled(StopCause.OPERATOR), cause=StopCause.OPERATOR, uptime=1), None),
        (ChildExited(**ABOUT, reason=Returned(), uptime=1, restarts=0), None),
        (ChildStarted(**ABOUT), None),
        (ChildIgnored(**ABOUT), None),
    ],
)
def test_what_is_a_failure(event: Event, context: FailureContext | None) -> None:
    report = failure_report(event)
    assert (None if report is None else report.context) is context
    assert report is None or report.traceback == ""


def test_everything_is_bounded() -> None:
    deep: Any = raised("x" * 100_000)
    for number in range(200):
        deep = FailedToStart(f"child {number}", deep)
    report = failure_report(ChildExited(**ABOUT, reason=deep, uptime=1, restarts=0), max_traceback=500)
    assert report is not None
    assert len(report.reason) <= 1000
    assert len(report.chain) <= 32
    assert all(len(text) <= 1000 for text in report.chain)
    assert len(report.traceback) <= 500
    assert report.traceback.endswith("x\n")


@pytest.mark.parametrize("limit", [0, 1, 5, 50])
def test_a_small_bound_holds_too(limit: int) -> None:
    report = failure_report(ChildExited(**ABOUT, reason=raised(), uptime=1, restarts=0), max_traceback=limit)
    assert report is not None
    assert len(report.traceback) <= limit


def test_a_deep_recursion_is_cut_to_where_it_happened() -> None:
    def down(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the bottom")
        down(depth - 1)
        down(0)

    try:
        down(300)
    except ValueError as error:
        reason = Raised(error)
    report = failure_report(ChildExited(**ABOUT, reason=reason, uptime=1, restarts=0))
    assert report is not None
    assert report.traceback.count("in down") <= 20
    assert "at the bottom" in report.traceback


def test_an_exception_that_cannot_be_shown() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    report = failure_report(ChildExited(**ABOUT, reason=Raised(Broken()), uptime=1, restarts=0))
    assert report is not None
    assert report.reason == "raised Broken: (its text cannot be had: RuntimeError)"


def test_a_reason_is_one_line() -> None:
    report = failure_report(ChildExited(**ABOUT, reason=raised("two\nlines"), uptime=1, restarts=0))
    assert report is not None
    assert report.reason == "raised ValueError: two lines"
