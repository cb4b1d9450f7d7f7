"""One zygote: an outer sandbox with an interpreter in it that sandboxes are forked from.

bwrap makes the outer sandbox, under a user id of its own, with an empty environment and with nothing of the host but
the runtime's tree and the directory of this run's sandboxes. As root, the supervisor maps the ids of all sandboxes into
its user namespace, so that each fork can take one of its own. What is said to the zygote is `reflow.zygote.messages`;
how a fork shuts itself in is `reflow.zygote.confine`. When a zygote is started, and what is done without one, is
decided in `warm_starts`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import trio
from reflow.zygote.messages import MAX_CHANNEL, SANDBOXES, TEMPLATE, Begin, Fork, decode_ready, encode

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.agents import ForkedAgent
from reflow_supervisor.sandbox.backend import Isolation, Limits
from reflow_supervisor.sandbox.bwrap import SHARED_MEMORY, child_pid, pipe
from reflow_supervisor.sandbox.forks import GUEST_WORKSPACE, HeldFork, Reins, ZygoteLostError
from reflow_supervisor.sandbox.host import Slot
from reflow_supervisor.sandbox.rlimits import max_open_files, resource_limits, rlimits_for
from reflow_supervisor.sandbox.runtime_tree import GUEST_AGENT, guest_interpreter
from reflow_supervisor.sandbox.uids import UidPool
from reflow_supervisor.sandbox.unix_sandbox import StartedProcess, UnixSandbox, start_process

BOOTSTRAP = (
    f"import sys; sys.path[:0] = ['{GUEST_AGENT}/python']; "
    "from reflow.zygote.server import main; main(int(sys.argv.pop()))"
)
READY_TIMEOUT = 20.0
"""Seconds from its start until a zygote is ready."""
END_TIMEOUT = 2.0
"""Seconds that a zygote may take to end by itself, when its supervisor has hung up."""
CLOSE_TIMEOUT = 5.0
DESCRIPTORS_OF_A_FORK = 2
"""That a zygote holds for as long as the fork lives."""
SPARE_DESCRIPTORS = 64
LAST_WORDS = 4096

CONFINEMENT = (
    "--unshare-all",
    "--unshare-user",
    "--die-with-parent",
    "--new-session",
    *("--uid", "0", "--gid", "0"),
    *("--hostname", "zygote"),
    *("--clearenv", "--setenv", "LANG", "C.UTF-8"),
    *("--cap-drop", "ALL"),
    # To make the forks' namespaces and mounts.
    *("--cap-add", "CAP_SYS_ADMIN"),
)
TO_MAP_ITS_OWN_ID = ("--cap-add", "CAP_SETFCAP")
"""Which is 0: the kernel lets nobody pass root on who could not have given files its capabilities."""
OVER_OTHER_IDS = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
}
"""In /dev, as bwrap makes them."""


@attrs.frozen
class Trees:
    """What a zygote is made of: the trees of the runtime and of the agent, and the bwrap to start it with."""

    bwrap: Path
    root: Path
    agent: Path


class Zygote:
    """Made by `launch`. Belongs to one runtime tree; limits are its forks' own."""

    def __init__(self, process: StartedProcess, control: socket.socket, uids: UidPool | None, uid: int | None) -> None:
        self._process = process
        self._control = control
        self._uids = uids
        self._uid = uid
        self._ready = False
        self._forks: set[Reins] = set()
        self._most = (max_open_files() - SPARE_DESCRIPTORS) // DESCRIPTORS_OF_A_FORK
        self._code: int | None = None
        self._said = ""
        self._closed = False

    @classmethod
    async def launch(
        cls, trees: Trees, sandboxes: Path, uids: UidPool | None, agent: ForkedAgent, rules: bytes
    ) -> Zygote:
        """Starts one. It takes a while to be ready, see `ready`.

        Args:
            sandboxes: the directory of all sandboxes' directories.
            uids: the user ids that forks may have; None where they have the supervisor's.
            rules: the seccomp filter of the forks.

        Raises:
            ZygoteLostError: it ended at once.
            SandboxError: it could not be started.
        """
        uid = uids.take() if uids is not None else None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        zygote = None
        try:
            with theirs, contextlib.ExitStack() as descriptors:
                info, info_writer = pipe(descriptors)
                block, release = pipe(descriptors)
                options = [*CONFINEMENT, *_file_system(trees, sandboxes), "--info-fd", str(info_writer.fileno())]
                if uid is None:
                    options += TO_MAP_ITS_OWN_ID
                else:
                    options += [*OVER_OTHER_IDS, "--userns-block-fd", str(block.fileno())]
                python = [guest_interpreter("python"), "-I", "-S", "-B", "-u", "-c", BOOTSTRAP, str(theirs.fileno())]
                process = start_process(
                    [str(trees.bwrap), *options, "--", *python],
                    environment={},
                    inherited=[theirs.fileno(), info_writer.fileno(), block.fileno()],
                    uid=uid,
                )
                zygote = cls(process, ours, uids, uid)
                theirs.close()
                info_writer.close()
                block.close()
                pid = await child_pid(info.fileno(), "the zygote")
                if pid is None:
                    raise ZygoteLostError(await zygote.last_words())
                if uids is not None and uid is not None:
                    _map_ids(pid, uids.ids, uid)
                    os.write(release.fileno(), b"1")
                zygote._tell(encode(Begin(prelude=agent.prelude, code=agent.code, rules=rules)), [])
        except BaseException as error:
            if zygote is not None:
                await zygote.aclose()
            else:
                ours.close()
                if uids is not None and uid is not None:
                    uids.give_back(uid)
            if isinstance(error, OSError):
                raise SandboxError(f"the zygote could not be made: {error}") from error
            raise
        return zygote

    @property
    def pid(self) -> int:
        """Of the process that it ends with: bwrap's monitor."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        if self._code is None and self._process.ended():
            self._code = self._process.reap()
        return self._code is None

    @property
    def full(self) -> bool:
        """It has as many forks as it can hold."""
        if len(self._forks) >= self._most:
            self._forks = {reins for reins in self._forks if not reins.over}
        return len(self._forks) >= self._most

    async def ready(self) -> None:
        """Returns when it has imported all, at once when it had before.

        Raises:
            ZygoteLostError: it ended instead, or took too long.
        """
        if self._ready:
            return
        with trio.move_on_after(READY_TIMEOUT):
            while not self.try_ready():
                await trio.lowlevel.wait_readable(self._control)
            return
        self.kill()
        raise ZygoteLostError(f"it was not ready within {READY_TIMEOUT:.0f} s")

    def try_ready(self) -> bool:
        """Whether it is ready. Does not wait.

        Raises:
            ZygoteLostError: it ended instead.
        """
        if not self._ready:
            try:
                data = self._control.recv(MAX_CHANNEL)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                raise ZygoteLostError("it ended")
            decode_ready(data)
            self._ready = True
        return True

    def fork(self, slot: Slot, limits: Limits) -> HeldFork:
        """Orders a fork, and returns at once. It puts itself into the slot's control group and shuts itself in.

        Raises:
            ZygoteLostError: the zygote is gone, or has stopped to listen. The slot is still the caller's.
            OSError: there are too few descriptors. Likewise.
        """
        rlimits = rlimits_for(
            "python",
            limits,
            control_group=slot.cgroup is not None,
            # A fork sets its limits in a user namespace of its own, where it is the only one of its id.
            own_uid=True,
            max_open_files=max_open_files(),
        )
        order = Fork(
            directory=slot.directory.path.name,
            uid=slot.uid,
            tmp=limits.tmp,
            shared_memory=min(limits.tmp, SHARED_MEMORY),
            limits=resource_limits(rlimits),
        )
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            reins, stdout, stderr = _pipe(ours, theirs), _pipe(ours, theirs), _pipe(ours, theirs)
            channel = _socket(ours, theirs)
            given = [reins[1], channel[1].fileno(), stdout[1], stderr[1]]
            for door in slot.cgroup.doors() if slot.cgroup is not None else ():
                theirs.callback(os.close, door)
                given.append(door)
            self._tell(encode(order), given)
            os.set_blocking(reins[0], False)
            ours.pop_all()
        body = Reins(reins[0], self.kill)
        self._forks.add(body)
        sandbox = UnixSandbox(
            slot,
            runtime="python",
            isolation=Isolation.NAMESPACES,
            limits=limits,
            token=secrets.token_urlsafe(32),
            guest_workspace=GUEST_WORKSPACE,
            body=body,
            stdout=trio.lowlevel.FdStream(stdout[0]),
            stderr=trio.lowlevel.FdStream(stderr[0]),
        )
        return HeldFork(sandbox, body, channel[0])

    def _tell(self, message: bytes, descriptors: Sequence[int]) -> None:
        if not self.alive:
            raise ZygoteLostError("it has ended")
        try:
            socket.send_fds(self._control, [message], descriptors, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.kill()
            raise ZygoteLostError("it does not listen") from None
        except ConnectionError:
            raise ZygoteLostError("it has ended") from None

    def kill(self) -> None:
        """Ends it, and with it everything that was forked from it."""
        self._process.kill()

    async def last_words(self) -> str:
        """What it wrote to stderr, when it has ended or is about to."""
        if not self._said:
            text = b""
            with trio.move_on_after(1):
                while len(text) < LAST_WORDS and (part := await self._process.stderr.receive_some(LAST_WORDS)):
                    text += part
            lines = text.decode(errors="replace").strip().splitlines()
            # Of a traceback, the last line says what it was.
            self._said = lines[-1] if lines else "it said nothing"
        return self._said

    async def aclose(self) -> None:
        """Ends it, and with it everything that was forked from it, and removes it. Shielded from cancellation, and
        bounded in time. May be called twice."""
        with trio.CancelScope(shield=True):
            if self._closed:
                return
            self._closed = True
            self._control.close()
            with trio.move_on_after(END_TIMEOUT):
                await self._wait()
            self.kill()
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._wait()
            await self._process.stdout.aclose()
            await self._process.stderr.aclose()
            if not self.alive:
                self._process.close()
                if self._uids is not None and self._uid is not None:
                    self._uids.give_back(self._uid)

    async def _wait(self) -> None:
        while self.alive:
            await trio.lowlevel.wait_readable(self._process.fileno())


def _map_ids(pid: int, ids: range, own: int) -> None:
    """Its user namespace has all ids of sandboxes as they are; its own is also root there. Ours to write, as it has
    been made by an unprivileged process."""
    extents = [(0, own, 1), (ids.start, ids.start, own - ids.start), (own + 1, own + 1, ids.stop - own - 1)]
    text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in extents if count)
    for file in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{file}").write_text(text)


def _file_system(trees: Trees, sandboxes: Path) -> Iterator[str]:
    """The zygote's own, with what its forks take as their root, and with all sandboxes' directories."""
    yield from ("--ro-bind", str(trees.root), "/")
    yield from ("--ro-bind", str(trees.agent), GUEST_AGENT)
    # Not read-only: forks write the maps of their user namespaces through it. It is no root of theirs.
    yield from ("--proc", "/proc")
    yield from ("--tmpfs", "/tmp", "--dir", TEMPLATE, "--dir", SANDBOXES)
    yield from ("--ro-bind", str(sandboxes), SANDBOXES)
    yield from ("--ro-bind", str(trees.root), TEMPLATE)
    yield from ("--ro-bind", str(trees.agent), TEMPLATE + GUEST_AGENT)
    # Made by hand, since `--dev` would mount pseudo-terminals that all forks share.
    yield from ("--tmpfs", f"{TEMPLATE}/dev", "--dir", f"{TEMPLATE}/dev/pts", "--dir", f"{TEMPLATE}/dev/shm")
    for name in DEVICES:
        yield from ("--dev-bind", f"/dev/{name}", f"{TEMPLATE}/dev/{name}")
    for name, target in LINKS.items():
        yield from ("--symlink", target, f"{TEMPLATE}/dev/{name}")
    yield from ("--remount-ro", f"{TEMPLATE}/dev", "--remount-ro", "/tmp")


def _socket(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.setblocking(False)
    return ours.enter_context(here), theirs.enter_context(there)


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    here, there = os.pipe()
    ours.callback(os.close, here)
    theirs.callback(os.close, there)
    return here, there
