"""The application: it holds what is known (the last snapshot, how good the connection is) and what the operator wants
(the view), hands both to the widgets a few times a second, and turns keys into commands.

How the figures come about is `model`'s, where they come from `link`'s, and how they look the widgets'.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import attrs
from textual import on
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input

from reflow_supervisor.control.protocol import Snapshot
from reflow_tui import link, text
from reflow_tui.model import Rates, Row, View, total_rate
from reflow_tui.palette import Palette
from reflow_tui.screens.confirm import ConfirmScreen
from reflow_tui.screens.details import actor_details, failure_details
from reflow_tui.screens.help import HelpScreen
from reflow_tui.theme import REFLOW
from reflow_tui.widgets.actor_table import ActorTable
from reflow_tui.widgets.banner import Banner
from reflow_tui.widgets.edge_table import EdgeTable
from reflow_tui.widgets.empty_note import EmptyNote
from reflow_tui.widgets.failure_table import FailureTable
from reflow_tui.widgets.filter_bar import FilterBar
from reflow_tui.widgets.live_table import LiveTable
from reflow_tui.widgets.log_tail import LogTail
from reflow_tui.widgets.panel import Panel
from reflow_tui.widgets.status_header import Liveness, StatusHeader
from reflow_tui.widgets.supervision_tree import SupervisionTree

STALE_AFTER = 3.0
"""Seconds without a snapshot from which a connection that is up is said to be silent."""

_Phase = Literal["connecting", "live", "lost"]


class LinkNews(Message):
    """What the link's thread has to say."""

    def __init__(self, event: link.LinkEvent) -> None:
        super().__init__()
        self.event = event


