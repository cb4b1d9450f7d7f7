"""What a script inside can and cannot do, asked of real sandboxes; and that nothing of them is left behind.

All of it twice for Python: of sandboxes that bwrap has started, and of those that a zygote has forked. What is
particular to the latter is in `test_forks` and `test_zygote`.
"""

# ruff: noqa: ASYNC240  (blocking for a moment harms nobody here)

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import ExitKind, FindingLevel, Isolation, Limits, SandboxExit
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend
from reflow_supervisor.sandbox.cgroups import CgroupsUnavailableError, open_cgroups
from reflow_supervisor.sandbox.forks import Reins
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox

MakeBackend = Callable[..., Any]
Run = Callable[[UnixSandbox], Awaitable[tuple[SandboxExit, str, str]]]

pytestmark = pytest.mark.slow


def have_cgroups() -> bool:
    try:
        open_cgroups().close()
    except CgroupsUnavailableError:
        return False
    return True


needs_cgroups = pytest.mark.skipif(not have_cgroups(), reason="no control groups here")


@pytest.fixture(params=["started", "forked"])
def make_backend(request: pytest.FixtureRequest) -> MakeBackend:
    if request.param == "started":
        return request.getfixturevalue("make_backend")
    if request.node.callspec.params.get("runtime") == "javascript":
        pytest.skip("JavaScript cannot be forked")
    return request.getfixturevalue("make_forking")


INSPECT = textwrap.dedent("""
    import errno, json, os, resource, socket
    def attempt(action):
        try:
            return repr(action())
        except OSError as error:
            return errno.errorcode[error.errno]
    def write(path):
        def action():
            with open(path, "w") as file:
                file.write("x")
        return attempt(action)
    def fill(path):
        def action():
            with open(path, "wb") as file:
                for _ in range(64):
                    file.write(bytes(1 << 20))
        result = attempt(action)
        os.truncate(path, 0)
        return result
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
    mounts = {}
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        mounts[fields[4]] = fields[5].split(",")[0]
    print(json.dumps({
        "environment": dict(os.environ),
        "environ of 1": attempt(lambda: sorted({e.split("=")[0] for e in open("/proc/1/environ").read().split("\\0")})),
        "pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
        "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
        "session": os.getsid(0),
        "root": sorted(os.listdir("/")),
        "run": sorted(os.listdir("/run")), "link": sorted(os.listdir("/run/reflow")),
        "status": {k: status[k].strip() for k in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")},
        "mounts": mounts,
        "descriptors": sorted(int(f) for f in os.listdir("/proc/self/fd"))[:-1],
        "cwd": os.getcwd(),
        "write": {path: write(path) for path in (
            "/x", "/usr/x", "/agent/x", "/agent/python/x", "/run/x", "/run/reflow/x", "/run/reflow/workspace/x",
            "/etc/x", "/dev/x", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj", "/tmp/x", "/dev/shm/x")},
        "unlink socket": attempt(lambda: os.unlink("/run/reflow/link.sock")),
        "fill /tmp": fill("/tmp/big"), "fill /dev/shm": fill("/dev/shm/big"),
        "host files": {path: os.path.exists(path) for path in (
            "/root", "/home", "/var", "/etc/passwd", "/etc/shadow", "/sys", "/work", "/dev/kvm", "/dev/vda")},
        "sockets": {family: attempt(lambda: bool(socket.socket(getattr(socket, family)).close())) for family in (
            "AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_VSOCK", "AF_PACKET")},
        "setuid": attempt(lambda: os.setuid(0)),
        "chroot": attempt(lambda: os.chroot("/tmp")),
        "mknod": attempt(lambda: os.mknod("/tmp/device", 0o20600, os.makedev(1, 3))),
        "kill 2": attempt(lambda: os.kill(2, 9)),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in (
            "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_FSIZE")},
        "hostname": os.uname().nodename,
    }))
""")


