"""The keys, taken from the bindings themselves, so that this page cannot be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from reflow_tui.palette import Palette


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Back", key_display="esc"),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, sections: Sequence[tuple[str, Iterable[BindingType]]], palette: Palette) -> None:
        super().__init__()
        self._sections = sections
        self._palette = palette

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Keys"
            with VerticalScroll(id="body"):
                yield Static(self._keys())
        yield Footer(show_command_palette=False)

    def action_scroll(self, lines: int) -> None:
        self.query_one("#body").scroll_relative(y=lines, animate=False)

    def _keys(self) -> Text:
        shown = Text()
        for title, bindings in self._sections:
            shown.append(f"{title}\n", style=self._palette.strong)
            for keys, description in _entries(self.app, bindings):
                shown.append(f"  {keys:<14}", style=self._palette.accent)
                shown.append(f"{description}\n")
            shown.append("\n")
        shown.rstrip()
        return shown


def _entries(app: App[object], bindings: Iterable[BindingType]) -> list[tuple[str, str]]:
    """What does the same in a row: its keys, and what it does."""
    entries: dict[str, list[str]] = {}
    for binding in Binding.make_bindings(bindings):
        text = binding.tooltip or binding.description
        entries.setdefault(text, []).append(app.get_key_display(binding))
    return [(" ".join(dict.fromkeys(keys)), text) for text, keys in entries.items()]
