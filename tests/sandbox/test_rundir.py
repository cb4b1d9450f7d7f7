# ruff: noqa: ASYNC240  (blocking for a moment harms nobody here)

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox.rundir import RunDirectory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.trio
async def test_of_our_own_user(base: Path) -> None:
    run = RunDirectory.create(base)
    assert mode(run.path) == 0o711
    directory = await run.sandbox("python-1", None)
    assert mode(directory.path) == 0o700
    assert mode(directory.path / "link.sock") == 0o600
    assert list(directory.workspace.iterdir()) == []
    await directory.aclose()
    assert list(run.path.iterdir()) == []
    run.remove()
    assert list(base.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.trio
async def test_of_a_sandbox_user(base: Path) -> None:
    run = RunDirectory.create(base)
    directory = await run.sandbox("python-1", 55123)
    link = (directory.path / "link.sock").stat()
    assert (link.st_uid, stat.S_IMODE(link.st_mode)) == (55123, 0o600)
    found = directory.path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 55123, 0o750)
    (directory.workspace / "actor.py").write_text("")
    written = (directory.workspace / "actor.py").stat()
    assert (written.st_uid, written.st_gid) == (0, 55123)
    await directory.aclose()
    run.remove()


@pytest.mark.trio
async def test_accepts_from_the_sandbox_user_only(base: Path) -> None:
    run = RunDirectory.create(base)
    directory = await run.sandbox("python-1", None)
    address = str(directory.path / "link.sock")
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            async with await directory.listener.accept() as stream:
                assert await stream.receive_some() == b"mine"
            nursery.cancel_scope.cancel()

        nursery.start_soon(accept)
        if os.geteuid() == 0:
            code = f"""
import os, socket
s = socket.socket(socket.AF_UNIX); os.chmod({address!r}, 0o666); os.setuid(55123); s.connect({address!r})
assert s.recv(1) == b""
"""
            directory.path.chmod(0o755)
            await trio.run_process([sys.executable, "-c", code])
        with socket.socket(socket.AF_UNIX) as ours:
            ours.connect(address)
            ours.send(b"mine")
            with trio.fail_after(5):
                await trio.sleep_forever()
    await directory.aclose()
    run.remove()


def test_a_dead_supervisors_directory_is_removed_a_living_ones_not(base: Path) -> None:
    living = RunDirectory.create(base)
    code = (
        "import os; from pathlib import Path; from reflow_supervisor.sandbox.rundir import RunDirectory\n"
        f"print(RunDirectory.create(Path({str(base)!r})).path, flush=True); os.kill(os.getpid(), 9)"
    )
    left = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    (Path(left) / "python-1").mkdir()
    (base / "reflow-run-file").write_text("")
    (base / "other").mkdir()
    second = RunDirectory.create(base)
    assert not Path(left).exists()
    assert {path.name for path in base.iterdir()} == {
        living.path.name,
        second.path.name,
        "reflow-run-file",
        "other",
    }
    living.remove()
    second.remove()


def test_no_place(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="cannot make"):
        RunDirectory.create(Path("/proc/self"))
    with pytest.raises(EnvironmentError_, match="too long"):
        RunDirectory.create(tmp_path / ("x" * 100))
