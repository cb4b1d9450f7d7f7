"""The same contract as bubblewrap's, but for the isolation."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import ExitKind, FindingLevel, Isolation, Limits, SandboxExit
from reflow_supervisor.sandbox.process import ProcessBackend
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox

MakeBackend = Callable[..., Any]
Run = Callable[[UnixSandbox], Awaitable[tuple[SandboxExit, str, str]]]


@pytest.mark.trio
async def test_environment_and_limits(make_backend: MakeBackend, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SUPERVISOR", "1")
    code = (
        "import json, os, resource; print(json.dumps([dict(os.environ), os.getsid(0) == os.getpid(), "
        "os.listdir('/proc/self/fd')[:-1], resource.getrlimit(resource.RLIMIT_NOFILE)]))"
    )
    backend = make_backend(code, kind=ProcessBackend)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits(open_files=77))
    link, workspace = str(sandbox.workspace.parent / "link.sock"), str(sandbox.workspace)
    assert sandbox.guest_workspace == workspace
    assert sandbox.isolation is Isolation.NONE
    end, out, err = await run(sandbox)
    await backend.aclose()
    assert end == SandboxExit(ExitKind.EXITED, code=0), err
    environment, leads_session, descriptors, open_files = json.loads(out)
    # The interpreter itself sets LC_CTYPE where the machine has no C.UTF-8.
    environment.pop("LC_CTYPE", None)
    assert environment == {
        "REFLOW_LINK": link,
        "REFLOW_TOKEN": sandbox.token,
        "REFLOW_WORKSPACE": workspace,
        "REFLOW_PROTOCOL": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PWD": "/",
    }
    assert leads_session
    assert descriptors == ["0", "1", "2"]
    assert open_files == [77, 77]


@pytest.mark.parametrize("use_cgroups", [True, False])
@pytest.mark.trio
async def test_what_it_started_ends_with_it(make_backend: MakeBackend, use_cgroups: bool) -> None:
    code = "import subprocess; print(subprocess.Popen(['/bin/sleep', '60']).pid); {}"
    for ending, kind in (("input()", ExitKind.EXITED), ("import time; time.sleep(60)", ExitKind.KILLED)):
        backend = make_backend(code.format(ending), kind=ProcessBackend, use_cgroups=use_cgroups)
        await backend.prepare(["python"])
        sandbox = await backend.start("python", Limits())
        child = os.pidfd_open(int(await sandbox.stdout.receive_some()))
        if kind is ExitKind.KILLED:
            sandbox.kill("test")
        with trio.fail_after(10):
            assert (await sandbox.wait()).kind is kind
            await trio.lowlevel.wait_readable(child)
        os.close(child)
        await sandbox.aclose()
        await backend.aclose()


@pytest.mark.trio
async def test_terminate(make_backend: MakeBackend, run: Run) -> None:
    backend = make_backend("print('up'); import time; time.sleep(60)", kind=ProcessBackend)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await sandbox.stdout.receive_some()
    usage = sandbox.usage()
    assert usage is not None
    assert usage.memory > 0
    sandbox.terminate()
    assert (await run(sandbox))[0] == SandboxExit(ExitKind.SIGNALED, signal=15)
    assert sandbox.usage() is None
    await backend.aclose()


SUPERVISOR = """
import sys, trio
from pathlib import Path
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.process import ProcessBackend

async def main():
    command = lambda place: ["/bin/sleep", "60"]
    backend = ProcessBackend(command=command, base=Path(sys.argv[1]), cache=Path(sys.argv[2]), use_cgroups=False)
    await backend.prepare(["python"])
    print((await backend.start("python", Limits())).pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.slow
def test_dies_with_the_supervisor(base: Path, cache: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(base), str(cache)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pidfd = os.pidfd_open(int(supervisor.stdout.readline()))
        supervisor.kill()
    assert select.select([pidfd], [], [], 10) == ([pidfd], [], []), "the agent lives on"
    os.close(pidfd)


@pytest.mark.trio
async def test_start_needs_prepare() -> None:
    with pytest.raises(SandboxError, match="not prepared"):
        await ProcessBackend().start("python", Limits())


def test_probe_warns_that_it_isolates_nothing() -> None:
    first = ProcessBackend().probe()[0]
    assert (first.level, first.what) == (FindingLevel.WARNING, "isolation")
