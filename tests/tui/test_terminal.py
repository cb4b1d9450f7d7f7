"""The program in a real terminal: tmux runs it, types at it and reads its screen."""

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
from tui.supervisor_thread import ThreadedSupervisor
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


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[ThreadedSupervisor]:
    with ThreadedSupervisor(tmp_path / "control.sock") as supervisor:
        yield supervisor


def start(terminal: Terminal, supervisor: ThreadedSupervisor, *options: str) -> None:
    terminal.run("echo before-it")
    terminal.wait_for("before-it\n")
    program = shlex.join([sys.executable, "-m", "reflow_tui", os.fspath(supervisor.path), *options])
    terminal.run(f"{program}; echo exit=$?")
    terminal.wait_for("weather", "● live", "seasonal-1", "q Quit")


def assert_restored(terminal: Terminal, code: int = 0) -> None:
    terminal.wait_for(f"exit={code}", "before-it")
    assert terminal.facts("#{alternate_on}") == "0"
    assert terminal.facts("#{mouse_any_flag}") == "0"
    assert terminal.facts("#{cursor_flag}") == "1"
    terminal.run("stty -a | tr ' ' '\\n' | grep -cx -e icanon -e echo")
    terminal.wait_for("\n2\n")


def test_it_is_driven_by_keys_and_leaves_the_terminal_as_it_was(
    terminal: Terminal, supervisor: ThreadedSupervisor
) -> None:
    start(terminal, supervisor)
    assert terminal.facts("#{alternate_on}") == "1"
    terminal.type("j", "r")
    terminal.wait_for("restart parse-csv: accepted")
    assert supervisor.provider.calls == [("restart", "parse-csv")]
    terminal.type("/")
    terminal.type("-l", "seas")
    terminal.wait_for("2 of 9")
    terminal.type("Escape")
    terminal.wait_for("Actors  9")
    terminal.type("?")
    terminal.wait_for("Everywhere", "Only actors with faults")
    terminal.type("q")
    terminal.wait_until(lambda screen: "Everywhere" not in screen, "the help gone")
    terminal.type("q")
    assert_restored(terminal)
    assert supervisor.provider.calls == [("restart", "parse-csv")]


def test_quit_stops_waits_until_the_supervisor_is_gone(terminal: Terminal, supervisor: ThreadedSupervisor) -> None:
    start(terminal, supervisor, "--quit-stops")
    terminal.type("q")
    terminal.wait_for("Draining")
    assert supervisor.provider.calls == [("stop",)]
    supervisor.stop()
    assert_restored(terminal)


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Terminal, supervisor: ThreadedSupervisor) -> None:
    start(terminal, supervisor)
    shell = terminal.facts("#{pane_pid}")
    children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert_restored(terminal)


def test_without_a_terminal_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reflow_tui", os.fspath(tmp_path / "none")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert done.stdout == ""
