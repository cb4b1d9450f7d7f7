"""How what a script writes becomes lines, and how many of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from actors.world import World, settled

from reflow_supervisor.actors.output import MAX_LINE, Output

pytestmark = pytest.mark.trio


class Writing:
    """A script that writes, and what is logged of it."""

    def __init__(self, **settings: int) -> None:
        self.world = World(**settings)  # type: ignore[arg-type]
        self.out, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.err, self.stderr = trio.testing.memory_stream_one_way_pair()
        self.output = Output(self.world.host, self.world.node)

    async def run(self) -> None:
        await self.output.run(self.stdout, self.stderr)

    def end(self) -> None:
        self.out.close()
        self.err.close()

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(line.level, line.text) for line in self.world.lines]


async def written(*chunks: bytes) -> list[str]:
    it = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        for chunk in chunks:
            await it.out.send_all(chunk)
            await settled()
        it.end()
    return [text for _, text in it.lines]


async def test_a_record_a_line_however_it_comes() -> None:
    assert await written(b"on", b"e\ntwo\r\n\nth", b"ree") == ["one", "two", "", "three"]


async def test_what_is_no_text_is_replaced() -> None:
    assert await written(b"a\xff\n", "ü".encode()[:1], "ü".encode()[1:] + b"\n") == ["a\ufffd", "ü"]


async def test_of_a_long_line_the_beginning_is_kept() -> None:
    assert await written(b"b" + b"x" * 2 * MAX_LINE + b"\nnext\n") == ["b" + "x" * (MAX_LINE - 1) + "…", "next"]


async def test_of_a_line_that_never_ends_the_last_is_kept() -> None:
    (text,) = await written(*[b"x" * MAX_LINE] * 5, b"end")
    assert (len(text), text[-4:]) == (MAX_LINE, "xend")


async def test_stdout_is_information_and_stderr_a_warning() -> None:
    it = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        await it.err.send_all(b"careful\n")
        await settled()
        await it.out.send_all(b"hello\n")
        await settled()
        it.output.line("debug", "logged", {"x": 1})
        it.end()
    assert it.lines == [("warning", "careful"), ("info", "hello"), ("debug", "logged")]
    assert it.world.lines[-1].fields == {"x": 1}


async def test_lines_over_the_rate_are_counted_and_spoken_of_once_a_second(
    mock_clock: trio.testing.MockClock,
) -> None:
    it = Writing(log_rate=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        await it.out.send_all(b"".join(b"%d\n" % n for n in range(10)))
        await settled()
        assert it.lines == [("info", "0"), ("info", "1")]
        mock_clock.jump(1)
        await settled()
        assert it.lines[2:] == [("warning", "8 lines of output dropped")]
        assert it.world.lines[-1].fields == {"dropped": 8}
        await it.out.send_all(b"a\nb\nc\n")
        await settled()
        it.end()
    assert it.lines[3:] == [("info", "a"), ("info", "b"), ("warning", "1 lines of output dropped")]


async def test_cancelled_it_still_says_what_was_dropped() -> None:
    it = Writing(log_rate=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        await it.out.send_all(b"a\nb\n")
        await settled()
        nursery.cancel_scope.cancel()
    assert it.lines == [("info", "a"), ("warning", "1 lines of output dropped")]


async def test_a_stream_that_breaks_ends_like_one_that_ends() -> None:
    it = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        await it.out.send_all(b"last")
        await settled()
        it.stdout.close()
        it.stderr.close()
    assert it.lines == [("info", "last")]
