"""The edges of the restart window."""

from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.supervision._intensity import RestartWindow


def test_both_ends_of_the_period_are_inside() -> None:
    window = RestartWindow(5)
    assert window.add(10.0, "a") == 1
    assert window.add(15.0, "a") == 2
    assert window.add(15.1, "a") == 2


def test_the_window_slides() -> None:
    window = RestartWindow(5)
    counts = [window.add(float(now), "a") for now in range(0, 20, 2)]
    assert counts == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert window.count(100.0) == 0


def test_restarts_are_told_apart_by_child() -> None:
    window = RestartWindow(5)
    window.add(0, "a")
    window.add(1, "b")
    window.add(2, "a")
    assert (window.count(2), window.count(2, "a"), window.count(2, "b"), window.count(2, "c")) == (3, 2, 1, 0)
    assert window.count(6, "a") == 1


def otp(restarts: list[int], now: int, period: int) -> list[int]:
    """supervisor.erl's add_restart, newest first."""
    kept = [now]
    for restart in restarts:
        if restart < now - period:
            break
        kept.append(restart)
    return kept


@given(gaps=st.lists(st.integers(0, 4), max_size=30), period=st.integers(1, 6))
def test_it_counts_as_otp_does_at_whole_seconds(gaps: list[int], period: int) -> None:
    window = RestartWindow(period)
    reference: list[int] = []
    now = 0
    for gap in gaps:
        now += gap
        reference = otp(reference, now, period)
        assert window.add(now, "a") == len(reference)
