"""Reading and writing file descriptors without ever blocking the Trio thread, or leaving a thread behind.

It decides how: pipes, sockets and terminals are waited for by Trio, files are read and written in threads by blocks.
Descriptors stay as they are: made non-blocking, they would be so for everybody who shares them.
"""

from __future__ import annotations

import os
import select

import trio

BLOCK = 256 * 1024
"""Bytes at a time."""

PIPE_BLOCK = 4096
"""Bytes that a pipe which poll calls writable takes without blocking (PIPE_BUF, pipe(7))."""


def is_waited_for(fd: int) -> bool:
    """Whether it is something that one waits for, and not a file or /dev/null."""
    with select.epoll(1) as probe:
        try:
            probe.register(fd)
        except PermissionError:
            return False
    return True


async def read_some(fd: int) -> bytes:
    """What there is to read; b"" at the end. Can be cancelled where one waits.

    Raises:
        OSError: it cannot be read.
    """
    if is_waited_for(fd):
        await trio.lowlevel.wait_readable(fd)
        return os.read(fd, BLOCK)
    return await trio.to_thread.run_sync(os.read, fd, BLOCK)


async def write_all(fd: int, data: bytes) -> None:
    """Returns when all of it is written.

    Raises:
        OSError: it cannot be written; part of it may have been.
    """
    left = memoryview(data)
    if is_waited_for(fd):
        while left:
            await trio.lowlevel.wait_writable(fd)
            left = left[os.write(fd, left[:PIPE_BLOCK]) :]
    else:
        while left:
            left = left[await trio.to_thread.run_sync(os.write, fd, left[:BLOCK]) :]
