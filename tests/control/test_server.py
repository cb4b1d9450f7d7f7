"""The server over a real Unix socket: every method, and what hostile, broken and slow clients get."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio
from control.fake_provider import FakeProvider, make_snapshot
from state.letter_samples import make_letter
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from reflow_supervisor.control import protocol
from reflow_supervisor.control.client import Disconnected, open_client
from reflow_supervisor.control.protocol import ActorStatus, ControlError, ErrorCode, ErrorInfo, LettersDone
from reflow_supervisor.control.server import ServerLimits, serve_control
from reflow_supervisor.errors import EnvironmentError_, UserError

pytestmark = pytest.mark.trio


@contextlib.asynccontextmanager
async def serving(path: Path, provider: FakeProvider, **limits: Any) -> AsyncGenerator[Path]:
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED) -> None:
            await serve_control(path, provider, limits=ServerLimits(**limits), task_status=task_status)

        assert await nursery.start(run) == path
        yield path
        nursery.cancel_scope.cancel()


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
async def path(tmp_path: Path, provider: FakeProvider) -> AsyncGenerator[Path]:
    async with serving(tmp_path / "control.sock", provider) as path:
        yield path


@contextlib.asynccontextmanager
async def raw_socket(
    path: Path, resource: str = protocol.RESOURCE, subprotocol: str = protocol.SUBPROTOCOL
) -> AsyncGenerator[WebSocketConnection]:
    """A WebSocket whose other end may be told anything."""
    async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(
            nursery, stream, "localhost", resource, subprotocols=[subprotocol], max_message_size=2**24
        )
        nursery.cancel_scope.cancel()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def still_serves(path: Path) -> bool:
    async with open_client(path) as client:
        return (await client.snapshot()).workspace == "weather"


async def until_closed(stream: trio.SocketStream) -> bytes:
    received = b""
    with trio.fail_after(5):
        try:
            while data := await stream.receive_some():
                received += data
        except trio.BrokenResourceError:
            pass
    return received


# --- methods -------------------------------------------------------------------------------------------------


async def test_snapshot(path: Path, provider: FakeProvider) -> None:
    async with open_client(path) as client:
        assert await client.snapshot() == provider.current


async def test_ping_and_version(path: Path) -> None:
    async with open_client(path) as client:
        assert await client.call("ping") == {}
        version = await client.version()
        assert version.protocol == protocol.VERSION
        assert version.version.count(".") == 2


async def test_every_command_reaches_the_provider(path: Path, provider: FakeProvider) -> None:
    async with open_client(path) as client:
        for verb in ("restart", "stop", "start", "pause", "resume"):
            assert await client.call(f"actor.{verb}", id="clean") == {}
        await client.call("stop")
        await client.call("kill")
    assert provider.calls == [
        ("restart", "clean"),
        ("stop", "clean"),
        ("start", "clean"),
        ("pause", "clean"),
        ("resume", "clean"),
        ("stop",),
        ("kill",),
    ]


async def test_dead_letters(path: Path) -> None:
    async with open_client(path) as client:
        letters = await client.dead_letters(limit=2)
        assert (letters.total, len(letters.letters)) == (7, 2)
        assert letters.letters[0].error.message == "no rows"
        with pytest.raises(ControlError, match="limit"):
            await client.dead_letters(limit=0)
        await client.dead_letters(node="plot")


async def test_one_dead_letter_comes_whole(path: Path) -> None:
    async with open_client(path) as client:
        shown = await client.dead_letter("x1")
        assert shown.complete
        assert shown.letter == make_letter("x1")


async def test_dead_letters_are_replayed_and_dropped(path: Path, provider: FakeProvider) -> None:
    async with open_client(path) as client:
        assert await client.replay_dead_letters(["x1", "x2"]) == LettersDone(done=("x1", "x2"), refused={"x": "no"})
        await client.replay_dead_letters(None)
        await client.drop_dead_letters(None, "plot")
        many = [f"x{n}" for n in range(2500)]
        assert (await client.drop_dead_letters(many)).done == tuple(many)
    assert provider.calls == [
        ("replay", "", "x1", "x2"),
        ("replay", "", "all"),
        ("drop", "plot", "all"),
        ("drop", "", "x0", "x1", "x2"),
        ("drop", "", "x1000", "x1001", "x1002"),
        ("drop", "", "x2000", "x2001", "x2002"),
    ]


@pytest.mark.parametrize("params", [{}, {"ids": ["x1"], "all": True}, {"ids": ["x1"], "node": "a"}, {"ids": [""]}])
async def test_which_dead_letters_must_be_clear(path: Path, provider: FakeProvider, params: dict[str, object]) -> None:
    async with open_client(path) as client:
        with pytest.raises(ControlError) as refused:
            await client.call("dead_letters.drop", **params)
    assert refused.value.code == ErrorCode.INVALID_PARAMS
    assert provider.calls == []


async def test_subscription_begins_at_once_and_goes_on(path: Path, provider: FakeProvider) -> None:
    async with open_client(path) as client:
        snapshots = client.subscribe(0.1)
        assert (await anext(snapshots)).uptime == 12.5
        provider.current = make_snapshot(uptime=13.5)
        assert (await anext(snapshots)).uptime == 13.5


async def test_unsubscribe(path: Path, provider: FakeProvider, autojump_clock: trio.testing.MockClock) -> None:
    async with open_client(path) as client:
        await anext(client.subscribe(0.1))
        await client.unsubscribe()
        taken = provider.snapshots_taken
        await trio.sleep(5)
        assert provider.snapshots_taken == taken


async def test_a_second_subscription_replaces_the_first(
    path: Path, provider: FakeProvider, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_client(path) as client:
        await anext(client.subscribe(0.1))
        await anext(client.subscribe(10))
        taken = provider.snapshots_taken
        await trio.sleep(25)
        assert provider.snapshots_taken - taken <= 3


async def test_subscription_outlives_a_failed_snapshot(path: Path, provider: FakeProvider) -> None:
    async with open_client(path) as client:
        snapshots = client.subscribe(0.1)
        await anext(snapshots)
        provider.snapshot_error = ZeroDivisionError()
        while provider.snapshots_taken < 3:
            await trio.sleep(0.01)
        provider.snapshot_error = None
        assert (await anext(snapshots)).workspace == "weather"


# --- refusals ------------------------------------------------------------------------------------------------


async def test_unknown_actor_and_method(path: Path) -> None:
    async with open_client(path) as client:
        with pytest.raises(ControlError, match="no actor 'nobody'") as caught:
            await client.call("actor.restart", id="nobody")
        assert caught.value.code == ErrorCode.NO_SUCH_ACTOR
        with pytest.raises(ControlError, match="no method 'fly'") as caught:
            await client.call("fly")
        assert caught.value.code == ErrorCode.METHOD_NOT_FOUND
        with pytest.raises(ControlError) as caught:
            await client.call("stop", now=True)
        assert caught.value.code == ErrorCode.INVALID_PARAMS


async def test_a_user_error_is_a_refusal_with_its_words(path: Path, provider: FakeProvider) -> None:
    provider.command_error = UserError("the workspace is draining already")
    async with open_client(path) as client:
        with pytest.raises(ControlError, match="draining already") as caught:
            await client.call("stop")
    assert caught.value.code == ErrorCode.REFUSED


async def test_a_bug_in_the_provider_tells_the_client_nothing_of_it(path: Path, provider: FakeProvider) -> None:
    provider.command_error = RuntimeError("secret detail")
    async with open_client(path) as client:
        with pytest.raises(ControlError) as caught:
            await client.call("kill")
        assert caught.value.code == ErrorCode.INTERNAL_ERROR
        assert "secret" not in caught.value.message
        assert await client.call("ping") == {}


async def test_other_requests_go_on_while_a_command_waits(path: Path, provider: FakeProvider) -> None:
    provider.hold = trio.Event()
    async with open_client(path) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.call, "stop")
        assert await client.call("ping") == {}
        assert provider.calls == []
        provider.hold.set()
    assert provider.calls == [("stop",)]


async def test_a_command_outlives_the_client_that_gave_it(path: Path, provider: FakeProvider) -> None:
    provider.hold = trio.Event()
    async with raw_socket(path) as ws:
        await ws.send_message('{"jsonrpc":"2.0","id":1,"method":"stop"}')
        await ws.send_message('{"jsonrpc":"2.0","id":2,"method":"ping"}')
        assert json.loads(await ws.get_message())["id"] == 2
    await trio.sleep(0.01)
    provider.hold.set()
    with trio.fail_after(2):
        while not provider.calls:
            await trio.sleep(0.001)
    assert provider.calls == [("stop",)]


async def test_a_command_that_hangs_is_given_up(tmp_path: Path, provider: FakeProvider) -> None:
    provider.hold = trio.Event()
    async with serving(tmp_path / "c", provider, command_timeout=0.02) as path, open_client(path) as client:
        with pytest.raises(ControlError, match=r"took longer than 0\.02 s"):
            await client.call("stop")


async def test_a_notification_is_executed_and_not_answered(path: Path, provider: FakeProvider) -> None:
    async with raw_socket(path) as ws:
        await ws.send_message('{"jsonrpc":"2.0","method":"actor.pause","params":{"id":"clean"}}')
        await ws.send_message('{"jsonrpc":"2.0","method":"nonsense"}')
        await ws.send_message('{"jsonrpc":"2.0","id":9,"method":"ping"}')
        assert json.loads(await ws.get_message()) == {"jsonrpc": "2.0", "id": 9, "result": {}}
    assert provider.calls == [("pause", "clean")]


# --- hostile and broken clients ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["garbage", "[]", "[" * 50_000, '{"jsonrpc":"2.0"}', "\x00", "null"])
async def test_garbage_in_a_frame_is_answered_and_the_connection_goes_on(path: Path, text: str) -> None:
    async with raw_socket(path) as ws:
        await ws.send_message(text)
        answer = json.loads(await ws.get_message())
        assert answer["id"] is None
        assert answer["error"]["code"] in (ErrorCode.PARSE_ERROR, ErrorCode.INVALID_REQUEST)
        await ws.send_message('{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert json.loads(await ws.get_message())["result"] == {}


async def test_binary_frames_are_refused(path: Path) -> None:
    async with raw_socket(path) as ws:
        await ws.send_message(b"\x81\xa4ping")
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1003
    assert await still_serves(path)


async def test_an_oversized_message_is_refused(path: Path) -> None:
    async with raw_socket(path) as ws:
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - the end may be seen at either
            await ws.send_message("x" * (protocol.MAX_REQUEST + 1))
            await ws.get_message()
    assert await still_serves(path)


@pytest.mark.parametrize("resource", ["/", "/agent"])
async def test_another_resource_is_not_found(path: Path, resource: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with raw_socket(path, resource=resource):
            pytest.fail("it was accepted")
    rejected = caught.value.exceptions[0]
    assert isinstance(rejected, ConnectionRejected)
    assert rejected.status_code == 404


async def test_another_subprotocol_is_refused(path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with raw_socket(path, subprotocol="reflow.v1"):
            pytest.fail("it was accepted")
    rejected = caught.value.exceptions[0]
    assert isinstance(rejected, ConnectionRejected)
    assert rejected.status_code == 400


HANDSHAKE = (
    b"GET /control HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: reflow.control.v1\r\n\r\n"
)


@contextlib.asynccontextmanager
async def raw_stream(path: Path) -> AsyncGenerator[trio.SocketStream]:
    """Behind the handshake, and free to send any bytes."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(HANDSHAKE)
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101")
        assert answer.endswith(b"\r\n\r\n")
        yield stream


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 4096,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /control HTTP/1.0\r\n\r\n",
        b"POST /control HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /control HTTP/1.1\r\n" + b"X: " + b"y" * 100_000,
        HANDSHAKE.replace(b"Version: 13", b"Version: 8"),
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: gopher"),
    ],
)
async def test_what_is_no_handshake_costs_only_its_own_connection(path: Path, data: bytes) -> None:
    async with await trio.open_unix_socket(path) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.send_eof()
        assert b"101" not in await until_closed(stream)
    assert await still_serves(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        b"\x81\x05hello",  # not masked
        b"\xc1\x80\x00\x00\x00\x00",  # a reserved bit
        b"\x81\x82\x00\x00\x00\x00\xff\xff",  # not UTF-8
        b"\x80\x80\x00\x00\x00\x00",  # the rest of nothing
        b"\x89\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",  # a huge ping
        b"\x88\x81\x00\x00\x00\x00\x01",  # half a close code
        b"\x88\x80\x00\x00\x00\x00" * 20,  # goodbye, many times over
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # a frame of eight exabytes
    ],
)
async def test_what_is_no_frame_costs_only_its_own_connection(path: Path, data: bytes) -> None:
    async with raw_stream(path) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.send_eof()
        assert len(await until_closed(stream)) < 200
    assert await still_serves(path)


