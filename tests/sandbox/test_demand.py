from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.sandbox.demand import LONGEST_QUIET, LONGEST_REST, QUIET, SHORTEST_REST, Demand

FOREVER = float("inf")


def test_the_floor_where_nothing_is_asked_for() -> None:
    demand = Demand(3, 20, 300)
    assert [demand.target(now) for now in (0, 299, 1e9)] == [3, 3, 3]
    assert demand.falls_at(0) == FOREVER
    assert demand.pause(0, 0) == demand.pause(0, 3) == 0


def test_what_is_asked_for_one_by_one_needs_no_more() -> None:
    demand = Demand(1, 20, 300, start=0.1)
    for now in range(100):
        demand.asked(now)
    assert demand.target(100) == 1


def test_a_burst_is_expected_again_until_none_has_come_for_long() -> None:
    demand = Demand(1, 20, 300, start=0.1)
    for n in range(6):
        demand.asked(10 + n * 0.01)
    assert demand.target(10.1) == 6
    demand.asked(200)
    demand.asked(200.01)
    assert demand.falls_at(201) == 310.05
    assert [demand.target(now) for now in (310, 310.06, 500, 500.02)] == [6, 2, 2, 1]
    assert demand.falls_at(501) == FOREVER


def test_a_burst_is_as_long_as_a_few_starts() -> None:
    slow, quick = Demand(1, 20, 300, start=2.0), Demand(1, 20, 300, start=0.01)
    for demand in (slow, quick):
        for now in (0.0, 1.0, 2.0, 3.0):
            demand.asked(now)
    assert (slow.target(3), quick.target(3)) == (4, 1)
    for _ in range(50):
        slow.started(0.01)
    assert slow.start == pytest.approx(0.01, rel=1e-4)
    slow.asked(10.0)
    slow.asked(11.0)
    assert slow.target(302.9) == 4
    assert slow.target(303.1) == 1


def test_a_miss_raises_it_by_one() -> None:
    demand = Demand(2, 4, 300, start=0.01)
    for now in (0, 10, 20, 30):
        demand.asked(now)
        demand.missed(now)
    assert demand.target(30) == 4
    assert demand.target(309) == 4
    assert demand.target(311) == 4
    assert demand.target(331) == 2


def test_no_floor_keeps_none_and_a_floor_may_come_later() -> None:
    demand = Demand(0, 20, 300)
    for now in range(5):
        demand.asked(now)
        demand.missed(now)
    assert (demand.target(5), demand.falls_at(5)) == (0, FOREVER)
    demand.floor = 1
    demand.missed(5)
    assert demand.target(5) == 2


def test_it_is_quiet_for_a_moment_after_a_request_but_not_for_long() -> None:
    demand = Demand(1, 20, 300)
    demand.asked(1.0)
    assert demand.pause(1.0, 0) == pytest.approx(QUIET)
    assert demand.pause(1.0 + QUIET, 0) == 0
    now = 1.0
    while demand.pause(now, 0):
        now += QUIET / 2
        demand.asked(now)
        assert now < 1.0 + LONGEST_QUIET + QUIET
    demand.begins()
    assert demand.pause(now, 0) == 0
    demand.asked(now)
    assert demand.pause(now, 0) == pytest.approx(QUIET)


def test_it_rests_after_a_start_where_something_is_ready() -> None:
    demand = Demand(3, 20, 300)
    demand.ends(10.0, 0.1)
    assert demand.pause(10.0, 1) == pytest.approx(0.3)
    assert demand.pause(10.0, 0) == 0
    assert demand.pause(10.3, 1) == 0
    demand.ends(15.0, 0.001)
    assert demand.pause(15.0, 1) == pytest.approx(SHORTEST_REST)
    demand.ends(20.0, 60.0)
    assert demand.pause(20.0, 1) == LONGEST_REST
    demand.asked(20.0)
    assert demand.pause(20.0, 0) == pytest.approx(QUIET)
    assert demand.pause(20.0, 1) == LONGEST_REST


EVENTS = st.lists(st.tuples(st.floats(0, 50), st.sampled_from(["asked", "missed", "started"])), max_size=60)


@given(st.integers(0, 5), st.integers(1, 12), st.floats(1, 100) | st.just(FOREVER), EVENTS)
def test_it_stays_in_its_bounds_and_falls_only_when_it_said(
    floor: int, more: int, idle_timeout: float, events: list[tuple[float, str]]
) -> None:
    demand = Demand(floor, floor + more, idle_timeout)
    now, last_asked = 0.0, float("-inf")
    for gap, event in events:
        falls, before = demand.falls_at(now), demand.target(now)
        if gap and falls > now:
            assert demand.target(now + gap * 0.999) == before or now + gap >= falls
        now += gap
        match event:
            case "asked":
                demand.asked(now)
                last_asked = now
            case "missed":
                before = demand.target(now)
                demand.missed(now)
                last_asked = now
                assert demand.target(now) == (0 if not floor else min(before + 1, floor + more))
            case _:
                demand.started(gap)
        target = demand.target(now)
        assert floor <= target <= (floor + more if floor else 0)
        assert target == demand.target(now), "looking changes nothing"
        assert 0 <= demand.pause(now, 0) <= QUIET + 1e-9
    if idle_timeout < FOREVER:
        assert demand.target(max(now, last_asked) + idle_timeout + 1) == floor
