"""The table of actors: which columns fit, and how each of them reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import attrs
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content

from reflow_tui import text
from reflow_tui.model import Row, View
from reflow_tui.palette import Palette, state_label
from reflow_tui.widgets.live_table import Column, LiveTable, TableRow

MAX_NAME = 24
MIN_ERROR = 12
CPU_HIGH = 0.85
"""Cores from which the figure is coloured; observer_cli marks at the same share."""


@attrs.frozen
class _Field:
    """A column, what it says of a row, and how early it gives way when the terminal is narrow (0: never)."""

    column: Column
    cell: Callable[[Row, Palette], Text]
    gives_way: int = 0


def _number(shown: str, style: Style | None = None) -> Text:
    return Text(shown, style=style or Style(), justify="right")


def _name(row: Row, palette: Palette) -> Text:
    return Text(text.line(row.actor.id, MAX_NAME), style=palette.strong)


def _component(row: Row, palette: Palette) -> Text:
    return Text(text.line(row.actor.component, MAX_NAME), style=palette.muted)


def _runtime(row: Row, palette: Palette) -> Text:
    short = {"python": "py", "javascript": "js", "native": "native"}
    return Text(short.get(row.actor.runtime, text.line(row.actor.runtime, 6)), style=palette.muted)


def _state(row: Row, palette: Palette) -> Text:
    label = state_label(text.line(row.actor.state, 8))
    if row.actor.state == "backoff" and row.actor.next_retry_in is not None:
        label = f"↻ in {text.rate(row.actor.next_retry_in)}s"
    return Text(label, style=palette.for_state(row.actor.state))


def _received(row: Row, palette: Palette) -> Text:
    return _number(text.rate(row.rate.received), None if row.rate.received else palette.muted)


def _emitted(row: Row, palette: Palette) -> Text:
    return _number(text.rate(row.rate.emitted), None if row.rate.emitted else palette.muted)


def _mailbox(row: Row, palette: Palette) -> Text:
    actor = row.actor
    shown = text.count(actor.mailbox)
    if actor.mailbox_capacity:
        shown += f"/{text.count(actor.mailbox_capacity)}"
    if row.near_full:
        return _number(f"!{shown}", palette.warning)
    return _number(shown, None if actor.mailbox else palette.muted)


def _in_flight(row: Row, palette: Palette) -> Text:
    return _number(text.count(row.actor.in_flight), None if row.actor.in_flight else palette.muted)


def _cpu(row: Row, palette: Palette) -> Text:
    high = row.rate.cpu is not None and row.rate.cpu >= CPU_HIGH
    return _number(text.percent(row.rate.cpu), palette.warning if high else None)


def _memory(row: Row, palette: Palette) -> Text:
    return _number(text.size(row.actor.memory), palette.muted if row.actor.memory is None else None)


def _restarts(row: Row, palette: Palette) -> Text:
    actor = row.actor
    return _number(text.count(actor.restarts), palette.warning if actor.restarts_in_window else palette.muted)


def _error(row: Row, palette: Palette) -> Text:
    error = row.actor.last_error
    if error is None:
        return Text("–", style=palette.muted)
    return Text(text.line(f"{error.type}: {error.message}"), style=palette.error)


_FIELDS: Sequence[_Field] = (
    _Field(Column("id", "Actor", 0), _name),
    _Field(Column("component", "Component", 0), _component, gives_way=1),
    _Field(Column("runtime", "RT", 6), _runtime, gives_way=2),
    _Field(Column("state", "State", 10), _state),
    _Field(Column("in", "in/s", 5, right=True), _received),
    _Field(Column("out", "out/s", 5, right=True), _emitted),
    _Field(Column("mailbox", "Mailbox", 9, right=True), _mailbox),
    _Field(Column("in_flight", "Flight", 6, right=True), _in_flight, gives_way=3),
    _Field(Column("cpu", "CPU", 5, right=True), _cpu, gives_way=5),
    _Field(Column("memory", "Mem", 5, right=True), _memory, gives_way=4),
    _Field(Column("restarts", "Rst", 4, right=True), _restarts, gives_way=6),
    _Field(Column("last_error", "Last error", 0), _error),
)

_PADDING = 2


def fields_for(width: int, names: int, components: int) -> list[_Field]:
    """The columns that `width` characters have room for; the last one takes what is left.

    Args:
        names: length of the longest id.
        components: length of the longest component's name.
    """
    widths = {"id": min(max(names, 6), MAX_NAME), "component": min(max(components, 9), MAX_NAME)}
    fields = [
        attrs.evolve(field, column=attrs.evolve(field.column, width=widths.get(field.column.key, field.column.width)))
        for field in _FIELDS
    ]

    def left() -> int:
        return width - sum(field.column.width + _PADDING for field in fields)

    for step in range(1, 1 + max(field.gives_way for field in _FIELDS)):
        if left() >= MIN_ERROR:
            break
        fields = [field for field in fields if field.gives_way != step]
    last = fields[-1]
    fields[-1] = attrs.evolve(last, column=attrs.evolve(last.column, width=max(MIN_ERROR, left())))
    return fields


class ActorTable(LiveTable):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Details"),
        Binding("r", "app.restart_actor", "Restart"),
        Binding("x", "app.stop_actor", "Stop"),
        Binding("p", "app.pause_actor", "Pause"),
    ]

    _frame: tuple[str, str] | None = None

    def show_rows(self, rows: Sequence[Row], total: int, view: View, palette: Palette) -> None:
        """`rows` are those of `total` that the view wants, in its order."""
        self.rearrange = partial(self.show_rows, rows, total, view, palette)
        if not self.size.width:
            return
        width = self.size.width - (2 if self.show_vertical_scrollbar else 0)
        fields = fields_for(
            width,
            max((len(row.actor.id) for row in rows), default=0),
            max((len(row.actor.component) for row in rows), default=0),
        )
        arrow = "▲" if view.reverse else "▼"
        columns = [
            attrs.evolve(field.column, label=f"{field.column.label}{arrow}")
            if field.column.key == view.sort
            else field.column
            for field in fields
        ]
        self.show(
            columns,
            [TableRow(row.actor.id, tuple(field.cell(row, palette) for field in fields)) for row in rows],
        )
        count = str(total) if len(rows) == total else f"{len(rows)} of {total}"
        frame = (f"Actors  {count}", _describe(view))
        if frame != self._frame:
            self._frame = frame
            self.border_title, self.border_subtitle = Content(frame[0]), Content(frame[1])


def _describe(view: View) -> str:
    parts = [
        f"sort {view.sort or 'as declared'}{' reversed' if view.reverse else ''}",
        "faults only" if view.faults_only else "",
        f"filter {text.line(view.filter, 24)}" if view.filter else "",
    ]
    return " · ".join(part for part in parts if part)
