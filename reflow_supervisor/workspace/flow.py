"""What `--feed` and `--collect` bring into a network and take out of it: lines of JSON.

A feed waits for room like any producer, and a collected port has a mailbox like any consumer, so that a slow reader of
the results slows the network down instead of filling memory. It decides what becomes of a line that is not JSON, and
of results that cannot be written.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable

import attrs
import msgspec
import trio
from reflow.wire import values

from reflow_supervisor.errors import EnvironmentError_, Location, Problem, UserError
from reflow_supervisor.network.descriptors import read_some, write_all
from reflow_supervisor.network.inbox import Activation, Inbox
from reflow_supervisor.network.lines import BadLineError, JsonReader, LineSplitter
from reflow_supervisor.network.router import Router


@attrs.define(eq=False)
class Feed:
    """Lines of JSON for an exposed inport, from `fd`. `size` in bytes where it is a file; `read` and `lines` so far."""

    port: str
    fd: int
    name: str
    size: int | None = None
    read: int = 0
    lines: int = 0
    fed: int = 0
    """Messages that were offered."""

    def close(self) -> None:
        if self.fd != 0:
            os.close(self.fd)


@attrs.define(eq=False)
class Collect:
    """Where the messages of an exposed outport go, one line of JSON each. `lines`: written so far."""

    port: str
    fd: int
    name: str
    lines: int = 0

    @property
    def node(self) -> str:
        """The name of its mailbox. No node of a network is called so: spaces around are cut off names."""
        return f" --collect {self.port}={self.name}"

    def close(self) -> None:
        if self.fd != 1:
            os.close(self.fd)


def open_feed(text: str) -> Feed:
    """PORT=FILE, where `-` is standard input.

    Raises:
        UserError: it is not written so, or cannot be read.
    """
    port, file = _split("--feed", text, "standard input")
    if file == "-":
        return Feed(port, 0, "stdin")
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(fd)
    except OSError as e:
        raise EnvironmentError_(f"--feed {port}: cannot read {file}: {e.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        os.close(fd)
        raise EnvironmentError_(f"--feed {port}: cannot read {file}: it is a directory")
    return Feed(port, fd, file, status.st_size if stat.S_ISREG(status.st_mode) else None)


def open_collect(text: str) -> Collect:
    """PORT=FILE, where `-` is standard output.

    Raises:
        UserError: it is not written so, or cannot be written to.
    """
    port, file = _split("--collect", text, "standard output")
    if file == "-":
        return Collect(port, sys.stdout.fileno(), "stdout")
    try:
        return Collect(port, os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666), file)
    except OSError as e:
        raise EnvironmentError_(f"--collect {port}: cannot write {file}: {e.strerror}") from None


def _split(option: str, text: str, dash: str) -> tuple[str, str]:
    port, equals, file = text.partition("=")
    if not equals or not port or not file:
        raise UserError(f"{option} {text}: write PORT=FILE, or PORT=- for {dash}")
    return port, file


async def feed(source: Feed, router: Router, longest: int, bad_line: Callable[[Problem], bool]) -> None:
    """Offers each line to the inport, in order, as there is room, until `bad_line` says of one not to go on.

    Args:
        longest: bytes of a line.

    Raises:
        EnvironmentError_: it cannot be read.
    """
    edge = router.inports[source.port]
    inbox, splitter, reader = router.inboxes[edge.node], LineSplitter(longest), JsonReader(longest)
    while True:
        try:
            block = await read_some(source.fd)
        except OSError as e:
            raise EnvironmentError_(f"--feed {source.port}: cannot read {source.name}: {e.strerror}") from None
        source.read += len(block)
        for line in splitter.feed(block) if block else splitter.finish():
            source.lines = line.number
            try:
                message = reader.read(line)
            except BadLineError as e:
                hint = "--on-bad-input skip goes on without it"
                if bad_line(Problem("bad-input", str(e), Location(source.name, e.number), hint=hint)):
                    continue
                router.bump()
                return
            if message is None:
                continue
            if edge.blocks:
                router.bump()  # what was offered so far has to be taken, or there will never be room
                while edge.blocks:
                    await router.changed.wait()
            inbox.offer(edge, message)
            source.fed += 1
        router.bump()
        if not block:
            return


async def collect(sink: Collect, inbox: Inbox, router: Router, lock: trio.Lock) -> None:
    """Writes what comes to `inbox`, in order, until cancelled. `lock` is the file's: two ports may go to one.

    Raises:
        EnvironmentError_: it cannot be written.
    """
    while True:
        changed = router.changed
        taken: list[Activation] = []
        while (activation := inbox.take()) is not None:
            taken.append(activation)
        if not taken:
            await changed.wait()
            continue
        text = "".join(_line(raw) for activation in taken for raw in activation.inputs.values())
        try:
            async with lock:
                await write_all(sink.fd, text.encode())
        except OSError as e:
            raise EnvironmentError_(f"--collect {sink.port}: cannot write {sink.name}: {e.strerror}") from None
        for activation in taken:
            inbox.done(activation)
        sink.lines += len(taken)
        router.bump()


def _line(raw: msgspec.Raw) -> str:
    return values.json_text(values.to_plain(*values.decode(raw))) + "\n"
