"""The tail of the log, from a level up. Each line is shown once, however many snapshots carry it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import RichLog

from reflow_supervisor.control.protocol import LogLine
from reflow_tui import text
from reflow_tui.palette import Palette

KEPT = 2000
_LEVELS = ("debug", "info", "warning", "error")


class LogTail(RichLog):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "First line", show=False),
        Binding("G", "scroll_end", "Last line", show=False),
        Binding("l", "next_level", "Level"),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, max_lines=KEPT, wrap=False, markup=False, highlight=False)
        self._lines: deque[LogLine] = deque(maxlen=KEPT)
        self._last_seq = -1
        self._palette: Palette | None = None
        self.level = "info"

    @property
    def empty(self) -> bool:
        return not self._lines

    def show_lines(self, lines: Iterable[LogLine], palette: Palette) -> None:
        self._palette = palette
        for line in lines:
            if line.seq > self._last_seq:
                self._last_seq = line.seq
                self._lines.append(line)
                self._show(line)

    def forget(self) -> None:
        """Another supervisor numbers its lines from the start."""
        self._lines.clear()
        self._last_seq = -1
        self.clear()

    def action_next_level(self) -> None:
        self.level = _LEVELS[(_LEVELS.index(self.level) + 1) % len(_LEVELS)]
        self.clear()
        for line in self._lines:
            self._show(line)
        self.notify(f"log from level {self.level}", timeout=2)

    def _show(self, line: LogLine) -> None:
        palette = self._palette
        if palette is None or _LEVELS.index(line.level) < _LEVELS.index(self.level):
            return
        style = {"warning": palette.warning, "error": palette.error, "debug": palette.muted}.get(line.level, "")
        self.write(
            Text.assemble(
                (f"{text.clock(line.at)} ", palette.muted),
                (f"{line.level:<7} ", style),
                (f"{text.line(line.source, 24)}: " if line.source else "", palette.strong),
                text.line(line.message, 1000),
            ),
            scroll_end=None,
        )
