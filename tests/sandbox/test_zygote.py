"""What is particular to sandboxes that are forked, asked of real ones: what forks share, and what they do not; and what
happens when they, or the zygote, do not do what they should."""

# ruff: noqa: ASYNC240  (blocking for a moment harms nobody here)

from __future__ import annotations

import json
import os
import signal
import struct
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox import bubblewrap, forks, unix_sandbox, zygote
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit
from reflow_supervisor.sandbox.cgroups import CgroupsUnavailableError, open_cgroups
from reflow_supervisor.sandbox.unix_sandbox import UnixSandbox

pytestmark = [pytest.mark.slow, pytest.mark.trio]

MakeForking = Callable[..., Any]
Run = Callable[[UnixSandbox], Awaitable[tuple[SandboxExit, str, str]]]

CONNECT = "import os, socket\nlink = socket.socket(socket.AF_UNIX); link.connect(os.environ['REFLOW_LINK'])\n"
OBEY = CONNECT + textwrap.dedent("""
    import errno, json
    def attempt(action):
        try:
            return action()
        except OSError as error:
            return errno.errorcode[error.errno]
    while code := link.recv(65536):
        link.sendall(json.dumps(eval(code)).encode() + b"\\n")
""")
"""Evaluates what it is sent."""


class Obedient:
    """A sandbox that evaluates what it is asked."""

    def __init__(self, sandbox: UnixSandbox, link: trio.SocketStream) -> None:
        self.sandbox = sandbox
        self._link = link

    @classmethod
    async def start(cls, backend: Any, limits: Limits | None = None) -> Obedient:
        sandbox = await backend.start("python", limits or Limits())
        with trio.fail_after(20):
            return cls(sandbox, await sandbox.listener.accept())

    async def ask(self, code: str) -> Any:
        await self._link.send_all(code.encode())
        answer = b""
        with trio.fail_after(20):
            while not answer.endswith(b"\n"):
                answer += await self._link.receive_some()
        return json.loads(answer)

    async def aclose(self) -> None:
        await self._link.aclose()
        await self.sandbox.aclose()


def have_cgroups() -> bool:
    try:
        open_cgroups().close()
    except CgroupsUnavailableError:
        return False
    return True


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def zygote_of(sandbox: UnixSandbox) -> int:
    return int(status(sandbox.pid)["PPid"])  # type: ignore[arg-type]


def zombies() -> list[str]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [child for child in children if status(int(child))["State"].startswith("Z")]


# -- what they share ----------------------------------------------------------------------------------------------


async def test_siblings_see_nothing_of_each_other(make_forking: MakeForking, base: Path) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one, two = await Obedient.start(backend), await Obedient.start(backend)
    assert zygote_of(one.sandbox) == zygote_of(two.sandbox)
    (one.sandbox.workspace / "secret").write_text("of one")
    await one.ask("[open(f, 'w').write('mine') for f in ('/tmp/mine', '/dev/shm/mine')]")
    await one.ask("globals().update(named=socket.socket(socket.AF_UNIX)) or attempt(lambda: named.bind('\\0one'))")

    assert await two.ask("[p for p in os.listdir('/proc') if p.isdigit()]") == ["1"]
    assert await two.ask("[os.listdir(d) for d in ('/tmp', '/dev/shm', '/dev/pts', '/run/reflow/workspace')]") == [
        [],
        [],
        ["ptmx"],
        [],
    ]
    mounts: list[str] = await two.ask("open('/proc/self/mountinfo').read().splitlines()")
    assert [sum(f"/{each.sandbox.id} " in line for line in mounts) for each in (one, two)] == [0, 1]
    assert await two.ask("attempt(lambda: os.kill(-1, 9))") == "ESRCH"
    for pid in (2, one.sandbox.pid, zygote_of(two.sandbox)):
        assert await two.ask(f"attempt(lambda: os.kill({pid}, 9))") == "ESRCH"
        assert await two.ask(f"attempt(lambda: os.pidfd_open({pid}))") in ("ESRCH", "EINVAL")
    assert await two.ask("attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0one'))") == "ECONNREFUSED"
    namespaces = "{n: os.readlink('/proc/self/ns/' + n) for n in ('user mnt pid net ipc uts cgroup').split()}"
    theirs = [await each.ask(namespaces) for each in (one, two)]
    for name in theirs[0]:
        ours = [str(Path(f"/proc/{pid}/ns/{name}").readlink()) for pid in ("self", zygote_of(one.sandbox))]
        assert len({*ours, theirs[0][name], theirs[1][name]}) == 4
    assert one.sandbox.exit is None
    await one.aclose()
    await two.aclose()
    await backend.aclose()
    assert list(base.iterdir()) == []


