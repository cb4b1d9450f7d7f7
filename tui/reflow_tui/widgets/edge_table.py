"""The connections: what went through each, what waits in it, and which of them hold their producer up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from reflow_supervisor.control.protocol import EdgeStatus
from reflow_tui import text
from reflow_tui.palette import Palette
from reflow_tui.widgets.live_table import Column, LiveTable, TableRow

_MAX_END = 28


class EdgeTable(LiveTable):
    def show_edges(self, edges: Sequence[EdgeStatus], palette: Palette) -> None:
        source = min(max((len(edge.source) for edge in edges), default=4), _MAX_END)
        target = min(max((len(edge.target) for edge in edges), default=4), _MAX_END)
        columns = [
            Column("from", "From", max(source, 4)),
            Column("to", "To", max(target, 4)),
            Column("delivered", "Delivered", 9, right=True),
            Column("queued", "Queued", 6, right=True),
            Column("flow", "Flow", 15),
        ]
        self.show(columns, [_row(number, edge, palette) for number, edge in enumerate(edges)])


def _row(number: int, edge: EdgeStatus, palette: Palette) -> TableRow:
    flow = Text("■ full, waiting", palette.warning) if edge.full else Text("● flows", palette.success)
    return TableRow(
        f"{number} {edge.source} {edge.target}",
        (
            Text(text.line(edge.source, _MAX_END)),
            Text(text.line(edge.target, _MAX_END)),
            Text(text.count(edge.delivered), justify="right"),
            Text(text.count(edge.queued), justify="right"),
            flow,
        ),
    )
