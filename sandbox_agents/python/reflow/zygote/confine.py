"""What a forked process does to itself before a script may run in it: the same confinement that bwrap gives the others.

The order is what makes it safe. Mounts are made while the outer sandbox's capabilities are still there, in a mount
namespace that the outer user namespace owns; then they are given up with the outer user id. In the user namespace that
comes next there is nothing to mount with, and in the end no capability, no way to make another user namespace, and no
system call that is not on the list. It decides the order and the mounts; sizes and limits it is told.

No code between the fork and the end of `confine` is a script's, and all of it is the zygote's own single thread's.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .messages import GUEST_ID, HOSTNAME, LINK_DIRECTORY, SANDBOXES, TEMPLATE, Fork

# <linux/sched.h>
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
# <linux/mount.h>
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8
BIND, RECURSIVE, PRIVATE = 1 << 12, 1 << 14, 1 << 18
DETACH = 2
# <linux/prctl.h>
SET_DUMPABLE, SET_NAME, SET_SECCOMP, READ_BOUNDS, DROP_FROM_BOUNDS = 4, 15, 22, 23, 24
SET_SECUREBITS, NO_NEW_PRIVILEGES = 28, 38
SECCOMP_FILTER = 2
ALL_SECUREBITS = 0x2F
"""NOROOT, NO_SETUID_FIXUP and KEEP_CAPS_LOCKED, all locked: no user id brings a capability back."""
CAPABILITY_VERSION_3 = 0x20080522

BYTES_PER_INODE: Final = 4096
"""Files in a tmpfs, by its size: empty ones take memory, too."""
LEAST_INODES: Final = 256

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


class ConfinementError(Exception):
    """One step could not be done: `step` says which, in words."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


class Rules:
    """What holds for every fork: its seccomp program and its capabilities (none), where the kernel can read them, and
    what this kernel's last capability is. Made before any fork, so that none of them has to."""

    def __init__(self, rules: bytes) -> None:
        class Program(ctypes.Structure):
            _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

        self._rules = ctypes.create_string_buffer(rules, len(rules))
        self._program = Program(len(rules) // 8, ctypes.addressof(self._rules))
        self._header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        self._no_capabilities = (ctypes.c_uint32 * 6)()
        self._last = 0
        while _libc.prctl(READ_BOUNDS, self._last + 1, 0, 0, 0) >= 0:
            self._last += 1

    def drop_capabilities(self) -> None:
        for capability in range(self._last + 1):
            _prctl(DROP_FROM_BOUNDS, capability)
        _prctl(SET_SECUREBITS, ALL_SECUREBITS)
        _check(_libc.capset(self._header, self._no_capabilities))
        _prctl(NO_NEW_PRIVILEGES, 1)

    def install(self) -> None:
        _prctl(SET_SECCOMP, SECCOMP_FILTER, ctypes.addressof(self._program))


def make_mounts_private() -> None:
    """What is mounted in a fork's namespace from now on is seen nowhere else."""
    _mount(b"none", b"/", None, RECURSIVE | PRIVATE)


def fork() -> int:
    """Forks; the fork is the first process of a PID namespace of its own, and this process its parent.

    Raises:
        OSError: it could not be forked.
    """
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(NEW_PROCESSES))
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                # From that namespace, no second one could be made.
                _check(_libc.setns(ours, NEW_PROCESSES))
        return pid
    finally:
        os.close(ours)


class Name:
    """What `ps -o comm` shows of a process, at most 15 letters of it. Made before any fork."""

    def __init__(self, name: str) -> None:
        self._text = ctypes.create_string_buffer(name.encode())
        self._address = ctypes.addressof(self._text)

    def take(self) -> None:
        _prctl(SET_NAME, self._address)


def hide_memory() -> None:
    """Nobody but a capable process of an outer namespace may trace this process or read its memory."""
    _prctl(SET_DUMPABLE, 0)