async def test_no_open_file_is_shared(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one, two = await Obedient.start(backend), await Obedient.start(backend)
    names = "{f: os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd')[:-1]}"
    seen: dict[str, str] = await two.ask(names)
    assert sorted(seen) == ["0", "1", "2", "3"]  # the last of them is its link
    assert seen["0"] == "/dev/null"
    assert not set(seen.values()) & set((await one.ask(names)).values()) - {"/dev/null"}
    # Not even its flags: they belong to whoever has opened it.
    await one.ask("os.set_blocking(0, False)")
    assert await two.ask("[os.get_blocking(0), os.get_blocking(1)]") == [True, True]
    await one.aclose()
    await two.aclose()
    await backend.aclose()


FIND = """
import ctypes
def found(needle):
    hits = 0
    for line in open('/proc/self/maps'):
        span, rights = line.split()[:2]
        start, end = (int(x, 16) for x in span.split('-'))
        if rights.startswith('rw') and '[v' not in line:
            hits += ctypes.string_at(start, end - start).count(needle)
    return hits
"""


async def test_no_token_and_no_secret_of_the_supervisors_is_in_its_memory(
    make_forking: MakeForking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SUPERVISOR", "hunter2-hunter2")
    backend = make_forking(FIND + OBEY)
    await backend.prepare(["python"])
    one, two, three = [await Obedient.start(backend) for _ in range(3)]

    async def hits(text: str) -> int:
        # In halves, so that the question is not what is found.
        half = len(text) // 2
        return await two.ask(f"found(b''.join(({text[:half]!r}.encode(), {text[half:]!r}.encode())))")

    assert await hits(two.sandbox.token) > 1, "its own is there, so that others would be found"
    found = [await hits(text) for text in (one.sandbox.token, three.sandbox.token, "hunter2-hunter2")]
    assert found == [1, 1, 1], "what was looked for, and nothing else"
    for each in (one, two, three):
        await each.aclose()
    await backend.aclose()


DRAW = """
import hashlib, os, random, ssl, tempfile, uuid
def draw():
    return {
        'random': random.random(), 'uuid': str(uuid.uuid4()), 'urandom': os.urandom(8).hex(),
        'openssl': ssl.RAND_bytes(8).hex(), 'tempfile': next(tempfile._get_candidate_names()),
    }
"""


async def test_each_draws_other_random_numbers(make_forking: MakeForking) -> None:
    # All generators are in use in the zygote already: it is their state that is forked.
    backend = make_forking(
        "import __prelude__\n" + OBEY,
        prelude=f"import sys, types; m = types.ModuleType('__prelude__'); exec({DRAW!r}, m.__dict__); m.draw(); "
        "sys.modules['__prelude__'] = m",
    )
    await backend.prepare(["python"])
    one, two = await Obedient.start(backend), await Obedient.start(backend)
    first, second = [await each.ask("__prelude__.draw()") for each in (one, two)]
    assert len(first) == 5
    assert {name for name in first if first[name] == second[name]} == set()
    # What docs/sandboxing.md says that they have in common.
    assert await one.ask("hash('a')") == await two.ask("hash('a')")
    assert await one.ask("id(os)") == await two.ask("id(os)")
    await one.aclose()
    await two.aclose()
    await backend.aclose()


# -- how it is shut in ----------------------------------------------------------------------------------------------


async def test_one_id_is_mapped_and_no_user_namespace_can_be_made(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    uid = Path(f"/proc/{one.sandbox.pid}").stat().st_uid
    outside = 0 if os.geteuid() != 0 else uid
    maps = await one.ask("[open('/proc/self/' + f).read().split() for f in ('uid_map', 'gid_map', 'setgroups')]")
    assert maps == [["65534", str(outside), "1"]] * 2 + [["deny"]]
    assert await one.ask("open('/proc/sys/user/max_user_namespaces').read()") == "0\n"
    assert await one.ask("open('/proc/self/cgroup').read().split('/', 1)[1][:1] in ('', '\\n')") is True
    assert await one.ask("attempt(lambda: open('/proc/self/mem', 'rb'))") == "EACCES"
    await one.aclose()
    await backend.aclose()


ALLOW_ALL = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)

ESCAPE = CONNECT + textwrap.dedent("""
    import ctypes, errno, json
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        return 'done' if getattr(libc, name)(*arguments) == 0 else errno.errorcode[ctypes.get_errno()]
    def raise_limit():
        open('/proc/sys/user/max_user_namespaces', 'w').write('9')
    def attempt(action):
        try:
            return action() or 'done'
        except OSError as error:
            return errno.errorcode[error.errno]
    print(json.dumps({
        'user': call('unshare', 0x10000000), 'mounts': call('unshare', 0x20000),
        'mount': call('mount', b'tmpfs', b'/tmp', b'tmpfs', 0, None),
        'remount': call('mount', None, b'/', None, 32, None),
        'umount': call('umount2', b'/proc', 2), 'setns': call('setns', os.open('/proc/self/ns/net', os.O_RDONLY), 0),
        'hostname': call('sethostname', b'x', 1), 'chroot': call('chroot', b'/tmp'), 'setuid': call('setuid', 0),
        'setgroups': call('setgroups', 0, None), 'limit': attempt(raise_limit),
        'mknod': attempt(lambda: os.mknod('/tmp/d', 0o20600, 259)),
    }))
""")


async def test_without_the_filter_it_is_as_powerless(
    make_forking: MakeForking, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "rules_for_this_machine", lambda: ALLOW_ALL)
    backend = make_forking(ESCAPE)
    await backend.prepare(["python"])
    end, out, err = await run(await backend.start("python", Limits()))
    await backend.aclose()
    assert end == SandboxExit(ExitKind.EXITED, code=0), err
    seen = json.loads(out)
    assert seen.pop("user") == "ENOSPC"
    assert seen.pop("limit") in ("EACCES", "EROFS")
    assert seen.pop("setuid") == "EINVAL"
    assert set(seen.values()) == {"EPERM"}


async def test_the_zygote_is_an_ordinary_process_without_an_environment(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    pid = zygote_of(one.sandbox)
    assert status(pid)["Uid"].split() == [str(Path(f"/proc/{pid}").stat().st_uid)] * 4
    assert status(pid)["Uid"].split()[0] != "0" or os.geteuid() == 0
    assert (status(pid)["Name"], status(one.sandbox.pid)["Name"]) == ("reflow-zygote", "reflow-agent")  # type: ignore[arg-type]
    if os.geteuid() == 0:
        assert status(pid)["Uid"].split()[0] != "0"
        assert Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") == [b"LANG=C.UTF-8", b"PWD=/", b""]
    assert status(pid)["Threads"] == "1"
    await one.aclose()
    await backend.aclose()


async def test_each_has_limits_of_its_own(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    small = await Obedient.start(backend, Limits(open_files=40, tmp=1 << 20))
    large = await Obedient.start(backend, Limits(open_files=80, tmp=8 << 20))
    ask = "[__import__('resource').getrlimit(7)[0], os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize]"
    assert [await each.ask(ask) for each in (small, large)] == [[40, 1 << 20], [80, 8 << 20]]
    await small.aclose()
    await large.aclose()
    await backend.aclose()


async def test_files_in_memory_are_counted(make_forking: MakeForking, run: Run) -> None:
    code = textwrap.dedent("""
        def fill(directory):
            n = 0
            try:
                while True:
                    open(f'{directory}/{n}', 'w').close(); n += 1
            except OSError as error:
                return n, error.errno
        print(*fill('/tmp'), *fill('/dev/shm'))
    """)
    backend = make_forking(code)
    await backend.prepare(["python"])
    _, out, err = await run(await backend.start("python", Limits(tmp=4 << 20)))
    await backend.aclose()
    assert out == "1023 28 1023 28\n", err


@pytest.mark.skipif(not have_cgroups(), reason="no control groups here")
async def test_it_is_in_its_control_group_before_it_is_anything(make_forking: MakeForking) -> None:
    held = "import time, reflow.zygote.confine as c; c._mount_all = lambda *_: time.sleep(60)"
    backend = make_forking("", prelude=held)
    await backend.prepare(["python"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backend.start, "python", Limits())
        with trio.fail_after(20):
            while not (groups := groups_of(backend)):
                await trio.sleep(0.01)
        (pid,) = groups
        assert status(pid)["NSpid"].split()[-1] == "1"
        nursery.cancel_scope.cancel()
    await backend.aclose()


def groups_of(backend: Any) -> list[int]:
    """The processes in the control groups of its sandboxes."""
    root = next(iter(backend._host.cgroups._directories.values()))
    files = [path / "cgroup.procs" for path in root.glob("python-*")]
    return [int(pid) for file in files if file.exists() for pid in file.read_text().split()]


# -- what is forked ahead -------------------------------------------------------------------------------------------


async def test_one_is_forked_ahead_and_is_the_next(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    (ahead,) = backend._warm._ahead.values()
    await ahead.confined()
    pid = ahead._sandbox.pid
    assert status(pid)["Name"] == "reflow-held"
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) == 4, "its streams and its channel"
    two = await Obedient.start(backend)
    assert two.sandbox.pid == pid
    # Of other limits, it is of no use.
    three = await Obedient.start(backend, Limits(open_files=50))
    assert len(backend._warm._ahead) == 2
    for each in (one, two, three):
        await each.aclose()
    await backend.aclose()
    assert zombies() == []


async def test_one_that_was_forked_ahead_and_has_died_is_not_used(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    (ahead,) = backend._warm._ahead.values()
    await ahead.confined()
    os.kill(ahead._sandbox.pid, signal.SIGKILL)
    await ahead._sandbox.wait()
    two = await Obedient.start(backend)
    assert two.sandbox is not ahead._sandbox
    assert backend.notices == []
    await one.aclose()
    await two.aclose()
    await backend.aclose()


# -- what goes wrong ------------------------------------------------------------------------------------------------


async def test_a_fork_bomb_leaves_the_zygote_able_to_fork(make_forking: MakeForking) -> None:
    code = "import os\nif os.environ['REFLOW_WORKSPACE']:\n" + textwrap.indent(OBEY, "    ")
    backend = make_forking(code)
    await backend.prepare(["python"])
    one = await Obedient.start(backend, Limits(pids=20))
    await one.ask("[0 for _ in iter(lambda: attempt(os.fork) or __import__('time').sleep(60), 'EAGAIN')]")
    two = await Obedient.start(backend, Limits(pids=20))
    assert await two.ask("os.getpid()") == 1
    await one.aclose()
    await two.aclose()
    await backend.aclose()


async def test_a_zygote_that_holds_all_it_can_leaves_the_rest_to_bwrap(
    make_forking: MakeForking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote, "max_open_files", lambda: zygote.SPARE_DESCRIPTORS + 2 * zygote.DESCRIPTORS_OF_A_FORK)
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    third = await bubblewrap.BubblewrapBackend.start(backend, "python", Limits())  # one is ready for the next start
    assert not isinstance(third._body, forks.Reins)
    await one.aclose()
    two = await Obedient.start(backend)
    assert backend.notices == []
    await two.aclose()
    await third.aclose()
    await backend.aclose()


async def test_a_fork_that_is_stopped_while_it_shuts_itself_in(
    make_forking: MakeForking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "CONFINE_TIMEOUT", 0.3)
    held = "import time, reflow.zygote.confine as c; c._change_root = lambda: time.sleep(60)"
    backend = make_forking("", prelude=held)
    await backend.prepare(["python"])
    with trio.fail_after(10), pytest.raises(SandboxError, match="was not made within"):
        await backend.start("python", Limits())
    assert groups_of(backend) == [] if backend._host.cgroups else True
    assert list(backend._host.rundir.path.iterdir()) == []
    await backend.aclose()


@pytest.mark.parametrize(
    ("prelude", "why"),
    [
        (
            "import reflow.zygote.confine as c\nc._change_root = lambda: open('/missing')",
            "changing its root: No such file",
        ),
        ("import reflow.zygote.confine as c\nc._join = lambda _: 1 / 0", "exited with code 1: Traceback"),
        ("import os, reflow.zygote.confine as c\nc._join = lambda _: os._exit(9)", "exited with code 9"),
        ("import reflow.zygote.confine as c\ndef no(): raise OSError(11, 'no')\nc.fork = no", "Resource temporarily"),
        ("raise RuntimeError('no prelude')", "RuntimeError: no prelude"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "a thread"),
    ],
)
async def test_where_none_can_be_forked_bwrap_starts_them(
    cache: Path, base: Path, run: Run, prelude: str, why: str
) -> None:
    notices: list[str] = []
    backend = bubblewrap.BubblewrapBackend(
        command=lambda place: [place.interpreter, "-c", "raise SystemExit(5)"],
        forked=bubblewrap.ForkedAgent("raise SystemExit(6)", prelude),
        base=base,
        cache=cache,
    )
    backend.on_notice = notices.append
    await backend.prepare(["python"])
    for _ in range(3):
        end, _, err = await run(await backend.start("python", Limits()))
        assert end == SandboxExit(ExitKind.EXITED, code=5), err
    assert len(notices) == 1, "said once"
    assert why in notices[0]
    await backend.aclose()
    assert list(base.iterdir()) == []
    assert zombies() == []


async def test_the_end_of_the_zygote_is_the_end_of_all(make_forking: MakeForking, base: Path) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one, two = await Obedient.start(backend), await Obedient.start(backend)
    pids = [one.sandbox.pid, two.sandbox.pid, zygote_of(one.sandbox)]
    two.sandbox.kill("test")
    assert (await two.sandbox.wait()).kind is ExitKind.KILLED
    os.kill(pids[-1], signal.SIGKILL)
    with trio.fail_after(5):
        assert await one.sandbox.wait() == SandboxExit(ExitKind.SIGNALED, signal=9)
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await trio.sleep(0.01)
    # The next is bwrap's, and those after it a zygote's again.
    third = await bubblewrap.BubblewrapBackend.start(backend, "python", Limits())
    assert len(backend.notices) == 1
    assert "the zygote was lost" in backend.notices[0]
    await third.aclose()
    assert zombies() == []
    with trio.fail_after(20):
        await backend._warm.zygote.ready()
    fourth = await Obedient.start(backend)
    assert backend.notices[1:] == ["Python sandboxes start from a zygote again"]
    for each in (one, two, fourth):
        await each.aclose()
    await backend.aclose()
    assert list(base.iterdir()) == []
    assert zombies() == []


async def test_a_zygote_that_does_not_answer_is_taken_for_dead(
    make_forking: MakeForking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "FORK_TIMEOUT", 0.2)
    monkeypatch.setattr(unix_sandbox, "TELL_TIMEOUT", 0.2)
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    os.kill(zygote_of(one.sandbox), signal.SIGSTOP)
    one.sandbox.kill("test")
    with trio.fail_after(5):
        assert (await one.sandbox.wait()).kind is ExitKind.KILLED
    await one.aclose()
    with trio.fail_after(10):
        await (await bubblewrap.BubblewrapBackend.start(backend, "python", Limits())).aclose()
        await backend._warm.zygote.ready()
        two = await Obedient.start(backend)
        os.kill(zygote_of(two.sandbox), signal.SIGSTOP)
        await (await bubblewrap.BubblewrapBackend.start(backend, "python", Limits(open_files=33))).aclose()
        assert (await two.sandbox.wait()).kind is ExitKind.SIGNALED
    await two.aclose()
    await backend.aclose()
    assert zombies() == []


async def test_what_the_supervisor_lets_go_of_is_killed(make_forking: MakeForking) -> None:
    backend = make_forking(OBEY)
    await backend.prepare(["python"])
    one = await Obedient.start(backend)
    pidfd = os.pidfd_open(one.sandbox.pid)  # type: ignore[arg-type]
    os.dup2(os.open("/dev/null", os.O_RDONLY), one.sandbox._body.fileno())
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)
    await one.aclose()
    await backend.aclose()
