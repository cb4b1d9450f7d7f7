"""`timer`, `stdin`, and `file` that is read: real files and pipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from network.native.bench import make

from reflow_supervisor.network.native import NativeError


class TestTimer:
    @pytest.mark.trio
    async def test_so_many_ticks_at_their_interval_and_then_it_is_done(self, autojump_clock: object) -> None:
        bench = make("timer", {"interval": "2s", "count": 3})
        started = trio.current_time()
        times: list[float] = []

        async def watch() -> None:
            for _ in range(3):
                await bench.read(1)
                times.append(trio.current_time() - started)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nursery.start_soon(bench.run)
            await trio.testing.wait_all_tasks_blocked()
            assert not bench.router.idle
        assert times == [2, 4, 6]
        assert bench.router.idle

    @pytest.mark.trio
    async def test_it_waits_for_room_and_ends_when_the_network_drains(self, autojump_clock: object) -> None:
        bench = make("timer", {"interval": 1, "immediate": True}, capacity=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            await trio.sleep(10)
            assert bench.got() == [1, 2]
            await trio.sleep(1.5)
            assert bench.got()[0] == 3
            bench.router.drain()
        bench.got()
        assert bench.router.idle

    @pytest.mark.trio
    async def test_the_next_incarnation_counts_on(self, autojump_clock: object) -> None:
        bench = make("timer", {"interval": 1})
        with trio.move_on_after(2.5):
            await bench.run()
        assert not bench.router.idle  # it was stopped, not done
        with trio.move_on_after(1.5):
            await bench.run()
        assert bench.got() == [1, 2, 3]


class TestRead:
    @pytest.mark.trio
    async def test_a_file_to_its_end(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("a,b\n1,x\n2,\n")
        bench = make("file", {"path": "in.csv", "format": "csv", "numbers": True}, tmp_path)
        await bench.run()
        assert bench.got() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
        assert bench.router.idle
        assert bench.native.meter.emitted == 2

    @pytest.mark.trio
    async def test_a_file_larger_than_its_mailbox(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(2000)))
        bench = make("file", {"path": "in"}, tmp_path, capacity=7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            assert await bench.read(2000) == list(range(2000))

    @pytest.mark.trio
    @pytest.mark.parametrize("skip", [True, False])
    async def test_a_bad_line(self, tmp_path: Path, skip: bool) -> None:
        (tmp_path / "in").write_text("1\nnope\n3\n")
        bench = make("file", {"path": "in", "on_bad_line": "skip" if skip else "stop"}, tmp_path)
        if skip:
            await bench.run()
            assert [level for level, text in bench.said if text.startswith("in:2: not a JSON value")] == ["error"]
            assert bench.native.meter.failed == 1
        else:
            await bench.run()
            assert str(bench.router.bad_input).startswith("in:2: error: n: not a JSON value")
            assert "on_bad_line: skip" in str(bench.router.bad_input)
            assert bench.router.draining.is_set()
        assert bench.got() == ([1, 3] if skip else [1])
        assert bench.router.idle

    @pytest.mark.trio
    async def test_an_incarnation_that_is_stopped_half_way_loses_and_repeats_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(100)))
        bench = make("file", {"path": "in"}, tmp_path, capacity=3)
        got: list[int] = []
        for _ in range(20):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(bench.run)
                    await trio.testing.wait_all_tasks_blocked()
                    got += bench.got()
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            got += await bench.read(100 - len(got))
        assert got == list(range(100))

    @pytest.mark.trio
    async def test_a_file_that_is_followed_grows_is_cut_and_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_text("a\n")
        bench = make("file", {"path": "log", "format": "text", "tail": True}, tmp_path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            assert await bench.read(1) == ["a"]
            with path.open("a") as file:
                file.write("half")
                file.flush()
                await trio.sleep(0.3)
                assert bench.got() == []
                file.write(" line\n")
            assert await bench.read(1) == ["half line"]
            path.write_text("b\n")
            assert await bench.read(1) == ["b"]
            (tmp_path / "new").write_text("c\nd\n")
            (tmp_path / "new").rename(path)
            assert await bench.read(2) == ["c", "d"]
            assert not bench.router.idle
            bench.router.drain()
        assert bench.router.idle
        assert [text.partition(" was ")[2].partition(";")[0] for _, text in bench.said] == ["cut short", "replaced"]

    @pytest.mark.trio
    async def test_what_may_not_be_opened(self, tmp_path: Path) -> None:
        inside = tmp_path / "w"
        inside.mkdir()
        (inside / "link").symlink_to("/etc/hostname")
        os.mkfifo(inside / "fifo")
        for path, why in (
            ("../x", "outside of the workspace"),
            ("/etc/hostname", "outside of the workspace"),
            ("link", "outside of the workspace"),
            ("absent", "No such file"),
            ("fifo", "not a regular file"),
            (".", "not a regular file"),
        ):
            with pytest.raises(NativeError, match=why):
                await make("file", {"path": path}, inside).run()

    @pytest.mark.trio
    async def test_a_further_root_allows_what_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "w").mkdir()
        (tmp_path / "data").write_text("1\n")
        bench = make("file", {"path": "../data"}, tmp_path / "w")
        bench.native.roots = (tmp_path,)
        await bench.run()
        assert bench.got() == [1]


class TestStdin:
    @pytest.mark.trio
    async def test_lines_until_it_is_closed(self) -> None:
        bench = make("stdin", {"format": "text"})
        bench.native.stdin, stdin = os.pipe()
        os.write(stdin, b"one\ntwo")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            assert await bench.read(1) == ["one"]
            os.close(stdin)
            assert await bench.read(1) == ["two"]
        os.close(bench.native.stdin)
        assert bench.router.idle

    @pytest.mark.trio
    async def test_a_drain_ends_the_wait_for_a_line(self) -> None:
        bench = make("stdin", {})
        bench.native.stdin, stdin = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            await trio.testing.wait_all_tasks_blocked()
            bench.router.drain()
        os.close(stdin)
        os.close(bench.native.stdin)
        assert bench.router.idle
