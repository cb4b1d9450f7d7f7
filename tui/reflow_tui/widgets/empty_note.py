"""What stands where there is nothing to list: why that is, and what to do about it."""

from __future__ import annotations

from textual.content import Content

from reflow_tui.widgets.still import Still


class EmptyNote(Still):
    def show(self, message: str) -> None:
        self.display = bool(message)
        if message:
            self.set(Content(message))
