"""The one line below the log."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from rich.text import Text

from reflow_supervisor.cli.progress import INTERVAL, ProgressSink, draw, render
from reflow_supervisor.telemetry.sinks import StreamSink
from reflow_supervisor.workspace import Run

CLEAR = "\r\x1b[K"


def a_run(*feeds: tuple[int | None, int], **outcome: Any) -> Run:
    """Feeds as (size, read)."""
    found = {"fed": 0, "collected": {}, "restarts": 0, "dead_letters": 0, **outcome}
    run = SimpleNamespace(
        outcome=SimpleNamespace(**found), feeds=[SimpleNamespace(size=size, read=read) for size, read in feeds]
    )
    return cast("Run", run)


def line(run: Run, seconds: float = 3, rate: float = 2, width: int = 100) -> str:
    return Text.from_ansi(render(run, seconds, rate, colour=False, width=width)).plain


def test_the_line_stays_below_what_is_logged() -> None:
    stream = io.StringIO()
    sink = ProgressSink(StreamSink(stream))
    sink.write("one\n")
    sink.show("half")
    sink.write("two\n")
    sink.finish(1)
    sink.write("three\n")
    assert stream.getvalue() == f"{CLEAR}one\n{CLEAR}half{CLEAR}two\nhalf{CLEAR}{CLEAR}three\n"


def test_taking_away_a_line_that_is_not_there_writes_nothing() -> None:
    stream = io.StringIO()
    ProgressSink(StreamSink(stream)).finish(1)
    assert stream.getvalue() == ""


def test_what_it_says() -> None:
    assert line(a_run(fed=7, collected={"x": 2, "y": 3})) == "3 s  7 in (2/s)  5 out"
    troubled = a_run(fed=7, restarts=1, dead_letters=2)
    assert line(troubled) == "3 s  7 in (2/s)  0 out  1 restart  2 dead letters"


@pytest.mark.parametrize(
    ("feeds", "bar"),
    [([(10, 5)], True), ([(10, 5), (10, 0)], True), ([(10, 5), (None, 0)], False), ([(0, 0)], False), ([], False)],
)
def test_a_bar_where_all_sizes_are_known(feeds: list[tuple[int | None, int]], bar: bool) -> None:
    assert ("━" in line(a_run(*feeds))) is bar


@pytest.mark.parametrize("width", [1, 2, 5, 20, 40, 200])
def test_it_is_one_line_of_any_width(width: int) -> None:
    shown = render(a_run((10, 5), fed=7, restarts=3), 3, 2, colour=True, width=width)
    assert "\n" not in shown
    assert Text.from_ansi(shown).cell_len <= width


def test_colour_only_where_it_is_wanted() -> None:
    run = a_run(restarts=1)
    assert "\x1b[33m" in render(run, 1, 1, colour=True, width=80)
    assert "\x1b[33m" not in render(run, 1, 1, colour=False, width=80)


@pytest.mark.trio
async def test_it_is_kept_true_with_the_rate_of_the_last_second(autojump_clock: trio.testing.MockClock) -> None:
    stream, run = io.StringIO(), a_run()
    sink = ProgressSink(StreamSink(stream))
    with trio.move_on_after(2 + INTERVAL / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: draw(run, sink, colour=False))
            for _ in range(8):
                await trio.sleep(INTERVAL - 0.01)
                cast("Any", run.outcome).fed += 5
    shown = [Text.from_ansi(part).plain for part in stream.getvalue().split(CLEAR)[1:]]
    assert len(shown) == 8
    assert "(0/s)" in shown[2]
    assert "20 in (20/s)" in shown[3]
    assert "40 in (20/s)" in shown[7]
