"""Who may open a link, and that one connection cannot harm the others. Real Unix sockets; the agent is played."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from reflow.wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL, WireLimits
from rpc.played import OneByOne, connection
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from reflow_supervisor.rpc.accept import HANDSHAKE_TIMEOUT, LinkHub
from reflow_supervisor.rpc.link import ClosedBy, Link

pytestmark = pytest.mark.trio

TOKEN = "the token"


def listening(path: Path) -> trio.SocketListener:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(path))
    sock.listen(8)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@contextlib.asynccontextmanager
async def connected(
    path: Path, *, token: str = TOKEN, resource: str = RESOURCE, subprotocol: str = SUBPROTOCOL
) -> AsyncGenerator[WebSocketConnection]:
    """An agent's WebSocket, before its hello."""
    async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
        with trio.fail_after(5):
            ws = await wrap_client_stream(
                nursery,
                stream,
                "localhost",
                resource,
                subprotocols=[subprotocol],
                extra_headers=[(b"authorization", f"Bearer {token}".encode())],
            )
            yield ws
        nursery.cancel_scope.cancel()


async def say_hello(ws: WebSocketConnection, **changes: Any) -> dict[str, Any]:
    params = {
        "protocol": [PROTOCOL_VERSION],
        "language": "python",
        "runtime": "test",
        "agent": "1",
        "pid": 7,
        "capabilities": [],
    }
    request = {"jsonrpc": "2.0", "id": "a1", "method": "hello", "params": params | changes}
    await ws.send_message(msgspec.json.encode(request).decode())
    frame = await ws.get_message()
    return msgspec.json.decode(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)


class Hub:
    """A hub that accepts one agent, and what became of that."""

    def __init__(self, nursery: trio.Nursery, path: Path, limits: WireLimits | None) -> None:
        self.link: Link | None = None
        self.opened = trio.Event()
        self._hub = LinkHub(nursery, limits, ping_interval=None)
        self.listener = listening(path)

    async def run(self) -> None:
        self.link = await self._hub.accept(self.listener, TOKEN)
        self.opened.set()

    async def gets_its_agent(self, path: Path) -> None:
        """The right agent still gets its link, and the link works both ways."""
        async with connected(path) as ws:
            assert (await say_hello(ws))["result"]["protocol"] == PROTOCOL_VERSION
            await self.opened.wait()
            await ws.send_message('[1,0,{"jsonrpc":"2.0","id":"a2","method":"ping","params":{}}]')
            assert msgspec.json.decode(await ws.get_message())[2]["id"] == "a2"
            assert self.link is not None
            self.link.close()
            with pytest.raises(ConnectionClosed):
                await ws.get_message()
        await self.link.closed.wait()
        assert self.link.end is not None
        assert self.link.end.by is ClosedBy.US


@contextlib.asynccontextmanager
async def waiting(path: Path, limits: WireLimits | None = None) -> AsyncGenerator[Hub]:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            hub = Hub(nursery, path, limits)
            nursery.start_soon(hub.run)
            try:
                yield hub
            except BaseException:
                nursery.cancel_scope.cancel()
                raise
            finally:
                hub.listener.socket.close()
            # Not cancelled: whatever the agent did, every task of the hub ends by itself.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "link"


async def test_an_agent_with_the_token_gets_a_link(path: Path) -> None:
    async with waiting(path) as hub:
        await hub.gets_its_agent(path)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": "another"}, 401),
        ({"token": TOKEN[:-1]}, 401),
        ({"resource": "/other"}, 400),
        ({"subprotocol": "other"}, 400),
    ],
)
async def test_others_are_turned_away_and_the_right_one_still_gets_in(
    path: Path, changes: dict[str, Any], status: int
) -> None:
    async with waiting(path) as hub:
        with pytest.RaisesGroup(ConnectionRejected, allow_unwrapped=True, flatten_subgroups=True) as refused:
            async with connected(path, **changes):
                pytest.fail("connected")
        assert str(status) in repr(refused.value.exceptions)
        await hub.gets_its_agent(path)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
        b"GET " + b"a" * 100_000,
        b"POST /link HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["nothing", "no-websocket", "zeros", "endless-line", "bad-length"],
)
async def test_what_is_no_handshake_is_turned_away(path: Path, junk: bytes) -> None:
    async with waiting(path) as hub:
        async with await trio.open_unix_socket(path) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(junk)
                await stream.send_eof()
        await hub.gets_its_agent(path)


