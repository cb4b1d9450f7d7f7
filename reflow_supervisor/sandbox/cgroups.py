"""Control groups: a memory, swap, processor and process limit for each sandbox as a whole.

    <the supervisor's own group>/
      reflow-<pid>-<random>/       one per supervisor run, claimed by it; the next run removes abandoned ones
        python-1/                  one per sandbox

Both versions are spoken. Under version 1 this is repeated in the hierarchy of every controller. Whether
groups can be had is found out by making one and putting a process into it: permissions, delegation and mounts
have too many ways to look right and be wrong. This module decides what the limits are in the kernel's files,
not who is put into a group, nor what to do where there are none.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import attrs

from reflow_supervisor.sandbox.backend import Limits, Usage
from reflow_supervisor.sandbox.claims import claim

Version = Literal["v1", "v2"]

PREFIX = "reflow-"
LEAF = "reflow-supervisor"
"""Where the supervisor moves itself under version 2, which wants processes in leaves only."""
REQUIRED = ("memory", "pids")
WANTED = (*REQUIRED, "cpu", "cpuacct")
CPU_PERIOD = 100_000  # microseconds
REMOVE_TIMEOUT = 1.0


class CgroupsUnavailableError(Exception):
    """Control groups cannot be used here. `fix` says what would help."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@attrs.frozen
class Hierarchies:
    """Where this process's own group is: one directory per controller, all the same under version 2."""

    version: Version
    directories: Mapping[str, Path]


@attrs.frozen
class Setting:
    """A value to be written into a controller's file. Optional ones are missing from some kernels."""

    controller: str
    file: str
    value: str
    optional: bool = False


def locate(own_groups: str, mounts: str) -> Hierarchies:
    """Reads /proc/self/cgroup and /proc/self/mountinfo.

    Raises:
        CgroupsUnavailableError: the controllers are not mounted.
    """
    groups: dict[str, str] = {}  # controller (version 2: "") → path of our group
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    directories: dict[str, Path] = {}
    unified: Path | None = None
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        root, mount_point = (_unescape(field) for field in left.split()[3:5])
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup":
            for controller in options.split(","):
                if controller in groups and controller in WANTED:
                    directories[controller] = _below(mount_point, root, groups[controller])
        elif kind == "cgroup2" and "" in groups:
            unified = _below(mount_point, root, groups[""])
            if unified.name == LEAF:  # this process has been here before
                unified = unified.parent
    if all(controller in directories for controller in REQUIRED):
        return Hierarchies("v1", directories)
    if unified is not None:
        return Hierarchies("v2", dict.fromkeys((*REQUIRED, "cpu"), unified))
    raise CgroupsUnavailableError("no control groups for memory and pids are mounted", "mount /sys/fs/cgroup")


def settings(version: Version, limits: Limits) -> list[Setting]:
    """What the kernel is told, in the order in which it must be told."""
    if version == "v1":
        result = [Setting("pids", "pids.max", str(limits.pids))]
        if limits.memory is not None:
            result += [
                Setting("memory", "memory.limit_in_bytes", str(limits.memory)),
                # Memory and swap together: no swap at all. Absent from a kernel without swap accounting.
                Setting("memory", "memory.memsw.limit_in_bytes", str(limits.memory), optional=True),
            ]
        if limits.cpu is not None:
            result += [
                Setting("cpu", "cpu.cfs_period_us", str(CPU_PERIOD), optional=True),
                Setting("cpu", "cpu.cfs_quota_us", str(_quota(limits.cpu)), optional=True),
            ]
        return result
    result = [Setting("pids", "pids.max", str(limits.pids))]
    if limits.memory is not None:
        result += [
            Setting("memory", "memory.max", str(limits.memory)),
            Setting("memory", "memory.swap.max", "0", optional=True),
            Setting("memory", "memory.oom.group", "1", optional=True),
        ]
    if limits.cpu is not None:
        result.append(Setting("cpu", "cpu.max", f"{_quota(limits.cpu)} {CPU_PERIOD}", optional=True))
    return result


