"""What starting bwrap takes, whatever is started in it: the descriptors to and from it, and what it says.

It decides nothing about what is seen or allowed inside; `bubblewrap` and `zygote` do.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import IO

import trio

from reflow_supervisor.errors import SandboxError

MAX_INFO = 65536
SETUP_TIMEOUT = 30.0
SHARED_MEMORY = 16 * 1024 * 1024
"""The most that /dev/shm of a sandbox holds."""


def pipe(descriptors: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """A pipe, closed with `descriptors`."""
    reader, writer = os.pipe()
    return (
        descriptors.enter_context(os.fdopen(reader, "rb", buffering=0)),
        descriptors.enter_context(os.fdopen(writer, "wb", buffering=0)),
    )


def memory_file(content: bytes, descriptors: contextlib.ExitStack) -> int:
    """A descriptor that the content can be read from, closed with `descriptors`."""
    file = descriptors.enter_context(os.fdopen(os.memfd_create("bwrap"), "w+b", buffering=0))
    file.write(content)
    file.seek(0)
    return file.fileno()


async def child_pid(info: int, who: str) -> int | None:
    """The process that bwrap has made and holds; None where bwrap ended without saying.

    Args:
        info: what it writes to by `--info-fd`.

    Raises:
        SandboxError: it said nothing for long.
    """
    # Shielded: to kill bwrap before it has told the pid could leave that process behind, waiting for ever.
    with trio.CancelScope(shield=True), trio.move_on_after(SETUP_TIMEOUT):
        return await _read_pid(info)
    raise SandboxError(f"{who}: bwrap made no namespaces within {SETUP_TIMEOUT:.0f} s")


async def _read_pid(info: int) -> int | None:
    text = b""
    while len(text) < MAX_INFO:
        await trio.lowlevel.wait_readable(info)
        part = os.read(info, MAX_INFO)
        if not part:
            break
        text += part
    return int(json.loads(text)["child-pid"]) if text else None
