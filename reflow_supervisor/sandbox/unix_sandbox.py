"""A sandbox made of processes of this machine: its streams, its end, and its removal.

What the processes are confined by, the backends decide (`bubblewrap`, `process`). Here is what they share: what tells
of the sandbox's end (a child of the supervisor: bwrap's monitor, or the agent itself; or the zygote that forked it),
the agent's process, a control group where there is one, and the sandbox's directory.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import Isolation, Limits, SandboxExit, SandboxRuntime, Usage
from reflow_supervisor.sandbox.exits import judge_exit
from reflow_supervisor.sandbox.host import Slot
from reflow_supervisor.sandbox.rundir import AgentListener

CLOSE_TIMEOUT = 10.0
"""SIGKILL is not instant for a process in an uninterruptible call; longer than this, it is left to the kernel."""

TELL_TIMEOUT = 5.0
"""Seconds from the end of an agent until whoever has to tell of it is taken for hung."""

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Body(Protocol):
    """What tells of a sandbox's end, and how it ended."""

    def fileno(self) -> int:
        """Readable as soon as `ended` may have changed."""
        ...

    def ended(self) -> bool:
        """Whether it is over. Until `reap` is called, nothing else has got its process id."""
        ...

    def reap(self) -> int:
        """How it ended, as `Popen.returncode` has it. To be called once, when it has."""
        ...

    def kill(self) -> None:
        """Ends the teller itself, so that `ended` comes true: for when there is no other way to the agent, or when it
        does not tell. Harmless when it is gone."""
        ...

    def close(self) -> None:
        """Lets go of it, when it has ended."""
        ...


class UnixSandbox:
    """Implements `backend.Sandbox`. Made by a backend's `start`, which also attaches the agent's process."""

    def __init__(
        self,
        slot: Slot,
        *,
        runtime: SandboxRuntime,
        isolation: Isolation,
        limits: Limits,
        token: str,
        guest_workspace: str,
        body: Body,
        stdout: trio.abc.ReceiveStream,
        stderr: trio.abc.ReceiveStream,
        kill_rest: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes the slot over. `kill_rest` ends the processes that do not end with the agent."""
        self._slot = slot
        self._runtime: SandboxRuntime = runtime
        self._isolation = isolation
        self._limits = limits
        self._token = token
        self._guest_workspace = guest_workspace
        self._body = body
        self._stdout = stdout
        self._stderr = stderr
        self._kill_rest = kill_rest
        self._agent: tuple[int, int] | None = None  # pid, pidfd
        self._kill_detail: str | None = None
        self._exit: SandboxExit | None = None
        self._waiting = trio.Lock()
        self._closing = trio.Lock()
        self._closed = False

    def attach(self, agent_pid: int, pidfd: int | None = None) -> None:
        """Names the agent's process, while it is known to exist. Takes over its pidfd, where there is one already.

        Raises:
            SandboxError: it is gone already.
        """
        try:
            self._agent = agent_pid, os.pidfd_open(agent_pid) if pidfd is None else pidfd
        except ProcessLookupError:
            raise SandboxError(f"sandbox {self.id} ended while it was being made") from None

    @property
    def id(self) -> str:
        return self._slot.id

    @property
    def runtime(self) -> SandboxRuntime:
        return self._runtime

    @property
    def isolation(self) -> Isolation:
        return self._isolation

    @property
    def pid(self) -> int | None:
        return self._agent[0] if self._agent else None

    @property
    def token(self) -> str:
        return self._token

    @property
    def listener(self) -> AgentListener:
        return self._slot.directory.listener

    @property
    def workspace(self) -> Path:
        return self._slot.directory.workspace

    @property
    def guest_workspace(self) -> str:
        return self._guest_workspace

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self._stdout

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return self._stderr

    @property
    def exit(self) -> SandboxExit | None:
        if self._exit is None and self._body.ended():
            # A direct child is still a zombie here, so that no process can have got its number (or its group's).
            self._kill_rest()
            if self._agent is not None and not is_gone(self._agent[1]):
                # Its monitor was killed by somebody else: it follows, but not at once.
                self._signal(signal.SIGKILL)
                return None
            self._exit = judge_exit(
                self._body.reap(),
                kill_detail=self._kill_detail,
                oom_kills=self._slot.cgroup.oom_kills() if self._slot.cgroup is not None else 0,
                runtime=self._runtime,
                limits=self._limits,
            )
        return self._exit

    async def wait(self) -> SandboxExit:
        # One task at a time, because Trio lets only one wait for a descriptor; the others find it ended.
        async with self._waiting:
            while (found := self.exit) is None:
                if self._agent is None:
                    await trio.lowlevel.wait_readable(self._body.fileno())
                elif self._body.ended():
                    await trio.lowlevel.wait_readable(self._agent[1])
                else:
                    await _either_readable(self._body.fileno(), self._agent[1])
                    await self._be_told(self._agent[1])
            return found

    async def _be_told(self, agent: int) -> None:
        """The end of a process that is gone is told at once, unless who is to tell it is stopped, or stuck."""
        if is_gone(agent) and not self._body.ended():
            with trio.move_on_after(TELL_TIMEOUT) as patience:
                await trio.lowlevel.wait_readable(self._body.fileno())
            if patience.cancelled_caught:
                self._body.kill()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self, detail: str = "") -> None:
        if self.exit is not None:
            return
        if self._kill_detail is None:
            self._kill_detail = detail
        self._signal(signal.SIGKILL)
        self._kill_rest()

    def usage(self) -> Usage | None:
        if self.exit is not None or self._agent is None:
            return None
        found = self._slot.cgroup.usage() if self._slot.cgroup is not None else None
        return found or usage_of_process(self._agent[0])

    async def aclose(self) -> None:
        # Shielded as a whole: whoever calls this second must find everything gone, too.
        with trio.CancelScope(shield=True):
            async with self._closing:
                if not self._closed:
                    self._closed = True
                    await self._close()

    async def _close(self) -> None:
        self.kill()
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self.wait()
        await self._stdout.aclose()
        await self._stderr.aclose()
        if self.exit is None:
            # It sits in the kernel. Its user id must not get a second owner, and its descriptors stay open, so
            # that its number stays its own. The run's end sweeps up its directory and group.
            await self.listener.aclose()
            return
        await self._slot.aclose()
        self._body.close()
        if self._agent is not None:
            os.close(self._agent[1])

    def _signal(self, number: signal.Signals) -> None:
        if self._exit is not None:
            return
        if self._agent is None:
            if number == signal.SIGKILL:
                self._body.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._agent[1], number)


class StartedProcess:
    """A child of this process. Implements `Body`."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdout: trio.abc.ReceiveStream, stderr: trio.abc.ReceiveStream
    ):
        self.stdout = stdout
        self.stderr = stderr
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._pidfd

    def ended(self) -> bool:
        return is_gone(self._pidfd)

    def reap(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._pidfd)


