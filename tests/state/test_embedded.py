from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from reflow_supervisor.errors import UserError
from reflow_supervisor.state import embedded
from reflow_supervisor.state.embedded import EmbeddedRedis, EmbeddedRedisError
from reflow_supervisor.state.redis_binary import ServerBinary, find_server
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.retrying import Availability, RetryDelays, RetryingStore
from reflow_supervisor.state.store import Append, Set, StateCommit

pytestmark = pytest.mark.trio


def servers_in(directory: Path) -> list[int]:
    """The processes that have a file of the directory open: a server that runs, or was left."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                targets = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if any(target.startswith(str(directory)) for target in targets):
                found.append(int(process.name))
    return found


def internet_sockets(pid: int) -> set[str]:
    """The inodes of its sockets that are not Unix sockets."""
    links = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6", "udp", "udp6")]
    return inodes & {line.split()[9] for table in tables for line in table.splitlines()[1:]}


@contextmanager
def suppress_group(kind: type[Exception]) -> Iterator[None]:
    """What a nursery makes of the failure of a child."""
    try:
        yield
    except* kind:
        pass


async def append(url: str, number: int) -> list[bytes]:
    store = RedisStore(url, namespace="n")
    await store.commit([StateCommit("a", f"c{number}", (Append("l", (b"%d" % number,)),))])
    found = await store.fetch("a", ["l"])
    await store.aclose()
    return list(found["l"].items)


async def test_it_starts_serves_stops_and_keeps_its_data(short_path: Path) -> None:
    directory = short_path / 'wörk "space"' / "redis"
    server = EmbeddedRedis(directory)
    for number in range(2):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.run)
            assert url == server.url
            assert await append(url, number) == [b"0", b"1"][: number + 1]
            assert stat.S_IMODE((directory / "redis.sock").stat().st_mode) == 0o700
            assert len(servers_in(directory)) == 1
            nursery.cancel_scope.cancel()
        assert servers_in(directory) == []
        assert sorted(path.name for path in directory.iterdir()) == ["appendonlydir", "lock", "server.log"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "appendonlydir").stat().st_mode) == 0o700
    assert "ready to exit" in server.log_path.read_text()


async def test_it_listens_on_its_socket_only(short_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(EmbeddedRedis(short_path / "redis").run)
        (pid,) = servers_in(short_path)
        assert internet_sockets(pid) == set()
        nursery.cancel_scope.cancel()


async def test_a_path_too_long_for_a_socket_gets_a_short_private_one(short_path: Path) -> None:
    directory = short_path / ("long" * 30) / "redis"
    server = EmbeddedRedis(directory)
    path = Path(server.url.removeprefix("unix://"))
    assert path.parent != directory
    assert len(os.fsencode(path)) <= embedded.MAX_SOCKET_PATH
    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        assert await append(url, 0) == [b"0"]
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        nursery.cancel_scope.cancel()
    assert not path.parent.exists()


async def test_a_short_directory_that_others_can_enter_is_not_used(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    server = EmbeddedRedis(short_path / ("long" * 30))
    Path(server.url.removeprefix("unix://")).parent.mkdir(mode=0o755)
    with pytest.raises(UserError, match=r"is open to others.*TMPDIR"):
        await server.run()


async def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(short_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        url = await nursery.start(EmbeddedRedis(short_path / "redis").run)
        with pytest.raises(UserError, match=rf"another supervisor \(pid {os.getpid()}\) runs the Redis server in"):
            await EmbeddedRedis(short_path / "redis").run()
        assert await append(url, 0) == [b"0"]
        nursery.cancel_scope.cancel()


async def test_a_server_that_crashes_is_reported_and_can_be_started_again(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / "redis", fsync="always")
    with pytest.RaisesGroup(pytest.RaisesExc(EmbeddedRedisError, match="was killed by SIGKILL; its last lines:\n    ")):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.run)
            await append(url, 0)
            os.kill(servers_in(short_path)[0], signal.SIGKILL)
    assert not (short_path / "redis" / "redis.sock").exists()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        assert await append(url, 1) == [b"0", b"1"]
        nursery.cancel_scope.cancel()


async def test_a_server_that_does_not_stop_is_killed(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / "redis", stop_timeout=0.05)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            os.kill(servers_in(short_path)[0], signal.SIGSTOP)
            nursery.cancel_scope.cancel()
    assert servers_in(short_path) == []


SUPERVISOR = """
import sys, trio
from pathlib import Path
from reflow_supervisor.state.embedded import EmbeddedRedis
async def main():
    async with trio.open_nursery() as nursery:
        print(await nursery.start(EmbeddedRedis(Path(sys.argv[1])).run), flush=True)
