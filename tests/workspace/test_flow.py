"""Feeds and collects over real files and pipes, with a mailbox and without a network."""

from __future__ import annotations

import math
import os
import subprocess
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from reflow.wire import values

from reflow_supervisor.config import Endpoint
from reflow_supervisor.errors import EnvironmentError_, Problem, UserError
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.workspace.flow import Collect, Feed, collect, feed, open_collect, open_feed

END = Endpoint("a", "v")


def router_of(inbox: Inbox) -> Router:
    return Router(Graph(inports={"v": END} if inbox.node == END.node else {}), {inbox.node: inbox})


def never(problem: Problem) -> bool:
    raise AssertionError(problem)


def plain(inbox: Inbox) -> list[object]:
    """Everything that waits, taken and done."""
    found: list[object] = []
    while (activation := inbox.take()) is not None:
        found += [values.to_plain(*values.decode(raw)) for raw in activation.inputs.values()]
        inbox.done(activation)
    return found


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    ends = {read, write}
    yield read, write
    for fd in ends:
        try:
            os.close(fd)
        except OSError:  # the test closed it
            continue


class TestFeed:
    @pytest.mark.trio
    async def test_lines_become_messages_in_order_blank_ones_do_not(self, tmp_path: Path) -> None:
        path = tmp_path / "in.jsonl"
        path.write_text('1\n\n  \n{"a": [true, null]}\n"x"')  # the last line has no end
        inbox = Inbox("a", ("v",))
        source = open_feed(f"v={path}")
        try:
            await feed(source, router_of(inbox), 100, never)
        finally:
            source.close()
        assert plain(inbox) == [1, {"a": [True, None]}, "x"]
        assert (source.lines, source.fed, source.read) == (5, 3, path.stat().st_size)

    @pytest.mark.trio
    @pytest.mark.parametrize(("go_on", "values"), [(True, [1, 2]), (False, [1])])
    async def test_a_bad_line_is_named_by_its_number(self, tmp_path: Path, go_on: bool, values: list[int]) -> None:
        path = tmp_path / "in.jsonl"
        path.write_text("1\nnope\n" + "9" * 101 + "\n2\n")
        inbox, bad = Inbox("a", ("v",)), list[Problem]()
        source = open_feed(f"v={path}")
        try:
            await feed(source, router_of(inbox), 100, lambda problem: bad.append(problem) or go_on)
        finally:
            source.close()
        assert plain(inbox) == values
        assert [str(p.location) for p in bad] == [f"{path}:2", f"{path}:3"][: len(values)]

    @pytest.mark.trio
    async def test_a_full_mailbox_is_waited_for(self, pipe: tuple[int, int]) -> None:
        read, write = pipe
        inbox = Inbox("a", ("v",), capacity=2)
        router = router_of(inbox)
        os.write(write, b"1\n2\n3\n4\n5\n")
        os.close(write)
        seen: list[object] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed, Feed("v", read, "pipe"), router, 100, never)
            while len(seen) < 5:
                await trio.testing.wait_all_tasks_blocked()
                assert inbox.waiting <= 2
                seen += plain(inbox)
                router.bump()
        assert seen == [1, 2, 3, 4, 5]

    @pytest.mark.trio
    async def test_a_pipe_without_a_line_can_be_cancelled(self, pipe: tuple[int, int]) -> None:
        with trio.move_on_after(0) as scope:
            await feed(Feed("v", pipe[0], "pipe"), router_of(Inbox("a", ("v",))), 100, never)
        assert scope.cancelled_caught

    @pytest.mark.trio
    async def test_dev_null_is_an_empty_feed(self) -> None:
        source = open_feed("v=/dev/null")
        try:
            await feed(source, router_of(Inbox("a", ("v",))), 100, never)
        finally:
            source.close()
        assert source.fed == 0

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("v", "write PORT=FILE"),
            ("=x", "write PORT=FILE"),
            ("v=", "write PORT=FILE"),
            ("v=/nonexistent/x", "No such file"),
            ("v=/", "a directory"),
        ],
    )
    def test_what_cannot_be_fed(self, text: str, what: str) -> None:
        with pytest.raises(UserError, match=what):
            open_feed(text)


