"""The line that `/` opens. What is typed applies at once; Enter keeps it, Esc drops it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterBar(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Keep the filter"),
        Binding("escape", "drop", "Clear it"),
    ]

    class Closed(Message):
        """It is done with; `text` is the filter to keep."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(placeholder="filter: part of a name, state or error;  ! inverts", max_length=80, compact=True)

    def action_drop(self) -> None:
        self.value = ""
        self.post_message(self.Closed(""))

    async def action_submit(self) -> None:
        self.post_message(self.Closed(self.value))
