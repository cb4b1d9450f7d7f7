"""The screen of `run`: the terminal UI as a process of its own, a client of the control endpoint like any other.

A process of its own because Textual brings an asyncio loop and takes the terminal: whatever becomes of it, the
supervisor goes on, and the terminal is put back.
"""

from __future__ import annotations

import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import trio

_LEAVE = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[<u\x1b[0m"
"""Main screen, cursor, no mouse reports, no bracketed paste, plain keys, plain colours."""

_PATIENCE = 3.0
"""Seconds that it may take to end by itself."""


def possible() -> bool:
    """Whether there is a terminal to draw on and to be typed at."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def show(socket: Path, on_end: Callable[[int], None], *, quit_stops: bool = True) -> None:
    """Shows the workspace that serves its control endpoint at `socket`, until the user leaves or it is cancelled.

    Args:
        on_end: called with its exit code where it ended by itself.
        quit_stops: leaving drains the workspace.
    """
    before = termios.tcgetattr(sys.stdin)
    command = [sys.executable, "-m", "reflow_tui", str(socket), *(["--quit-stops"] if quit_stops else [])]
    # In this process group, so that the terminal takes it for part of the foreground job.
    process: trio.Process = await trio.lowlevel.open_process(command)
    try:
        on_end(await process.wait())
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                with trio.move_on_after(_PATIENCE):
                    process.send_signal(signal.SIGTERM)
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            sys.stderr.write(_LEAVE)
            sys.stderr.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
