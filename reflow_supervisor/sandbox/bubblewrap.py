"""Sandboxes of Linux namespaces, made by bubblewrap, with seccomp, control groups and rlimits.

The boundary is the host's kernel. What is done here and cannot be left out, with the reason for each, is
docs/sandboxing.md; in short: never as root, every namespace or nothing, no capability, no host directory, an empty
environment, system calls from a list.

A start goes through these steps, so that no instruction of a script runs before its limits hold:

    shell sets rlimits → bwrap makes the namespaces, tells the agent's pid, and holds the agent at `--block-fd`
    → the supervisor opens a pidfd, puts the agent into its control group → lets it go

Python sandboxes are forked from a zygote instead (`warm_starts`), wherever one can be had: quicker, smaller, and
confined alike.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import trio
from reflow.zygote.messages import GUEST_ID, HOSTNAME, LINK_DIRECTORY

from reflow_supervisor.errors import EnvironmentError_, SandboxError, UserError
from reflow_supervisor.sandbox.agents import (
    FORKED_AGENT,
    AgentCommand,
    AgentPlace,
    ForkedAgent,
    agent_command,
    environment,
)
from reflow_supervisor.sandbox.backend import Finding, FindingLevel, Isolation, Limits, SandboxRuntime
from reflow_supervisor.sandbox.bwrap import SHARED_MEMORY, child_pid, memory_file, pipe
from reflow_supervisor.sandbox.host import Host, Slot, cgroup_findings
from reflow_supervisor.sandbox.rlimits import limited, max_open_files, rlimits_for
from reflow_supervisor.sandbox.rundir import SOCKET_NAME, WORKSPACE_NAME
from reflow_supervisor.sandbox.runtime_tree import GUEST_AGENT, RuntimeTrees, default_cache, guest_interpreter
from reflow_supervisor.sandbox.seccomp import filter_for
from reflow_supervisor.sandbox.uids import UidPool
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox, start_process
from reflow_supervisor.sandbox.warm_starts import WarmStarts
from reflow_supervisor.sandbox.zygote import Trees, Zygote

PROBE_TIMEOUT = 10.0
NAMESPACES_FIX = (
    "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000, "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container: --security-opt seccomp=unconfined "
    "--security-opt systempaths=unconfined)"
)

ZYGOTE_FIX = (
    "no need to, they are confined alike; a zygote's forks make user namespaces inside of its own, which an AppArmor "
    "profile or a limit (sysctl user.max_user_namespaces) may forbid"
)

CONFINEMENT = (
    # --unshare-all only *tries* to make a user namespace; --unshare-user fails where there is none.
    "--unshare-all",
    "--unshare-user",
    "--disable-userns",
    "--die-with-parent",
    # bwrap's own process 1 would show its environment, which is ours, in /proc/1/environ.
    "--as-pid-1",
    "--new-session",
    *("--cap-drop", "ALL"),
    *("--uid", str(GUEST_ID), "--gid", str(GUEST_ID)),
    *("--hostname", HOSTNAME),
    "--clearenv",
)


class BubblewrapBackend:
    """Implements `backend.SandboxBackend`."""

    name = "bubblewrap"
    isolation = Isolation.NAMESPACES

    def __init__(
        self,
        *,
        command: AgentCommand = agent_command,
        forked: ForkedAgent | None = None,
        base: Path | None = None,
        cache: Path | None = None,
        use_cgroups: bool = True,
        use_zygote: bool = True,
    ) -> None:
        """
        Args:
            command: what to run in a sandbox.
            forked: the same for a Python sandbox that is forked from a zygote. None: there is a zygote for the usual
                command only.
            base, cache, use_cgroups: see `Host.open`.
            use_zygote: False starts every sandbox by bwrap.
        """
        self.on_notice: Callable[[str], None] = _ignore
        self._command = command
        self._forked = forked or (FORKED_AGENT if command is agent_command else None)
        self._use_zygote = use_zygote
        self._warm: WarmStarts | None = None
        self._base = base
        self._cache = cache
        self._use_cgroups = use_cgroups
        self._host: Host | None = None
        self._bwrap = Path()
        self._trees: dict[SandboxRuntime, tuple[Path, Path]] = {}  # the root and the agent's tree
        self._count = 0

    def probe(self) -> Sequence[Finding]:
        return (*namespace_findings(self._cache), *cgroup_findings(use_cgroups=self._use_cgroups))

    @property
    def trouble(self) -> str:
        """Why Python sandboxes are not forked from a zygote now; empty where they are."""
        return self._warm.trouble if self._warm is not None else "it is switched off"

    async def prepare(self, runtimes: Sequence[SandboxRuntime]) -> None:
        rules_for_this_machine()
        host = self._host
        if host is None:
            host = self._host = await trio.to_thread.run_sync(
                lambda: Host.open(base=self._base, cache=self._cache, use_cgroups=self._use_cgroups, own_uids=True)
            )
        self._bwrap = await trio.to_thread.run_sync(host.trees.bwrap)
        for runtime in runtimes:
            root = await trio.to_thread.run_sync(host.trees.runtime, runtime)
            self._trees[runtime] = root, await trio.to_thread.run_sync(host.trees.agent, runtime)
        if self._use_zygote and self._forked is not None and "python" in runtimes and self._warm is None:
            self._warm = self._warm_starts(host, self._forked)
            await self._warm.prepare()

    def _warm_starts(self, host: Host, forked: ForkedAgent) -> WarmStarts:
        root, agent = self._trees["python"]
        trees = Trees(self._bwrap, root, agent)
        return WarmStarts(
            lambda: Zygote.launch(trees, host.rundir.path, host.uids, forked, rules_for_this_machine()),
            lambda limits: self._slot(host, "python", limits),
            notice=lambda text: self.on_notice(text),
        )

    async def _slot(self, host: Host, runtime: SandboxRuntime, limits: Limits) -> Slot:
        self._count += 1
        return await host.slot(f"{runtime}-{self._count}", limits)

    async def start(self, runtime: SandboxRuntime, limits: Limits) -> UnixSandbox:
        host = self._host
        if host is None or runtime not in self._trees:
            raise SandboxError(f"the {runtime} runtime was not prepared")
        if runtime == "python" and self._warm is not None:
            sandbox = await self._warm.start(limits)
            if sandbox is not None:
                return sandbox
        slot = await self._slot(host, runtime, limits)
        with contextlib.ExitStack() as descriptors:
            try:
                sandbox, info, release = self._start_held(slot, runtime, limits, descriptors)
            except BaseException:
                await slot.aclose()
                raise
            try:
                await _let_go(sandbox, slot, info.fileno(), release.fileno(), limits)
            except BaseException:
                await sandbox.aclose()
                raise
        return sandbox

    def _start_held(
        self, slot: Slot, runtime: SandboxRuntime, limits: Limits, descriptors: contextlib.ExitStack
    ) -> tuple[UnixSandbox, IO[bytes], IO[bytes]]:
        """Starts bwrap. Returns the sandbox, where bwrap tells about it, and what lets the agent in it go."""
        token = secrets.token_urlsafe(32)
        root, agent = self._trees[runtime]
        info, info_writer = pipe(descriptors)
        block, release = pipe(descriptors)
        rules = memory_file(rules_for_this_machine(), descriptors)
        options = [
            *CONFINEMENT,
            *_file_system(root, agent, slot.directory.path, limits),
            *_variables(token),
            *("--info-fd", str(info_writer.fileno())),
            *("--block-fd", str(block.fileno())),
            *("--seccomp", str(rules)),
        ]
        # Through a descriptor, as everybody on the machine can read a command line, and the token is in it.
        arguments = memory_file(b"".join(os.fsencode(option) + b"\0" for option in options), descriptors)
        place = AgentPlace(runtime, guest_interpreter(runtime), f"{GUEST_AGENT}/{runtime}", limits)
        rlimits = rlimits_for(
            runtime,
            limits,
            control_group=slot.cgroup is not None,
            own_uid=slot.uid is not None,
            max_open_files=max_open_files(),
        )
        process = start_process(
            limited([str(self._bwrap), "--args", str(arguments), "--", *self._command(place)], rlimits),
            environment={},
            inherited=[info_writer.fileno(), block.fileno(), arguments, rules],
            uid=slot.uid,
        )
        # Their ends are bwrap's now: were ours open, its end would not be seen.
        info_writer.close()
        block.close()
        sandbox = UnixSandbox(
            slot,
            runtime=runtime,
            isolation=self.isolation,
            limits=limits,
            token=token,
            guest_workspace=f"{LINK_DIRECTORY}/{WORKSPACE_NAME}",
            body=process,
            stdout=process.stdout,
            stderr=process.stderr,
        )
        return sandbox, info, release

    async def aclose(self) -> None:
        if self._warm is not None:
            warm, self._warm = self._warm, None
            await warm.aclose()
        if self._host is not None:
            host, self._host = self._host, None
            self._trees.clear()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(host.close)


def zygote_finding(cache: Path | None = None) -> Finding:
    """Whether Python sandboxes can be forked from a zygote here, found out by forking one; takes half a second, and a
    few the first time on a machine."""
    why = trio.run(_try_zygote, BubblewrapBackend(cache=cache))
    if not why:
        return Finding(FindingLevel.OK, "zygote", "Python sandboxes are forked from one, and start in milliseconds")
    detail = f"none, Python sandboxes take longer to start and more memory: {why}"
    return Finding(FindingLevel.WARNING, "zygote", detail, ZYGOTE_FIX)


async def _try_zygote(backend: BubblewrapBackend) -> str:
    """Why not; empty where it works."""
    try:
        await backend.prepare(["python"])
        await (await backend.start("python", Limits())).aclose()
        return backend.trouble
    except (SandboxError, UserError) as error:
        return str(error)
    finally:
        await backend.aclose()


def _ignore(notice: str) -> None:
    pass


def rules_for_this_machine() -> bytes:
    return filter_for(platform.machine())


async def _let_go(sandbox: UnixSandbox, slot: Slot, info: int, release: int, limits: Limits) -> None:
    """Waits until bwrap holds the agent, puts it where it belongs, and lets it run."""
    pid = await child_pid(info, f"sandbox {sandbox.id}")
    if pid is None:
        raise SandboxError(f"sandbox {sandbox.id} could not be made: {await _last_words(sandbox)}")
    sandbox.attach(pid)
    try:
        if slot.cgroup is not None:
            await trio.to_thread.run_sync(slot.cgroup.add, pid)
        elif slot.uid is None:
            # Set on a process that is already in its user namespace, the kernel counts the processes of that
            # namespace alone; set before, it would count all that this user runs.
            resource.prlimit(pid, resource.RLIMIT_NPROC, (limits.pids, limits.pids))
        os.write(release, b"1")
    except OSError as error:
        if sandbox.exit is not None:
            raise SandboxError(f"sandbox {sandbox.id} could not be made: {await _last_words(sandbox)}") from error
        raise SandboxError(f"cannot limit sandbox {sandbox.id}: {error}") from error


async def _last_words(sandbox: UnixSandbox) -> str:
    """bwrap's complaint. It has ended, or is about to."""
    with trio.move_on_after(1):
        exit_ = await sandbox.wait()
        said = await sandbox.stderr.receive_some(4096)
        return said.decode(errors="replace").strip() or str(exit_)
    return "it says nothing"


