"""A real Redis server that belongs to one workspace: `redis.url: embedded`.

It listens on a Unix socket only, which nobody but this user can open, and keeps its data in the workspace, in
an append-only file. This module decides how it is configured, locked, and known to be ready, and what its end
means. Restarting one that crashed is the supervisor's; which program is run is decided in `redis_binary`.

The server never outlives its supervisor: it is stopped with it, and where the supervisor is killed, the
kernel kills the server. Until it is gone it holds the lock on the directory, so that no second one ever opens
the same files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import attrs
import trio

from reflow_supervisor.errors import EnvironmentError_, Problem, ReflowError
from reflow_supervisor.state.bounded_log import BoundedLog
from reflow_supervisor.state.redis_binary import OLDEST_SERVER, ServerBinary, find_server
from reflow_supervisor.state.server_process import ServerProcess

MAX_SOCKET_PATH = 107
"""A Unix socket's address has 108 bytes for the path, the last one zero."""
_ORPHAN_WAIT = 10.0
"""Seconds that what a killed supervisor left may take to be gone."""
_POLL = 0.01
_CUT_SHORT = "Unexpected end of file reading the append only file"
"""What the server says where it was killed, or the machine was, while it wrote."""

# What the server says when it cannot start, what that means, and what to do. The first match counts.
_DIAGNOSES: Sequence[tuple[re.Pattern[str], str, str]] = (
    (re.compile("No space left on device"), "the disk is full", "make room on the workspace's disk"),
    (
        re.compile("Read-only file system|Permission denied"),
        "it may not write where its data is",
        "make the directory and all in it writable for this user",
    ),
    (
        re.compile("RDB format version"),
        "its data was written by a newer server",
        "put the newer server that wrote it first on PATH",
    ),
    (
        re.compile("Bad file format|Unexpected end of file|Wrong signature|[Cc]orrupt"),
        "its append-only file is damaged",
        "copy the directory, then repair the file with `redis-check-aof --fix`, or move it away to start empty",
    ),
    (
        re.compile("FATAL CONFIG FILE ERROR"),
        "this server program does not understand its configuration",
        "put another one first on PATH, or give the URL of a running Redis",
    ),
)


class EmbeddedRedisError(ReflowError):
    """The running server ended by itself; the message says how, and what it last wrote."""


@attrs.frozen
class _End:
    """How a run of the server ended: whether it had been ready, how in words, and its last lines."""

    ready: bool
    how: str
    lines: Sequence[str]

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


