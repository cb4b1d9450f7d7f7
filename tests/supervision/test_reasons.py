"""How reasons read, what counts as normal, and what an exception stands for."""

import pytest

from reflow_supervisor.supervision import (
    Cancelled,
    ChildExit,
    Exited,
    ExitReason,
    FailedToStart,
    GaveUp,
    Killed,
    NeverReady,
    OutOfMemory,
    Raised,
    Returned,
    Shutdown,
    StopCause,
    SupervisorFailedError,
    TimedOut,
    reason_chain,
)
from reflow_supervisor.supervision._reasons import reason_from

ROOT = Raised(ValueError("boom"))
INNER = GaveUp("b", ROOT, 2, 30)
OUTER = GaveUp("net", INNER, 1, 0.5)


@pytest.mark.parametrize(
    ("reason", "normal", "text"),
    [
        (Returned(), True, "returned"),
        (Shutdown(), True, "shut down"),
        (Shutdown("drained"), True, "shut down: drained"),
        (Cancelled(StopCause.OPERATOR), True, "stopped (operator)"),
        (ROOT, False, "raised ValueError: boom"),
        (Raised(KeyError()), False, "raised KeyError"),
        (Exited(3), False, "exited with code 3"),
        (Killed(), False, "was killed"),
        (Killed(9, "by hand"), False, "was killed by signal 9: by hand"),
        (OutOfMemory(), False, "ran out of memory"),
        (OutOfMemory(1024), False, "ran out of memory (limit 1024 bytes)"),
        (TimedOut("start", 1.5), False, "timed out: start took longer than 1.5 s"),
        (NeverReady(), False, "returned before it was ready (task_status.started() was not called)"),
        (FailedToStart("a", Exited(1)), False, "child 'a' failed to start: exited with code 1"),
        (INNER, False, "gave up: child 'b' failed after 2 restarts in 30 s: raised ValueError: boom"),
        (
            OUTER,
            False,
            "gave up: child 'net' failed after 1 restart in 0.5 s: "
            "gave up: child 'b' failed after 2 restarts in 30 s: raised ValueError: boom",
        ),
    ],
)
def test_a_reason_reads_as_a_sentence(reason: ExitReason, normal: bool, text: str) -> None:
    assert reason.normal is normal
    assert str(reason) == text


def test_two_errors_that_look_alike_are_different_reasons() -> None:
    assert Raised(ValueError("x")) != Raised(ValueError("x"))


def test_a_chain_leads_to_the_root() -> None:
    assert list(reason_chain(OUTER)) == [OUTER, INNER, ROOT]
    assert list(reason_chain(Returned())) == [Returned()]


def test_the_error_of_a_supervisor_has_the_root_as_its_cause() -> None:
    error = SupervisorFailedError(OUTER)
    assert error.reason is OUTER
    assert error.__cause__ is ROOT.error
    assert str(error) == str(OUTER)
    assert SupervisorFailedError(FailedToStart("a", Killed(9))).__cause__ is None


def test_a_typed_exit_is_found_in_groups_of_one() -> None:
    exit_ = ChildExit(Killed(9))
    assert reason_from(exit_) == Killed(9)
    assert reason_from(ExceptionGroup("nursery", [ExceptionGroup("nursery", [exit_])])) == Killed(9)


def test_a_group_of_several_hides_none_of_them() -> None:
    group = ExceptionGroup("nursery", [ChildExit(Killed(9)), ValueError("boom")])
    assert reason_from(group) == Raised(group)


def test_a_group_around_one_plain_error_is_kept_for_its_traceback() -> None:
    group = ExceptionGroup("nursery", [ValueError("boom")])
    assert reason_from(group) == Raised(group)