class ReflowApp(App[None]):
    TITLE = "reflow"
    CSS_PATH = "reflow.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("S", "reverse", "Reverse the order", show=False),
        Binding("F,ctrl+z", "faults", "Faults", tooltip="Only actors with faults"),
        Binding("escape", "clear", "Clear the filter", show=False),
        Binding("1", "page('failures')", "Failures", show=False),
        Binding("2", "page('log')", "Log", show=False),
        Binding("3,t", "page('tree')", "Supervision tree", show=False),
        Binding("4", "page('edges')", "Edges", show=False),
        Binding("tab", "app.focus_next", "Next pane", show=False),
        Binding("ctrl+p", "command_palette", "Command palette", show=False, priority=True),
        Binding("colon", "command_palette", "Command palette", key_display=":", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("f1", "help", "Help", show=False),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+q", "leave", "Quit", show=False),
        Binding("ctrl+c", "interrupt", "Stop; once more: at once", show=False, priority=True),
    ]

    def __init__(
        self,
        source: link.Link,
        *,
        where: str = "",
        quit_stops: bool = False,
        refresh: float = 0.25,
        stale_after: float = STALE_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            source: where snapshots come from.
            where: what the operator knows it by, for messages.
            quit_stops: leaving drains the workspace, and waits for its end.
            refresh: seconds between two updates of the screen.
        """
        super().__init__()
        self._link = source
        self._where = where
        self._quit_stops = quit_stops
        self._refresh = refresh
        self._stale_after = stale_after
        self._clock = clock
        self._phase: _Phase = "connecting"
        self._reason = ""
        self._retry_at = 0.0
        self._arrived_at = 0.0
        self._snapshot: Snapshot | None = None
        self._rates = Rates()
        self._rows: list[Row] = []
        self._view = View()
        self._fresh = False
        self._draining = False
        self._verbs_usable = False

    # --- the screen ---------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield StatusHeader()
        yield Banner()
        yield ActorTable(id="actors")
        yield EmptyNote()
        yield Panel(
            [
                ("Failures", FailureTable(id="failures")),
                ("Log", LogTail(id="log")),
                ("Tree", SupervisionTree(id="tree")),
                ("Edges", EdgeTable(id="edges")),
            ],
            id="panel",
        )
        yield FilterBar()
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.register_theme(REFLOW)
        self.theme = REFLOW.name
        # A terminal that is left in its alternate screen is no use to anybody.
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.query_one(ActorTable).focus()
        self.set_interval(self._refresh, self._tick)
        self.call_after_refresh(self._draw)
        self.run_worker(partial(self._link.run, self._hear), name="link", thread=True)

    def on_unmount(self) -> None:
        # Its thread must end before the loop can.
        self._link.end()

    def on_resize(self) -> None:
        self._fresh = True

    def _tick(self) -> None:
        # The last one may come when the screen is half taken down.
        with contextlib.suppress(NoMatches):
            self._draw()

    def _draw(self) -> None:
        main = self.screen_stack[0]
        palette = Palette.of(self.theme_variables)
        main.query_one(StatusHeader).show(self._snapshot, total_rate(self._rows), self._liveness(), palette)
        message, severity = self._trouble()
        main.query_one(Banner).show(message, severity)
        main.set_class(self._phase == "lost" or self._stale(), "-dated")
        if self._fresh or self._snapshot is None:
            self._fresh = False
            self._draw_tables(main, palette)

    def _draw_tables(self, main: Screen[object], palette: Palette) -> None:
        actors, note = main.query_one(ActorTable), main.query_one(EmptyNote)
        rows = self._view.apply(self._rows)
        empty = self._why_empty(rows)
        note.show(empty)
        actors.display = not empty
        actors.show_rows(rows, len(self._rows), self._view, palette)
        if (snapshot := self._snapshot) is None:
            return
        panel = main.query_one(Panel)
        main.query_one(FailureTable).show_failures(snapshot.failures, palette)
        panel.count("failures", len(snapshot.failures))
        main.query_one(LogTail).show_lines(snapshot.log, palette)
        main.query_one(SupervisionTree).show_tree(snapshot.tree, palette)
        main.query_one(EdgeTable).show_edges(snapshot.edges, palette)
        panel.count("edges", len(snapshot.edges))
        if (usable := self._row() is not None) != self._verbs_usable:
            self._verbs_usable = usable
            self.refresh_bindings()

    # --- in words -----------------------------------------------------------------------------------------

    def _stale(self) -> bool:
        return self._phase == "live" and self._age() > self._stale_after

    def _age(self) -> float:
        return self._clock() - self._arrived_at

    def _liveness(self) -> Liveness:
        if self._phase == "connecting":
            return Liveness("◌ connecting", "accent")
        if self._phase == "lost":
            return Liveness("✖ DISCONNECTED", "error")
        if self._stale():
            return Liveness(f"⚠ STALE {text.duration(self._age())}", "warning")
        return Liveness("● live", "success")

    def _trouble(self) -> tuple[str, str]:
        """What the banner says."""
        if self._draining:
            return "▽ Draining: what is under way is finished, then this ends.  q kills instead", "warning"
        seen = f"showing what was so {text.duration(self._age())} ago" if self._snapshot else "nothing to show yet"
        if self._phase == "lost":
            wait = max(0.0, self._retry_at - self._clock())
            return f"✖ DISCONNECTED  next try in {wait:.0f} s  ·  {seen}  ·  {text.line(self._reason)}", "error"
        if self._stale():
            return f"⚠ STALE  the supervisor is silent  ·  {seen}", "warning"
        if (snapshot := self._snapshot) is None:
            return "", ""
        if snapshot.state == "stopped":
            return "■ STOPPED  the workspace has ended", "warning"
        if snapshot.state == "draining":
            return "▽ DRAINING  what is under way is finished, then the workspace ends", "warning"
        if not snapshot.redis.available:
            return "✖ Redis is away: commits wait, nothing is lost", "error"
        return "", ""

    def _why_empty(self, rows: list[Row]) -> str:
        if rows:
            return ""
        if self._snapshot is None:
            where = f" {self._where}" if self._where else ""
            return f"◌ Connecting to the supervisor at{where} …\n\nIt is looked for until it is there; q quits."
        if not self._rows:
            return "This workspace has no actors yet."
        if self._view.faults_only and not self._view.filter:
            return "● No faults: every actor runs.\n\nF shows all of them."
        return f"No actor matches {text.line(self._view.filter, 40)!r}.\n\nEsc clears the filter."

    # --- what the link says -------------------------------------------------------------------------------

    def _hear(self, event: link.LinkEvent) -> None:
        """Called in the link's thread. A message, and not a call that waits: the loop may be about to end."""
        self.post_message(LinkNews(event))

    @on(LinkNews)
    def _take_in(self, news: LinkNews) -> None:
        match news.event:
            case link.Connected():
                self._phase, self._arrived_at = "live", self._clock()
            case link.Arrived(snapshot):
                first = self._snapshot is None
                if self._snapshot is not None and self._snapshot.pid != snapshot.pid:
                    self.screen_stack[0].query_one(LogTail).forget()
                self._phase, self._arrived_at = "live", self._clock()
                self._snapshot, self._rows, self._fresh = snapshot, self._rates.rows(snapshot), True
                if first:
                    self._draw()
            case link.Lost(reason):
                self._phase, self._reason, self._retry_at = "lost", reason, self._clock()
            case link.Absent(reason, retry_in):
                if self._draining:
                    self.exit()  # it has drained, and is gone
                elif self._snapshot is not None:
                    self._phase, self._reason = "lost", reason
                self._retry_at = self._clock() + retry_in
            case link.Answered(command, error):
                self._report(command, error)

    def _report(self, command: link.Command, error: str) -> None:
        shown = text.line(str(command), 60)
        if error:
            self._draining = self._draining and command.method not in ("stop", "kill")
            self.notify(f"{shown}: {text.line(error)}", severity="error", markup=False)
        elif command.actor:
            self.notify(f"{shown}: accepted", timeout=2, markup=False)

    # --- keys ---------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("restart_actor", "stop_actor", "pause_actor"):
            return True if self._row() is not None else None
        return True

    def _row(self) -> Row | None:
        """The actor that the cursor is on."""
        # The bindings are asked for before the screen is composed, and for other screens too.
        table = next(iter(self.screen_stack[0].query(ActorTable)), None) if self.screen_stack else None
        if table is None or not table.display:
            return None
        current = table.current
        return next((row for row in self._rows if row.actor.id == current), None)

    def action_restart_actor(self) -> None:
        if row := self._row():
            verb = "start" if row.actor.state == "stopped" else "restart"
            self._link.send(link.Command(f"actor.{verb}", row.actor.id))

    def action_pause_actor(self) -> None:
        if row := self._row():
            verb = "resume" if row.actor.state == "paused" else "pause"
            self._link.send(link.Command(f"actor.{verb}", row.actor.id))

    def action_stop_actor(self) -> None:
        if (row := self._row()) is None:
            return
        actor = row.actor.id

        def answered(yes: bool | None) -> None:
            if yes:
                self._link.send(link.Command("actor.stop", actor))

        question = f"Stop {text.line(actor, 40)}?"
        consequence = "What it works on is finished first. Its mailbox keeps what comes in, until r starts it again."
        self.push_screen(ConfirmScreen(question, consequence), answered)

    @on(DataTable.RowSelected, "#actors")
    def _show_actor(self) -> None:
        if row := self._row():
            self.push_screen(actor_details(row, Palette.of(self.theme_variables)))

    @on(DataTable.RowSelected, "#failures")
    def _show_failure(self) -> None:
        if failure := self.query_one(FailureTable).failure:
            self.push_screen(failure_details(failure, Palette.of(self.theme_variables)))

    def action_page(self, page: str) -> None:
        self.query_one(Panel).activate(page)

    def action_sort(self) -> None:
        self._see(self._view.next_sort())

    def action_reverse(self) -> None:
        self._see(attrs.evolve(self._view, reverse=not self._view.reverse))

    def action_faults(self) -> None:
        self._see(attrs.evolve(self._view, faults_only=not self._view.faults_only))

    def action_filter(self) -> None:
        bar = self.query_one(FilterBar)
        bar.value = self._view.filter
        bar.display = True
        bar.focus()

    def action_clear(self) -> None:
        self._see(attrs.evolve(self._view, filter=""))

    @on(Input.Changed)
    def _filter_changed(self, event: Input.Changed) -> None:
        if event.input.display:
            self._see(attrs.evolve(self._view, filter=event.value))

    @on(FilterBar.Closed)
    def _filter_closed(self, event: FilterBar.Closed) -> None:
        self.query_one(FilterBar).display = False
        self.query_one(ActorTable).focus()
        self._see(attrs.evolve(self._view, filter=event.text))

    def _see(self, view: View) -> None:
        self._view = view
        self._fresh = True
        self._draw()

    def action_help(self) -> None:
        sections: list[tuple[str, Iterable[BindingType]]] = [
            ("Everywhere", self.BINDINGS),
            ("Lists", LiveTable.BINDINGS),
            ("Actors", ActorTable.BINDINGS),
            ("Failures", FailureTable.BINDINGS),
            ("Log", LogTail.BINDINGS),
        ]
        self.push_screen(HelpScreen(sections, Palette.of(self.theme_variables)))

    def action_leave(self) -> None:
        if not self._quit_stops or self._phase != "live":
            self.exit()
        elif not self._draining:
            self._draining = True
            self._link.send(link.Command("stop"))
            self._draw()
        else:
            self._ask_to_kill()

    def action_interrupt(self) -> None:
        """What Ctrl-C does to a run without a screen: the first drains, the second ends it at once."""
        if self._quit_stops and self._phase == "live" and self._draining:
            self._link.send(link.Command("kill"))
        else:
            self.action_leave()

    def _ask_to_kill(self) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._link.send(link.Command("kill"))

        consequence = "It is draining. Killed, it drops what it works on now; what was committed stays."
        self.push_screen(ConfirmScreen("Kill the workspace?", consequence), answered)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Only faults", "Show only actors with faults, or all again", self.action_faults)
        yield SystemCommand("Sort", "Sort the actors by the next column", self.action_sort)
        for page in ("failures", "log", "tree", "edges"):
            yield SystemCommand(f"Show {page}", f"Show {page} in the lower pane", partial(self.action_page, page))
        yield from (command for command in super().get_system_commands(screen) if command.title != "Quit")
        yield SystemCommand("Quit", "Leave", self.action_leave)


def make_app(path: Path, *, quit_stops: bool = False) -> ReflowApp:
    """The application for the supervisor that serves on `path`."""
    return ReflowApp(link.ControlLink(path), where=str(path), quit_stops=quit_stops)
