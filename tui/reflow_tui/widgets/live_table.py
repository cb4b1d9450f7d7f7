"""A table whose content is set as a whole, several times a second, and which touches only the cells that changed.

The cursor stays on its row, whatever the order: an operator who is about to press a key for one row must not have
another one slid under it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import attrs
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable


@attrs.frozen
class Column:
    key: str
    label: str
    width: int
    right: bool = False


@attrs.frozen
class TableRow:
    """`cells` in the order of the columns."""

    key: str
    cells: tuple[Text, ...]


class LiveTable(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g", "go_to(0)", "First row", show=False),
        Binding("G", "go_to(-1)", "Last row", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=1, cursor_foreground_priority="renderable")
        self._columns_shown: tuple[Column, ...] = ()
        self._shown: tuple[TableRow, ...] = ()
        self.rearrange: Callable[[], None] | None = None
        """Shows the last content again, with columns for the present width. Subclasses whose columns depend on
        it set this, since a width is not known before the first layout."""

    @property
    def current(self) -> str | None:
        """The key of the row that the cursor is on."""
        return self._shown[self.cursor_row].key if 0 <= self.cursor_row < len(self._shown) else None

    def show(self, columns: Sequence[Column], rows: Sequence[TableRow]) -> None:
        new_columns = tuple(columns)
        new_rows = tuple(_fitted(row, new_columns) for row in rows)
        if new_columns != self._columns_shown or [r.key for r in new_rows] != [r.key for r in self._shown]:
            self._rebuild(new_columns, new_rows)
            return
        for row_index, (old, new) in enumerate(zip(self._shown, new_rows, strict=True)):
            for column_index, (before, after) in enumerate(zip(old.cells, new.cells, strict=True)):
                if before != after or before.spans != after.spans:
                    self.update_cell_at((row_index, column_index), after)  # pyright: ignore[reportArgumentType]
        self._shown = new_rows

    def on_resize(self) -> None:
        if self.rearrange is not None:
            self.rearrange()

    def action_go_to(self, row: int) -> None:
        self.move_cursor(row=row if row >= 0 else self.row_count - 1)

    def _rebuild(self, columns: tuple[Column, ...], rows: tuple[TableRow, ...]) -> None:
        current, position, offset = self.current, self.cursor_row, self.scroll_offset
        with self.app.batch_update():
            if columns != self._columns_shown:
                self.clear(columns=True)
                for column in columns:
                    label = Text(column.label, justify="right" if column.right else "left")
                    self.add_column(label, width=column.width, key=column.key)
            else:
                self.clear()
            for row in rows:
                self.add_row(*row.cells, key=row.key)
            self._columns_shown, self._shown = columns, rows
            keys = [row.key for row in rows]
            # Where its row is gone, the cursor stays at its height rather than jump to the top.
            at = keys.index(current) if current in keys else min(position, len(keys) - 1)
            if at >= 0:
                self.move_cursor(row=at, animate=False, scroll=False)
                self.scroll_to(offset.x, offset.y, animate=False, immediate=True)
                self.call_after_refresh(self._keep_cursor_in_sight)

    def _keep_cursor_in_sight(self) -> None:
        self.move_cursor(row=self.cursor_row, animate=False, scroll=True)


def _fitted(row: TableRow, columns: Sequence[Column]) -> TableRow:
    """With an ellipsis where a cell is cut, so that nobody takes a part for the whole."""
    for cell, column in zip(row.cells, columns, strict=True):
        if cell.cell_len > column.width:
            cell.truncate(column.width, overflow="ellipsis")
    return row