class EmbeddedRedis:
    """One workspace's Redis server.

    Args:
        directory: where data, lock, log and socket are; made if missing. Usually `.reflow/redis`.
        fsync: against a crash of the machine an acknowledged commit is safe within a second, or at once. A
            crash of the server alone loses nothing, except, with "everysec", while the disk is busy with the
            last second.
        max_memory: bytes after which Redis refuses writes; None: not limited.
        find: tells which program to run, given the oldest major version that will do; called in a thread.
        ready_timeout: seconds that it may be silent while it starts. While it reads its file it is not
            silent.
        stop_timeout: seconds that it may take to stop before it is killed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fsync: Literal["everysec", "always"] = "everysec",
        max_memory: int | None = None,
        find: Callable[[int], ServerBinary] = find_server,
        ready_timeout: float = 20.0,
        stop_timeout: float = 10.0,
    ) -> None:
        self._directory = directory.absolute()
        self._fsync = fsync
        self._max_memory = max_memory
        self._find = find
        self._ready_timeout = ready_timeout
        self._stop_timeout = stop_timeout
        self._socket = _socket_path(self._directory)

    @property
    def url(self) -> str:
        """Where it listens, for `RedisStore`; the same at every start."""
        return f"unix://{quote(os.fspath(self._socket))}"

    @property
    def log_path(self) -> Path:
        return self._directory / "server.log"

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts the server, tells its URL when it answers, and stays; cancelled, it stops the server.

        Raises:
            UserError: it cannot be started: why, and what to do.
            EmbeddedRedisError: it ended by itself after it was ready.
        """
        self._make_directories()
        lock = await self._take_lock()
        try:
            # Redis 6 does not see the data of a newer one, and would start empty beside it.
            oldest = 7 if (self._directory / "appendonlydir").exists() else OLDEST_SERVER
            binary = await trio.to_thread.run_sync(self._find, oldest)
            log = BoundedLog(self.log_path)
            end = await self._serve(binary, lock, log, task_status)
            if not end.ready and _CUT_SHORT in end.output:
                await self._drop_incomplete_commit(binary, lock, log)
                end = await self._serve(binary, lock, log, task_status)
            raise self._failure(binary, end)
        finally:
            self._remove_socket()
            os.close(lock)

    async def _serve(self, binary: ServerBinary, lock: int, log: BoundedLog, task_status: trio.TaskStatus[str]) -> _End:
        """Runs the server once, from start to end."""
        server = ServerProcess([os.fspath(binary.path), "-"], stdin=self._configuration(), log=log, pass_fds=(lock,))
        ready = silent = False
        how = ""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.copy_output)
                ready = await self._until_ready(server)
                if ready:
                    task_status.started(self.url)
                    await server.wait()
                silent = server.alive
                nursery.cancel_scope.cancel()
        finally:
            how = await server.aclose(self._stop_timeout)
        if silent:
            how = f"did not answer within {self._ready_timeout:g} s"
        return _End(ready, how, log.last_lines)

    async def _drop_incomplete_commit(self, binary: ServerBinary, lock: int, log: BoundedLog) -> None:
        """Takes the commit that was being written when the server was killed off the end of its file, whole.

        Redis would do so by itself (aof-load-truncated), but takes off no more than the last command: what is
        left of the commit is an open MULTI in the middle of the file, and then the next start applies the
        commit that was written behind it twice. Its own checker, which is the same program under another
        name, knows better.
        """
        data = self._directory / "appendonlydir" / "appendonly.aof.manifest"
        if not data.exists():
            data = self._directory / "appendonly.aof"
        checked = await trio.run_process(
            [f"{binary.product.lower()}-check-aof", "--fix", os.fspath(data)],
            executable=os.fspath(binary.path),
            stdin=b"y\n",
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            pass_fds=(lock,),
        )
        log.write(checked.stdout)

    def _failure(self, binary: ServerBinary, end: _End) -> ReflowError:
        lines = "".join(f"\n    {line}" for line in end.lines)
        if end.ready:
            return EmbeddedRedisError(f"the embedded Redis server {end.how}; its last lines:{lines}")
        meaning, hint = _diagnosis(end.output) or (f"it {end.how}", f"see {self.log_path}")
        return EnvironmentError_(
            Problem(
                "redis-start",
                f"the embedded Redis server, {binary}, did not start: {meaning}; its last lines:{lines}\n",
                path="redis.url",
                hint=hint,
            )
        )

    async def _until_ready(self, server: ServerProcess) -> bool:
        """Whether it came to answer; False where it ended, or was silent for too long."""
        with trio.move_on_after(self._ready_timeout) as patience:
            while server.alive:
                answer = await self._ping()
                if answer.startswith(b"+PONG"):
                    return True
                if answer:
                    # It reads its file, which takes as long as it takes.
                    patience.deadline = trio.current_time() + self._ready_timeout
                await trio.sleep(_POLL)
        return False

    async def _ping(self) -> bytes:
        try:
            async with await trio.open_unix_socket(os.fspath(self._socket)) as stream:
                await stream.send_all(b"PING\r\n")
                return await stream.receive_some(256)
        except (OSError, trio.BrokenResourceError):
            return b""

    def _configuration(self) -> bytes:
        settings: dict[str, str] = {
            "port": "0",
            "unixsocket": _quoted(self._socket),
            "unixsocketperm": "700",
            "dir": _quoted(self._directory),
            "save": '""',
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "aof-load-truncated": "no",
            "maxmemory": str(self._max_memory or 0),
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items()).encode()

    def _make_directories(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(self._directory, error) from None
        directory = self._socket.parent
        if directory == self._directory:
            return
        # Its name can be guessed and its parent may be open to all: it must be ours, or others could listen
        # there.
        try:
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            status = directory.lstat()
        except OSError as error:
            raise self._unusable(directory, error) from None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise EnvironmentError_(
                Problem(
                    "redis-directory",
                    f"{directory} belongs to somebody else, or is open to others",
                    path="redis.url",
                    hint="remove it, set TMPDIR to a directory of your own, or shorten the workspace's path",
                )
            )

    async def _take_lock(self) -> int:
        """Locks the directory, and says in the lock file who holds it. The server inherits the descriptor, so
        the lock lasts until both are gone."""
        path = self._directory / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unusable(path, error) from None
        try:
            give_up_at = trio.current_time() + _ORPHAN_WAIT
            while not _try_lock(lock):
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                if _is_alive(holder):
                    raise self._locked(
                        f"another supervisor (pid {holder}) runs the Redis server in {self._directory}",
                        "stop it, or look at it with `reflow-supervise attach`",
                    )
                if trio.current_time() > give_up_at:
                    raise self._locked(
                        f"a Redis server that an earlier supervisor left in {self._directory} does not end",
                        f"`fuser {path}` tells which process it is",
                    )
                await trio.sleep(_POLL)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(lock)
            raise self._unusable(path, error) from None
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _remove_socket(self) -> None:
        # Redis removes it when it stops by itself, but not when it is killed.
        with suppress(OSError):
            self._socket.unlink()
        if self._socket.parent != self._directory:
            with suppress(OSError):
                self._socket.parent.rmdir()

    def _locked(self, message: str, hint: str) -> EnvironmentError_:
        return EnvironmentError_(Problem("redis-locked", message, path="redis.url", hint=hint))

    def _unusable(self, path: Path, error: OSError) -> EnvironmentError_:
        return EnvironmentError_(
            Problem(
                "redis-directory",
                f"cannot use {path} for the embedded Redis server: {error.strerror}",
                path="redis.url",
                hint="make it writable for this user, or give the URL of a running Redis",
            )
        )


def _socket_path(directory: Path) -> Path:
    """In the directory itself, or where its path is too long for a socket, in a private one with a short
    path. That one's name follows from the directory's, so that a run that was killed leaves nothing that the
    next does not use."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    name = f"reflow-{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    parents = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")
    paths = [Path(parent) / name / "redis.sock" for parent in parents if parent]
    return next((path for path in paths if len(os.fsencode(path)) <= MAX_SOCKET_PATH), paths[-1])


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, OSError):
        return False
    return True


def _quoted(path: Path) -> str:
    """As Redis reads a string in its configuration: any byte but the plain ones by its number."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"
    return '"' + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


def _diagnosis(output: str) -> tuple[str, str] | None:
    """What the server's last words mean, and what to do; None where they are not known."""
    for pattern, meaning, hint in _DIAGNOSES:
        if pattern.search(output):
            return meaning, hint
    return None