@pytest.mark.trio
async def test_what_a_script_sees_and_may_do(
    make_backend: MakeBackend, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SUPERVISOR", "1")
    backend = make_backend(INSPECT)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits(tmp=8 << 20, open_files=99))
    token = sandbox.token
    end, out, err = await run(sandbox)
    await backend.aclose()
    assert end == SandboxExit(ExitKind.EXITED, code=0), err
    seen = json.loads(out)

    assert seen["environment"] == {
        "REFLOW_LINK": "/run/reflow/link.sock",
        "REFLOW_TOKEN": token,
        "REFLOW_WORKSPACE": "/run/reflow/workspace",
        "REFLOW_PROTOCOL": "1",
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PWD": "/tmp",
    }
    # It is what bwrap was given, or, in a fork, nobody's to read.
    assert seen["environ of 1"] in (repr(sorted(["", *seen["environment"]])), "EACCES")
    assert (seen["pid"], seen["processes"], seen["session"]) == (1, [1], 1)
    assert (seen["uid"], seen["gid"]) == (65534, 65534)
    assert seen["groups"] in ([], [65534])
    assert seen["root"] == ["agent", "dev", "etc", "lib", "lib64", "proc", "run", "tmp", "usr"]
    assert (seen["run"], seen["link"]) == (["reflow"], ["link.sock", "workspace"])
    assert seen["status"] == {
        **dict.fromkeys(("CapEff", "CapPrm", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    assert {path for path, how in seen["mounts"].items() if how != "ro"} <= {
        *("/tmp", "/dev/shm", "/dev/pts"),
        *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console")),
    }
    assert seen["descriptors"] == [0, 1, 2]
    assert seen["cwd"] == "/tmp"
    writable = {path for path, result in seen["write"].items() if result == "None"}
    assert writable == {"/tmp/x", "/dev/shm/x"}
    assert set(seen["write"].values()) <= {"None", "EROFS", "EACCES"}
    assert seen["unlink socket"] == "EROFS"
    assert (seen["fill /tmp"], seen["fill /dev/shm"]) == ("ENOSPC", "ENOSPC")
    assert not any(seen["host files"].values())
    assert seen["sockets"] == {
        "AF_UNIX": "False",
        **dict.fromkeys(("AF_INET", "AF_INET6", "AF_NETLINK", "AF_VSOCK", "AF_PACKET"), "EAFNOSUPPORT"),
    }
    assert (seen["setuid"], seen["chroot"], seen["mknod"], seen["kill 2"]) == ("EPERM", "EPERM", "EPERM", "ESRCH")
    assert seen["limits"]["RLIMIT_CORE"] == seen["limits"]["RLIMIT_MEMLOCK"] == [0, 0]
    assert seen["limits"]["RLIMIT_NOFILE"] == [99, 99]
    assert seen["hostname"] == "sandbox"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has one id")
@pytest.mark.trio
async def test_each_sandbox_of_a_root_supervisor_has_its_own_user(make_backend: MakeBackend) -> None:
    backend = make_backend("import time; time.sleep(60)")
    await backend.prepare(["python"])
    one, two = await backend.start("python", Limits()), await backend.start("python", Limits())
    uids = [owner(sandbox.pid) for sandbox in (one, two)]
    assert 0 not in uids
    assert len(set(uids)) == 2
    assert (one.isolation, one.id) == (Isolation.NAMESPACES, "python-1")
    # What starts it is as unprivileged, and shows nothing. A zygote has an id of its own.
    starter = parent(one.pid)
    assert owner(starter) != 0
    assert owner(starter) not in uids[1:]
    assert one.token.encode() not in command_line(starter)
    await one.aclose()
    await two.aclose()
    await backend.aclose()


@pytest.mark.parametrize("runtime", ["python", "javascript"])
@pytest.mark.trio
async def test_the_agent_connects_reads_its_workspace_and_is_heard(make_backend: MakeBackend, runtime: Any) -> None:
    python = """
import os, socket, sys
print("out"); print("err", file=sys.stderr)
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["REFLOW_LINK"]); s.recv(1)
s.sendall(open(os.environ["REFLOW_WORKSPACE"] + "/actor").read().encode())
s.recv(1)
"""
    javascript = """
console.log("out"); console.error("err")
const s = require("net").connect(process.env.REFLOW_LINK)
s.once("data", () => s.write(require("fs").readFileSync(process.env.REFLOW_WORKSPACE + "/actor")))
"""
    backend = make_backend(python, javascript)
    await backend.prepare([runtime])
    sandbox = await backend.start(runtime, Limits())
    with trio.fail_after(20):
        link = await sandbox.listener.accept()
        (sandbox.workspace / "actor").write_text("source")
        await link.send_all(b".")
        assert await link.receive_some() == b"source"
        assert await sandbox.stdout.receive_some() == b"out\n"
        assert await sandbox.stderr.receive_some() == b"err\n"
    usage = sandbox.usage()
    assert usage is not None
    assert usage.memory > 1 << 18
    await link.aclose()
    await sandbox.aclose()
    await backend.aclose()


@pytest.mark.trio
async def test_everything_that_the_python_agent_imports_is_there(make_backend: MakeBackend, run: Run) -> None:
    code = "import sys; sys.path[:0] = ['/agent/python']; import h11, msgspec, reflow, wsproto, ssl, sqlite3, ctypes"
    backend = make_backend(code)
    await backend.prepare(["python"])
    end, _, err = await run(await backend.start("python", Limits()))
    await backend.aclose()
    assert end == SandboxExit(ExitKind.EXITED, code=0), err


@pytest.mark.parametrize("runtime", ["python", "javascript"])
@pytest.mark.trio
async def test_the_real_agent_calls(cache: Path, base: Path, runtime: Any) -> None:
    backend = BubblewrapBackend(base=base, cache=cache)
    await backend.prepare([runtime])
    sandbox = await backend.start(runtime, Limits())
    with trio.move_on_after(30) as patience:
        link = await sandbox.listener.accept()
        assert (await link.receive_some()).startswith(b"GET ")
        await link.aclose()
    said = await sandbox.stderr.receive_some() if sandbox.exit else b""
    await sandbox.aclose()
    await backend.aclose()
    assert not patience.cancelled_caught, said


@needs_cgroups
@pytest.mark.parametrize(
    ("runtime", "code"),
    [("python", "bytearray(1 << 30)"), ("javascript", "const a = []; for (;;) a.push(Buffer.alloc(1 << 22, 1))")],
)
@pytest.mark.trio
async def test_out_of_memory(make_backend: MakeBackend, run: Run, runtime: Any, code: str) -> None:
    backend = make_backend(code, code)
    await backend.prepare([runtime])
    end, _, err = await run(await backend.start(runtime, Limits(memory=96 << 20, cpu=None)))
    await backend.aclose()
    assert end.kind is ExitKind.OUT_OF_MEMORY, err
    assert "96 MiB" in str(end)


@needs_cgroups
@pytest.mark.trio
async def test_a_flood_of_files_is_memory_too(make_backend: MakeBackend, run: Run) -> None:
    # bwrap cannot limit the inodes of a tmpfs, and a fork has many; the control group counts what they take.
    code = "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close(); n += 1"
    backend = make_backend(code)
    await backend.prepare(["python"])
    end, _, err = await run(await backend.start("python", Limits(memory=24 << 20, tmp=1 << 30, cpu=None)))
    await backend.aclose()
    assert end.kind is ExitKind.OUT_OF_MEMORY, err


@needs_cgroups
@pytest.mark.trio
async def test_processor_time(make_backend: MakeBackend, run: Run) -> None:
    code = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    backend = make_backend(code)
    await backend.prepare(["python"])
    _, out, _ = await run(await backend.start("python", Limits(cpu=0.2)))
    await backend.aclose()
    assert float(out) < 0.5


FORKS = """
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            time.sleep(60)
        n += 1
except BlockingIOError:
    print(n)
"""


@pytest.mark.parametrize("use_cgroups", [pytest.param(True, marks=needs_cgroups), False])
@pytest.mark.trio
async def test_fork_bomb(make_backend: MakeBackend, run: Run, use_cgroups: bool) -> None:
    backend = make_backend(FORKS, use_cgroups=use_cgroups)
    await backend.prepare(["python"])
    first = await backend.start("python", Limits(pids=20))
    second = await backend.start("python", Limits(pids=20))
    for sandbox in (first, second):  # one does not use up the other's
        _, out, err = await run(sandbox)
        assert 15 <= int(out) <= 20, err
    await backend.aclose()


@pytest.mark.parametrize(
    ("runtime", "code", "expected"),
    [
        ("python", "bytearray(1 << 30)", "MemoryError"),
        (
            "javascript",
            "const a = []; for (let i = 0; i < 2048; i++) a.push(Buffer.alloc(1 << 20, 1)); console.log('no limit')",
            "",
        ),
    ],
)
@pytest.mark.trio
async def test_memory_without_control_groups(
    make_backend: MakeBackend, run: Run, runtime: Any, code: str, expected: str
) -> None:
    backend = make_backend(code, code, use_cgroups=False)
    await backend.prepare([runtime])
    end, out, err = await run(await backend.start(runtime, Limits(memory=256 << 20)))
    await backend.aclose()
    assert end != SandboxExit(ExitKind.EXITED, code=0)
    assert out == ""
    assert expected in err


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", SandboxExit(ExitKind.EXITED, code=3)),
        ("import ctypes; ctypes.string_at(0)", SandboxExit(ExitKind.SIGNALED, signal=signal.SIGSEGV)),
    ],
)
@pytest.mark.trio
async def test_ends_by_itself(make_backend: MakeBackend, run: Run, code: str, expected: SandboxExit) -> None:
    backend = make_backend(code)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    assert (await run(sandbox))[0] == expected
    await backend.aclose()


SLEEPER = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'input()']); print('up'); time.sleep(60)"
)


