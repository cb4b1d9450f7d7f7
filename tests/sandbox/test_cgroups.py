"""Version 1 or 2 as this machine has it, for real; version 2's files on a directory that plays one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reflow_supervisor.sandbox import cgroups as module
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.cgroups import (
    Cgroup,
    Cgroups,
    CgroupsUnavailableError,
    Hierarchies,
    enable_controllers,
    locate,
    open_cgroups,
    settings,
)

LIMITS = Limits(memory=64 << 20, cpu=0.25, pids=7)


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    try:
        opened = open_cgroups()
    except CgroupsUnavailableError as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


def roots() -> list[str]:
    """The groups of all supervisors on this machine."""
    found = locate(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    return sorted(str(p) for d in set(found.directories.values()) for p in d.glob("reflow-*-*"))


def test_locate_version_1_in_a_container() -> None:
    groups = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:pids:/docker/abc\n0::/\n"
    mounts = (
        "30 20 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "31 20 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 20 0:1 /docker/abc /sys/fs/cgroup/my\\040pids rw - cgroup cgroup rw,pids\n"
        "33 20 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert locate(groups, mounts) == Hierarchies(
        "v1",
        {
            "memory": Path("/sys/fs/cgroup/memory"),
            "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
            "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
            "pids": Path("/sys/fs/cgroup/my pids"),
        },
    )


def test_locate_version_2() -> None:
    mounts = "33 20 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    own = Path("/sys/fs/cgroup/user.slice/x.scope")
    expected = Hierarchies("v2", {"memory": own, "pids": own, "cpu": own})
    assert locate("0::/user.slice/x.scope\n", mounts) == expected
    # Once this process has moved itself into its leaf, its own group is still the one above.
    assert locate("0::/user.slice/x.scope/reflow-supervisor\n", mounts) == expected


def test_nothing_mounted() -> None:
    with pytest.raises(CgroupsUnavailableError, match="mounted") as caught:
        locate("0::/\n", "20 1 0:1 / / rw - ext4 /dev/vda rw\n")
    assert caught.value.fix


def test_settings() -> None:
    assert {s.file: s.value for s in settings("v1", LIMITS)} == {
        "pids.max": "7",
        "memory.limit_in_bytes": str(64 << 20),
        "memory.memsw.limit_in_bytes": str(64 << 20),
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "25000",
    }
    assert {s.file: s.value for s in settings("v2", LIMITS)} == {
        "pids.max": "7",
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "25000 100000",
    }
    for version in ("v1", "v2"):
        assert [s.file for s in settings(version, Limits(memory=None, cpu=None))] == ["pids.max"]


def test_a_process_is_limited_counted_and_killed(cgroups: Cgroups) -> None:
    group = cgroups.create("one", LIMITS)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        group.add(process.pid)
        assert group.pids() == [process.pid]
        assert not group.remove()
        usage = group.usage()
        assert usage is None or usage.memory >= 0
        group.kill()
        assert process.wait(10) == -signal.SIGKILL
    assert group.oom_kills() == 0
    wait_removed(group)


def test_who_has_its_doors_can_put_itself_in(cgroups: Cgroups, everybodys_python: str) -> None:
    group = cgroups.create("one", LIMITS)
    doors = group.doors()
    code = f"import os\nfor d in {doors}: os.write(d, b'0')\nprint(flush=True); input()"
    # Without a right of its own to the group's files, where this is root.
    user = 54321 if os.geteuid() == 0 else None
    command = [everybodys_python, "-I", "-S", "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=doors, user=user, group=user
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        assert group.pids() == [process.pid]
        group.kill()
    for door in doors:
        os.close(door)
    wait_removed(group)


def test_doors_of_a_group_that_is_gone(cgroups: Cgroups) -> None:
    group = cgroups.create("one", LIMITS)
    assert group.remove()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        group.doors()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_memory_bomb_is_counted(cgroups: Cgroups) -> None:
    group = cgroups.create("bomb", Limits(memory=32 << 20))
    code = "import sys; sys.stdin.read(1); bytearray(256 << 20)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE) as process:
        group.add(process.pid)
        process.communicate(b"x")
    assert process.returncode == -signal.SIGKILL
    assert group.oom_kills() >= 1
    wait_removed(group)


def test_a_name_taken_is_an_error_and_leaves_the_other_alone(cgroups: Cgroups) -> None:
    group = cgroups.create("one", LIMITS)
    with pytest.raises(FileExistsError):
        cgroups.create("one", LIMITS)
    wait_removed(group)


def test_close_kills_and_removes_everything() -> None:
    try:
        opened = open_cgroups()
    except CgroupsUnavailableError as error:
        pytest.skip(str(error))
    before = roots()
    group = opened.create("left", LIMITS)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        group.add(process.pid)
        opened.close()
        assert process.wait(10) == -signal.SIGKILL
    assert not any(directory.exists() for directory in group.directories.values())
    assert len(roots()) < len(before)


def test_groups_of_a_dead_supervisor_are_removed_and_of_a_living_one_not(cgroups: Cgroups) -> None:
    code = (
        "from reflow_supervisor.sandbox.cgroups import open_cgroups\n"
        "from reflow_supervisor.sandbox.backend import Limits\n"
        "import subprocess, os\n"
        "group = open_cgroups().create('left', Limits())\n"
        "child = subprocess.Popen(['/bin/sleep', '60'], stdout=-3, stderr=-3); group.add(child.pid)\n"
        "print(child.pid, *set(group.directories.values()), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    orphan, *directories = done.stdout.split()
    assert all(Path(directory).is_dir() for directory in directories)
    mine = cgroups.create("mine", LIMITS)
    open_cgroups().close()
    assert not any(Path(directory).exists() for directory in directories)
    assert not Path(f"/proc/{orphan}").exists() or "Z" in Path(f"/proc/{orphan}/stat").read_text()
    assert all(directory.is_dir() for directory in mine.directories.values())
    wait_removed(mine)


def wait_removed(group: Cgroup) -> None:
    for _ in range(1000):
        if group.remove():
            return
        os.sched_yield()
    pytest.fail("the group stays")


@pytest.fixture
def fake_v2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    return tmp_path


def test_version_2_controllers_are_enabled(fake_v2: Path) -> None:
    enable_controllers(fake_v2)
    assert (fake_v2 / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert not (fake_v2 / module.LEAF).exists(), "other processes are left where they are"


def test_version_2_supervisor_moves_into_a_leaf_when_it_is_alone(fake_v2: Path) -> None:
    (fake_v2 / "cgroup.procs").write_text(f"{os.getpid()}\n")
    enable_controllers(fake_v2)
    assert (fake_v2 / module.LEAF / "cgroup.procs").read_text() == str(os.getpid())


def test_version_2_without_delegation_says_what_to_do(fake_v2: Path) -> None:
    (fake_v2 / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(CgroupsUnavailableError, match="memory and pids") as caught:
        enable_controllers(fake_v2)
    assert "Delegate=yes" in caught.value.fix


def test_version_2_group(fake_v2: Path) -> None:
    groups = Cgroups("v2", dict.fromkeys(("memory", "pids", "cpu"), fake_v2), ())
    group = groups.create("one", LIMITS)
    directory = fake_v2 / "one"
    assert (directory / "memory.max").read_text() == str(64 << 20)
    assert (directory / "cpu.max").read_text() == "25000 100000"
    (directory / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
    (directory / "memory.current").write_text("4096\n")
    (directory / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    usage = group.usage()
    assert usage is not None
    assert (group.oom_kills(), usage.cpu_seconds, usage.memory) == (2, 2.5, 4096)
    group.add(123)
    assert (directory / "cgroup.procs").read_text() == "123"
    group.kill()
    assert (directory / "cgroup.kill").read_text() == "1"


def test_an_abandoned_group_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying to remove it took an ordinary user seconds at every start."""
    removed: list[Path] = []
    monkeypatch.setattr(module, "remove_tree", removed.append)
    for euid in (tmp_path.stat().st_uid + 1, tmp_path.stat().st_uid):
        monkeypatch.setattr(os, "geteuid", lambda euid=euid: euid)
        module._remove_if_abandoned(tmp_path)
    module._remove_if_abandoned(tmp_path / "gone")
    assert removed == [tmp_path]
