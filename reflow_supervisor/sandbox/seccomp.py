"""Which system calls a sandboxed process may make, and the classic BPF program that says so to the kernel.

This module decides the policy and generates the program; `bubblewrap` hands it to bwrap, which installs it
right before it executes the agent. It is an allow list: what is not named here is answered ENOSYS, as an old
kernel would, so that C libraries fall back; what is named and known to be dangerous is answered EPERM, which
says "you may not" to people who read strace. Nothing is looked up at run time: no libseccomp, no headers.

The filter is the last wall, not the only one. It closes what namespaces leave open: AF_VSOCK and the keyrings
are not namespaced, TIOCSTI reaches a terminal that was left open, new user namespaces give back every
capability, and most kernel exploits start at a call that no script needs.
"""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Iterable, Mapping

import attrs

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import syscalls


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED = _names(
    """
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
    rt_sigreturn pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise dup
    dup2 pause nanosleep getitimer alarm setitimer getpid sendfile connect accept sendto recvfrom sendmsg
    recvmsg shutdown bind listen getsockname getpeername setsockopt getsockopt fork vfork execve exit wait4
    kill uname fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir
    creat link unlink symlink readlink chmod fchmod umask gettimeofday getrlimit setrlimit getrusage sysinfo
    times getuid getgid geteuid getegid setpgid getppid getpgrp setsid getpgid getsid getresuid getresgid
    getgroups capget rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack
    utime statfs fstatfs getpriority setpriority sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min sched_getattr sched_setaffinity sched_getaffinity arch_prctl gettid readahead
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr tkill time futex epoll_create getdents64
    set_tid_address restart_syscall fadvise64 timer_create timer_settime timer_gettime timer_getoverrun
    timer_delete clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes
    waitid inotify_init inotify_add_watch inotify_rm_watch openat mkdirat newfstatat unlinkat renameat linkat
    symlinkat readlinkat fchmodat faccessat futimesat pselect6 ppoll set_robust_list get_robust_list splice
    tee sync_file_range utimensat epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime
    timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev recvmmsg
    prlimit64 sendmmsg getcpu renameat2 getrandom memfd_create execveat membarrier mlock munlock mlock2
    copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq close_range openat2
    faccessat2 epoll_pwait2 futex_waitv pidfd_open pidfd_send_signal
    """
)
"""Allowed with any arguments: what CPython, Node.js and their usual libraries need."""

REFUSED = _names(
    """
    mount umount2 pivot_root chroot unshare setns ptrace process_vm_readv process_vm_writev kcmp keyctl
    add_key request_key bpf perf_event_open kexec_load kexec_file_load init_module finit_module delete_module
    reboot swapon swapoff acct iopl ioperm syslog userfaultfd io_uring_setup io_uring_enter io_uring_register
    open_by_handle_at name_to_handle_at quotactl lookup_dcookie move_pages mbind set_mempolicy get_mempolicy
    migrate_pages set_mempolicy_home_node settimeofday clock_settime adjtimex clock_adjtime sethostname
    setdomainname vhangup modify_ldt personality mknod mknodat setuid setgid setreuid setregid setresuid
    setresgid setgroups setfsuid setfsgid capset chown fchown lchown fchownat setxattr lsetxattr fsetxattr
    removexattr lremovexattr fremovexattr fanotify_init fanotify_mark open_tree move_mount fsopen fsconfig
    fsmount fspick mount_setattr pidfd_getfd process_madvise process_mrelease memfd_secret quotactl_fd
    landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp shmget shmat shmctl shmdt semget
    semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive
    mq_notify mq_getsetattr vmsplice remap_file_pages
    """
)
"""Answered EPERM: what reaches into the kernel, into other processes, or beyond the sandbox's own memory
limit."""

AF_UNIX = 1
CLONE_NEW_ANY = 0x7E020000
"""Every CLONE_NEW* flag that clone(2) takes. CLONE_NEWTIME (0x80) is one of clone3(2) only: here it is a
signal number."""
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
REFUSED_PRCTL = (35, 47, 0x59616D61)  # PR_SET_MM, PR_CAP_AMBIENT, PR_SET_PTRACER

# <linux/bpf_common.h>: the seven instructions that the program is made of.
LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_GREATER, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06
# <linux/seccomp.h>: struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6];}, little
# endian.
NUMBER, ARCHITECTURE, ARGUMENT_0, ARGUMENT_1 = 0, 4, 16, 24
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