@pytest.mark.trio
async def test_killed_from_outside(make_backend: MakeBackend) -> None:
    backend = make_backend(SLEEPER)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await sandbox.stdout.receive_some()
    os.kill(sandbox.pid, signal.SIGKILL)
    assert await sandbox.wait() == SandboxExit(ExitKind.SIGNALED, signal=9)
    await sandbox.aclose()
    await backend.aclose()


@pytest.mark.trio
async def test_monitor_killed_from_outside(make_backend: MakeBackend) -> None:
    backend = make_backend(SLEEPER)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await sandbox.stdout.receive_some()
    os.kill(parent(sandbox.pid), signal.SIGKILL)
    with trio.fail_after(5):
        assert (await sandbox.wait()).kind is ExitKind.SIGNALED
    await sandbox.aclose()
    await backend.aclose()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("PPid:")[2].split()[0])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def alive(pid: int) -> bool:
    """As a process or as a zombie."""
    return Path(f"/proc/{pid}").exists()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.trio
async def test_kill_leaves_nothing(make_backend: MakeBackend, base: Path) -> None:
    backend = make_backend(SLEEPER)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await sandbox.stdout.receive_some()
    assert sandbox.exit is None
    pids = [sandbox.pid, *children(sandbox.pid)]
    if not isinstance(sandbox._body, Reins):
        pids.append(parent(sandbox.pid))
    assert len(children(sandbox.pid)) == 1
    directory = sandbox.workspace.parent
    group = sandbox._slot.cgroup
    ends: list[SandboxExit] = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            ends.append(await sandbox.wait())

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        sandbox.kill("test")
    assert ends == [SandboxExit(ExitKind.KILLED, signal=9, detail="test")] * 2
    sandbox.kill()
    sandbox.terminate()
    await sandbox.aclose()
    await sandbox.aclose()
    assert sandbox.exit == ends[0]
    assert not any(alive(pid) for pid in pids)
    assert not directory.exists()
    assert group is None or not any(path.exists() for path in group.directories.values())
    assert len(list(base.iterdir())) == 1
    await backend.aclose()
    assert list(base.iterdir()) == []