trio.run(main)
"""


@pytest.mark.slow
async def test_a_supervisor_that_is_killed_leaves_no_server_and_no_lock(short_path: Path) -> None:
    directory = short_path / "redis"
    with subprocess.Popen(  # noqa: ASYNC220 - killed and read like any process
        [sys.executable, "-c", SUPERVISOR, directory], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        assert await trio.to_thread.run_sync(supervisor.stdout.readline)
        with pytest.raises(UserError, match=rf"pid {supervisor.pid}\)"):
            await EmbeddedRedis(directory).run()
        supervisor.kill()
    assert (directory / "redis.sock").exists()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(EmbeddedRedis(directory).run)
        assert len(servers_in(directory)) == 1
        assert await append(url, 0) == [b"0"]
        nursery.cancel_scope.cancel()


async def test_damaged_data_is_a_users_error_with_the_servers_words(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / "redis")
    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        await append(url, 0)
        await append(url, 1)
        nursery.cancel_scope.cancel()
    (data,) = (short_path / "redis" / "appendonlydir").glob("*.incr.aof")
    content = bytearray(data.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\r\n*garb\r\n"[:8]
    data.write_bytes(content)
    with pytest.raises(UserError, match=r"append-only file is damaged; its last lines:\n") as caught:
        await server.run()
    assert "redis-check-aof" in str(caught.value)
    assert servers_in(short_path) == []
    data.unlink()
    with pytest.raises(UserError, match="did not start"):
        await server.run()


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 17, 48, 60, 90, -1])
async def test_a_commit_that_was_being_written_when_the_server_died_is_dropped_whole(
    short_path: Path, cut: int
) -> None:
    server = EmbeddedRedis(short_path / "redis")
    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        await append(url, 0)
        await append(url, 1)
        nursery.cancel_scope.cancel()
    (data,) = (short_path / "redis" / "appendonlydir").glob("*.incr.aof")
    written = data.read_bytes()
    last = written.rindex(b"*1\r\n$5\r\nMULTI")
    data.write_bytes(written[: last + cut] if cut > 0 else written[:cut])
    # Twice: what Redis would have left in the file shows at the start after the next.
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.run)
            assert await append(url, 1) == [b"0", b"1"]
            nursery.cancel_scope.cancel()
    assert data.read_bytes().count(b"MULTI") == written.count(b"MULTI")


@pytest.mark.slow
async def test_every_commit_is_applied_once_by_a_server_that_is_killed_again_and_again(short_path: Path) -> None:
    rng = random.Random(5)
    server = EmbeddedRedis(short_path / "redis", fsync="always")
    changes: list[Availability] = []
    inner = RedisStore(server.url, namespace="n")
    delays = RetryDelays(initial=0.001, longest=0.01)
    store = RetryingStore(inner, rng=rng, on_change=changes.append, delays=delays)
    stopping = trio.Event()

    async def run_and_kill() -> None:
        for _ in range(20):
            with suppress_group(EmbeddedRedisError):
                async with trio.open_nursery() as nursery:
                    await nursery.start(server.run)
                    await trio.sleep(rng.uniform(0.001, 0.03))
                    os.kill(servers_in(short_path)[0], signal.SIGKILL)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            await stopping.wait()
            nursery.cancel_scope.cancel()

    count = 0
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_and_kill)
            while sum(not change.available for change in changes) < 15:
                size = rng.randint(1, 6)
                await store.commit(
                    [
                        StateCommit("a", f"c{number}", (Append("l", (b"%d" % number,)), Set("n", b"%d" % number)))
                        for number in range(count, count + size)
                    ]
                )
                count += size
            found = await store.fetch("a", ["l", "n"])
            assert list(found["l"].items) == [b"%d" % number for number in range(count)]
            assert found["n"].value == b"%d" % (count - 1)
            stopping.set()
    await store.aclose()


async def test_a_directory_that_cannot_be_used_is_named(short_path: Path) -> None:
    (short_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"cannot use {short_path}/file/redis .*: Not a directory"):
        await EmbeddedRedis(short_path / "file" / "redis").run()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_is_read_only_is_named(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)  # noqa: PTH101 - quick
    with pytest.raises(UserError, match="Permission denied"):
        await EmbeddedRedis(tmp_path / "redis").run()
    os.chmod(tmp_path, 0o700)  # noqa: PTH101


async def test_a_program_that_says_nothing_is_given_up(short_path: Path) -> None:
    program = short_path / "silent"
    program.write_text("#!/bin/sh\necho I am up\nexec sleep 60\n")
    program.chmod(0o700)
    server = EmbeddedRedis(
        short_path / "redis",
        find=lambda oldest: ServerBinary(program, "Redis", f"{oldest}.0"),
        ready_timeout=0.2,
    )
    with pytest.raises(UserError, match=r"it did not answer within 0\.2 s; its last lines:\n    I am up"):
        await server.run()


async def test_data_of_a_newer_server_is_never_hidden_by_an_older_one(short_path: Path) -> None:
    asked: list[int] = []

    def find(oldest: int) -> ServerBinary:
        asked.append(oldest)
        return find_server(oldest)

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(EmbeddedRedis(short_path / "redis", find=find).run)
            nursery.cancel_scope.cancel()
    assert asked == [6, 7]


async def test_max_memory_bounds_the_server(short_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        url = await nursery.start(EmbeddedRedis(short_path / "redis", max_memory=64 * 1024 * 1024).run)
        store = RedisStore(url, namespace="n")
        assert (await store._ask("CONFIG", "GET", "maxmemory"))[1] == b"67108864"
        assert (await store._ask("CONFIG", "GET", "appendfsync"))[1] == b"everysec"
        await store.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("output", "meaning"),
    [
        ("# Write error writing append only file: No space left on device", "the disk is full"),
        ("# Can't open the append-only file x: Read-only file system", "it may not write"),
        ("# Can't chdir to '/x': Permission denied", "it may not write"),
        ("# Can't handle RDB format version 13", "written by a newer server"),
        ("# Bad file format reading the append only file: make a backup", "is damaged"),
        ("# Unexpected end of file reading the append only file", "is damaged"),
        ("*** FATAL CONFIG FILE ERROR (Redis 6.0.16) ***", "does not understand its configuration"),
    ],
)
async def test_what_the_server_says_is_put_in_words_with_a_way_out(output: str, meaning: str) -> None:
    found = embedded._diagnosis(f"some line\n{output}\nanother line")
    assert found is not None
    assert meaning in found[0]
    assert found[1]


async def test_words_that_are_not_known_are_not_guessed_at() -> None:
    assert embedded._diagnosis("Ready to accept connections unix") is None
