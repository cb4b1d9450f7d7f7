"""One fork of a zygote, from the order to the script: how the supervisor holds it, and lets it go.

The zygote is its parent, so it is the zygote that tells how it ended, through its reins; the supervisor sees and kills
it by the pidfd that is the first thing that the fork sends. This module decides when a fork counts as a sandbox; what a
sandbox is has been decided by `reflow.zygote.confine`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio
from reflow.zygote.messages import (
    EXITED,
    LINK_DIRECTORY,
    MAX_CHANNEL,
    NOT_FORKED,
    REPORT,
    Confined,
    ConfinementFailed,
    Forked,
    Go,
    Progress,
    decode_progress,
    encode,
)

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.agents import environment
from reflow_supervisor.sandbox.rundir import SOCKET_NAME, WORKSPACE_NAME
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox

FORK_TIMEOUT = 10.0
"""Seconds from an order until the process is there. Longer than this, the zygote is taken for hung."""
CONFINE_TIMEOUT = 30.0
"""Seconds from then on until it has shut itself in. Most of it is the kernel's, which moves it to its control group."""

GUEST_WORKSPACE = f"{LINK_DIRECTORY}/{WORKSPACE_NAME}"


class ZygoteLostError(Exception):
    """The zygote is gone, or does not answer; nothing can be forked from it."""


class CannotForkError(Exception):
    """A fork, or a sandbox of it, could not be made. The zygote itself is well."""


class Reins:
    """How one fork ended, told by the zygote. Implements `unix_sandbox.Body`.

    Args:
        pipe: the supervisor's end, which this takes over. Does not block.
        kill_zygote: ends the zygote, and with it all forks.
    """

    def __init__(self, pipe: int, kill_zygote: Callable[[], None]) -> None:
        self._pipe = pipe
        self._kill_zygote = kill_zygote
        self._code: int | None = None
        self.not_forked: str | None = None
        """Why there has never been a process."""
        self.lost = False
        """The zygote has ended, and with it the fork."""
        self.over = False
        """It was seen to have ended, or was let go of."""

    def fileno(self) -> int:
        return self._pipe

    def ended(self) -> bool:
        if self._code is None:
            try:
                data = os.read(self._pipe, REPORT.size)
            except BlockingIOError:
                return False
            # One write of so few bytes is never read in parts.
            match REPORT.unpack(data) if len(data) == REPORT.size else None:
                case (what, code) if what == EXITED:
                    self._code = code
                case (what, number) if what == NOT_FORKED:
                    self._code = 1
                    self.not_forked = os.strerror(number)
                case _:
                    self._code = -signal.SIGKILL
                    self.lost = True
            self.over = True
        return self._code is not None

    def reap(self) -> int:
        assert self._code is not None, "it has not ended"
        return self._code

    def kill(self) -> None:
        self._kill_zygote()

    def close(self) -> None:
        """What its supervisor lets go of, the zygote kills."""
        os.close(self._pipe)
        self.over = True


class HeldFork:
    """A fork that waits to be told who it is; then it is the sandbox that it was made to be.

    Args:
        channel: the supervisor's end, which this takes over. Does not block.
    """

    def __init__(self, sandbox: UnixSandbox, reins: Reins, channel: socket.socket) -> None:
        self._sandbox = sandbox
        self._reins = reins
        self._channel = channel
        self._confined = False

    @property
    def alive(self) -> bool:
        return self._sandbox.exit is None

    async def confined(self) -> None:
        """Returns when it has shut itself in, at once when it had before.

        Raises:
            CannotForkError: it could not, and why.
            ZygoteLostError: the zygote is gone.
            SandboxError: it takes too long.
        """
        if self._confined:
            return
        await self._attach()
        with trio.move_on_after(CONFINE_TIMEOUT):
            match await self._hear():
                case Confined():
                    self._confined = True
                    return
                case ConfinementFailed(step=step, reason=reason):
                    raise CannotForkError(f"{step}: {reason}")
                case _:
                    raise CannotForkError("it said that it was forked twice")
        raise SandboxError(f"sandbox {self._sandbox.id} was not made within {CONFINE_TIMEOUT:.0f} s")

    def go(self) -> UnixSandbox:
        """Tells it who it is, and lets go of it.

        Raises:
            CannotForkError: it is gone.
        """
        variables = environment(
            link=f"{LINK_DIRECTORY}/{SOCKET_NAME}",
            token=self._sandbox.token,
            workspace=GUEST_WORKSPACE,
            home="/tmp",
            path="/usr/bin",
        )
        try:
            self._channel.send(encode(Go({**variables, "PWD": "/tmp"})), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise CannotForkError(f"it ended: {error.strerror}") from None
        self._channel.close()
        return self._sandbox

    async def aclose(self) -> None:
        """Ends it and removes everything of it. Shielded from cancellation, and bounded in time."""
        with trio.CancelScope(shield=True):
            with contextlib.suppress(CannotForkError, ZygoteLostError, SandboxError):
                await self._attach()
            self._channel.close()
            await self._sandbox.aclose()

    async def _attach(self) -> None:
        """Gets hold of the process."""
        if self._sandbox.pid is not None:
            return
        # Shielded: what is not known cannot be killed.
        with trio.CancelScope(shield=True), trio.move_on_after(FORK_TIMEOUT):
            if not isinstance(await self._hear(), Forked):
                raise CannotForkError("it did not say that it was forked")
            return
        self._reins.kill()
        raise ZygoteLostError(f"it did not fork within {FORK_TIMEOUT:.0f} s")

    async def _hear(self) -> Progress:
        """What the fork says next; a process of its own at first."""
        await trio.lowlevel.wait_readable(self._channel)
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, MAX_CHANNEL, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, descriptors = b"", list[int]()
        try:
            if not data:
                raise await self._end()
            said = decode_progress(data)
            if descriptors and self._sandbox.pid is None:
                pid = process_id(descriptors[0])
                if pid is None:
                    raise await self._end()
                self._sandbox.attach(pid, descriptors.pop())
        except msgspec.DecodeError as error:
            raise CannotForkError(f"it does not say what a fork says: {error}") from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return said

    async def _end(self) -> CannotForkError | ZygoteLostError:
        """Why it says nothing any more."""
        end = await self._sandbox.wait()
        if self._reins.lost:
            return ZygoteLostError("it ended")
        if self._reins.not_forked is not None:
            return CannotForkError(self._reins.not_forked)
        words = b""
        with trio.move_on_after(1):
            words = await self._sandbox.stderr.receive_some(MAX_CHANNEL)
        return CannotForkError(f"while it shut itself in, it {end}: {words.decode(errors='replace').strip()}")


def process_id(pidfd: int) -> int | None:
    """As this process sees it; None where it is gone."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pid" and int(value) > 0:
            return int(value)
    return None
