"""A log file that cannot fill the disk, and the last lines in it to explain an end with."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_LOG_LIMIT = 1024 * 1024
_LAST_LINES = 12
_LINE_LIMIT = 500


class BoundedLog:
    """A log file of at most twice its limit: when it is full it becomes `<name>.1`, in place of the one
    before."""

    def __init__(self, path: Path, limit: int = _LOG_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._line = b""
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines of this run, to explain an end with."""
        return tuple(self._lines)

    def write(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        self._lines.extend(line[:_LINE_LIMIT].decode(errors="replace") for line in lines)
        if len(self._line) > _LINE_LIMIT:
            self._line = self._line[:_LINE_LIMIT]
        # A full disk must not end the server: it says so itself, and keeps commits waiting.
        with suppress(OSError):
            self._append(data)

    def _append(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, data)
            full = os.fstat(descriptor).st_size >= self._limit
        finally:
            os.close(descriptor)
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
