"""The supervisor's directory for one run, with a directory in it for each sandbox: its socket and its
workspace.

    <run directory>/           0711, of the supervisor
      python-1/                0750, of the supervisor and the sandbox's group; bound read-only into the
      sandbox
        link.sock              0600, of the sandbox's user: no other sandbox could connect, even if it saw the
        socket workspace/             what the actor's source is put into, by the supervisor only

This module decides where these are and who may touch them; who connects, and what is put there, others
decide.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import tempfile
from pathlib import Path

import attrs
import trio

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox.claims import claim

SOCKET_NAME = "link.sock"
WORKSPACE_NAME = "workspace"
PREFIX = "reflow-run-"
MAX_SOCKET_PATH = 107
"""sizeof(sockaddr_un.sun_path) less the final NUL."""
BACKLOG = 16


class AgentListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts connections from one user id only. The token is still to be shown: under an ordinary user all
    sandboxes share that user's id."""

    def __init__(self, listener: trio.SocketListener, uid: int) -> None:
        self._listener = listener
        self._uid = uid

    async def accept(self) -> trio.SocketStream:
        while True:
            stream = await self._listener.accept()
            credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("=iII"))
            _, uid, _ = struct.unpack("=iII", credentials)
            if uid == self._uid:
                return stream
            await trio.aclose_forcefully(stream)

    async def aclose(self) -> None:
        await self._listener.aclose()


@attrs.frozen
class SandboxDirectory:
    """One sandbox's directory on the host."""

    path: Path
    listener: AgentListener

    @property
    def workspace(self) -> Path:
        return self.path / WORKSPACE_NAME

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await self.listener.aclose()
            # In a thread: a workspace may hold as many files as its user put there.
            await trio.to_thread.run_sync(lambda: shutil.rmtree(self.path, ignore_errors=True))


def default_base() -> Path:
    """Where run directories are made. Not under TMPDIR: that may be too long for a socket's address."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.geteuid() != 0 and _short_enough(Path(runtime)) and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime)
    return Path("/tmp")


def _short_enough(base: Path) -> bool:
    longest = base / f"{PREFIX}12345678" / "javascript-1234567890" / SOCKET_NAME
    return len(os.fsencode(longest)) <= MAX_SOCKET_PATH


class RunDirectory:
    """Made by `create`, removed by `remove`; a supervisor that dies without it leaves that to the next
    one."""

    def __init__(self, path: Path, claimed: int) -> None:
        self.path = path
        self._claimed = claimed

    @classmethod
    def create(cls, base: Path | None = None) -> RunDirectory:
        """Makes the directory of this run, and removes those of supervisors that are gone.

        Raises:
            EnvironmentError_: there is no place for it.
        """
        base = base or default_base()
        if not _short_enough(base):
            raise EnvironmentError_(
                f"{base} is too long a path: the address of a socket has at most {MAX_SOCKET_PATH} bytes",
                hint="use a directory with a shorter path",
            )
        remove_abandoned(base)
        while True:
            try:
                path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            except OSError as error:
                raise EnvironmentError_(
                    f"cannot make a directory for this run in {base}: {error.strerror}",
                    hint="make that directory writable",
                ) from error
            path.chmod(0o711)
            claimed = claim(path)
            if claimed is not None:
                return cls(path, claimed)
            # Another supervisor took the fresh directory for an abandoned one, between the two calls.

    async def sandbox(self, sandbox_id: str, uid: int | None) -> SandboxDirectory:
        """Makes a sandbox's directory with a listening socket in it.

        Args:
            sandbox_id: names the directory; unique in this run.
            uid: user and group id of the sandbox; None where that is the supervisor's own.
        """
        path = self.path / sandbox_id
        address = path / SOCKET_NAME
        path.mkdir(mode=0o700)
        (path / WORKSPACE_NAME).mkdir()
        listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await listening.bind(str(address))
            address.chmod(0o600)
            # Set-group-id, so that what the supervisor puts there can be read by the sandbox under any umask
            # that leaves the group its rights.
            (path / WORKSPACE_NAME).chmod(0o2755)
            if uid is not None:
                os.chown(address, uid, uid)
                os.chown(path / WORKSPACE_NAME, -1, uid)
                (path / WORKSPACE_NAME).chmod(0o2755)  # chown cleared the bit
                os.chown(path, -1, uid)
                path.chmod(0o750)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            shutil.rmtree(path, ignore_errors=True)
            raise
        return SandboxDirectory(
            path, AgentListener(trio.SocketListener(listening), os.geteuid() if uid is None else uid)
        )

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._claimed)


def remove_abandoned(base: Path) -> None:
    """Removes the run directories in `base` that are ours and whose supervisor is gone."""
    for path in base.glob(f"{PREFIX}*"):
        try:
            found = path.lstat()
        except OSError:
            continue
        # Anybody may make a directory of that name in /tmp.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            continue
        claimed = claim(path)
        if claimed is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(claimed)
