from __future__ import annotations

from pathlib import Path

import pytest
import trio

from reflow_supervisor.state.bounded_log import BoundedLog
from reflow_supervisor.state.server_process import ServerProcess

pytestmark = pytest.mark.trio


def is_running(pid: int) -> bool:
    """Whether it does anything: whoever adopts a dead one may take a moment to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def started(script: str, tmp_path: Path) -> tuple[ServerProcess, BoundedLog]:
    log = BoundedLog(tmp_path / "log")
    return ServerProcess(["/bin/sh", "-c", script], stdin=b"hello\n", log=log, pass_fds=()), log


async def test_it_reads_what_it_is_given_and_its_output_is_kept_to_the_end(tmp_path: Path) -> None:
    process, log = await started("read word; echo got $word; echo and to stderr >&2; exit 3", tmp_path)
    await process.wait()
    assert not process.alive
    assert await process.aclose(1) == "exited with code 3"
    assert log.last_lines == ("got hello", "and to stderr")
    assert (tmp_path / "log").read_text() == "got hello\nand to stderr\n"


async def test_what_it_started_goes_with_it(tmp_path: Path) -> None:
    process, log = await started("sleep 60 & echo $!; wait", tmp_path)
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.copy_output)
            while not log.last_lines:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert await process.aclose(1) == "was killed by SIGTERM"
    with trio.fail_after(5):
        while is_running(int(log.last_lines[0])):
            await trio.sleep(0.001)


async def test_closing_is_finished_even_when_cancelled(tmp_path: Path) -> None:
    process, _ = await started("trap '' TERM; echo; while :; do sleep 0.01; done", tmp_path)
    await process._output.receive_some(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await process.aclose(0.05) == "was killed by SIGKILL"
    assert not is_running(process.pid)


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = open_descriptors()
    process, _ = await started("exit 0", tmp_path)
    await process.aclose(1)
    with pytest.raises(OSError):
        ServerProcess(["x"], stdin=b"", log=BoundedLog(tmp_path / "log"), pass_fds=(10**6,))
    assert open_descriptors() == before
