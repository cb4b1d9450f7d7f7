"""The program in a real terminal: tmux runs it, types at it and reads its screen."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tui.supervisor_thread import ThreadedSupervisor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Terminal:
    """A tmux server of its own with one window of 80 x 24."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "tmux"
        environment = {**os.environ, "TERM": "xterm-256color", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
        self._environment = environment
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", os.fspath(self._socket), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=10, env=self._environment
        ).stdout

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def run(self, command: str) -> None:
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def wait_for(self, *pieces: str) -> str:
        return self.wait_until(lambda screen: all(piece in screen for piece in pieces), str(pieces))

    def wait_until(self, condition: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if condition(screen := self.screen()):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"not seen: {what}\n{self.screen()}")

    def facts(self, format_: str) -> str:
        return self._tmux("display-message", "-p", format_).strip()

    def close(self) -> None:
        self._tmux("kill-server")


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
