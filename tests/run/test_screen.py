"""`run` on a real terminal: the screen, the end of a finite run, quitting, and what becomes of the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from run.harness import Workspace, command_line, descendants
from tui.terminal import Terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def start(terminal: Terminal, ws: Workspace, *options: str) -> None:
    program = shlex.join([sys.executable, "-m", "reflow_supervisor", "run", *options])
    terminal.run(f"cd {ws.path} && {program}; echo exit=$?")


def assert_restored(terminal: Terminal, code: int) -> None:
    terminal.wait_for(f"exit={code}")
    assert terminal.facts("#{alternate_on}") == "0"
    assert terminal.facts("#{mouse_any_flag}") == "0"
    assert terminal.facts("#{cursor_flag}") == "1"
    terminal.run("stty -a | tr ' ' '\\n' | grep -cx -e icanon -e echo")
    terminal.wait_for("\n2\n")


def test_a_finite_run_is_shown_to_its_end_and_q_leaves(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('return {"o": v}')
    ws.feed(range(10))
    start(terminal, ws, "--feed", "v=in.jsonl", "--collect", "o=out.jsonl")
    terminal.wait_for("STOPPED", "in 10", "namespaces", "q Quit")
    terminal.type("q")
    assert_restored(terminal, 0)
    terminal.wait_for("10 fed, 10 from o; 0 restarts, 0 dead letters")
    assert ws.rows() == list(range(10))


def test_a_failing_row_is_shown_and_quitting_drains(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('if v == 3:\n    raise ValueError("not three")\nreturn {"o": v}')
    ws.feed(range(10))
    start(terminal, ws, "--keep-running", "--feed", "v=in.jsonl", "--collect", "o=out.jsonl")
    terminal.wait_for("running", "dead letters 1", "not three")
    terminal.type("q")
    assert_restored(terminal, 1)
    assert ws.rows() == [i for i in range(10) if i != 3]


@pytest.mark.parametrize("key", ["q", "C-c"])
def test_a_run_that_is_cut_short_ends_with_130(ws: Workspace, terminal: Terminal, key: str) -> None:
    ws.actor('time.sleep(0.05)\nreturn {"o": v}', top="import time")
    ws.feed(range(1000))
    (ws.path / "reflow.yaml").write_text((ws.path / "reflow.yaml").read_text() + "limits: {in_flight: 1}\n")
    start(terminal, ws, "--feed", "v=in.jsonl", "--collect", "o=out.jsonl")
    terminal.wait_for("● live")
    terminal.wait_until(lambda _: (ws.path / "out.jsonl").exists() and len(ws.rows()) > 3, "rows")
    terminal.type(key)
    if key == "C-c":
        terminal.wait_for("Draining")
        terminal.type(key)  # once more: at once
    else:
        terminal.wait_for("Draining")
        terminal.type(key)
        terminal.wait_for("Kill the workspace?")
        terminal.type("y")
    assert_restored(terminal, 130)
    rows = ws.rows()
    assert 3 < len(rows) < 1000
    assert rows == list(range(len(rows)))


def test_the_run_goes_on_when_the_screen_dies_and_a_signal_drains_it(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('return {"o": v}')
    ws.feed(range(3))
    start(terminal, ws, "--keep-running", "--feed", "v=in.jsonl", "--collect", "o=out.jsonl")
    terminal.wait_for("● live", "in 3")
    shell = terminal.facts("#{pane_pid}")
    (run,) = [pid for pid in descendants(int(shell)) if "reflow_supervisor run" in command_line(pid)]
    (screen,) = [pid for pid in descendants(run) if "-m reflow_tui" in command_line(pid)]
    os.kill(screen, signal.SIGKILL)
    terminal.wait_until(lambda _: terminal.facts("#{alternate_on}") == "0", "the main screen")
    os.kill(run, signal.SIGTERM)
    assert_restored(terminal, 130)
    assert "the screen ended with code -9; going on without it" in (ws.path / ".reflow" / "run.log").read_text()
    assert ws.rows() == [0, 1, 2]


def test_a_second_screen_attaches_and_leaves_without_stopping(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('return {"o": v}')
    ws.feed(range(3))
    line = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", "--keep-running", "--feed", "v=in.jsonl"]
    with subprocess.Popen(line, cwd=ws.path, stderr=subprocess.DEVNULL) as run:
        try:
            attach = shlex.join([sys.executable, "-m", "reflow_supervisor", "attach"])
            terminal.run(f"cd {ws.path} && {attach}; echo exit=$?")
            terminal.wait_for("● live", "in 3", "running")
            terminal.type("q")
            assert_restored(terminal, 0)
            assert run.poll() is None
        finally:
            run.terminate()
            assert run.wait(20) == 130


def test_the_screen_and_a_feed_cannot_share_the_terminal(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('return {"o": v}')
    start(terminal, ws, "--feed", "v=-")
    terminal.wait_for("cannot both read the terminal", "exit=2")


def test_progress_is_shown_on_a_terminal_without_a_screen(ws: Workspace, terminal: Terminal) -> None:
    ws.actor('time.sleep(0.2)\nprint("at", v)\nreturn {"o": v}', top="import time")
    ws.feed(range(20))
    start(terminal, ws, "--headless", "--feed", "v=in.jsonl", "--collect", "o=out.jsonl")
    screen = terminal.wait_until(lambda text: "at 4" in text and " out" in text, "progress below log lines")
    assert screen.rstrip().splitlines()[-1].count("━") == 20
    terminal.wait_for("20 fed, 20 from o", "exit=0")
    assert "━" not in terminal.screen()
