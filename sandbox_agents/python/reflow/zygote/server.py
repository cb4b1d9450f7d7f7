"""The zygote's loop: forks when it is told to, and says how each fork ended; and what a fork does with its life.

It decides nothing about what a sandbox is: the order is read by the fork that it is for. It takes one after another,
never waits for what it has forked, and holds nothing that one fork could use against another. The supervisor is
trusted, forks are not: nothing that they could write is read here.

The loop is short for a reason. Whatever page of memory it writes to between two forks is one that they do not share.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
import types
from collections.abc import Iterable
from types import CodeType
from typing import Final, NoReturn

from . import confine
from .messages import (
    EXITED,
    FORK_DESCRIPTORS,
    MAX_CHANNEL,
    MAX_CONTROL,
    MAX_GROUPS,
    MAX_TEXT,
    NOT_FORKED,
    REPORT,
    Confined,
    ConfinementFailed,
    Forked,
    Ready,
    decode_begin,
    decode_fork,
    decode_go,
    encode,
)

PROGRAM_NAME: Final = "<string>"
"""What tracebacks call a fork's program: as `python -c` does."""

HELD: Final = confine.Name("reflow-held")
AGENT: Final = confine.Name("reflow-agent")
"""A fork's names: until it is told who it is, and from then on."""

ROOM: Final = socket.CMSG_SPACE(struct.calcsize("i") * (len(FORK_DESCRIPTORS) + MAX_GROUPS))


def main(control: int) -> NoReturn:
    """Serves the supervisor on that descriptor until it is gone."""
    supervisor = socket.socket(fileno=control)
    begin = decode_begin(supervisor.recv(MAX_CONTROL))
    confine.Name("reflow-zygote").take()
    confine.hide_memory()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    confine.make_mounts_private()
    rules = confine.Rules(begin.rules)
    exec(compile(begin.prelude, PROGRAM_NAME, "exec", dont_inherit=True), {"__name__": "__prelude__"})
    program = compile(begin.code, PROGRAM_NAME, "exec", dont_inherit=True)
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - a count is all that is wanted
        # A fork has the memory of all threads and runs only one of them: a lock that another held stays locked.
        raise SystemExit("what runs ahead of the forks has started a thread")
    zygote = Zygote(supervisor)
    # What is here now is everybody's for as long as nobody writes to it; the collector would.
    gc.collect()
    gc.freeze()
    supervisor.send(encode(Ready()))
    order, descriptors = zygote.serve()
    # This is a fork. Nothing below is the zygote's any more.
    try:
        os._exit(_live(order, descriptors, rules, program))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class Zygote:
    """
    Args:
        control: where the supervisor's orders come from.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        """Of the forks, by pidfd."""
        self._reins: dict[int, int] = {}
        """The ends of their pipes, by pidfd."""
        self._pidfds: dict[int, int] = {}
        """By the end of the pipe."""
        self._poll = select.epoll()
        self._poll.register(control.fileno(), select.EPOLLIN)

    def serve(self) -> tuple[bytes, tuple[int, ...]]:
        """Returns in forks only, with their order and the descriptors that came with it."""
        control = self._control.fileno()
        while True:
            ordered = False
            for descriptor, _ in self._poll.poll():
                if descriptor == control:
                    ordered = True
                elif descriptor in self._pids:
                    self._bury(descriptor)
                elif descriptor in self._pidfds:
                    # The supervisor has let go.
                    self._poll.unregister(descriptor)
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(self._pidfds[descriptor], signal.SIGKILL)
            # In the end, so that no number in the list above can have become a new fork's.
            if ordered:
                order, descriptors = self._receive()
                if self._fork(descriptors):
                    return order, descriptors

    def _receive(self) -> tuple[bytes, tuple[int, ...]]:
        order, ancillary, flags, _ = self._control.recvmsg(MAX_CONTROL, ROOM)
        if not order:
            # The supervisor is gone. With this process its PID namespace ends, and all that is in it.
            os._exit(0)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(ancillary) != 1:
            raise SystemExit("an order was cut short")
        data = ancillary[0][2]
        descriptors = struct.unpack(f"{len(data) // struct.calcsize('i')}i", data)
        if len(descriptors) < len(FORK_DESCRIPTORS):
            raise SystemExit("an order came with too few descriptors")
        return order, descriptors

    def _fork(self, descriptors: tuple[int, ...]) -> bool:
        """Whether this is the fork."""
        reins = descriptors[0]
        pid = -1
        try:
            pid = confine.fork()
            if not pid:
                self._leave(descriptors)
                return True
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if pid > 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            _say(reins, NOT_FORKED, error.errno or 0)
            for descriptor in descriptors:
                os.close(descriptor)
            return False
        self._pids[pidfd] = pid
        self._reins[pidfd] = reins
        self._pidfds[reins] = pidfd
        self._poll.register(pidfd, select.EPOLLIN)
        self._poll.register(reins, 0)  # the other end's end is told all the same
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        return False

    def _leave(self, descriptors: tuple[int, ...]) -> None:
        """In the fork: lets go of all that is the zygote's, and of all that is a sibling's."""
        _, channel, stdout, stderr, *groups = descriptors
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        self._control.detach()  # else it would close, in the end, a number that is something else's by then
        self._poll.close()
        self._pids.clear()
        self._reins.clear()
        self._pidfds.clear()
        _close_all_but((0, 1, 2, channel, *groups))

    def _bury(self, pidfd: int) -> None:
        _, status = os.waitpid(self._pids.pop(pidfd), 0)
        reins = self._reins.pop(pidfd)
        del self._pidfds[reins]
        _say(reins, EXITED, os.waitstatus_to_exitcode(status))
        os.close(reins)
        os.close(pidfd)


def _say(reins: int, what: int, value: int) -> None:
    """A supervisor that has let go is not told any more."""
    with contextlib.suppress(OSError):
        os.write(reins, REPORT.pack(what, value))


def _close_all_but(kept: Iterable[int]) -> None:
    start = 0
    for descriptor in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        if start < descriptor:  # os.closerange(0, 0) closes them all
            os.closerange(start, descriptor)
        start = descriptor + 1


def _live(order: bytes, descriptors: tuple[int, ...], rules: confine.Rules, program: CodeType) -> int:
    """A fork's whole life, and its exit code. It is a sandbox from `confine` on."""
    HELD.take()
    channel = socket.socket(fileno=descriptors[1])
    own = os.pidfd_open(os.getpid())
    channel.sendmsg((encode(Forked()),), ((socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", own)),))
    os.close(own)
    try:
        confine.confine(decode_fork(order), descriptors[len(FORK_DESCRIPTORS) :], rules)
    except confine.ConfinementError as error:
        channel.send(encode(ConfinementFailed(error.step, error.reason[:MAX_TEXT])))
        return 1
    channel.send(encode(Confined()))
    go = channel.recv(MAX_CHANNEL)
    channel.close()
    if not go:
        return 1  # it is not wanted any more
    AGENT.take()
    for name in list(os.environ):
        del os.environ[name]
    os.environ.update(decode_go(go).environment)
    return _run(program)


def _run(program: CodeType) -> int:
    """Runs the main program, as the interpreter runs what `-c` names."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv[:] = ["-c"]
    code = 0
    try:
        exec(program, module.__dict__)
    except SystemExit as error:
        if isinstance(error.code, int):
            code = error.code & 0xFF
        elif error.code is not None:
            print(error.code, file=sys.stderr)
            code = 1
    except BaseException as error:
        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code
