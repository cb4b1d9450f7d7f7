"""The application by its keys, against a real control endpoint (`ThreadedSupervisor`) or a link without one."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from reflow_tui import sample
from reflow_tui.app import ReflowApp
from reflow_tui.link import Absent, Arrived, Command, Connected, ControlLink, Emit, LinkEvent, Lost
from reflow_tui.screens.confirm import ConfirmScreen
from reflow_tui.screens.details import DetailsScreen
from reflow_tui.screens.help import HelpScreen
from reflow_tui.widgets.actor_table import ActorTable
from reflow_tui.widgets.filter_bar import FilterBar
from reflow_tui.widgets.log_tail import LogTail
from reflow_tui.widgets.panel import Panel
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input
from tui.supervisor_thread import ThreadedSupervisor

from reflow_supervisor.control.protocol import (
    ActorStatus,
    ErrorInfo,
    Failure,
    LogLine,
    RedisStatus,
    Snapshot,
    TreeNode,
)
from reflow_supervisor.errors import UserError

pytestmark = pytest.mark.slow  # each test starts an application

SIZE = (120, 34)


class ScriptedLink:
    """A link that says what the test has it say."""

    def __init__(self, *events: LinkEvent) -> None:
        self.sent: list[Command] = []
        self._events: queue.SimpleQueue[LinkEvent | None] = queue.SimpleQueue()
        self.say(*events)

    def say(self, *events: LinkEvent) -> None:
        for event in events:
            self._events.put(event)

    def run(self, emit: Emit) -> None:
        while (event := self._events.get()) is not None:
            emit(event)

    def send(self, command: Command) -> None:
        self.sent.append(command)

    def end(self) -> None:
        self._events.put(None)


def screen_text(app: ReflowApp) -> str:
    """What a person would read."""
    width, height = app.size
    lines = [strip.text for strip in app.screen._compositor.render_strips()]
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    return "\n".join(lines)


async def press(pilot: Pilot[None], *keys: str) -> None:
    """As `pilot.press`, which waits 0.15 s a key for the process to fall idle."""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))
        for _ in range(3):
            await pilot.pause(0)


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("it never came to be:\n" + screen_text(pilot.app))  # type: ignore[arg-type]


async def until_shown(pilot: Pilot[None], *pieces: str) -> None:
    try:
        await until(pilot, lambda: all(piece in screen_text(pilot.app) for piece in pieces))  # type: ignore[arg-type]
    except AssertionError as error:
        raise AssertionError(f"not shown: {pieces}\n{error}") from None


async def until_gone(pilot: Pilot[None], piece: str) -> None:
    await until(pilot, lambda: piece not in screen_text(pilot.app))  # type: ignore[arg-type]


def make(link: Any, **options: Any) -> ReflowApp:
    return ReflowApp(link, **{"refresh": 0.1, "stale_after": 3600, "where": "/run/control.sock"} | options)


@contextlib.asynccontextmanager
async def running(app: ReflowApp, size: tuple[int, int] = SIZE) -> AsyncGenerator[Pilot[None]]:
    async with app.run_test(size=size, notifications=True) as pilot:
        yield pilot


def live(*snapshots: Snapshot) -> list[LinkEvent]:
    return [Connected(), *(Arrived(one) for one in snapshots or (sample.snapshot(),))]


def drive(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def current(app: ReflowApp) -> str | None:
    return app.query_one(ActorTable).current


# --- against a real endpoint ---------------------------------------------------------------------------------


def test_it_shows_a_live_workspace_and_obeys_keys(tmp_path: Path) -> None:
    supervisor = ThreadedSupervisor(tmp_path / "control.sock")

    async def test() -> None:
        app = make(ControlLink(supervisor.path, interval=0.1))
        async with running(app) as pilot:
            await until_shown(pilot, "weather", "● live", "namespaces", "Redis embedded ✓", "seasonal-1", "!871/1k")
            await press(pilot, "r")
            await until(pilot, lambda: supervisor.provider.calls == [("restart", "stations")])
            await press(pilot, "j", "p")
            await until(pilot, lambda: supervisor.provider.calls[-1] == ("pause", "parse-csv"))
            await press(pilot, "x")
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
            assert "Stop parse-csv?" in screen_text(app)
            await press(pilot, "y")
            await until(pilot, lambda: supervisor.provider.calls[-1] == ("stop", "parse-csv"))
            await until_shown(pilot, "stop parse-csv: accepted")

    with supervisor:
        drive(test)


def test_it_keeps_trying_and_says_so(tmp_path: Path) -> None:
    supervisor = ThreadedSupervisor(tmp_path / "control.sock")

    async def test() -> None:
        app = make(ControlLink(supervisor.path, interval=0.1, retry_first=0.02, retry_max=0.05))
        async with running(app) as pilot:
            await until_shown(pilot, "◌ connecting", "Connecting to the supervisor at", "q quits")
            supervisor.start()
            await until_shown(pilot, "● live", "clean")
            supervisor.stop()
            await until_shown(pilot, "✖ DISCONNECTED", "showing what was so", "next try in", "clean")
            supervisor.start()
            await until_shown(pilot, "● live")
            await until_gone(pilot, "DISCONNECTED")

    try:
        drive(test)
    finally:
        supervisor.stop()


def test_quit_detaches(tmp_path: Path) -> None:
    supervisor = ThreadedSupervisor(tmp_path / "control.sock")

    async def test() -> None:
        app = make(ControlLink(supervisor.path, interval=0.1))
        async with running(app) as pilot:
            await until_shown(pilot, "● live")
            await press(pilot, "q")
            await until(pilot, lambda: not app.is_running)
        assert app.return_code == 0

    with supervisor:
        drive(test)
        assert supervisor.provider.calls == []


def test_quit_drains_and_waits_for_the_end(tmp_path: Path) -> None:
    supervisor = ThreadedSupervisor(tmp_path / "control.sock")

    async def test() -> None:
        app = make(ControlLink(supervisor.path, interval=0.1, retry_first=0.02), quit_stops=True)
        async with running(app) as pilot:
            await until_shown(pilot, "● live")
            await press(pilot, "q")
            await until(pilot, lambda: supervisor.provider.calls == [("stop",)])
            await until_shown(pilot, "Draining")
            assert app.is_running
            supervisor.stop()
            await until(pilot, lambda: not app.is_running)

    with supervisor:
        drive(test)


def test_a_refused_stop_is_not_waited_for(tmp_path: Path) -> None:
    supervisor = ThreadedSupervisor(tmp_path / "control.sock")
    supervisor.provider.command_error = UserError("not now")

    async def test() -> None:
        app = make(ControlLink(supervisor.path, interval=0.1), quit_stops=True)
        async with running(app) as pilot:
            await until_shown(pilot, "● live")
            await press(pilot, "q")
            await until_shown(pilot, "stop: error: not now")
            await until_gone(pilot, "Draining")
            assert app.is_running

    with supervisor:
        drive(test)


# --- keys ----------------------------------------------------------------------------------------------------


def test_moving() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            assert current(app) == "stations"
            await press(pilot, "j", "down", "k")
            assert current(app) == "parse-csv"
            await press(pilot, "G")
            assert current(app) == "report"
            await press(pilot, "g")
            assert current(app) == "stations"
            assert isinstance(app.focused, ActorTable)
            await press(pilot, "tab")
            assert app.focused is not None
            assert app.focused.id == "failures"
            await press(pilot, "tab")
            assert isinstance(app.focused, ActorTable)

    drive(test)


def test_sorting_keeps_the_cursor_on_its_actor() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "sort as declared")
            await press(pilot, "j", "j", "j", "j")
            assert current(app) == "seasonal-1"
            await press(pilot, "s")
            await until_shown(pilot, "sort state", "State▼")
            assert current(app) == "seasonal-1"
            order = re.findall(r"│ *(\S+).*?[●↻‖]", screen_text(app))
            assert order[:2] == ["anomaly", "chart"]
            await press(pilot, "S")
            await until_shown(pilot, "sort state reversed", "State▲")
            assert current(app) == "seasonal-1"

    drive(test)


def test_filter() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "slash", *"seas")
            await until_shown(pilot, "Actors  2 of 9")
            await press(pilot, "enter")
            await until_shown(pilot, "filter seas")
            assert isinstance(app.focused, ActorTable)
            assert not app.query_one(FilterBar).display
            await press(pilot, "escape")
            await until_shown(pilot, "Actors  9")
            await press(pilot, "slash", "!", *"seas")
            await until_shown(pilot, "Actors  7 of 9")
            await press(pilot, "escape")
            await until_shown(pilot, "Actors  9")
            # Letters that are verbs elsewhere are letters here.
            await press(pilot, "slash", *"qxr")
            await until_shown(pilot, "No actor matches 'qxr'", "Esc clears the filter")

    drive(test)


@pytest.mark.parametrize("key", ["F", "ctrl+z"])
def test_faults_only(key: str) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "Actors  9")
            await press(pilot, key)
            await until_shown(pilot, "Actors  2 of 9", "faults only", "anomaly", "seasonal-1")
            await press(pilot, key)
            await until_shown(pilot, "Actors  9")

    drive(test)


def test_no_faults_at_all() -> None:
    healthy = msgspec.structs.replace(sample.snapshot(), actors=sample.snapshot().actors[:2])

    async def test() -> None:
        app = make(ScriptedLink(*live(healthy)))
        async with running(app) as pilot:
            await until_shown(pilot, "Actors  2")
            await press(pilot, "F")
            await until_shown(pilot, "No faults: every actor runs", "F shows all of them")

    drive(test)


def test_verbs_follow_the_state() -> None:
    async def test() -> None:
        link = ScriptedLink(*live())
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "chart")
            await press(pilot, "slash", *"chart", "enter", "p")
            stopped = [
                msgspec.structs.replace(actor, state="stopped") if actor.id == "chart" else actor
                for actor in sample.snapshot().actors
            ]
            link.say(Arrived(msgspec.structs.replace(sample.snapshot(), actors=tuple(stopped))))
            await until_shown(pilot, "■ stopped")
            await press(pilot, "r", "x", "n")
        assert link.sent == [Command("actor.resume", "chart"), Command("actor.start", "chart")]

    drive(test)


def test_verbs_without_an_actor_do_nothing() -> None:
    async def test() -> None:
        link = ScriptedLink(Connected())
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "◌ Connecting")
            await press(pilot, "r", "p", "x", "enter", "j", "G", "s", "F")
            assert link.sent == []
            assert len(app.screen_stack) == 1

    drive(test)


def test_details_of_an_actor() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "seasonal-1")
            await press(pilot, "j", "j", "j", "j", "enter")
            await until(pilot, lambda: isinstance(app.screen, DetailsScreen))
            await until_shown(pilot, "Actor  seasonal-1", "Last error", 'seasonal.actor.py", line 27')
            await press(pilot, "j", "k", "G", "g", "y")
            assert "ZeroDivisionError" in app.clipboard
            await press(pilot, "escape")
            assert not isinstance(app.screen, DetailsScreen)
            await press(pilot, "g", "enter")
            await until_shown(pilot, "No error so far")

    drive(test)


def test_details_of_a_failure() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "[1 Failures (3)]")
            await press(pilot, "1", "j", "enter")
            await until(pilot, lambda: isinstance(app.screen, DetailsScreen))
            await until_shown(pilot, "Failure  seasonal-1", "attempt 3 of 3", "return [a / b for a, b")
            await press(pilot, "q")
            assert app.is_running
            assert not isinstance(app.screen, DetailsScreen)

    drive(test)


def test_pages() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "[1 Failures (3)]")
            await press(pilot, "2")
            await until_shown(pilot, "[2 Log]", "anomaly: ran out of memory", "seasonal-1: ready")
            assert "warm python" not in screen_text(app)
            await press(pilot, "t")
            await until_shown(pilot, "[3 Tree]", "rest_for_one", "restarts 3 of 5 in 30s")
            await press(pilot, "j", "k", "G", "g", "4")
            await until_shown(pilot, "[4 Edges (9)]", "stations.out", "■ full, waiting")
            assert app.query_one(Panel).active == "edges"

    drive(test)


def test_log_levels() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "2", "l")
            await until(pilot, lambda: app.query_one(LogTail).level == "warning")
            await until_gone(pilot, "ready, incarnation")
            await press(pilot, "l", "l")
            await until_shown(pilot, "2 warm python sandboxes")

    drive(test)


def test_log_lines_are_shown_once_and_forgotten_with_their_supervisor() -> None:
    first = msgspec.structs.replace(sample.snapshot(), log=(LogLine(seq=7, at=0, level="info", message="only-once"),))
    second = msgspec.structs.replace(first, pid=7, log=(LogLine(seq=0, at=0, level="info", message="after-a-restart"),))

    async def test() -> None:
        link = ScriptedLink(*live(first, first, first))
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "2")
            await until_shown(pilot, "only-once")
            assert screen_text(app).count("only-once") == 1
            link.say(Arrived(second))
            await until_shown(pilot, "after-a-restart")
            await until_gone(pilot, "only-once")

    drive(test)


@pytest.mark.parametrize("key", ["question_mark", "f1"])
def test_help_is_made_of_the_bindings(key: str) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app, (100, 60)) as pilot:
            await press(pilot, key)
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await until_shown(pilot, "Everywhere", "Only actors with faults", "F ^z", "Restart", "Last row", "Level")
            shown = screen_text(app)
            assert re.search(r"r +Restart", shown)
            assert re.search(r"q \^q +Quit", shown)
            assert re.search(r"\^c +Stop; once more: at once", shown)
            await press(pilot, "j", "k", "escape")
            assert not isinstance(app.screen, HelpScreen)

    drive(test)


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
def test_command_palette_knows_the_workspaces_commands(key: str) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.focused, Input))
            await press(pilot, *"only faults")
            await until_shown(pilot, "Show only actors with faults")
            await press(pilot, "enter")
            await until_shown(pilot, "faults only", "Actors  2 of 9")

    drive(test)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_ways_out(key: str) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, key)
            await until(pilot, lambda: not app.is_running)

    drive(test)


def test_a_second_quit_offers_to_kill() -> None:
    async def test() -> None:
        link = ScriptedLink(*live())
        app = make(link, quit_stops=True)
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "q")
            await until_shown(pilot, "Draining", "q kills instead")
            await press(pilot, "q")
            await until_shown(pilot, "Kill the workspace?")
            await press(pilot, "n", "q")
            await until_shown(pilot, "Kill the workspace?")
            await press(pilot, "y")
            await until(pilot, lambda: Command("kill") in link.sent)
            link.say(Lost("the supervisor closed the connection"), Absent("no supervisor", 1.0))
            await until(pilot, lambda: not app.is_running)
        assert link.sent == [Command("stop"), Command("kill")]

    drive(test)


def test_a_second_ctrl_c_kills_without_asking() -> None:
    async def test() -> None:
        link = ScriptedLink(*live())
        app = make(link, quit_stops=True)
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "ctrl+c")
            await until_shown(pilot, "Draining")
            await press(pilot, "q")
            await until_shown(pilot, "Kill the workspace?")
            await press(pilot, "ctrl+c")  # also while something else is asked
            await until(pilot, lambda: Command("kill") in link.sent)
            link.say(Lost("the supervisor closed the connection"), Absent("no supervisor", 1.0))
            await until(pilot, lambda: not app.is_running)
        assert link.sent == [Command("stop"), Command("kill")]

    drive(test)


def test_quit_with_nobody_there_just_leaves() -> None:
    async def test() -> None:
        link = ScriptedLink(Absent("no supervisor", 1.0))
        app = make(link, quit_stops=True)
        async with running(app) as pilot:
            await until_shown(pilot, "Connecting")
            await press(pilot, "q")
            await until(pilot, lambda: not app.is_running)
        assert link.sent == []

    drive(test)


# --- states --------------------------------------------------------------------------------------------------


def test_a_silent_supervisor_is_stale() -> None:
    now = [100.0]

    async def test() -> None:
        link = ScriptedLink(*live())
        app = make(link, clock=lambda: now[0], stale_after=3)
        async with running(app) as pilot:
            await until_shown(pilot, "● live")
            now[0] += 8
            await until_shown(pilot, "⚠ STALE 8s", "the supervisor is silent", "showing what was so 8s ago")
            link.say(Arrived(sample.snapshot()))
            await until_shown(pilot, "● live")
            await until_gone(pilot, "STALE")

    drive(test)


def test_an_empty_workspace() -> None:
    async def test() -> None:
        empty = msgspec.structs.replace(sample.snapshot(), actors=(), edges=(), failures=(), log=(), tree=None)
        app = make(ScriptedLink(*live(empty)))
        async with running(app) as pilot:
            await until_shown(pilot, "This workspace has no actors yet.", "[1 Failures]")
            await press(pilot, "1", "enter", "2", "3", "4", "j", "G")
            assert len(app.screen_stack) == 1

    drive(test)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"state": "draining"}, "▽ DRAINING"),
        ({"state": "stopped"}, "■ STOPPED"),
        ({"boundary": "NONE"}, "NO ISOLATION"),
        ({"boundary": "microVM"}, "▣ microVM"),
        ({"redis": RedisStatus(kind="tcp", available=False)}, "Redis tcp ✖ away"),
        ({"redis": RedisStatus(kind="tcp", available=False)}, "commits wait, nothing is lost"),
    ],
)
def test_what_is_wrong_is_said_in_words(changes: dict[str, Any], shown: str) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live(msgspec.structs.replace(sample.snapshot(), **changes))))
        async with running(app) as pilot:
            await until_shown(pilot, shown)

    drive(test)


def test_every_state_of_an_actor_has_a_word_and_a_symbol() -> None:
    states = ("starting", "running", "backoff", "stopped", "failed", "paused")
    actors = tuple(ActorStatus(id=f"a-{s}", component="c", runtime="python", state=s) for s in states)

    async def test() -> None:
        app = make(ScriptedLink(*live(msgspec.structs.replace(sample.snapshot(), actors=actors))))
        async with running(app) as pilot:
            await until_shown(pilot, "◌ starting", "● running", "↻ backoff", "■ stopped", "✖ failed", "‖ paused")

    drive(test)


def test_it_is_usable_at_80_by_24() -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app, (80, 24)) as pilot:
            await until_shown(pilot, "● live", "dead letters 2", "seasonal-1", "ZeroDiv", "[1 Failures (3)]", "q Quit")
            lines = screen_text(app).splitlines()
            assert "q Quit" in lines[-1]
            assert "? Help" in lines[-1]
            for name in (actor.id for actor in sample.snapshot().actors):
                assert any(name in line for line in lines)

    drive(test)


@pytest.mark.parametrize("size", [(20, 8), (40, 12), (200, 60)])
def test_no_size_breaks_it(size: tuple[int, int]) -> None:
    async def test() -> None:
        app = make(ScriptedLink(*live()))
        async with running(app, size) as pilot:
            await until(pilot, lambda: app.query_one(ActorTable).row_count == 9)
            await press(pilot, "t", "4", "question_mark", "escape", "slash", "a", "escape")
            await pilot.resize_terminal(100, 30)
            await until_shown(pilot, "● live")

    drive(test)


def test_updates_touch_what_changed_and_leave_the_cursor() -> None:
    grown = sample.snapshots()

    async def test() -> None:
        link = ScriptedLink(*live(next(grown)))
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "j", "j")
            table = app.query_one(ActorTable)
            cleared: list[bool] = []
            table.clear = lambda columns=False: cleared.append(columns) or table  # type: ignore[assignment]
            for _ in range(4):
                link.say(Arrived(next(grown)))
            await until_shown(pilot, "49%")
            assert cleared == []
            assert current(app) == "clean"

    drive(test)


def test_an_actor_that_goes_leaves_the_cursor_near() -> None:
    async def test() -> None:
        link = ScriptedLink(*live())
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "stations")
            await press(pilot, "j", "j")
            fewer = tuple(actor for actor in sample.snapshot().actors if actor.id != "clean")
            link.say(Arrived(msgspec.structs.replace(sample.snapshot(), actors=fewer)))
            await until_shown(pilot, "Actors  8")
            assert current(app) == "geocode"

    drive(test)


def test_two_thousand_actors() -> None:
    actors = tuple(
        ActorStatus(id=f"actor-{i:04}", component="c", runtime="python", state="running") for i in range(2000)
    )

    async def test() -> None:
        link = ScriptedLink(*live(msgspec.structs.replace(sample.snapshot(), actors=actors)))
        app = make(link)
        async with running(app) as pilot:
            await until_shown(pilot, "Actors  2000")
            await press(pilot, "G")
            await until_shown(pilot, "actor-1999")

    drive(test)


# --- hostile text --------------------------------------------------------------------------------------------


def test_text_of_scripts_is_neither_markup_nor_control() -> None:
    nasty = "[red]x[/nope] \x1b[2J\x07[@click=app.quit]z[/]"
    error = ErrorInfo(type=nasty, message=nasty, traceback=nasty, at=1.0)
    actor = ActorStatus(id="[b]", component=nasty, runtime="python", state="failed", last_error=error)
    snapshot = msgspec.structs.replace(
        sample.snapshot(),
        workspace="[/x]",
        actors=(actor,),
        failures=(Failure(at=1e300, actor=nasty, kind=nasty, reason=nasty, detail=nasty),),
        log=(LogLine(seq=1, at=-1e300, level="error", source=nasty, message=nasty),),
        tree=TreeNode(id=nasty, state=nasty, strategy=nasty, children=(TreeNode(id="", state=""),)),
    )

    async def test() -> None:
        link = ScriptedLink(*live(snapshot))
        app = make(link)
        async with running(app, (160, 40)) as pilot:
            await until_shown(pilot, "[/x]", "[b]", "[red]x[/nope]")
            for key in ("enter", "escape", "2", "3", "4", "1", "enter", "escape"):
                await press(pilot, key)
                await pilot.pause()
                assert "\x1b" not in screen_text(app)
            await press(pilot, "tab", "x")
            await until_shown(pilot, "Stop [b]?")
            await press(pilot, "n", "slash", *"[", "enter")
            await until_shown(pilot, "filter [")
            assert link.sent == []

    drive(test)
