"""Where rendered log lines go: a descriptor that is written to only when it takes something, or any text stream.

It decides what happens when nobody reads (lines wait, up to a bound, then are counted and dropped) and when nobody
can read any more (everything is dropped in silence: a run does not end because its log does). It does not know what
is in a line.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from typing import Protocol, TextIO

import trio

_PIECE = 4096
"""PIPE_BUF: a pipe that poll calls writable takes this much without blocking."""
MAX_WAITING = 4 * 1024 * 1024
"""Bytes that wait for a reader, at most."""


class Sink(Protocol):
    def write(self, line: str) -> None:
        """Takes one record, its line end included. Neither blocks nor raises."""
        ...

    async def run(self) -> None:
        """Writes what could not be written at once, until it is cancelled. Optional: without it, what waits goes out
        with the next record, or at the end."""
        ...

    def finish(self, timeout: float) -> None:
        """Writes what still waits, for at most so many seconds. The only call that may block."""
        ...


class StreamSink:
    """A text stream without a descriptor, as in tests."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line)

    async def run(self) -> None:
        await trio.sleep_forever()

    def finish(self, timeout: float) -> None:
        self._stream.flush()


class DescriptorSink:
    """A descriptor that stays as it is: not made non-blocking, which the terminal's other users would notice.

    Args:
        fd: stays open, and belongs to the caller.
        max_waiting: bytes.
    """

    def __init__(self, fd: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._fd = fd
        self._max_waiting = max_waiting
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._closed = False
        self._stuck = trio.Event()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: str) -> None:
        if self._closed:
            return
        data = line.encode("utf-8", "backslashreplace")
        if self._waiting + len(data) > self._max_waiting:
            self._dropped += 1
        else:
            self._put(data)
        self._flush()

    async def run(self) -> None:
        while True:
            await self._stuck.wait()
            self._stuck = trio.Event()
            try:
                await trio.lowlevel.wait_writable(self._fd)
            except OSError:
                self._close()
            else:
                self._flush()

    def finish(self, timeout: float) -> None:
        self._flush(time.monotonic() + timeout)

    def _put(self, data: bytes) -> None:
        self._pieces.extend(data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
        self._waiting += len(data)

    def _flush(self, deadline: float | None = None) -> None:
        """Writes what the descriptor takes; with a deadline (of `time.monotonic`), waits for it to take more."""
        while self._pieces or self._dropped:
            if not self._pieces:
                dropped, self._dropped = self._dropped, 0
                self._put(f"({dropped} log records dropped: nobody read them)\n".encode())
            try:
                ready = self._poll.poll(0 if deadline is None else max(0.0, deadline - time.monotonic()) * 1000)
                written = os.write(self._fd, self._pieces[0]) if ready else 0
            except OSError:
                self._close()
                return
            if not ready:
                self._stuck.set()
                return
            self._waiting -= written
            rest = self._pieces[0][written:]
            if rest:
                self._pieces[0] = rest
            else:
                self._pieces.popleft()

    def _close(self) -> None:
        self._closed = True
        self._pieces.clear()
        self._waiting = self._dropped = 0


def sink_for(stream: TextIO) -> Sink:
    """The descriptor of a stream where it has one. What the stream itself holds back is written first."""
    try:
        stream.flush()
        return DescriptorSink(stream.fileno())
    except (OSError, ValueError):
        return StreamSink(stream)
