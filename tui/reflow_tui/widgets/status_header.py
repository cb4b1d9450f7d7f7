"""The two lines on top: what runs here, behind which boundary, how it fares, and whether what is seen is live."""

from __future__ import annotations

import attrs
from rich.style import Style
from rich.text import Text

from reflow_supervisor.control.protocol import Snapshot
from reflow_tui import text
from reflow_tui.model import Rate
from reflow_tui.palette import Palette, state_label
from reflow_tui.widgets.still import Still


@attrs.frozen
class Liveness:
    """How good the connection is, in words of its own; `style` by meaning ("success", "warning", "error")."""

    label: str
    style: str


class StatusHeader(Still):
    def show(self, snapshot: Snapshot | None, rate: Rate, liveness: Liveness, palette: Palette) -> None:
        width = max(self.size.width - 2, 20)
        live = Text(liveness.label, style=getattr(palette, liveness.style))
        if snapshot is None:
            self.set(_ends(Text("reflow", style=palette.strong), live, width))
            return
        first = Text.assemble(
            (text.line(snapshot.workspace, 32), palette.strong),
            "  ",
            (state_label(snapshot.state), palette.for_state(snapshot.state)),
            "  ",
            _boundary(snapshot, palette),
            "  ",
            _redis(snapshot, palette),
            ("  up ", palette.muted),
            text.duration(snapshot.uptime),
        )
        totals = snapshot.totals
        second = Text("  ").join(
            [
                _total("in", totals.received, palette, rate.received),
                _total("out", totals.emitted, palette, rate.emitted),
                _total("failed", totals.failed, palette, alarm=palette.error),
                _total("restarts", totals.restarts, palette, alarm=palette.warning),
                _total("dead letters", totals.dead_letters, palette, alarm=palette.error),
            ]
        )
        pid = Text(f"pid {snapshot.pid}", style=palette.muted)
        if second.cell_len + pid.cell_len + 2 > width:
            pid = Text()
        self.set(Text("\n").join([_ends(first, live, width), _ends(second, pid, width)]))


def _boundary(snapshot: Snapshot, palette: Palette) -> Text:
    if snapshot.boundary == "NONE":
        return Text(" NO ISOLATION ", style=palette.error + Style(reverse=True))
    return Text(f"▣ {snapshot.boundary}", style=palette.accent)


def _redis(snapshot: Snapshot, palette: Palette) -> Text:
    kind = text.line(snapshot.redis.kind, 16)
    if snapshot.redis.available:
        return Text.assemble(("Redis ", palette.muted), f"{kind} ", ("✓", palette.success))
    return Text(f"Redis {kind} ✖ away", style=palette.error)


def _total(label: str, value: int, palette: Palette, rate: float | None = None, alarm: Style | None = None) -> Text:
    shown = Text.assemble((f"{label} ", palette.muted), (text.count(value), (value and alarm) or Style()))
    if rate is not None:
        shown.append(f" {text.rate(rate)}/s", style=palette.muted)
    return shown


def _ends(left: Text, right: Text, width: int) -> Text:
    """Both ends of one line; where they do not fit together, the left one is cut."""
    room = max(width - right.cell_len - 2, 0)
    if left.cell_len > room:
        left = left.copy()
        left.truncate(room, overflow="ellipsis")
    return Text.assemble(left, " " * max(width - left.cell_len - right.cell_len, 1), right, no_wrap=True)
