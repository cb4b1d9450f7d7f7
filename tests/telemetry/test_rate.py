"""How many lines are let through, and when those that were not are spoken of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.telemetry.rate import LineLimiter


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        LineLimiter(rate, 0)


def test_a_burst_then_the_rate() -> None:
    limiter = LineLimiter(2, 10)
    assert [limiter.admit(10) for _ in range(3)] == [True, True, False]
    assert [limiter.admit(10.5) for _ in range(2)] == [True, False]
    assert [limiter.admit(100) for _ in range(3)] == [True, True, False]


def test_a_slow_rate_lets_one_through_at_once() -> None:
    limiter = LineLimiter(0.5, 0)
    assert [limiter.admit(at) for at in (0, 1, 2, 2)] == [True, False, True, False]


def test_what_is_dropped_is_due_a_second_after_the_first_of_it() -> None:
    limiter = LineLimiter(1, 0)
    assert (limiter.due, limiter.take_dropped()) == (float("inf"), 0)
    assert [limiter.admit(at) for at in (0, 0.2, 0.4)] == [True, False, False]
    assert limiter.due == 0.2 + LineLimiter.SAY_EVERY
    assert (limiter.take_dropped(), limiter.take_dropped(), limiter.due) == (2, 0, float("inf"))


@given(
    rate=st.floats(0.1, 1000),
    steps=st.lists(st.floats(0, 3), max_size=60),
    window=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_never_more_than_a_burst_and_the_rate_in_any_stretch_of_time(
    rate: float, steps: list[float], window: tuple[int, int]
) -> None:
    limiter, now, lines = LineLimiter(rate, 0), 0.0, list[tuple[float, bool]]()
    for step in steps:
        now += step
        lines.append((now, limiter.admit(now)))
    stretch = lines[min(window) : max(window)]
    if stretch:
        most = max(1, rate) + rate * (stretch[-1][0] - stretch[0][0])
        assert sum(kept for _, kept in stretch) <= most + 1e-6
    assert limiter.take_dropped() == sum(not kept for _, kept in lines)
