"""How far a headless run is, as the last line of a terminal. Log lines go above it."""

from __future__ import annotations

import io
import shutil

import trio
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reflow_supervisor.telemetry.sinks import Sink
from reflow_supervisor.workspace import Run

INTERVAL = 0.25
"""Seconds between two drawings."""

_CLEAR = "\r\x1b[K"


class ProgressSink:
    """A sink for log lines that keeps one line below them. See `telemetry.sinks.Sink`."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._line = ""

    def write(self, line: str) -> None:
        self._inner.write(f"{_CLEAR}{line}{self._line}")

    async def run(self) -> None:
        await self._inner.run()

    def finish(self, timeout: float) -> None:
        self.show("")
        self._inner.finish(timeout)

    def show(self, line: str) -> None:
        """Puts another line in its place; "" takes it away."""
        if line or self._line:
            self._line = line
            self._inner.write(_CLEAR + line)


async def draw(run: Run, sink: ProgressSink, *, colour: bool) -> None:
    """Keeps the line true until cancelled."""
    started = since = trio.current_time()
    fed, rate = 0, 0.0
    while True:
        await trio.sleep(INTERVAL)
        now, outcome = trio.current_time(), run.outcome
        if now - since >= 1:
            rate, fed, since = (outcome.fed - fed) / (now - since), outcome.fed, now
        sink.show(render(run, now - started, rate, colour=colour, width=shutil.get_terminal_size().columns - 1))


def render(run: Run, seconds: float, rate: float, *, colour: bool, width: int) -> str:
    """The line: `seconds` since the start, `rate` in messages a second."""
    outcome = run.outcome
    line = Table.grid(padding=(0, 2))
    cells: list[Text | ProgressBar] = [Text(f"{seconds:.0f} s")]
    size = sum(f.size or 0 for f in run.feeds)
    if size and all(f.size is not None for f in run.feeds):
        cells.append(ProgressBar(total=size, completed=sum(f.read for f in run.feeds), width=20))
    cells.append(Text(f"{outcome.fed} in ({rate:.0f}/s)"))
    cells.append(Text(f"{sum(outcome.collected.values())} out"))
    for count, what in ((outcome.restarts, "restart"), (outcome.dead_letters, "dead letter")):
        if count:
            cells.append(Text(f"{count} {what}{'s' if count > 1 else ''}", style="yellow"))
    line.add_row(*cells)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        no_color=not colour,
        color_system="standard",
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(line, end="", no_wrap=True, crop=True)
    return capture.get().splitlines()[0].rstrip() if capture.get() else ""
