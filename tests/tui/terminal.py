"""A real terminal: tmux runs a program, types at it and reads its screen."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


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
