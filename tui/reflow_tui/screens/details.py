"""Everything about one actor or one failure, with its traceback."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from reflow_supervisor.control.protocol import Failure
from reflow_tui import text
from reflow_tui.model import Row
from reflow_tui.palette import Palette, state_label


class DetailsScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Back", key_display="esc"),
        Binding("y", "copy", "Copy"),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
        Binding("g", "edge(0)", "First line", show=False),
        Binding("G", "edge(1)", "Last line", show=False),
    ]

    def __init__(self, title: str, body: Text) -> None:
        super().__init__()
        self._title = title
        self._body = body

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(self._title)
            with VerticalScroll(id="body"):
                yield Static(self._body)
        yield Footer(show_command_palette=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(f"{self._title}\n\n{self._body.plain}")
        self.notify("copied", timeout=2)

    def action_scroll(self, lines: int) -> None:
        self.query_one("#body").scroll_relative(y=lines, animate=False)

    def action_edge(self, end: int) -> None:
        body = self.query_one("#body")
        if end:
            body.scroll_end(animate=False)
        else:
            body.scroll_home(animate=False)


def actor_details(row: Row, palette: Palette) -> DetailsScreen:
    actor = row.actor
    capacity = f" of {actor.mailbox_capacity}" if actor.mailbox_capacity else ""
    state = Text(state_label(text.line(actor.state, 16)), style=palette.for_state(actor.state))
    if actor.next_retry_in is not None:
        state.append(f", next try in {text.rate(actor.next_retry_in)} s")
    facts: list[tuple[str, str | Text]] = [
        ("component", f"{text.line(actor.component, 60)} ({text.line(actor.runtime, 16)})"),
        ("state", state),
        ("incarnation", str(actor.incarnation)),
        ("restarts", f"{actor.restarts} ({actor.restarts_in_window} in the present window)"),
        ("mailbox", f"{actor.mailbox}{capacity}, in flight {actor.in_flight}"),
        ("received", f"{actor.received}  ({text.rate(row.rate.received)}/s)"),
        ("emitted", f"{actor.emitted}  ({text.rate(row.rate.emitted)}/s)"),
        ("failed", f"{actor.failed}, dead letters {actor.dead_letters}"),
        ("CPU", f"{text.percent(row.rate.cpu)} of a core"),
        ("memory", text.size(actor.memory)),
        ("process", "–" if actor.pid is None else str(actor.pid)),
    ]
    body = _facts(facts, palette)
    if (error := actor.last_error) is None:
        body.append("\nNo error so far.", style=palette.muted)
    else:
        body.append(f"\nLast error, at {text.clock(error.at)}\n", style=palette.strong)
        body.append(f"{text.line(error.type, 80)}: {text.block(error.message, 4000)}\n", style=palette.error)
        body.append(f"\n{text.block(error.traceback)}")
    return DetailsScreen(f"Actor  {text.line(actor.id, 60)}", body)


def failure_details(failure: Failure, palette: Palette) -> DetailsScreen:
    body = _facts(
        [
            ("at", text.clock(failure.at)),
            ("actor", text.line(failure.actor, 60)),
            ("kind", text.line(failure.kind, 40)),
        ],
        palette,
    )
    body.append(f"\n{text.block(failure.reason, 4000)}\n", style=palette.error)
    if failure.detail:
        body.append(f"\n{text.block(failure.detail)}")
    else:
        body.append("\nThere is no more detail to it.", style=palette.muted)
    return DetailsScreen(f"Failure  {text.line(failure.actor, 60)}", body)


def _facts(facts: list[tuple[str, str | Text]], palette: Palette) -> Text:
    lines = [Text.assemble((f"{name:<13}", palette.muted), value) for name, value in facts]
    return Text("\n").join([*lines, Text()])
