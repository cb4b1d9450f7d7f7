"""One line under the header that is only there when something is not as it should be."""

from __future__ import annotations

from textual.content import Content

from reflow_tui.widgets.still import Still


class Banner(Still):
    def show(self, message: str, severity: str = "warning") -> None:
        """`severity` is "warning" or "error"; without a message the line goes away."""
        self.display = bool(message)
        self.set_class(severity == "error", "-error")
        if message:
            self.set(Content(message))