def start_process(
    command: Sequence[str],
    *,
    environment: dict[str, str],
    inherited: Sequence[int],
    uid: int | None = None,
) -> StartedProcess:
    """Starts a process with nothing of ours but the inherited descriptors.

    Not by Trio's own functions: they start processes in worker threads, and a sandbox dies with the *thread* that
    started it (PR_SET_PDEATHSIG), which for a worker is ten seconds later.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for _ in range(2):
            read_end, write_end = os.pipe()
            ours.append(read_end)
            theirs.append(write_end)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs[0],
            stderr=theirs[1],
            env=environment,
            cwd="/",
            pass_fds=inherited,
            # A terminal's Ctrl-C goes to the whole process group: it is for the supervisor, which drains.
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
    except BaseException as error:
        for descriptor in ours:
            os.close(descriptor)
        if isinstance(error, OSError):
            raise SandboxError(f"cannot start {command[0]}: {error.strerror}") from error
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return StartedProcess(process, trio.lowlevel.FdStream(ours[0]), trio.lowlevel.FdStream(ours[1]))


def usage_of_process(pid: int) -> Usage | None:
    """The agent's process alone: without a control group there is no telling what its children use."""
    try:
        # The command's name, in parentheses, may hold anything, even ")".
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return Usage((int(fields[11]) + int(fields[12])) / CLOCK_TICKS, resident * PAGE_SIZE)


async def _either_readable(*descriptors: int) -> None:
    async def watch(descriptor: int) -> None:
        await trio.lowlevel.wait_readable(descriptor)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for descriptor in descriptors:
            nursery.start_soon(watch, descriptor)


def is_gone(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
