"""A text of fixed size that is set several times a second and drawn only when it has changed.

A `Static` lays the whole screen out anew with each update, since it might have grown. This one has its size from
the style sheet.
"""

from __future__ import annotations

from rich.text import Text
from textual.content import Content
from textual.widgets import Static


class Still(Static):
    _last: Content | Text | None = None

    def set(self, content: Content | Text) -> None:
        if not _same(content, self._last):
            self._last = content
            self.update(content, layout=False)


def _same(one: Content | Text, other: Content | Text | None) -> bool:
    """Rich and Textual compare texts by their characters alone; a colour that changes says something too."""
    return other is not None and type(one) is type(other) and one == other and one.spans == other.spans