def confine(order: Fork, groups: Sequence[int], rules: Rules) -> None:
    """Shuts this process in, for good.

    Args:
        groups: descriptors of the `cgroup.procs` to join. Closed afterwards.

    Raises:
        ConfinementError: a step failed. The process is fit for nothing but to say so and end.
    """
    uid = order.uid or 0
    step = "joining its control groups"  # before all else, so that what comes now is counted and limited
    try:
        _join(groups)
        step = "making a mount namespace"
        os.setsid()
        _check(_libc.unshare(NEW_MOUNTS))
        step = "mounting its file systems"
        _mount_all(order, uid)
        step = "changing its root"
        # The zygote's own /proc, for the files that only there can be written.
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _change_root()
        if uid:
            step = "taking its user id"
            _become(uid)
        step = "making namespaces"
        _enter_namespaces(proc, uid)
        os.close(proc)
        step = "dropping capabilities"
        rules.drop_capabilities()
        step = "setting limits"
        for which, value in order.limits:
            resource.setrlimit(which, (value, value))
        step = "installing the system call filter"
        hide_memory()
        rules.install()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise ConfinementError(step, said or str(error)) from None


def _join(groups: Sequence[int]) -> None:
    for descriptor in groups:
        os.write(descriptor, b"0")  # the writer itself
        os.close(descriptor)


def _mount_all(order: Fork, uid: int) -> None:
    root = os.fsencode(TEMPLATE)
    # A mount of its own: what was inherited can neither be a root nor have anything mounted on it in private.
    _mount(root, root, None, BIND | RECURSIVE)
    # The source is read-only, and so is every bind of it.
    own = os.fsencode(f"{SANDBOXES}/{order.directory}")
    _mount(own, root + os.fsencode(LINK_DIRECTORY), None, BIND | RECURSIVE)
    # In a user namespace of one id, root's would not exist, without which there are no pseudo-terminals.
    _mount(b"devpts", root + b"/dev/pts", b"devpts", NO_SUID | NO_PROGRAMS, b"newinstance,ptmxmode=0666,mode=620")
    _mount_memory(root + b"/dev/shm", order.shared_memory, uid)
    _mount_memory(root + b"/tmp", order.tmp, uid)
    _mount(b"proc", root + b"/proc", b"proc", NO_SUID | NO_DEVICES | NO_PROGRAMS | READ_ONLY)


def _mount_memory(path: bytes, size: int, uid: int) -> None:
    inodes = max(LEAST_INODES, size // BYTES_PER_INODE)
    options = f"size={size},nr_inodes={inodes},mode=1777,uid={uid},gid={uid}"
    _mount(b"tmpfs", path, b"tmpfs", NO_SUID | NO_DEVICES, options.encode())


def _change_root() -> None:
    os.chdir(TEMPLATE)
    # The old root is stacked under the new one, and goes with everything that was mounted in it.
    _check(_libc.pivot_root(b".", b"."))
    _check(_libc.umount2(b".", DETACH))
    os.chdir("/tmp")
    # The zygote's is shared by all: its flags could be changed under them.
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)  # the outer capabilities end with the outer user id 0


def _enter_namespaces(proc: int, uid: int) -> None:
    # To write its own maps, it must own its files in /proc, which the change of the user id took from it.
    _prctl(SET_DUMPABLE, 1)
    _check(_libc.unshare(NEW_USER | NEW_NETWORK | NEW_IPC | NEW_UTS | NEW_CGROUP))
    with suppress(FileNotFoundError):  # a kernel before 3.19
        _write(proc, "self/setgroups", "deny")
    _write(proc, "self/uid_map", f"{GUEST_ID} {uid} 1")
    _write(proc, "self/gid_map", f"{GUEST_ID} {uid} 1")
    # As `bwrap --disable-userns`: even without the filter there is no second user namespace, and no capability by it.
    _write(proc, "sys/user/max_user_namespaces", "0")
    name = HOSTNAME.encode()
    _check(_libc.sethostname(name, len(name)))


def _write(directory: int, path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes | None = None) -> None:
    _check(_libc.mount(source, target, kind, flags, options), os.fsdecode(target))


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    _check(_libc.prctl(option, first, second, 0, 0))


def _check(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        said = os.strerror(number)
        raise OSError(number, f"{said}: {path}" if path else said)
