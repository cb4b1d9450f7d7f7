"""A program that answers every line of JSON on its stdin with one on its stdout: a network, or one of its peers.

`Lines` drives both alike, so that what it costs itself is the same on both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WAIT = 30.0
"""Seconds that a program may take to end after its input did."""


def row(number: int) -> dict[str, Any]:
    """The small message that all benchmarks send."""
    return {"id": number, "name": "sensor-7", "value": 21.5}


def encoded(number: int) -> bytes:
    return json.dumps(row(number), separators=(",", ":")).encode() + b"\n"


class Lines:
    """A context manager; the program lives as long as it does.

    Args:
        command: the program and its arguments; `sys.executable` is a good first one.
        cwd: where it is run.
    """

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        self._command = list(command)
        self._cwd = cwd

    def __enter__(self) -> Self:
        self._killed = False
        self._said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self._command, cwd=self._cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        assert self.process.stdin
        assert self.process.stdout
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._killed:
                self._stdin.close()
                code = self.process.wait(WAIT)
                if code != 0:
                    raise RuntimeError(f"{self._command[:4]} ended with {code}: {self.said()}")
        finally:
            self.process.kill()
            self.process.wait()
            for file in (self._stdin, self._stdout, self._said):
                file.close()

    def kill(self) -> None:
        """SIGKILL, as part of what is measured: that it ended so is no error."""
        self._killed = True
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-2000:]

    def send(self, line: bytes) -> None:
        self._stdin.write(line)
        self._stdin.flush()

    def receive(self) -> bytes:
        line = self._stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command[:4]} gave no answer: {self.said()}")
        return line

    def round_trips(self, count: int) -> list[float]:
        """Seconds of each, one message at a time."""
        times: list[float] = []
        for i in range(count):
            line = encoded(i)
            start = time.perf_counter()
            self.send(line)
            self.receive()
            times.append(time.perf_counter() - start)
        return times

    def stream(self, count: int) -> float:
        """Messages per second when all are offered at once, from the first written to the last answered."""
        lines = b"".join(encoded(i) for i in range(count))
        writer = threading.Thread(target=self.send, args=(lines,))
        start = time.perf_counter()
        writer.start()
        try:
            for _ in range(count):
                self.receive()
        except BaseException:
            self.process.kill()  # which ends the writer too
            raise
        finally:
            writer.join()
        return count / (time.perf_counter() - start)


ECHO = """
import json, sys
for line in sys.stdin.buffer:
    sys.stdout.write(json.dumps(json.loads(line), separators=(",", ":")) + "\\n")
    sys.stdout.flush()
"""


def plain_subprocess() -> Lines:
    """What people write who have no sandbox: a script that reads and writes lines of JSON."""
    return Lines([sys.executable, "-I", "-S", "-c", ECHO], Path("/"))


def plain_chain(stages: int) -> Lines:
    """Such scripts, joined by the shell's pipes."""
    script = " | ".join(['"$0" -I -S -c "$1"'] * stages)
    return Lines(["/bin/sh", "-c", script, sys.executable, ECHO], Path("/"))
