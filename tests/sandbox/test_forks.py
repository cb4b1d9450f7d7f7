"""The supervisor's hold on a fork, with the other ends of its pipe and its channel in this process's hands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import cast

import attrs
import pytest
import trio
from reflow.zygote.messages import (
    EXITED,
    MAX_CHANNEL,
    NOT_FORKED,
    REPORT,
    Confined,
    ConfinementFailed,
    Forked,
    decode_go,
    encode,
)

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox import forks
from reflow_supervisor.sandbox.backend import ExitKind, SandboxExit
from reflow_supervisor.sandbox.forks import CannotForkError, HeldFork, Reins, ZygoteLostError, process_id
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox


@attrs.define(eq=False)
class FakeSandbox:
    """As much of a UnixSandbox as a held fork has to do with."""

    reins: Reins
    id: str = "python-1"
    token: str = "token"
    pid: int | None = None
    pidfd: int | None = None
    closed: bool = False
    stderr: trio.abc.ReceiveStream = attrs.field(factory=lambda: trio.testing.memory_stream_one_way_pair()[1])

    @property
    def exit(self) -> SandboxExit | None:
        return SandboxExit(ExitKind.EXITED, code=self.reins.reap()) if self.reins.ended() else None

    def attach(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd

    async def wait(self) -> SandboxExit:
        while (found := self.exit) is None:
            await trio.lowlevel.wait_readable(self.reins.fileno())
        return found

    async def aclose(self) -> None:
        self.closed = True
        if self.pidfd is not None:
            os.close(self.pidfd)


@attrs.define(eq=False)
class Ends:
    held: HeldFork
    sandbox: FakeSandbox
    reins: Reins
    zygote: int
    """Where the zygote reports."""
    fork: socket.socket
    """The fork's end of the channel."""
    kills: list[str]

    def report(self, what: int, value: int) -> None:
        os.write(self.zygote, REPORT.pack(what, value))


@pytest.fixture
def ends() -> Iterator[Ends]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    kills: list[str] = []

    def kill() -> None:
        kills.append("zygote")
        theirs.close()
        os.dup2(os.open("/dev/null", os.O_WRONLY), writer)

    reins = Reins(reader, kill)
    sandbox = FakeSandbox(reins)
    ends = Ends(HeldFork(cast("UnixSandbox", sandbox), reins, ours), sandbox, reins, writer, theirs, kills)
    yield ends
    ours.close()
    theirs.close()
    reins.close()
    os.close(writer)


def say_forked(ends: Ends, pid: int | None = None) -> None:
    pidfd = os.pidfd_open(pid or os.getpid())
    socket.send_fds(ends.fork, [encode(Forked())], [pidfd])
    os.close(pidfd)


def test_how_a_fork_ended() -> None:
    for data, code, lost, reason in (
        (REPORT.pack(EXITED, 3), 3, False, None),
        (REPORT.pack(EXITED, -11), -11, False, None),
        (REPORT.pack(NOT_FORKED, 11), 1, False, os.strerror(11)),
        (REPORT.pack(7, 3), -signal.SIGKILL, True, None),
        (b"\1", -signal.SIGKILL, True, None),
        (b"", -signal.SIGKILL, True, None),
    ):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        reins = Reins(reader, lambda: None)
        assert not reins.ended()
        os.write(writer, data)
        os.close(writer)
        assert reins.ended()
        assert reins.ended()
        assert (reins.reap(), reins.lost, reins.not_forked) == (code, lost, reason)
        reins.close()