def _file_system(root: Path, agent: Path, link_directory: Path, limits: Limits) -> Iterator[str]:
    """All that is visible inside. Nothing is writable but two file systems in memory, of limited size."""
    yield from ("--ro-bind", str(root), "/")
    yield from ("--ro-bind", str(agent), GUEST_AGENT)
    yield from ("--ro-bind", str(link_directory), LINK_DIRECTORY)
    # The kernel's switches in /proc/sys are the host's.
    yield from ("--proc", "/proc", "--remount-ro", "/proc")
    yield from ("--dev", "/dev")
    yield from ("--size", str(min(limits.tmp, SHARED_MEMORY)), "--perms", "1777", "--tmpfs", "/dev/shm")
    yield from ("--remount-ro", "/dev")
    yield from ("--size", str(limits.tmp), "--perms", "1777", "--tmpfs", "/tmp")
    yield from ("--chdir", "/tmp")


def _variables(token: str) -> Iterator[str]:
    for name, value in environment(
        link=f"{LINK_DIRECTORY}/{SOCKET_NAME}",
        token=token,
        workspace=f"{LINK_DIRECTORY}/{WORKSPACE_NAME}",
        home="/tmp",
        path="/usr/bin",
    ).items():
        yield from ("--setenv", name, value)


def namespace_findings(cache: Path | None = None) -> Sequence[Finding]:
    """Whether bwrap can make the namespaces here, found out by letting it, under a user id that sandboxes have."""
    with tempfile.TemporaryDirectory(prefix="reflow-probe-", dir="/tmp") as temporary:
        Path(temporary).chmod(0o755)
        trees = RuntimeTrees(cache or default_cache(Path(temporary) / "runtimes"))
        try:
            uid = UidPool.for_this_process(0).take() if os.geteuid() == 0 else None
            bwrap = trees.bwrap()
            version = _run([str(bwrap), "--version"], uid).stdout.strip()
            with contextlib.ExitStack() as descriptors:
                rules = memory_file(rules_for_this_machine(), descriptors)
                visible = ("--ro-bind", "/", "/", "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
                command = [str(bwrap), *CONFINEMENT, *visible, "--seccomp", str(rules), "--"]
                answer = _run([*command, "/bin/cat", "/proc/self/status"], uid, rules)
        except EnvironmentError_ as error:
            return [
                Finding(FindingLevel.MISSING, "bubblewrap", problem.message, problem.hint) for problem in error.problems
            ]
        except (OSError, subprocess.SubprocessError) as error:
            fix = "give the supervisor CAP_SETUID and CAP_SETGID, or run it as an ordinary user"
            return [Finding(FindingLevel.MISSING, "bubblewrap", f"bwrap does not start: {error}", fix)]
        finally:
            trees.close()
    return [Finding(FindingLevel.OK, "bubblewrap", version), *_read_probe(answer, uid)]


def _read_probe(answer: subprocess.CompletedProcess[str], uid: int | None) -> Iterator[Finding]:
    if answer.returncode != 0:
        said = answer.stderr.strip() or f"bwrap ended with code {answer.returncode}"
        yield Finding(FindingLevel.MISSING, "namespaces", said, NAMESPACES_FIX)
        return
    whose = "" if uid is None else f"; each sandbox under its own user id, {uid} and up"
    yield Finding(FindingLevel.OK, "namespaces", f"user, mount, PID, network, IPC, UTS, cgroup{whose}")
    status = dict(line.split(":\t", 1) for line in answer.stdout.splitlines() if ":\t" in line)
    if status.get("Seccomp") == "2":
        yield Finding(FindingLevel.OK, "seccomp", "filter mode")
    else:
        fix = "use a kernel with CONFIG_SECCOMP_FILTER"
        yield Finding(FindingLevel.MISSING, "seccomp", "the kernel did not take the filter", fix)


def _run(command: list[str], uid: int | None, *inherited: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={},
        cwd="/",
        pass_fds=inherited,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        timeout=PROBE_TIMEOUT,
        check=False,
    )