async def test_bytes_without_a_message_have_an_end(path: Path) -> None:
    """Fragments of no length: no message ever becomes too big, but there is always one more."""
    async with raw_stream(path) as stream:
        await stream.send_all(b"\x01\x80\x00\x00\x00\x00")
        with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"\x00\x80\x00\x00\x00\x00" * 1000)
    assert await still_serves(path)


async def test_a_client_that_says_nothing_is_dropped(tmp_path: Path, provider: FakeProvider) -> None:
    async with serving(tmp_path / "c", provider, handshake_timeout=0.02) as path:
        async with await trio.open_unix_socket(path) as stream:
            assert await until_closed(stream) == b""
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(HANDSHAKE[:40])
            assert await until_closed(stream) == b""
        assert await still_serves(path)


async def test_a_half_open_client_is_dropped(tmp_path: Path, provider: FakeProvider) -> None:
    async with (
        serving(tmp_path / "c", provider, keepalive_interval=0.01, keepalive_timeout=0.02) as path,
        raw_stream(path) as stream,
    ):
        assert (await until_closed(stream)).startswith(b"\x89\x04")  # a ping; and never a pong from here
        assert await still_serves(path)


async def test_a_living_client_is_kept(tmp_path: Path, provider: FakeProvider) -> None:
    async with (
        serving(tmp_path / "c", provider, keepalive_interval=0.005, keepalive_timeout=1) as path,
        open_client(path) as client,
    ):
        await trio.sleep(0.05)
        assert await client.call("ping") == {}


