"""A server program as a child of this process: it dies with us, its output is kept within bounds, and its end
is seen.

How a process is started, watched and ended is decided here. Which program, with what configuration, and what
its end means, is `embedded`'s.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import trio

from reflow_supervisor.state.bounded_log import BoundedLog

_KILL_TIMEOUT = 5.0

# The parent-death signal must be asked for between fork and exec. Popen's preexec_fn would run Python in the
# forked child of a process with threads, where it can deadlock; so a small interpreter asks and then becomes
# the server. A parent that is gone by then sends no signal any more, so it looks.
_EXEC_DYING_WITH_PARENT = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerProcess:
    """A started program, in a session of its own so that a Ctrl-C in the terminal is ours to handle.

    Must be made on the Trio thread: the kernel's parent-death signal comes when the *thread* that forked
    ends.

    Args:
        command: the program and its arguments.
        stdin: what it reads there, before the end; less than a pipe holds.
        log: where its stdout and stderr go, while `copy_output` runs.
        pass_fds: descriptors that it inherits.
    """

    def __init__(self, command: Sequence[str], *, stdin: bytes, log: BoundedLog, pass_fds: Sequence[int]) -> None:
        self._log = log
        output, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _EXEC_DYING_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.PIPE,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                pass_fds=pass_fds,
                umask=0o077,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(write_end)
        self._output = trio.lowlevel.FdStream(output)
        self._pidfd = os.pidfd_open(self._process.pid)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(stdin)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    async def wait(self) -> None:
        """Returns when it is gone. One task at a time."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def copy_output(self) -> None:
        """Writes its output to the log until nobody can write any more."""
        async for data in self._output:
            self._log.write(bytes(data))

    async def aclose(self, timeout: float) -> str:
        """Asks it to end, kills it after `timeout` seconds, with all that it started, and takes the last of
        its output. Shielded from cancellation.

        Returns:
            How it ended, in words.
        """
        with trio.CancelScope(shield=True):
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            with trio.move_on_after(timeout):
                await self.wait()
            # Not reaped yet, so the process group's number is still its own: what it forked (a rewrite of its
            # file) goes too, even where the server itself was killed.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with trio.move_on_after(_KILL_TIMEOUT):
                await self.wait()
                await self.copy_output()
            await self._output.aclose()
        code = self._process.poll()
        os.close(self._pidfd)
        if code is None:
            return "does not end, even when killed"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"
