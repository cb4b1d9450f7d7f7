"""The lower half: one of several views at a time, named with their keys in the frame.

Tabs of their own would cost two lines, of which a terminal of 24 has none to give.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher


class Panel(Container):
    def __init__(self, pages: Sequence[tuple[str, Widget]], *, id: str) -> None:
        """`pages`: titles and widgets; each widget has an id."""
        super().__init__(id=id)
        self._pages = pages
        self._counts: dict[str, int] = {}

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial=self._pages[0][1].id):
            for _, widget in self._pages:
                yield widget

    def on_mount(self) -> None:
        self._name_pages()

    @property
    def active(self) -> str:
        return self.query_one(ContentSwitcher).current or ""

    def activate(self, page: str) -> None:
        """Shows the page with this id and gives it the focus."""
        self.query_one(ContentSwitcher).current = page
        self.query_one(f"#{page}").focus()
        self._name_pages()

    def count(self, page: str, number: int) -> None:
        """A number that the page's title carries."""
        if self._counts.get(page) != number:
            self._counts[page] = number
            self._name_pages()

    def _name_pages(self) -> None:
        parts: list[Content | tuple[str, str]] = []
        for number, (title, widget) in enumerate(self._pages, 1):
            page = widget.id or ""
            counted = f" ({self._counts[page]})" if self._counts.get(page) else ""
            # The brackets say without colour what the colour says.
            shown = f"[{number} {title}{counted}]" if page == self.active else f" {number} {title}{counted} "
            parts.append((shown, "bold $primary" if page == self.active else "not bold dim"))
        self.border_title = Content.assemble(*parts)
