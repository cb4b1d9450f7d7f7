"""The client against servers that are absent, silent, rude, or of another version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection, wrap_server_stream

from reflow_supervisor.control import endpoint, protocol
from reflow_supervisor.control.client import Disconnected, open_client

pytestmark = pytest.mark.trio

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def served_by(path: Path, handler: Handler) -> AsyncGenerator[Path]:
    with endpoint.claim(path) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handler, [listener])
            yield path
            nursery.cancel_scope.cancel()


def speaking(say: Callable[[WebSocketConnection], Awaitable[None]]) -> Handler:
    async def handler(stream: trio.SocketStream) -> None:
        async with stream, trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await say(await request.accept(subprotocol=protocol.SUBPROTOCOL))
            nursery.cancel_scope.cancel()

    return handler


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Disconnected, match="no supervisor at"):
        async with open_client(tmp_path / "c"):
            pytest.fail("connected to nothing")


async def test_a_silent_server(tmp_path: Path) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", handler) as path:
        with pytest.raises(Disconnected, match=r"did not answer within 0\.02 s"):
            async with open_client(path, timeout=0.02):
                pytest.fail("shook hands with nobody")


async def test_a_server_that_is_no_websocket(tmp_path: Path) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served_by(tmp_path / "c", handler) as path:
        with pytest.raises(Disconnected):
            async with open_client(path, timeout=0.2):
                pytest.fail("shook hands with a web server")


async def test_a_server_that_refuses(tmp_path: Path) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        async with stream, trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.reject(503)
            nursery.cancel_scope.cancel()

    async with served_by(tmp_path / "c", handler) as path:
        with pytest.raises(Disconnected, match="HTTP 503"):
            async with open_client(path):
                pytest.fail("it was refused")


async def test_a_call_whose_answer_never_comes_ends_with_the_connection(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.get_message()

    async with served_by(tmp_path / "c", speaking(say)) as path:
        with pytest.raises(Disconnected, match="closed the connection"):
            async with open_client(path) as client:
                await client.call("stop")


async def test_after_the_connection_every_call_says_so(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.aclose()

    async with served_by(tmp_path / "c", speaking(say)) as path, open_client(path) as client:
        for _ in range(2):
            with pytest.raises(Disconnected):
                await client.call("ping")
        with pytest.raises(Disconnected):
            await client.next_snapshot()


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"jsonrpc":"2.0","id":1,"error":"no object"}'])
async def test_a_server_that_talks_nonsense(tmp_path: Path, text: str) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.send_message(text)
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path, open_client(path) as client:
        with pytest.raises(Disconnected):
            await client.call("ping")


async def test_a_server_of_another_version(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.send_message('{"jsonrpc":"2.0","id":1,"result":{"workspace":7}}')
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path, open_client(path) as client:
        with pytest.raises(Disconnected, match="another version"):
            await client.snapshot()


async def test_what_it_does_not_know_is_ignored(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.send_message('{"jsonrpc":"2.0","method":"delta","params":{}}')
        await ws.send_message('{"jsonrpc":"2.0","id":77,"result":{}}')
        await ws.send_message('{"jsonrpc":"2.0","id":1,"result":{},"later":true}')
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path, open_client(path) as client:
        assert await client.call("ping") == {}


async def test_callers_get_their_own_exception_back(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path:
        with pytest.raises(KeyError, match="mine") as caught:
            async with open_client(path):
                raise KeyError("mine") from ValueError("its cause")
        assert isinstance(caught.value.__cause__, ValueError)


async def test_a_call_can_be_given_up(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.get_message()
        await ws.send_message('{"jsonrpc":"2.0","id":1,"result":"late"}')
        await ws.send_message('{"jsonrpc":"2.0","id":2,"result":"second"}')
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path, open_client(path) as client:
        with trio.move_on_after(0.01) as scope:
            await client.call("ping")
        assert scope.cancelled_caught
        assert await client.call("ping") == "second"


async def test_cancelling_while_connected(tmp_path: Path) -> None:
    async def say(ws: WebSocketConnection) -> None:
        await trio.sleep_forever()

    async with served_by(tmp_path / "c", speaking(say)) as path:
        with trio.move_on_after(0.05) as scope:
            async with open_client(path) as client:
                async for _ in client.subscribe(0.5):
                    pytest.fail("nothing was published")
        assert scope.cancelled_caught


async def test_a_ping_that_meets_the_close_does_no_harm(tmp_path: Path) -> None:
    """The peer's ping is on its way when we say goodbye: it can no longer be answered."""
    server: trio.SocketStream | None = None

    async def handler(stream: trio.SocketStream) -> None:
        nonlocal server
        server = stream
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.accept(subprotocol=protocol.SUBPROTOCOL)

    async with served_by(tmp_path / "c", handler) as path:
        async with open_client(path):
            await trio.testing.wait_all_tasks_blocked()
            assert server is not None
            # Without a checkpoint: the client reads it only after it has begun to close.
            assert os.write(server.socket.fileno(), b"\x89\x00") == 2
        async with open_client(path):  # and nothing else was hurt
            pass
