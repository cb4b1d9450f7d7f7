"""`stdout`, `log`, and `file` that is written: real files and pipes."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from network.native.bench import Bench, make

from reflow_supervisor.network.native import NativeError


async def write(bench: Bench, *plain: Any) -> None:
    """Runs it until it has dealt with these."""
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.run)
        bench.put(*plain)
        await bench.until_done()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("format", "text"),
    [("jsonl", '"a\\nb"\n{"x":[1,null]}\n'), ("text", 'a\nb\n{"x":[1,null]}\n')],
)
async def test_lines_in_order(tmp_path: Path, format: str, text: str) -> None:  # noqa: A002
    bench = make("file", {"path": "out", "mode": "write", "format": format}, tmp_path)
    await write(bench, "a\nb", {"x": [1, None]})
    assert (tmp_path / "out").read_text() == text
    assert bench.native.meter.done == 2


@pytest.mark.trio
@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("jsonl", '{"x":[[1],[2]],"y":[0.5]}\n[1,2]\n'),
        ("csv", 'x,y\n"[[1],[2]]",[0.5]\n'),
    ],
)
async def test_typed_arrays_are_written_as_arrays_of_numbers(tmp_path: Path, format: str, text: str) -> None:  # noqa: A002
    bench = make("file", {"path": "out", "mode": "write", "format": format}, tmp_path)
    rows = memoryview(b"\1\2").cast("b", (2, 1))
    await write(bench, {"x": rows, "y": array("f", [0.5])}, array("q", [1, 2]))
    assert (tmp_path / "out").read_text() == text


@pytest.mark.trio
async def test_write_begins_anew_append_goes_on_and_so_does_the_next_incarnation(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("before\n")
    bench = make("file", {"path": "out", "mode": "append"}, tmp_path)
    await write(bench, 1)
    await write(bench, 2)
    assert out.read_text() == "before\n1\n2\n"
    bench = make("file", {"path": "out", "mode": "write"}, tmp_path)
    await write(bench, 3)
    await write(bench, 4)
    assert out.read_text() == "3\n4\n"


@pytest.mark.trio
async def test_csv_takes_its_columns_from_the_first_row_or_from_the_file(tmp_path: Path) -> None:
    config = {"path": "out.csv", "mode": "write", "format": "csv"}
    bench = make("file", config, tmp_path)
    await write(bench, {"a": 1, "b": 'x "y"'}, {"b": None, "a": [1]}, {"a": True, "c": 1}, 7)
    assert (tmp_path / "out.csv").read_text() == 'a,b\n1,"x ""y"""\n[1],\n'
    assert [letter.failure.message for letter in bench.router.dead_letters] == [
        "the CSV file has no column 'c' (it has: a, b)",
        "a row of a CSV file is an object, and this is none",
    ]
    bench = make("file", {**config, "mode": "append"}, tmp_path)
    await write(bench, {"b": 2, "a": 3})
    assert (tmp_path / "out.csv").read_text().endswith("[1],\n3,2\n")


@pytest.mark.trio
async def test_what_could_not_be_written_is_written_by_the_next_incarnation(tmp_path: Path) -> None:
    bench = make("file", {"path": "out", "mode": "append"}, tmp_path)
    (tmp_path / "out").symlink_to("/dev/full")
    bench.native.roots = (Path("/dev"),)
    bench.put(1, 2)
    with pytest.raises(NativeError, match="not a regular file"):
        await bench.run()
    (tmp_path / "out").unlink()
    await write(bench, 3)
    assert (tmp_path / "out").read_text() == "1\n2\n3\n"


@pytest.mark.trio
async def test_stdout_waits_for_its_reader_and_the_mailbox_with_it() -> None:
    bench = make("stdout", {})
    read, bench.native.stdout = os.pipe()
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run)
        bench.put(*["x" * 50_000] * 5)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.before.in_flight == 5
        while got.count(b"\n") < 5:
            await trio.lowlevel.wait_readable(read)
            got += os.read(read, 65536)
        await bench.until_done()
        nursery.cancel_scope.cancel()
    os.close(read)
    os.close(bench.native.stdout)
    assert got == (b'"' + b"x" * 50_000 + b'"\n') * 5


@pytest.mark.trio
async def test_a_reader_that_went_away_fails_the_node_and_keeps_what_it_held() -> None:
    bench = make("stdout", {})
    read, bench.native.stdout = os.pipe()
    os.close(read)
    bench.put(1, 2)
    with pytest.raises(NativeError, match="cannot write to standard output: Broken pipe"):
        await bench.run()
    os.close(bench.native.stdout)
    assert bench.before.in_flight == 2
    bench.native.give_back()
    assert bench.before.waiting == 2


@pytest.mark.trio
async def test_log_lines(tmp_path: Path) -> None:
    bench = make("log", {"level": "warning", "prefix": "seen: "})
    await write(bench, {"a": 1}, "x")
    assert bench.said == [("warning", 'seen: {"a":1}'), ("warning", 'seen: "x"')]
