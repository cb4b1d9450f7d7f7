"""Where the control endpoint is: a Unix socket with one owner, which only the supervisor's own user may use.

This module decides who owns a path and who may connect; what is said on a connection, it does not know.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Generator
from pathlib import Path

import trio

from reflow_supervisor.errors import EnvironmentError_, Problem, ReflowError

_SUN_PATH = 108
"""Bytes of `sockaddr_un.sun_path`, the closing NUL among them."""
_BACKLOG = 32


class Disconnected(ReflowError):
    """There is no supervisor at the endpoint, or it went away, or it does not speak this protocol."""


@contextlib.contextmanager
def claim(path: Path) -> Generator[trio.SocketListener]:
    """Listens on `path`, whose directory must exist, and removes the socket at the end.

    The lock beside it lives as long as its owner, whatever that dies of, so that of two supervisors that
    start at once, only one finds the other's socket stale. The lock file stays: removing it would let two
    owners hold one each.

    Raises:
        EnvironmentError_: another process serves there, or the path cannot be used.
    """
    with contextlib.ExitStack() as stack:
        try:
            name = stack.enter_context(_short(path))
            lock = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _taken(path, _owner(name)) from None
            _remove_stale(path, name)
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.enter_context(server)
            # The socket file takes its mode from here, so there is no moment in which others could connect.
            os.fchmod(server.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            server.bind(name)
            stack.callback(_remove_own, path, Path(name).stat().st_ino)
            server.listen(_BACKLOG)
        except OSError as error:
            raise EnvironmentError_(
                Problem(
                    "control-socket",
                    f"cannot listen on {path}: {error.strerror or error}",
                    hint="name a path in a directory that exists and that you may write to",
                )
            ) from None
        server.setblocking(False)
        yield trio.SocketListener(trio.socket.from_stdlib_socket(server))


async def connect(path: Path) -> trio.SocketStream:
    """Raises Disconnected when nobody listens on `path`."""
    try:
        with _short(path) as name:
            return await trio.open_unix_socket(name)
    except OSError as error:
        raise Disconnected(f"no supervisor at {path}: {error.strerror or error}") from None


def peer_may_connect(stream: trio.SocketStream) -> bool:
    """The socket's mode says so already, where the file system has modes; this holds everywhere."""
    _, uid = _peer(stream.socket)
    return uid in (os.geteuid(), 0)


@contextlib.contextmanager
def _short(path: Path) -> Generator[str]:
    """A name of `path` that fits into `sun_path`: a long directory is reached by a descriptor of it."""
    # `.lock` and the like are added to it, hence the room.
    if len(os.fsencode(path)) + 8 < _SUN_PATH:
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _remove_stale(path: Path, name: str) -> None:
    try:
        mode = Path(name).stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EnvironmentError_(
            Problem("control-socket", f"{path} exists and is no socket", hint="remove it, or name another path")
        )
    if (pid := _owner(name)) is not None:
        raise _taken(path, pid)
    Path(name).unlink()


def _remove_own(path: Path, inode: int) -> None:
    with contextlib.suppress(OSError):
        if path.stat(follow_symlinks=False).st_ino == inode:
            path.unlink()


def _owner(name: str) -> int | None:
    """The process id of who listens there, None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except BlockingIOError:
            return 0  # its backlog is full: alive, but not to be asked
        except OSError:
            return None
        return _peer(probe)[0]


def _taken(path: Path, pid: int | None) -> EnvironmentError_:
    who = f"process {pid}" if pid else "another process"
    return EnvironmentError_(
        Problem(
            "control-in-use",
            f"{who} serves {path} already",
            hint="`reflow-supervise attach` shows it; stop it before you start another",
        )
    )


def _peer(sock: socket.socket | trio.socket.SocketType) -> tuple[int, int]:
    """Process id and user id of the other end, as the kernel noted them."""
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid
