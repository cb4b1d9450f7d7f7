"""The contract between the pool and whatever isolates a script: bubblewrap, a microVM, or nothing.

A backend decides how a sandbox is made, limited, watched and destroyed. It does not speak the agent protocol: it
hands out a listener that the agent inside will connect to (`reflow_supervisor.rpc` does the talking), a directory
whose contents appear read-only inside, and the script's stdout and stderr.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import attrs
import trio

SandboxRuntime = Literal["python", "javascript"]


class Isolation(enum.IntEnum):
    """How strong the boundary is; the order is the strength, for `minimum_isolation`."""

    NONE = 0
    NAMESPACES = 1
    MICROVM = 2


@attrs.frozen
class Limits:
    """What one sandbox may use. Sizes in bytes, `cpu` in cores (0.5 is half of one), None: not limited."""

    memory: int | None = 512 * 1024 * 1024
    cpu: float | None = 0.5
    pids: int = 64
    tmp: int = 64 * 1024 * 1024
    open_files: int = 256


class ExitKind(enum.StrEnum):
    """Why a sandbox is gone."""

    EXITED = "exited"
    SIGNALED = "signaled"
    OUT_OF_MEMORY = "out-of-memory"
    KILLED = "killed"
    """By us: its shutdown time was over, it overran, or it broke the protocol."""


@attrs.frozen
class SandboxExit:
    """`code` for EXITED; `signal` (a number) for SIGNALED and KILLED; `detail` is a sentence for people."""

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        match self.kind:
            case ExitKind.EXITED:
                text = f"exited with code {self.code}"
            case ExitKind.SIGNALED:
                text = f"was killed by signal {self.signal}"
            case ExitKind.OUT_OF_MEMORY:
                text = "ran out of memory"
            case ExitKind.KILLED:
                text = "was killed by the supervisor"
        return f"{text}: {self.detail}" if self.detail else text


@attrs.frozen
class Usage:
    """A sample of what a sandbox uses: seconds of processor time since its start, bytes of memory now."""

    cpu_seconds: float
    memory: int


class Sandbox(Protocol):
    """One started sandbox with an agent in it that has been told where to connect. Used once, by one actor."""

    @property
    def id(self) -> str: ...

    @property
    def runtime(self) -> SandboxRuntime: ...

    @property
    def isolation(self) -> Isolation: ...

    @property
    def pid(self) -> int | None:
        """The agent's process id as the host sees it; None where it has none (a microVM)."""
        ...

    @property
    def token(self) -> str:
        """The one-time token that the agent inside was given and must show when it first connects."""
        ...

    @property
    def listener(self) -> trio.abc.Listener[trio.SocketStream]:
        """Where the agent connects, and connects again when its connection was cut. Closed by `aclose`."""
        ...

    @property
    def workspace(self) -> Path:
        """The host's directory whose contents the sandbox sees, read-only, at `guest_workspace`. Empty at first:
        the actor's source, helper modules and included files are put there before it is loaded."""
        ...

    @property
    def guest_workspace(self) -> str: ...

    @property
    def stdout(self) -> trio.abc.ReceiveStream: ...

    @property
    def stderr(self) -> trio.abc.ReceiveStream: ...

    @property
    def exit(self) -> SandboxExit | None:
        """Why it is gone, or None while it is alive."""
        ...

    async def wait(self) -> SandboxExit:
        """Returns when every process of it is gone. May be called by several tasks."""
        ...

    def terminate(self) -> None:
        """Asks it to end (SIGTERM). Does not wait. Harmless when it is gone."""
        ...

    def kill(self, detail: str = "") -> None:
        """Ends all of its processes at once (SIGKILL). Does not wait. `detail` says why, for `exit`."""
        ...

    def usage(self) -> Usage | None:
        """What it uses now; None where that cannot be told."""
        ...

    async def aclose(self) -> None:
        """Kills what is left, waits for it, and removes everything of it from the host (directory, socket, cgroup).
        Shielded from cancellation and bounded in time. May be called twice."""
        ...


class FindingLevel(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@attrs.frozen
class Finding:
    """One line of `doctor`: what was looked at, how it is, and how to get it where it is missing."""

    level: FindingLevel
    what: str
    detail: str = ""
    fix: str = ""


@runtime_checkable
class Noticing(Protocol):
    """What a backend is, too, that may come to do with less while it runs: it says so, in words, once."""

    on_notice: Callable[[str], None]


class SandboxBackend(Protocol):
    """Makes sandboxes of one kind."""

    @property
    def name(self) -> str: ...

    @property
    def isolation(self) -> Isolation: ...

    def probe(self) -> Sequence[Finding]:
        """What this machine has of what the backend needs. Any MISSING finding means that it cannot be used."""
        ...

    async def prepare(self, runtimes: Sequence[SandboxRuntime]) -> None:
        """Makes ready what all sandboxes share (the runtime tree). Called once before the first `start`.

        Raises:
            UserError: what the machine lacks, and how to get it.
        """
        ...

    async def start(self, runtime: SandboxRuntime, limits: Limits) -> Sandbox:
        """Starts one. Returns as soon as its process runs: the agent's hello is awaited by whoever listens.

        Raises:
            SandboxError: it could not be started.
        """
        ...

    async def aclose(self) -> None:
        """Removes what `prepare` left for this run only. All sandboxes are closed by then."""
        ...