@attrs.frozen
class Architecture:
    """`audit` is what the kernel calls it; `x32` whether calls with bit 30 set are another ABI on the same
    number."""

    audit: int
    numbers: Mapping[str, int]
    x32: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(0xC000003E, syscalls.X86_64, x32=True),
    "aarch64": Architecture(0xC00000B7, syscalls.AARCH64),
}


@functools.cache
def filter_for(machine: str) -> bytes:
    """The program, as the array of `struct sock_filter` that `bwrap --seccomp` reads.

    Args:
        machine: `platform.machine()`.

    Raises:
        EnvironmentError_: there is no system call table for this machine.
    """
    architecture = ARCHITECTURES.get(machine)
    if architecture is None:
        raise EnvironmentError_(
            f"no seccomp filter for the machine type {machine!r}",
            hint=f"sandboxes run on {' and '.join(ARCHITECTURES)}",
        )
    return _generate(architecture)


def _generate(architecture: Architecture) -> bytes:
    numbers = architecture.numbers
    program = [
        # Another ABI means other numbers: a process that switches to it is not one of ours.
        _instruction(LOAD, ARCHITECTURE),
        _instruction(JUMP_EQUAL, architecture.audit, 1, 0),
        _instruction(RETURN, KILL_PROCESS),
        _instruction(LOAD, NUMBER),
    ]
    if architecture.x32:
        program += [_instruction(JUMP_GREATER_EQUAL, 0x40000000, 0, 1), _instruction(RETURN, KILL_PROCESS)]

    def call(name: str, body: list[bytes]) -> None:
        """`body` decides about this one call and always returns, so that it may overwrite the loaded
        number."""
        program.append(_instruction(JUMP_EQUAL, numbers[name], 0, len(body)))
        program.extend(body)

    # Only the low 32 bits of an argument are looked at: that is all the kernel itself takes of these.
    unix_only = [
        _instruction(LOAD, ARGUMENT_0),
        _instruction(JUMP_EQUAL, AF_UNIX, 0, 1),
        _instruction(RETURN, ALLOW),
        _instruction(RETURN, ERRNO | errno.EAFNOSUPPORT),
    ]
    call("socket", unix_only)
    call("socketpair", unix_only)
    call(
        "clone",
        [
            _instruction(LOAD, ARGUMENT_0),
            _instruction(JUMP_SET, CLONE_NEW_ANY, 0, 1),
            _instruction(RETURN, ERRNO | errno.EPERM),
            _instruction(RETURN, ALLOW),
        ],
    )
    # clone3 takes its flags through a pointer, which a filter cannot follow; C libraries fall back to clone.
    call("clone3", [_instruction(RETURN, ERRNO | errno.ENOSYS)])
    call("ioctl", _refuse_values(ARGUMENT_1, TERMINAL_INJECTION))
    call("prctl", _refuse_values(ARGUMENT_0, REFUSED_PRCTL))
    program += _answer((numbers[name] for name in ALLOWED if name in numbers), ALLOW)
    program += _answer((numbers[name] for name in REFUSED if name in numbers), ERRNO | errno.EPERM)
    program.append(_instruction(RETURN, ERRNO | errno.ENOSYS))
    return b"".join(program)


def _refuse_values(argument: int, values: tuple[int, ...]) -> list[bytes]:
    body = [_instruction(LOAD, argument)]
    for value in values:
        body += [_instruction(JUMP_EQUAL, value, 0, 1), _instruction(RETURN, ERRNO | errno.EPERM)]
    return [*body, _instruction(RETURN, ALLOW)]


def _answer(numbers: Iterable[int], action: int) -> list[bytes]:
    """Returns `action` for each of the numbers, in two or three instructions per run of consecutive ones."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    body: list[bytes] = []
    for first, last in runs:
        if first == last:
            body.append(_instruction(JUMP_EQUAL, first, 0, 1))
        else:
            body += [_instruction(JUMP_GREATER_EQUAL, first, 0, 2), _instruction(JUMP_GREATER, last, 1, 0)]
        body.append(_instruction(RETURN, action))
    return body


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`. `if_true` and `if_false` are how many instructions a jump skips."""
    return struct.pack("<HBBI", code, if_true, if_false, value)
