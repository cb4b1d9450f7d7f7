"""Log lines to real pipes: read late, read never, and read no more."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from reflow_supervisor.telemetry.sinks import DescriptorSink, StreamSink, sink_for


class Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.open = {self.read, self.write}
        self.size = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, 4096)

    def close(self, fd: int) -> None:
        if fd in self.open:
            self.open.remove(fd)
            os.close(fd)

    def taken(self) -> str:
        """All that is in it now."""
        os.set_blocking(self.read, False)
        found = b""
        while True:
            try:
                part = os.read(self.read, 65536)
            except BlockingIOError:
                part = b""
            if not part:
                return found.decode()
            found += part


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    it = Pipe()
    yield it
    for fd in tuple(it.open):
        it.close(fd)


def everything(sink: DescriptorSink, pipe: Pipe) -> str:
    """What waits, and what is in the pipe: a pipe of one page takes one piece at a time."""
    found = pipe.taken()
    while True:
        sink.finish(0)
        part = pipe.taken()
        if not part:
            return found
        found += part


def test_a_line_goes_out_at_once_and_what_utf_8_has_not_is_written_out(pipe: Pipe) -> None:
    DescriptorSink(pipe.write).write("one ü \ud800\n")
    assert pipe.taken() == "one ü \\ud800\n"


def test_what_nobody_reads_waits_in_order_and_goes_out_with_the_next(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write)
    lines = [f"{n:0100}\n" for n in range(200)]
    for line in lines:
        sink.write(line)
    assert everything(sink, pipe) == "".join(lines)


def test_beyond_the_bound_lines_are_dropped_and_counted_once_there_is_room(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write, max_waiting=1000)
    os.write(pipe.write, b"x" * pipe.size)
    for n in range(20):
        sink.write(f"{n:099}\n")
    assert pipe.taken() == "x" * pipe.size
    *kept, told = everything(sink, pipe).splitlines()
    assert [int(line) for line in kept] == list(range(10))
    assert told == "(10 log records dropped: nobody read them)"
    sink.write("again\n")
    assert pipe.taken() == "again\n"


def test_without_a_reader_everything_is_dropped_in_silence(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write)
    pipe.close(pipe.read)
    for _ in range(3):
        sink.write("line\n")
    sink.finish(5)
    pipe.close(pipe.write)
    sink.write("not even looked at\n")
    assert sink._waiting == 0  # type: ignore[reportPrivateUsage]


def test_finishing_is_bounded_in_time(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write)
    sink.write("x" * (3 * pipe.size))
    sink.finish(0.01)
    assert len(pipe.taken()) == pipe.size


@pytest.mark.trio
async def test_while_it_runs_what_waits_goes_out_as_it_is_read(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write)
    text = "".join(f"{n}\n" for n in range(5000))
    found = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.write(text)
        while len(found) < len(text):
            await trio.lowlevel.wait_readable(pipe.read)
            found += os.read(pipe.read, 65536)
        nursery.cancel_scope.cancel()
    assert found.decode() == text


@pytest.mark.trio
async def test_a_reader_that_goes_away_while_lines_wait(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.write)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.write("x" * (3 * pipe.size))
        await trio.testing.wait_all_tasks_blocked()
        pipe.close(pipe.read)
        with trio.fail_after(5):
            while sink._pieces:  # type: ignore[reportPrivateUsage]
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    sink.write("line\n")
    assert not sink._pieces  # type: ignore[reportPrivateUsage]


@pytest.mark.trio
async def test_a_stream_without_a_descriptor() -> None:
    stream = io.StringIO()
    sink = sink_for(stream)
    assert isinstance(sink, StreamSink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.write("one\n")
        sink.finish(1)
        nursery.cancel_scope.cancel()
    assert stream.getvalue() == "one\n"


def test_a_file_s_own_text_comes_first() -> None:
    with tempfile.TemporaryFile("w+") as file:
        file.write("held back\n")
        sink = sink_for(file)
        assert isinstance(sink, DescriptorSink)
        sink.write("then this\n")
        file.seek(0)
        assert file.read() == "held back\nthen this\n"
