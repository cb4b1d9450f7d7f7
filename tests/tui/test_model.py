"""Rates from successive snapshots, and which rows are shown in which order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from reflow_tui.model import SORTS, Rate, Rates, Row, View, total_rate

from reflow_supervisor.control.protocol import ActorStatus, ErrorInfo, RedisStatus, Snapshot, Totals


def actor(name: str = "a", **facts: Any) -> ActorStatus:
    status = ActorStatus(id=name, component=name, runtime="python", state="running", incarnation=1)
    return msgspec.structs.replace(status, **facts)


def snapshot(uptime: float, *actors: ActorStatus, pid: int = 1) -> Snapshot:
    return Snapshot(
        workspace="w",
        boundary="namespaces",
        pid=pid,
        started_at=0,
        uptime=uptime,
        state="running",
        redis=RedisStatus(kind="embedded", available=True),
        totals=Totals(),
        actors=actors,
    )


def test_no_rate_from_one_snapshot() -> None:
    assert Rates().rows(snapshot(5, actor(received=100)))[0].rate == Rate()


def test_rates_are_per_second_of_the_supervisors_own_time() -> None:
    rates = Rates()
    rates.rows(snapshot(10, actor(received=100, emitted=10, cpu_seconds=1.0)))
    row = rates.rows(snapshot(12, actor(received=300, emitted=11, cpu_seconds=2.5)))[0]
    assert row.rate == Rate(received=100, emitted=0.5, cpu=0.75)


def test_rates_look_back_a_window() -> None:
    rates = Rates(window=3)
    shown = [
        rates.rows(snapshot(at, actor(received=received)))[0].rate.received
        for at, received in [(0, 0), (1, 100), (2, 100), (3, 100), (4, 100), (5, 100)]
    ]
    assert shown == [None, 100, 50, pytest.approx(100 / 3), 0, 0]


def test_the_same_moment_twice_is_no_division_by_zero() -> None:
    rates = Rates()
    rates.rows(snapshot(1, actor(received=1)))
    assert rates.rows(snapshot(1, actor(received=9)))[0].rate == Rate()


def test_an_actor_that_comes_later_has_no_rate_at_first() -> None:
    rates = Rates()
    rates.rows(snapshot(1, actor("a")))
    rows = rates.rows(snapshot(2, actor("a", received=5), actor("b", received=1000)))
    assert [row.rate.received for row in rows] == [5, None]


@pytest.mark.parametrize("after", [snapshot(1, actor(received=5)), snapshot(20, actor(received=5), pid=2)])
def test_another_supervisor_counts_from_nothing(after: Snapshot) -> None:
    rates = Rates()
    rates.rows(snapshot(10, actor(received=1000)))
    assert rates.rows(after)[0].rate == Rate()


def test_a_new_sandbox_has_used_no_processor_yet() -> None:
    rates = Rates()
    rates.rows(snapshot(1, actor(cpu_seconds=50.0, received=10)))
    row = rates.rows(snapshot(2, actor(cpu_seconds=0.1, incarnation=2, received=12)))[0]
    assert row.rate.cpu is None
    assert row.rate.received == 2


def rows(*actors: ActorStatus) -> list[Row]:
    return [Row(one, Rate()) for one in actors]


def ids(shown: list[Row]) -> str:
    return "".join(row.actor.id for row in shown)


def test_filter_looks_at_names_state_and_error_and_inverts() -> None:
    error = ErrorInfo(type="ValueError", message="no Rows", at=0)
    all_rows = rows(actor("a"), actor("b", last_error=error), actor("c", state="paused"))
    assert ids(View(filter="no rows").apply(all_rows)) == "b"
    assert ids(View(filter="PAUSED").apply(all_rows)) == "c"
    assert ids(View(filter="!paused").apply(all_rows)) == "ab"
    assert ids(View(filter="  ").apply(all_rows)) == "abc"
    assert ids(View(filter="!").apply(all_rows)) == "abc"
    assert ids(View(filter="zzz").apply(all_rows)) == ""


def test_faults_only() -> None:
    error = ErrorInfo(type="E", message="", at=0)
    all_rows = rows(
        actor("a"),
        actor("b", state="backoff"),
        actor("c", last_error=error),
        actor("d", mailbox=80, mailbox_capacity=100),
        actor("e", mailbox=79, mailbox_capacity=100),
        actor("f", state="failed"),
        actor("g", mailbox=10),
    )
    assert ids(View(faults_only=True).apply(all_rows)) == "bcdf"


def test_sorting_puts_what_matters_first_and_the_id_decides_between_equals() -> None:
    all_rows = rows(
        actor("b", mailbox=1), actor("a", mailbox=1), actor("d", mailbox=9, state="failed"), actor("c", memory=7)
    )
    assert ids(View().apply(all_rows)) == "badc"
    assert ids(View(sort="id").apply(all_rows)) == "abcd"
    assert ids(View(sort="mailbox").apply(all_rows)) == "dabc"
    assert ids(View(sort="mailbox", reverse=True).apply(all_rows)) == "cbad"
    assert ids(View(sort="state").apply(all_rows)) == "dabc"
    assert ids(View(sort="memory").apply(all_rows)) == "cabd"


def test_sort_goes_round() -> None:
    view, seen = View(), []
    for _ in range(len(SORTS) + 1):
        view = view.next_sort()
        seen.append(view.sort)
    assert seen == [*SORTS, ""]


def test_total_rate_is_of_what_is_known() -> None:
    assert total_rate(rows(actor())) == Rate()
    known = Row(actor(), Rate(received=2, emitted=0.5))
    assert total_rate([known, *rows(actor()), known]) == Rate(received=4, emitted=1)