@attrs.frozen
class Cgroup:
    """One sandbox's group."""

    version: Version
    directories: Mapping[str, Path]

    def add(self, pid: int) -> None:
        """Moves a process here; what it starts from now on is here too. Takes up to 15 ms (the kernel waits
        for an RCU grace period), so not for the thread that runs Trio."""
        for directory in _distinct(self.directories):
            (directory / "cgroup.procs").write_text(str(pid))

    def doors(self) -> list[int]:
        """Descriptors by which a process that has them can put itself here: it writes "0". They have this process's
        rights, whoever writes. To be closed by the caller.

        Raises:
            OSError: they cannot be opened.
        """
        opened: list[int] = []
        try:
            for directory in _distinct(self.directories):
                door = os.open(directory / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                opened.append(door)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return opened

    def pids(self) -> list[int]:
        # Only one of the hierarchies: every process is put into all of them.
        return _numbers(next(iter(_distinct(self.directories))) / "cgroup.procs")

    def oom_kills(self) -> int:
        """How many processes the kernel killed for memory."""
        file = "memory.oom_control" if self.version == "v1" else "memory.events"
        return _field(self.directories["memory"] / file, "oom_kill")

    def usage(self) -> Usage | None:
        try:
            if self.version == "v2":
                memory = int((self.directories["memory"] / "memory.current").read_text())
                return Usage(_field(self.directories["cpu"] / "cpu.stat", "usage_usec") / 1e6, memory)
            memory = int((self.directories["memory"] / "memory.usage_in_bytes").read_text())
            if "cpuacct" not in self.directories:
                return None
            return Usage(int((self.directories["cpuacct"] / "cpuacct.usage").read_text()) / 1e9, memory)
        except (OSError, ValueError):
            return None

    def kill(self) -> None:
        """Ends every process in it. One that forks at this very moment may escape version 1's loop; call
        again."""
        for directory in _distinct(self.directories):
            _kill(directory)

    def remove(self) -> bool:
        """Removes the group; False where a dying process is still in it, or something else holds it."""
        return _remove_all(_distinct(self.directories))


class Cgroups:
    """The groups of one supervisor run. Made by `open_cgroups`."""

    def __init__(self, version: Version, directories: Mapping[str, Path], claims: Iterable[int]) -> None:
        self.version: Version = version
        self._directories = directories
        self._claims = list(claims)

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(self._directories)

    def create(self, name: str, limits: Limits) -> Cgroup:
        """A group with these limits and nothing in it.

        Raises:
            OSError: the kernel refused it. Nothing is left of it.
        """
        group = Cgroup(self.version, {controller: path / name for controller, path in self._directories.items()})
        try:
            for directory in _distinct(group.directories):
                directory.mkdir()
            for setting in settings(self.version, limits):
                if setting.controller not in group.directories:
                    continue
                file = group.directories[setting.controller] / setting.file
                with contextlib.suppress(*((OSError,) if setting.optional else ())):
                    file.write_text(setting.value)
        except BaseException:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Removes everything of this run. Kills what is still in its groups."""
        for directory in _distinct(self._directories):
            remove_tree(directory)
        for descriptor in self._claims:
            os.close(descriptor)
        self._claims.clear()


def open_cgroups(hierarchies: Hierarchies | None = None) -> Cgroups:
    """Makes this run's group below our own one, after removing those that dead supervisors left.

    Raises:
        CgroupsUnavailableError: it cannot be done here, and why.
    """
    if hierarchies is None:
        hierarchies = locate(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    for directory in _distinct(hierarchies.directories):
        for path in directory.glob(f"{PREFIX}*-*"):
            _remove_if_abandoned(path)
    try:
        if hierarchies.version == "v2":
            enable_controllers(hierarchies.directories["memory"])
        cgroups = _create_root(hierarchies)
    except OSError as error:
        raise CgroupsUnavailableError(
            f"cannot make a control group: {error.filename}: {error.strerror}", _delegation_hint()
        ) from error
    try:
        _try_out(cgroups)
    except OSError as error:
        cgroups.close()
        raise CgroupsUnavailableError(
            f"cannot put a process into a control group: {error.strerror}", _delegation_hint()
        ) from error
    return cgroups


def enable_controllers(own: Path) -> None:
    """Version 2: lets groups below `own` have the controllers. That needs `own` to hold no process itself, so
    the supervisor moves into a leaf, if it is alone there; anybody else it leaves where they are.

    Raises:
        CgroupsUnavailableError: the controllers are not ours to use.
    """
    available = (own / "cgroup.controllers").read_text().split()
    missing = [controller for controller in REQUIRED if controller not in available]
    if missing:
        raise CgroupsUnavailableError(
            f"the control group {own} is not given the {' and '.join(missing)} controller", _delegation_hint()
        )
    wanted = _controllers(own)
    if set(wanted.replace("+", "").split()) <= set((own / "cgroup.subtree_control").read_text().split()):
        return
    if _numbers(own / "cgroup.procs") == [os.getpid()]:
        leaf = own / LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    (own / "cgroup.subtree_control").write_text(wanted)


def remove_tree(root: Path) -> None:
    """Kills whatever is in a run's group and removes it, within REMOVE_TIMEOUT."""
    deadline = time.monotonic() + REMOVE_TIMEOUT
    while True:
        children = [path for path in root.glob("*") if path.is_dir()]
        for directory in (*children, root):
            _kill(directory)
        if _remove_all([*children, root]) or time.monotonic() > deadline:
            return
        time.sleep(0.005)


def _create_root(hierarchies: Hierarchies) -> Cgroups:
    claims: list[int] = []
    while True:
        name = f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
        directories = {controller: path / name for controller, path in hierarchies.directories.items()}
        for directory in _distinct(directories):
            directory.mkdir()
            claimed = claim(directory)
            if claimed is not None:
                claims.append(claimed)
        cgroups = Cgroups(hierarchies.version, directories, claims)
        if len(claims) == len(set(directories.values())):
            if hierarchies.version == "v2":
                root = directories["memory"]
                (root / "cgroup.subtree_control").write_text(_controllers(root))
            return cgroups
        # Another supervisor took the fresh group for an abandoned one, between mkdir and claim.
        cgroups.close()
        claims = []


def _controllers(directory: Path) -> str:
    """What to write into its subtree_control."""
    available = (directory / "cgroup.controllers").read_text().split()
    return " ".join(f"+{controller}" for controller in (*REQUIRED, "cpu") if controller in available)


def _try_out(cgroups: Cgroups) -> None:
    group = cgroups.create("probe", Limits())
    try:
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            group.add(process.pid)
    finally:
        deadline = time.monotonic() + REMOVE_TIMEOUT
        while not group.remove() and time.monotonic() < deadline:
            time.sleep(0.001)


def _remove_if_abandoned(directory: Path) -> None:
    try:
        # Another user's is not ours to remove: trying would take seconds, and hold its lock meanwhile.
        if os.geteuid() not in (0, directory.stat().st_uid):
            return
    except FileNotFoundError:
        return
    claimed = claim(directory)
    if claimed is not None:
        remove_tree(directory)
        os.close(claimed)


def _distinct(directories: Mapping[str, Path]) -> list[Path]:
    return list(dict.fromkeys(directories.values()))


def _kill(directory: Path) -> None:
    try:
        (directory / "cgroup.kill").write_text("1")
    except OSError:  # version 1, or a kernel before 5.14
        for pid in _numbers(directory / "cgroup.procs"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _remove_all(directories: Iterable[Path]) -> bool:
    kept = [directory for directory in directories if not _remove(directory)]
    return not kept


def _numbers(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().split()]
    except OSError:
        return []


def _field(file: Path, name: str) -> int:
    """A line `name value` of a flat keyed file; 0 where there is none."""
    try:
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except OSError:
        pass
    return 0


def _quota(cores: float) -> int:
    return max(1000, round(cores * CPU_PERIOD))  # the kernel takes no less than a millisecond


def _below(mount_point: str, root: str, group: str) -> Path:
    """Our group as a path. `root` is what of the hierarchy the mount shows: in a container, often just our
    group."""
    relative = os.path.relpath(group, root)
    if relative.startswith(".."):
        return Path(mount_point)
    return Path(os.path.normpath(f"{mount_point}/{relative}"))


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _delegation_hint() -> str:
    return (
        "run under systemd with Delegate=yes (systemd-run --user --scope -p Delegate=yes reflow-supervise ...), "
        "or in a container with a writable /sys/fs/cgroup"
    )