async def test_a_first_message_that_is_not_hello_is_turned_away(path: Path) -> None:
    async with waiting(path) as hub:
        async with connected(path) as ws:
            await ws.send_message('{"jsonrpc":"2.0","id":"a1","method":"ping","params":{}}')
            with pytest.raises(ConnectionClosed) as closed:
                await ws.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.reason == "hello comes first"
        await hub.gets_its_agent(path)


async def test_frames_instead_of_hello_leave_nothing_behind(path: Path) -> None:
    """More of them than the WebSocket layer queues: its reader waited for ever for somebody to take them."""
    async with waiting(path) as hub:
        for _ in range(3):
            async with connected(path) as ws:
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(20):
                        await ws.send_message("junk")
        await hub.gets_its_agent(path)


async def test_an_agent_of_another_version_is_told_which_ones_there_are(path: Path) -> None:
    async with waiting(path) as hub:
        async with connected(path) as ws:
            error = (await say_hello(ws, protocol=[99]))["error"]
            assert error["data"] == {"supported": [PROTOCOL_VERSION]}
        await hub.gets_its_agent(path)


async def test_a_connection_that_says_nothing_is_given_up(path: Path, autojump_clock: trio.testing.MockClock) -> None:
    silent, other = connection()
    listener = OneByOne(silent)
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(LinkHub(nursery).accept, listener, TOKEN)
        assert await other.receive_some() == b""  # closed by the hub
        assert trio.current_time() - began == pytest.approx(HANDSHAKE_TIMEOUT)
        nursery.cancel_scope.cancel()
    await other.aclose()


async def test_a_ping_that_meets_our_close_harms_nothing_else(path: Path) -> None:
    """The WebSocket layer raises for it, in its own task: once it took every other link of the run with it."""
    async with waiting(path) as hub:
        async with connected(path) as ws:
            await say_hello(ws)
            await hub.opened.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert hub.link is not None
            hub.link.close()
            # Without a checkpoint: the hub reads it only after it has begun to close.
            descriptor = ws._stream.socket.fileno()  # pyright: ignore
            assert os.write(descriptor, b"\x89\x80\x00\x00\x00\x00") == 6
            await hub.link.closed.wait()
            await trio.testing.wait_all_tasks_blocked()
        assert hub.link.end is not None
        assert hub.link.end.by is ClosedBy.US


@pytest.mark.parametrize(
    "frame",
    [b"\xf1\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00", b"\x81\x01a", b"\x88\x81\x00\x00\x00\x00a"],
    ids=["reserved-bits", "unknown-opcode", "unmasked", "bad-close"],
)
async def test_a_broken_frame_costs_its_own_link_only(path: Path, frame: bytes) -> None:
    async with waiting(path) as hub:
        async with connected(path) as ws:
            await say_hello(ws)
            await hub.opened.wait()
            assert hub.link is not None
            assert os.write(ws._stream.socket.fileno(), frame) == len(frame)  # pyright: ignore
            await hub.link.closed.wait()
        assert hub.link.end is not None
        assert hub.link.end.by is ClosedBy.LOST


@pytest.mark.parametrize(
    "masked_frame", [b"\x89\x80\x00\x00\x00\x00", b"\x00\x80\x00\x00\x00\x00"], ids=["pings", "fragments"]
)
async def test_frames_that_carry_nothing_have_an_end(path: Path, masked_frame: bytes) -> None:
    """No message ever becomes too big by them, and yet they would cost time and memory for ever."""
    async with waiting(path, WireLimits(max_frame=4096)) as hub:
        async with connected(path) as ws:
            await say_hello(ws)
            await hub.opened.wait()
            assert hub.link is not None
            stream: trio.SocketStream = ws._stream  # pyright: ignore
            sent = b"\x02\x80\x00\x00\x00\x00" if masked_frame[0] == 0 else b""
            await stream.send_all(sent)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await stream.send_all(masked_frame * 100)
            await hub.link.closed.wait()
        assert hub.link.end is not None
        assert hub.link.end.by is ClosedBy.LOST


async def test_real_messages_may_go_on_for_ever(path: Path) -> None:
    async with waiting(path, WireLimits(max_frame=4096)) as hub, connected(path) as ws:
        await say_hello(ws)
        await hub.opened.wait()
        for i in range(50):
            ping = f'{{"jsonrpc":"2.0","id":"b{i}","method":"ping","params":{{"pad":"{"x" * 1000}"}}}}'
            await ws.send_message(f"[{i + 1},{i},{ping}]")
            assert msgspec.json.decode(await ws.get_message())[2]["id"] == f"b{i}"
        assert hub.link is not None
        await hub.link.aclose()