@pytest.mark.trio
async def test_terminate_reaches_an_agent_that_listens(make_backend: MakeBackend, run: Run) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *a: sys.exit(7)); print('up'); time.sleep(60)"
    backend = make_backend(code)
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await sandbox.stdout.receive_some()
    sandbox.terminate()
    assert (await run(sandbox))[0] == SandboxExit(ExitKind.EXITED, code=7)
    await backend.aclose()


@pytest.mark.trio
async def test_cancelled_start_leaves_nothing(make_backend: MakeBackend) -> None:
    backend = make_backend("import time; time.sleep(60)")
    await backend.prepare(["python"])
    for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.02):
        with trio.move_on_after(delay):
            await (await backend.start("python", Limits())).aclose()
    rundir = backend._host.rundir.path
    assert list(rundir.iterdir()) == []
    await backend.aclose()


@pytest.mark.trio
async def test_outlives_the_worker_threads_of_trio(make_backend: MakeBackend) -> None:
    # A sandbox dies with the thread that started it; Trio's workers end after ten idle seconds.
    backend = make_backend("import time; time.sleep(60)")
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    monitor = parent(sandbox.pid)
    while parent(monitor) != os.getpid():
        monitor = parent(monitor)  # of a zygote, there are three
    assert monitor in children(os.getpid()), "started by another thread than the main one"
    await sandbox.aclose()
    await backend.aclose()


SUPERVISOR = """
import sys, trio
from pathlib import Path
from reflow_supervisor.sandbox.agents import ForkedAgent
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend

CODE = "import os, time; os.fork(); time.sleep(60)"

def command(place):
    return [place.interpreter, "-I", "-S", "-c", CODE]

async def main():
    forked = ForkedAgent(CODE) if sys.argv[3] == "forked" else None
    backend = BubblewrapBackend(command=command, forked=forked, base=Path(sys.argv[1]), cache=Path(sys.argv[2]))
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    await trio.sleep(0.2)
    print(sandbox.pid, Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children").read_text(), flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("how", ["started", "forked"])
def test_dies_with_the_supervisor(base: Path, cache: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(base), str(cache), how], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert len(pids) == 2
        pidfds = [os.pidfd_open(pid) for pid in pids]
        supervisor.kill()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 10) == ([pidfd], [], []), "the sandbox lives on"
        os.close(pidfd)


ORDINARY = """
import json, os, sys, trio
from pathlib import Path
from reflow_supervisor.sandbox.agents import ForkedAgent
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend

