"""`file`: the lines of a file into a network, or messages into the lines of a file.

It decides which paths may be opened, how a file that grows is followed, and where reading goes on after a failure.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from reflow_supervisor.documents import KeyPath
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.descriptors import BLOCK, write_all

from .body import Native, NativeError, while_open
from .sink import LineWriter, write_batch
from .source import FORMAT, LineSource, check_delimiter

COMPONENT = Component(
    "file",
    Runtime.NATIVE,
    inports=(PortDecl("in", "any", description="with mode write or append"),),
    outports=(PortDecl("out", "any", description="with mode read"),),
    description="Sends each line of a file on `out`, or writes what arrives on `in` to it.",
    config_schema={
        "properties": {
            "path": {"type": "string", "description": "relative to the workspace, and inside it"},
            "mode": {"enum": ["read", "write", "append"], "default": "read"},
            "tail": {
                "type": "boolean",
                "default": False,
                "description": "stay at the end and follow the file as it grows, is cut short or is replaced",
            },
            **FORMAT,
        },
        "required": ["path"],
        "additionalProperties": False,
    },
)

POLL = 0.2
"""Seconds between two looks at a file that is followed."""


def check(config: Mapping[str, Any], fed: bool, feeds: bool) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with the settings of a node. `fed`, `feeds`: whether `in` and `out` are connected."""
    reads = config.get("mode", "read") == "read"
    if reads and fed:
        yield ("mode",), "`in` is connected, and the file is read: set mode to write or append"
    if not reads and feeds:
        yield ("mode",), "`out` is connected, and the file is written: set mode to read"
    if not reads and config.get("tail"):
        yield ("tail",), "only a file that is read can be followed"
    yield from check_delimiter(config)


def allowed(path: str, directory: Path, roots: tuple[Path, ...]) -> Path:
    """The path of a file inside the workspace or one of the further directories, links followed.

    Raises:
        NativeError: it is outside.
    """
    found = (directory / path).resolve()
    for root in (directory, *roots):
        if found.is_relative_to(root.resolve()):
            return found
    raise NativeError(f"{path} is outside of the workspace; workspace.file_roots can allow its directory")


def check_file(config: Mapping[str, Any], directory: Path, roots: tuple[Path, ...]) -> str:
    """Why the file cannot be read or written; "" where nothing is known against it."""
    try:
        path = allowed(config["path"], directory, roots)
        if path.is_dir():
            return f"{config['path']!r} is a directory"
        if config.get("mode", "read") == "read":
            return "" if path.exists() else f"there is no file {config['path']}"
        return "" if path.parent.is_dir() else f"there is no directory {Path(config['path']).parent}"
    except (NativeError, OSError, ValueError) as e:
        return str(e)


async def run(native: Native, *, task_status: trio.TaskStatus[None]) -> None:
    path = allowed(native.config["path"], native.directory, native.roots)
    if native.config["mode"] == "read":
        await _read(native, path, task_status)
    else:
        await _write(native, path, task_status)


@attrs.define(eq=False)
class _Progress:
    """`offset`: bytes of the file that `source` has got."""

    source: LineSource
    offset: int = 0


async def _read(native: Native, path: Path, task_status: trio.TaskStatus[None]) -> None:
    progress: _Progress = native.progress or _Progress(LineSource(native.config, native.config["path"]))
    native.progress = progress
    follow: bool = native.config["tail"]
    fd = await _open(path, os.O_RDONLY)

    async def read() -> None:
        nonlocal fd
        try:
            await progress.source.drain(native)
            while True:
                block = await trio.to_thread.run_sync(os.pread, fd, BLOCK, progress.offset)
                if block:
                    progress.offset += len(block)
                    progress.source.feed(block)
                    await progress.source.drain(native)
                elif not follow:
                    break
                else:
                    await trio.sleep(POLL)
                    fd = await _follow(native, path, fd, progress)
        except OSError as e:
            raise NativeError(f"cannot read {path}: {e.strerror}") from None
        progress.source.finish()
        await progress.source.drain(native)

    try:
        await while_open(native, read, task_status)
    finally:
        os.close(fd)


async def _follow(native: Native, path: Path, fd: int, progress: _Progress) -> int:
    """The descriptor to go on with: another one where another file is there now."""
    here = os.fstat(fd)
    try:
        there = await trio.to_thread.run_sync(os.stat, path)
    except FileNotFoundError:
        return fd  # it is being replaced
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        if here.st_size > progress.offset:
            return fd  # written to before it was replaced
        native.report("info", native.id, f"{native.config['path']} was replaced; reading it from its beginning")
        new = await _open(path, os.O_RDONLY)
        os.close(fd)
        fd, progress.offset = new, 0
    elif there.st_size < progress.offset:
        native.report("info", native.id, f"{native.config['path']} was cut short; reading it from its beginning")
        progress.offset = 0
    return fd


async def _write(native: Native, path: Path, task_status: trio.TaskStatus[None]) -> None:
    fresh = native.progress is None and native.config["mode"] == "write"
    fd = await _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0))
    try:
        writer = native.progress
        if writer is None:
            writer = native.progress = LineWriter(
                native.config["format"], native.config["delimiter"], _header(path, native) if not fresh else None
            )
        native.give_back()
        task_status.started()
        while True:
            await write_batch(native, writer, partial(write_all, fd))
    except OSError as e:
        raise NativeError(f"cannot write {path}: {e.strerror}") from None
    finally:
        os.close(fd)


def _header(path: Path, native: Native) -> list[str] | None:
    """The columns of a CSV file that is appended to."""
    if native.config["format"] != "csv":
        return None
    with path.open(encoding="utf-8", newline="") as file:
        first = file.readline(BLOCK).rstrip("\r\n")
    return first.split(native.config["delimiter"]) if first else None


async def _open(path: Path, flags: int) -> int:
    """
    Raises:
        NativeError: it cannot be opened, or is no regular file.
    """

    def open_() -> int:
        # What the open of a named pipe or a device would wait for may never come.
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(0, "it is not a regular file")
        return fd

    try:
        return await trio.to_thread.run_sync(open_)
    except OSError as e:
        raise NativeError(f"cannot open {path}: {e.strerror}") from None
