"""The limits that a process carries itself: what they must be, and how a process gets them.

Pure: nothing here sets a limit. Rlimits hold where control groups do not, but for memory they are a
makeshift: they bound address space per process, not memory per sandbox.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence

import attrs

from reflow_supervisor.sandbox.backend import Limits, SandboxRuntime

NODE_BASELINE = 1150 * 1024 * 1024
"""The least RLIMIT_DATA that Node.js 24 runs an agent under: it has two isolates, one of them the link's worker (one
alone starts under 573 MiB). RLIMIT_AS breaks V8, which reserves gigabytes of addresses."""

FILE_BLOCK = 512
"""The unit of `ulimit -f`, by POSIX."""
KIBIBYTE = 1024


@attrs.frozen
class Rlimits:
    """Soft and hard limit alike; None: not limited."""

    open_files: int
    file_size: int
    address_space: int | None = None
    data: int | None = None
    processes: int | None = None


def rlimits_for(
    runtime: SandboxRuntime, limits: Limits, *, control_group: bool, own_uid: bool, max_open_files: int
) -> Rlimits:
    """What a sandbox's processes are limited to.

    Args:
        control_group: a control group limits memory and processes; then rlimits do not, being coarser.
        own_uid: the sandbox has a user id of its own: the kernel counts RLIMIT_NPROC per user.
        max_open_files: the supervisor's own hard limit, which nothing it starts can raise.
    """
    open_files = min(limits.open_files, max_open_files)
    if control_group:
        # Files in memory (memfd, tmpfs) count as the group's memory, so one may be as large as that.
        return Rlimits(open_files, max(limits.tmp, limits.memory or limits.tmp))
    memory = limits.memory
    return Rlimits(
        open_files,
        limits.tmp,
        address_space=memory if runtime == "python" else None,
        data=NODE_BASELINE + memory if runtime == "javascript" and memory is not None else None,
        processes=limits.pids if own_uid else None,
    )


def resource_limits(rlimits: Rlimits) -> list[tuple[int, int]]:
    """As `setrlimit` takes them, for a process that sets its own."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: rlimits.open_files,
        resource.RLIMIT_FSIZE: rlimits.file_size,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_AS: rlimits.address_space,
        resource.RLIMIT_DATA: rlimits.data,
        resource.RLIMIT_NPROC: rlimits.processes,
    }
    return [(which, value) for which, value in wanted.items() if value is not None]


def max_open_files() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def limited(command: Sequence[str], rlimits: Rlimits) -> list[str]:
    """The command, run under these limits.

    A shell sets them: code between fork and exec (`preexec_fn`) can deadlock in a process that has threads,
    and prlimit(2) on a process of another user needs CAP_SYS_RESOURCE, which a root in a container seldom
    has.
    """
    settings = [
        "ulimit -c 0",
        f"ulimit -n {rlimits.open_files}",
        f"ulimit -f {-(-rlimits.file_size // FILE_BLOCK)}",
        "ulimit -l 0",
    ]
    if rlimits.address_space is not None:
        settings.append(f"ulimit -v {rlimits.address_space // KIBIBYTE}")
    if rlimits.data is not None:
        settings.append(f"ulimit -d {rlimits.data // KIBIBYTE}")
    if rlimits.processes is not None:
        # bash calls it -u, dash and busybox -p (which is the size of a pipe in bash).
        settings.append(f"{{ ulimit -u {rlimits.processes} 2>/dev/null || ulimit -p {rlimits.processes}; }}")
    return ["/bin/sh", "-c", " && ".join([*settings, 'exec "$@"']), "sh", *command]
