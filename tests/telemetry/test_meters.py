"""Buckets and what is read from them; counters."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.telemetry.meters import BOUNDS, BUCKETS_PER_DOUBLING, Histogram, LastError, NodeMeter

STEP = 2 ** (1 / BUCKETS_PER_DOUBLING)


def test_bounds_are_a_microsecond_to_a_quarter_of_an_hour() -> None:
    assert BOUNDS[0] == 1e-6
    assert 14 * 60 < BOUNDS[-1] < 16 * 60
    assert all(math.isclose(b / a, STEP) for a, b in itertools.pairwise(BOUNDS))


def test_nothing_recorded_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


def test_what_is_longer_than_the_last_bound_is_infinite() -> None:
    histogram = Histogram()
    histogram.record(1e6)
    assert histogram.quantile(0.5) == math.inf
    assert (histogram.count, histogram.sum, histogram.counts[-1]) == (1, 1e6, 1)


@pytest.mark.parametrize("place", [0, 1, len(BOUNDS) - 1])
def test_a_bound_belongs_to_its_bucket(place: int) -> None:
    histogram = Histogram()
    histogram.record(BOUNDS[place])
    assert histogram.quantile(1) == BOUNDS[place]


@given(
    st.lists(st.floats(2e-6, 800), min_size=1, max_size=300),
    st.floats(0, 1) | st.integers(0, 100).map(lambda percent: percent / 100),
)
def test_a_quantile_is_not_below_the_exact_one_and_at_most_a_step_above(durations: list[float], q: float) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    rank = max(1, math.ceil(q * len(durations) - 1e-9))
    exact, found = sorted(durations)[rank - 1], histogram.quantile(q)
    assert found is not None
    assert exact <= found <= exact * STEP * (1 + 1e-9)
    assert sum(histogram.counts) == histogram.count == len(durations)


def test_counters() -> None:
    meter = NodeMeter()
    meter.committed(3, 0.5)
    meter.committed(0, 0.25)
    meter.failure("ValueError", "no", "trace", 7.0)
    assert (meter.done, meter.emitted, meter.failed, meter.dead_letters) == (2, 3, 1, 0)
    assert (meter.latency.count, meter.latency.sum) == (2, 0.75)
    assert meter.last_error == LastError("ValueError", "no", "trace", 7.0)