class TestCollect:
    @pytest.mark.trio
    async def test_messages_become_lines_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "out.jsonl"
        path.write_text("from before")
        sink = open_collect(f"o={path}")
        inbox = Inbox(sink.node, ("line",))
        router = router_of(inbox)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, sink, inbox, router, trio.Lock())
                for value in (1, "two\n", {"three": [3.5, None]}, array("d", [1.5, math.nan])):
                    inbox.offer("line", values.from_plain(value))
                router.bump()
                while not inbox.idle:
                    await router.changed.wait()
                nursery.cancel_scope.cancel()
        finally:
            sink.close()
        assert path.read_text() == '1\n"two\\n"\n{"three":[3.5,null]}\n[1.5,NaN]\n'
        assert sink.lines == 4

    @pytest.mark.trio
    async def test_a_reader_that_is_slow_is_waited_for(self, pipe: tuple[int, int]) -> None:
        """What was not written stays in the mailbox, so that its producer waits, and the loop does not block."""
        read, write = pipe
        inbox = Inbox("sink", ("line",), window=8)
        router = router_of(inbox)
        line = values.from_plain("x" * 60_000)
        for _ in range(8):
            inbox.offer("line", line)
        got = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, Collect("o", write, "pipe"), inbox, router, trio.Lock())
            await trio.testing.wait_all_tasks_blocked()
            assert inbox.in_flight == 8  # a pipe holds 64 KiB
            while got.count(b"\n") < 8:
                await trio.lowlevel.wait_readable(read)
                got += os.read(read, 65536)
            await trio.testing.wait_all_tasks_blocked()
            assert inbox.idle
            nursery.cancel_scope.cancel()
        assert got == (b'"' + b"x" * 60_000 + b'"\n') * 8

    @pytest.mark.trio
    async def test_two_ports_to_one_file_do_not_mix_their_lines(self, pipe: tuple[int, int]) -> None:
        read, write = pipe
        boxes = [Inbox(name, ("line",), window=4) for name in ("a", "b")]
        router = Router(Graph(), {box.node: box for box in boxes})
        for box in boxes:
            for _ in range(4):
                box.offer("line", values.from_plain(box.node * 40_000))
        lock, got = trio.Lock(), b""
        async with trio.open_nursery() as nursery:
            for box in boxes:
                nursery.start_soon(collect, Collect(box.node, write, "pipe"), box, router, lock)
            while got.count(b"\n") < 8:
                await trio.lowlevel.wait_readable(read)
                got += os.read(read, 65536)
            nursery.cancel_scope.cancel()
        assert {line[1:-1] for line in got.splitlines()} == {b"a" * 40_000, b"b" * 40_000}

    @pytest.mark.trio
    async def test_a_reader_that_went_away_is_said(self, pipe: tuple[int, int]) -> None:
        read, write = pipe
        os.close(read)
        inbox = Inbox("sink", ("line",))
        inbox.offer("line", values.from_plain(1))
        with pytest.raises(EnvironmentError_, match="--collect o: cannot write pipe: Broken pipe"):
            await collect(Collect("o", write, "pipe"), inbox, router_of(inbox), trio.Lock())
        assert inbox.in_flight == 1

    @pytest.mark.trio
    async def test_a_full_disk_is_said(self) -> None:
        sink = open_collect("o=/dev/full")
        inbox = Inbox("sink", ("line",))
        inbox.offer("line", values.from_plain(1))
        try:
            with pytest.raises(EnvironmentError_, match="No space left on device"):
                await collect(sink, inbox, router_of(inbox), trio.Lock())
        finally:
            sink.close()

    def test_what_cannot_be_collected_to(self, tmp_path: Path) -> None:
        for text, what in (("o", "write PORT=FILE"), (f"o={tmp_path}", "directory"), ("o=/no/x", "No such file")):
            with pytest.raises(UserError, match=what):
                open_collect(text)


def test_a_named_pipe_is_waited_for_until_somebody_writes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["sh", "-c", 'echo 7 > "$0"', str(fifo)])
    inbox = Inbox("a", ("v",))
    source = open_feed(f"v={fifo}")
    try:
        trio.run(feed, source, router_of(inbox), 100, never)
    finally:
        source.close()
        writer.wait(5)
    assert plain(inbox) == [7]