CODE = '''
import errno, os, socket
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["REFLOW_LINK"])
def attempt(path):
    try: open(path, "w")
    except OSError as error: return errno.errorcode[error.errno]
paths = "/run/reflow/workspace/x", "/agent/x", "/usr/bin/python3", "/run/reflow/link.sock", "/proc/sys/kernel/hostname"
s.send(repr([os.getuid(), *map(attempt, paths)]).encode()); s.recv(1)
'''

def command(place):
    return [place.interpreter, "-I", "-S", "-c", CODE]

async def main():
    forked = ForkedAgent(CODE) if sys.argv[3] == "forked" else None
    backend = BubblewrapBackend(command=command, forked=forked, base=Path(sys.argv[1]), cache=Path(sys.argv[2]))
    backend.on_notice = lambda text: print(text, file=sys.stderr)
    findings = [str(f.level) for f in backend.probe()]
    await backend.prepare(["python"])
    sandbox = await backend.start("python", Limits())
    link = await sandbox.listener.accept()
    said = await link.receive_some()
    uid = os.stat(f"/proc/{sandbox.pid}").st_uid
    await sandbox.aclose()
    await link.aclose()
    await backend.aclose()
    print(json.dumps([findings, uid, said.decode(), str(sandbox.exit), os.listdir(sys.argv[1])]))

trio.run(main)
"""


@pytest.mark.parametrize("how", ["started", "forked"])
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_under_an_ordinary_user(base: Path, how: str, everybodys_python: str) -> None:
    uid = 54321
    for path in (base, base / "run", base / "cache"):
        path.mkdir(exist_ok=True)
        os.chown(path, uid, uid)
    done = subprocess.run(
        [everybodys_python, "-c", ORDINARY, str(base / "run"), str(base / "cache"), how],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin", "PYTHONPATH": ":".join(path for path in sys.path if path), "HOME": str(base)},
        user=uid,
        group=uid,
        extra_groups=[],
        timeout=120,
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("an ordinary user cannot read this checkout")
    assert (done.returncode, done.stderr) == (0, "")
    findings, seen_uid, said, end, left = json.loads(done.stdout)
    assert "missing" not in findings
    assert seen_uid == uid
    assert said == repr([65534, "EROFS", "EROFS", "EROFS", "ENXIO", "EROFS"])
    assert end == "was killed by the supervisor"
    assert left == []


@pytest.mark.trio
async def test_start_needs_prepare() -> None:
    with pytest.raises(SandboxError, match="not prepared"):
        await BubblewrapBackend().start("python", Limits())


@pytest.mark.trio
async def test_an_agent_that_cannot_be_executed(cache: Path, base: Path, run: Run) -> None:
    backend = BubblewrapBackend(command=lambda place: ["/usr/bin/missing"], base=base, cache=cache)
    await backend.prepare(["python"])
    end, _, err = await run(await backend.start("python", Limits()))
    await backend.aclose()
    assert end == SandboxExit(ExitKind.EXITED, code=1)
    assert "No such file" in err


def test_probe_finds_all_that_it_needs(cache: Path) -> None:
    found = {finding.what: finding for finding in BubblewrapBackend(cache=cache).probe()}
    assert [found[what].level for what in ("bubblewrap", "namespaces", "seccomp")] == [FindingLevel.OK] * 3
    assert found["control groups"].level in (FindingLevel.OK, FindingLevel.WARNING)
    (without,) = BubblewrapBackend(cache=cache, use_cgroups=False).probe()[-1:]
    assert without.level is FindingLevel.WARNING


@pytest.mark.trio
async def test_abstract_sockets_and_the_hosts_loopback_are_elsewhere(make_backend: MakeBackend, run: Run) -> None:
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(f"\0reflow-test-{os.getpid()}")
        host.listen()
        backend = make_backend(
            f"import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0reflow-test-{os.getpid()}')\n"
            "except ConnectionRefusedError: print('refused')"
        )
        await backend.prepare(["python"])
        _, out, err = await run(await backend.start("python", Limits()))
        await backend.aclose()
    assert out == "refused\n", err
