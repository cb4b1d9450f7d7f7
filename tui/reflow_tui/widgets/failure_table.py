"""The last failures of the whole workspace, newest first; Enter shows the traceback of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from reflow_supervisor.control.protocol import Failure
from reflow_tui import text
from reflow_tui.palette import Palette
from reflow_tui.widgets.live_table import Column, LiveTable, TableRow

_MIN_REASON = 20


class FailureTable(LiveTable):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Traceback")]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._failures: dict[str, Failure] = {}

    @property
    def failure(self) -> Failure | None:
        """The one that the cursor is on."""
        return self._failures.get(self.current or "")

    def show_failures(self, failures: Sequence[Failure], palette: Palette) -> None:
        self.rearrange = partial(self.show_failures, failures, palette)
        if not self.size.width:
            return
        seen: Counter[str] = Counter()
        self._failures = {}
        for failure in failures:
            name = f"{failure.at} {failure.actor} {failure.kind} {failure.reason}"
            seen[name] += 1
            self._failures[f"{seen[name]} {name}"] = failure
        actor = min(max((len(failure.actor) for failure in failures), default=0), 24)
        kind = min(max((len(failure.kind) for failure in failures), default=0), 12)
        columns = [
            Column("at", "Time", 8),
            Column("actor", "Actor", max(actor, 5)),
            Column("kind", "Kind", max(kind, 4)),
        ]
        left = self.size.width - sum(column.width + 2 for column in columns) - 4
        columns.append(Column("reason", "Reason", max(left, _MIN_REASON)))
        self.show(
            columns,
            [
                TableRow(
                    key,
                    (
                        Text(text.clock(failure.at), style=palette.muted),
                        Text(text.line(failure.actor, 24), style=palette.strong),
                        Text(text.line(failure.kind, 12), style=palette.warning),
                        Text(text.line(failure.reason)),
                    ),
                )
                for key, failure in reversed(self._failures.items())
            ],
        )
