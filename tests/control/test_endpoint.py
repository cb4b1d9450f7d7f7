"""Who owns the path of the endpoint, and what is done about what lies there already."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from reflow_supervisor.control import endpoint
from reflow_supervisor.control.endpoint import Disconnected
from reflow_supervisor.errors import EnvironmentError_


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def exchange(path: Path, listener: trio.SocketListener) -> bytes:
    client = await endpoint.connect(path)
    server = await listener.accept()
    async with client, server:
        assert endpoint.peer_may_connect(server)
        await client.send_all(b"hello")
        return bytes(await server.receive_some())


@pytest.mark.trio
async def test_only_the_owner_may_use_it_and_it_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with endpoint.claim(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await exchange(path, listener) == b"hello"
    assert not path.exists()
    with pytest.raises(Disconnected, match="no supervisor at"):
        await endpoint.connect(path)


@pytest.mark.trio
async def test_a_path_too_long_for_the_kernel_works(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    path = directory / "control.sock"
    descriptors = open_descriptors()
    with endpoint.claim(path) as listener:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert await exchange(path, listener) == b"hello"
    assert not path.exists()
    assert open_descriptors() == descriptors


@pytest.mark.trio
async def test_the_socket_of_a_dead_supervisor_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
        dead.listen()
    assert path.exists()
    with endpoint.claim(path) as listener:
        assert await exchange(path, listener) == b"hello"


@pytest.mark.trio
async def test_a_live_supervisor_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with endpoint.claim(path) as listener:
        with pytest.raises(EnvironmentError_, match=f"process {os.getpid()} serves") as caught, endpoint.claim(path):
            pass
        assert "attach" in str(caught.value)
        (await listener.accept()).socket.close()  # that was the question who it is
        assert await exchange(path, listener) == b"hello"


@pytest.mark.trio
async def test_anothers_socket_without_a_lock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))
        other.listen(0)
        with pytest.raises(EnvironmentError_, match="serves"), endpoint.claim(path):
            pass
        # With a full backlog it cannot even be asked who it is.
        with pytest.raises(EnvironmentError_, match="another process serves"), endpoint.claim(path):
            pass
        assert path.exists()


@pytest.mark.trio
async def test_a_lock_without_a_socket_is_a_supervisor_that_starts(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with (tmp_path / "control.sock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentError_, match="another process serves"), endpoint.claim(path):
            pass


@pytest.mark.trio
async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(EnvironmentError_, match="is no socket"), endpoint.claim(path):
        pass
    assert path.read_text() == "precious"


@pytest.mark.trio
async def test_a_link_as_the_lock_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    (tmp_path / "control.sock.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentError_, match="cannot listen"), endpoint.claim(path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["missing/control.sock", "x" * 200])
@pytest.mark.trio
async def test_an_unusable_path_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(EnvironmentError_, match="cannot listen on") as caught, endpoint.claim(tmp_path / name):
        pass
    assert "directory that exists" in str(caught.value)


@pytest.mark.trio
async def test_a_socket_that_took_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with endpoint.claim(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