@pytest.mark.trio
async def test_from_the_order_to_the_script(ends: Ends) -> None:
    say_forked(ends)
    ends.fork.send(encode(Confined()))
    await ends.held.confined()
    await ends.held.confined()
    assert ends.sandbox.pid == os.getpid()
    assert ends.held.alive
    assert ends.held.go() is ends.sandbox
    go = decode_go(ends.fork.recv(MAX_CHANNEL))
    assert go.environment == {
        "REFLOW_LINK": "/run/reflow/link.sock",
        "REFLOW_TOKEN": "token",
        "REFLOW_WORKSPACE": "/run/reflow/workspace",
        "REFLOW_PROTOCOL": "1",
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PWD": "/tmp",
    }
    assert ends.fork.recv(1) == b"", "nobody speaks with a script"
    await ends.held.aclose()
    assert ends.sandbox.closed


@pytest.mark.trio
async def test_a_fork_that_could_not_be_confined(ends: Ends) -> None:
    say_forked(ends)
    ends.fork.send(encode(ConfinementFailed("mounting", "no")))
    with pytest.raises(CannotForkError, match="mounting: no"):
        await ends.held.confined()
    await ends.held.aclose()


@pytest.mark.trio
@pytest.mark.parametrize(
    "said", [b"\xc1", encode({"type": "Other"}), encode(Confined()), encode({"type": "Forked", "more": 1})]
)
async def test_a_fork_that_does_not_say_that_it_was_forked(ends: Ends, said: bytes) -> None:
    ends.fork.send(said)
    with pytest.raises(CannotForkError):
        await ends.held.confined()
    assert ends.kills == []


@pytest.mark.trio
async def test_a_fork_that_is_forked_twice(ends: Ends) -> None:
    say_forked(ends)
    say_forked(ends)
    with pytest.raises(CannotForkError):
        await ends.held.confined()
    assert len(os.listdir("/proc/self/fd")) < 100  # noqa: PTH208
    await ends.held.aclose()


@pytest.mark.trio
async def test_no_process_could_be_forked(ends: Ends) -> None:
    ends.report(NOT_FORKED, 11)
    ends.fork.close()
    with pytest.raises(CannotForkError, match="Resource temporarily unavailable"):
        await ends.held.confined()
    assert not ends.held.alive
    await ends.held.aclose()
    assert ends.kills == []


@pytest.mark.trio
async def test_a_fork_that_ends_at_once(ends: Ends) -> None:
    ends.report(EXITED, 9)
    ends.fork.close()
    with pytest.raises(CannotForkError, match="exited with code 9"):
        await ends.held.confined()


@pytest.mark.trio
async def test_a_zygote_that_ends(ends: Ends) -> None:
    ends.fork.close()
    os.dup2(os.open("/dev/null", os.O_WRONLY), ends.zygote)
    with pytest.raises(ZygoteLostError):
        await ends.held.confined()


@pytest.mark.trio
async def test_a_fork_that_has_ended_when_it_is_let_go(ends: Ends) -> None:
    say_forked(ends)
    ends.fork.send(encode(Confined()))
    await ends.held.confined()
    ends.fork.close()
    with pytest.raises(CannotForkError, match="it ended"):
        ends.held.go()
    await ends.held.aclose()


@pytest.mark.trio
async def test_a_zygote_that_does_not_fork(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "FORK_TIMEOUT", 0.01)
    with pytest.raises(ZygoteLostError, match="did not fork within"):
        await ends.held.confined()
    assert ends.kills == ["zygote"]


@pytest.mark.trio
async def test_a_fork_that_is_never_confined(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "CONFINE_TIMEOUT", 0.01)
    say_forked(ends)
    with pytest.raises(SandboxError, match="python-1 was not made within"):
        await ends.held.confined()
    await ends.held.aclose()
    assert ends.kills == []


@pytest.mark.trio
async def test_a_cancelled_wait_knows_the_process_all_the_same(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.held.confined)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        say_forked(ends)
    assert ends.sandbox.pid == os.getpid()
    await ends.held.aclose()
    assert ends.sandbox.closed


def test_the_process_of_a_pidfd() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        pidfd = os.pidfd_open(process.pid)
        assert process_id(pidfd) == process.pid
    assert process_id(pidfd) is None
    os.close(pidfd)