async def test_a_client_that_does_not_read_is_dropped(tmp_path: Path, provider: FakeProvider) -> None:
    error = ErrorInfo(type="E", message="m", at=0, traceback="x" * 16_000)
    provider.current = make_snapshot(
        actors=tuple(
            ActorStatus(id=f"a{i}", component="a", runtime="python", state="failed", last_error=error)
            for i in range(60)
        )
    )
    async with serving(tmp_path / "c", provider, send_timeout=0.05) as path:
        async with raw_stream(path) as stream:
            body = b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"interval_ms":100}}'
            await stream.send_all(bytes([0x81, 0x80 + len(body)]) + bytes(4) + body)
            with trio.fail_after(5):
                while True:
                    try:
                        await stream.send_all(b"\x8a\x80\x00\x00\x00\x00")
                    except trio.BrokenResourceError:
                        break
                    await trio.sleep(0.01)
            # Nothing was queued for it: one snapshot was under way, no more.
            assert provider.snapshots_taken == 1
        assert await still_serves(path)


async def test_a_flood_of_requests_is_read_slowly(
    tmp_path: Path, provider: FakeProvider, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(tmp_path / "c", provider, requests_per_second=10) as path, open_client(path) as client:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(client.snapshot)
        assert 2.8 <= trio.current_time() - start <= 3.1


async def test_connections_are_bounded(tmp_path: Path, provider: FakeProvider) -> None:
    async with serving(tmp_path / "c", provider, connections=3) as path, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(path)) for _ in range(3)]
        with pytest.raises(Disconnected, match="as many clients"):
            async with open_client(path):
                pytest.fail("one too many")
        assert await clients[0].call("ping") == {}
        await stack.aclose()
        with trio.fail_after(2):
            while True:
                with contextlib.suppress(Disconnected):
                    if await still_serves(path):
                        break


async def test_many_clients_that_come_and_go_leave_nothing(path: Path) -> None:
    descriptors = open_descriptors()
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(os.fspath(path))
            rude.send(HANDSHAKE)
        await trio.lowlevel.checkpoint()
    assert await still_serves(path)
    with trio.fail_after(2):
        while open_descriptors() > descriptors:
            await trio.sleep(0.001)


# --- its own end ---------------------------------------------------------------------------------------------


async def test_cancelling_the_server_ends_its_clients_and_its_socket(tmp_path: Path, provider: FakeProvider) -> None:
    path = tmp_path / "c"
    async with trio.open_nursery() as nursery:
        async with serving(path, provider):
            started = trio.Event()

            async def watch() -> None:
                async with open_client(path) as client:
                    snapshots = client.subscribe(0.1)
                    await anext(snapshots)
                    started.set()
                    with pytest.raises(Disconnected, match="closed"):
                        [_ async for _ in snapshots]

            nursery.start_soon(watch)
            await started.wait()
        assert not path.exists()


async def test_two_servers_cannot_share_a_path(path: Path, provider: FakeProvider) -> None:
    with pytest.raises(EnvironmentError_, match="serves"):
        await serve_control(path, provider)
    assert await still_serves(path)
