"""Real sandboxes, with a few lines of code for an agent, and a cache of trees that lives as long as the test run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import trio

from reflow_supervisor.sandbox.agents import AgentPlace, ForkedAgent
from reflow_supervisor.sandbox.backend import Limits, SandboxExit, SandboxRuntime
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend
from reflow_supervisor.sandbox.forks import Reins
from reflow_supervisor.sandbox.process import ProcessBackend
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox


@pytest.fixture(scope="session")
def cache() -> Iterator[Path]:
    # Not pytest's own directory: sandboxes run under other user ids, which may not enter that.
    path = Path(tempfile.mkdtemp(prefix="reflow-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def base() -> Iterator[Path]:
    """Where run directories are made; empty again when all is closed."""
    path = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def everybodys_python() -> str:
    """A Python of the version of ours, whose packages are then ours, that every user can run."""
    for path in (Path(sys.executable).resolve(), Path("/usr/bin") / f"python3.{sys.version_info.minor}"):
        if path.exists() and all(directory.stat().st_mode & 0o001 for directory in (path, *path.parents)):
            return str(path)
    pytest.skip("an ordinary user cannot run this Python")


def script(python: str, javascript: str = "") -> Callable[[AgentPlace], list[str]]:
    """An agent that runs this code."""

    def command(place: AgentPlace) -> list[str]:
        if place.runtime == "python":
            return [place.interpreter, "-I", "-S", "-B", "-u", "-c", python]
        return [place.interpreter, "-e", javascript]

    return command


Backend = BubblewrapBackend | ProcessBackend


class MakeBackend(Protocol):
    def __call__(
        self, python: str, javascript: str = "", *, kind: type[Backend] = ..., use_cgroups: bool = ...
    ) -> Backend: ...


@pytest.fixture
def make_backend(cache: Path, base: Path) -> MakeBackend:
    """A backend that runs this code for an agent, each sandbox started from nothing."""

    def make(
        python: str, javascript: str = "", *, kind: type[Backend] = BubblewrapBackend, use_cgroups: bool = True
    ) -> Backend:
        return kind(command=script(python, javascript), base=base, cache=cache, use_cgroups=use_cgroups)

    return make


class ForkingBackend(BubblewrapBackend):
    """Whose Python sandboxes come from a zygote, and from nowhere else."""

    async def start(self, runtime: SandboxRuntime, limits: Limits) -> UnixSandbox:
        sandbox = await super().start(runtime, limits)
        assert isinstance(sandbox._body, Reins) or runtime != "python", self.notices
        return sandbox

    notices: list[str]


@pytest.fixture
def make_forking(cache: Path, base: Path) -> Callable[..., ForkingBackend]:
    """A backend that runs this code for an agent, in forks of a zygote."""

    def make(python: str, javascript: str = "", *, prelude: str = "", use_cgroups: bool = True) -> ForkingBackend:
        backend = ForkingBackend(
            command=script(python, javascript),
            forked=ForkedAgent(python, prelude),
            base=base,
            cache=cache,
            use_cgroups=use_cgroups,
        )
        backend.notices = []
        backend.on_notice = backend.notices.append
        return backend

    return make


Output = tuple[SandboxExit, str, str]


@pytest.fixture
def run() -> Callable[[UnixSandbox], Awaitable[Output]]:
    """Waits for the end of a sandbox, at most 20 s, and collects its output."""

    async def run(sandbox: UnixSandbox) -> Output:
        out = {"stdout": b"", "stderr": b""}

        async def read(name: str, stream: trio.abc.ReceiveStream) -> None:
            async for part in stream:
                out[name] += part

        try:
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, "stdout", sandbox.stdout)
                    nursery.start_soon(read, "stderr", sandbox.stderr)
                    end = await sandbox.wait()
            return end, out["stdout"].decode(), out["stderr"].decode()
        finally:
            await sandbox.aclose()

    return run
