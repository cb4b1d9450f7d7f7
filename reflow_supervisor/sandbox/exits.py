"""Why a sandbox ended, judged from what the kernel tells about it. Pure."""

from __future__ import annotations

import signal

from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit, SandboxRuntime


def judge_exit(
    returncode: int, *, kill_detail: str | None, oom_kills: int, runtime: SandboxRuntime, limits: Limits
) -> SandboxExit:
    """Says why it ended.

    Args:
        returncode: as `Popen` has it. 128 + n is read as signal n: that is how bwrap passes it on. A script that
            exits with such a code of its own accord only misrepresents itself.
        kill_detail: the reason given to `kill`, or None where we did not kill it.
        oom_kills: how many of its processes the kernel killed for memory.
    """
    number = -returncode if returncode < 0 else returncode - 128
    if not 0 < number < signal.NSIG:
        return SandboxExit(ExitKind.EXITED, code=returncode)
    if number == signal.SIGKILL and kill_detail is not None:
        return SandboxExit(ExitKind.KILLED, signal=number, detail=kill_detail)
    if number == signal.SIGKILL and oom_kills:
        limit = "" if limits.memory is None else f"its limit is {limits.memory / (1 << 20):.0f} MiB"
        return SandboxExit(ExitKind.OUT_OF_MEMORY, signal=number, detail=limit)
    detail = ""
    # SIGABRT does nothing to the first process of a PID namespace, on which abort(3) makes it a SIGSEGV.
    if number in (signal.SIGABRT, signal.SIGSEGV) and runtime == "javascript":
        detail = "Node.js ends like this when its heap reaches its limit"
    elif number == signal.SIGSYS:
        detail = "it made a system call of another architecture"
    return SandboxExit(ExitKind.SIGNALED, signal=number, detail=detail)
