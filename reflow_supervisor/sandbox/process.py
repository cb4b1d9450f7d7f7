"""Agents as plain processes of this machine. No isolation: a script can do all that the supervisor's user can.

For trusted scripts only, where no better backend can run; it is used when it is named and called unsafe, never by
itself. It keeps the same contract as the others (environment, socket, workspace, limits), and what a process started
ends with it, as far as it stayed in its session or control group.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.agents import AgentCommand, AgentPlace, agent_command, environment
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation, Limits, SandboxRuntime
from reflow_supervisor.sandbox.host import Host, Slot, cgroup_findings
from reflow_supervisor.sandbox.rlimits import limited, max_open_files, rlimits_for
from reflow_supervisor.sandbox.rundir import SOCKET_NAME
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox, start_process

GATE = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGKILL = 1, 9
gate, supervisor, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
if not os.read(int(gate), 1) or os.getppid() != int(supervisor):
    sys.exit("the supervisor is gone")
os.close(int(gate))
os.execv(command[0], command)
"""
"""Dies with the supervisor (or finds that it is too late for that), and waits to be put into its control group before
it becomes the agent."""


class ProcessBackend:
    """Implements `backend.SandboxBackend`."""

    name = "process"
    isolation = Isolation.NONE

    def __init__(
        self,
        *,
        command: AgentCommand = agent_command,
        base: Path | None = None,
        cache: Path | None = None,
        use_cgroups: bool = True,
    ) -> None:
        """
        Args:
            command: what to run as an agent.
            base, cache, use_cgroups: see `Host.open`.
        """
        self._command = command
        self._base = base
        self._cache = cache
        self._use_cgroups = use_cgroups
        self._host: Host | None = None
        self._places: dict[SandboxRuntime, tuple[Path, Path]] = {}  # the interpreter and the agent's tree
        self._count = 0

    def probe(self) -> Sequence[Finding]:
        return (
            Finding(
                FindingLevel.WARNING,
                "isolation",
                "none: a script can do all that the supervisor's user can",
                "use the bubblewrap backend",
            ),
            *cgroup_findings(use_cgroups=self._use_cgroups),
        )

    async def prepare(self, runtimes: Sequence[SandboxRuntime]) -> None:
        host = self._host
        if host is None:
            host = self._host = await trio.to_thread.run_sync(
                lambda: Host.open(base=self._base, cache=self._cache, use_cgroups=self._use_cgroups, own_uids=False)
            )
        for runtime in runtimes:
            find = interpreters.python if runtime == "python" else interpreters.node
            found = await trio.to_thread.run_sync(find)
            self._places[runtime] = found.executable, await trio.to_thread.run_sync(host.trees.agent, runtime)

    async def start(self, runtime: SandboxRuntime, limits: Limits) -> UnixSandbox:
        if self._host is None or runtime not in self._places:
            raise SandboxError(f"the {runtime} runtime was not prepared")
        self._count += 1
        slot = await self._host.slot(f"{runtime}-{self._count}", limits)
        gate, opener = os.pipe()
        try:
            try:
                sandbox, pid = self._start_held(slot, runtime, limits, gate)
            except BaseException:
                await slot.aclose()
                raise
            finally:
                os.close(gate)
            try:
                if slot.cgroup is not None:
                    await trio.to_thread.run_sync(slot.cgroup.add, pid)
                os.write(opener, b"1")
            except BaseException as error:
                await sandbox.aclose()
                if isinstance(error, OSError):
                    raise SandboxError(f"cannot limit sandbox {sandbox.id}: {error}") from error
                raise
        finally:
            os.close(opener)
        return sandbox

    def _start_held(self, slot: Slot, runtime: SandboxRuntime, limits: Limits, gate: int) -> tuple[UnixSandbox, int]:
        token = secrets.token_urlsafe(32)
        interpreter, agent = self._places[runtime]
        place = AgentPlace(runtime, str(interpreter), str(agent / runtime), limits)
        rlimits = rlimits_for(
            runtime,
            limits,
            control_group=slot.cgroup is not None,
            own_uid=False,
            max_open_files=max_open_files(),
        )
        variables = environment(
            link=str(slot.directory.path / SOCKET_NAME),
            token=token,
            workspace=str(slot.directory.workspace),
            home="/tmp",
            path="/usr/local/bin:/usr/bin:/bin",
        )
        held = [sys.executable, "-I", "-S", "-c", GATE, str(gate), str(os.getpid()), *self._command(place)]
        process = start_process(limited(held, rlimits), environment=variables, inherited=[gate])
        pid = process.pid

        def kill_rest() -> None:
            # The session's leader is alive or a zombie here, so that this is still its process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            if slot.cgroup is not None:
                slot.cgroup.kill()

        sandbox = UnixSandbox(
            slot,
            runtime=runtime,
            isolation=self.isolation,
            limits=limits,
            token=token,
            guest_workspace=str(slot.directory.workspace),
            body=process,
            stdout=process.stdout,
            stderr=process.stderr,
            kill_rest=kill_rest,
        )
        sandbox.attach(pid)
        return sandbox, pid

    async def aclose(self) -> None:
        if self._host is not None:
            host, self._host = self._host, None
            self._places.clear()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(host.close)
