"""The opening of one connection: from its first bytes to an agent that has shown a secret and said hello.

It decides what an opening looks like and what a stranger is told. Whether the secret is right and what follows from a
hello, `accept` decides.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Any

import attrs
import trio
import trio_websocket
from reflow.wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL, WireLimits
from reflow.wire.messages import CloseCode, Code, Hello, HelloResult
from reflow.wire.session import Event, ProtocolViolationError, RequestReceived, Session
from trio_websocket import ConnectionClosed

from .stream import WatchedStream

log = logging.getLogger(__name__)

OPENING_BYTES = 64 * 1024
"""What a connection may send before it is known whose it is: a handshake and a hello have less than 2 KiB."""

GOODBYE = 0.5
"""Seconds for telling a connection why it is turned away."""


class LinkRefusedError(Exception):
    """A connection that was refused, and why."""


@attrs.frozen
class Opening:
    """A connection with an agent behind it that waits for the answer to its hello."""

    ws: trio_websocket.WebSocketConnection
    stream: WatchedStream
    secret: bytes
    """What it has shown."""
    hello: Hello
    text: bool
    """Whether it said so in text."""
    session: Session
    id: int | str

    def on_frame(self) -> None:
        self.stream.renew()

    def accepted(self, limits: WireLimits) -> None:
        """From here on it may send as much as an agent may: room for the longest frame, and for as much again of what
        is no frame (fragments without length, pings)."""
        self.stream.allow(2 * limits.max_frame)

    def answer(self, result: HelloResult) -> bytes | str:
        """The frame that is the answer to its hello."""
        self.session.respond(self.id, result)
        return self._frame()

    async def refuse(self, code: Code, message: str, close: CloseCode, data: Any = None) -> None:
        """Answers its hello with an error, and closes."""
        self.session.fail(self.id, code, message, data)
        with trio.move_on_after(GOODBYE), contextlib.suppress(ConnectionClosed):
            await self.ws.send_message(self._frame())
            await self.ws.aclose(int(close), None)

    def _frame(self) -> bytes | str:
        frame = self.session.data_to_send()
        assert frame is not None
        return frame


async def open_connection(
    readers: trio.Nursery, stream: trio.SocketStream, is_right: Callable[[bytes], bool], limits: WireLimits
) -> Opening:
    """Shakes hands. Whoever calls closes the stream when this raises.

    Args:
        readers: the connection is read by a task in it, for as long as it lasts.
        is_right: whether this secret opens the link now.

    Raises:
        LinkRefusedError, ProtocolViolationError, ConnectionClosed: it was turned away, or has gone.
    """
    watched = WatchedStream(stream, allowance=OPENING_BYTES)
    request: trio_websocket.WebSocketRequest = await readers.start(_read_socket, watched, limits)
    headers = {bytes(k).lower(): bytes(v) for k, v in request.headers}
    secret = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    if request.path != RESOURCE or SUBPROTOCOL not in request.proposed_subprotocols:
        await request.reject(400)
        raise LinkRefusedError("not an agent of this protocol")
    if not is_right(secret):
        await request.reject(401)
        raise LinkRefusedError("wrong token")
    ws = await request.accept(subprotocol=SUBPROTOCOL)
    session = Session(limits, numbered=False)
    try:
        return await _hello(ws, watched, secret, session)
    except ProtocolViolationError as e:
        with trio.move_on_after(GOODBYE):
            await ws.aclose(int(CloseCode.VIOLATION), str(e)[:100])
        raise


async def _hello(
    ws: trio_websocket.WebSocketConnection, stream: WatchedStream, secret: bytes, session: Session
) -> Opening:
    events: list[Event] = session.receive(await ws.get_message())
    (request,) = events
    if not isinstance(request, RequestReceived) or request.method != "hello":
        raise ProtocolViolationError("hello comes first")
    opening = Opening(ws, stream, secret, request.params.decode(Hello), session.text, session, request.id)
    if PROTOCOL_VERSION not in opening.hello.protocol:
        supported = {"supported": [PROTOCOL_VERSION]}
        await opening.refuse(Code.NO_COMMON_VERSION, "no common version", CloseCode.NO_COMMON_VERSION, supported)
        raise LinkRefusedError(f"the agent speaks {opening.hello.protocol[:8]}, not {PROTOCOL_VERSION}")
    return opening


def is_same(secret: bytes, other: str) -> bool:
    return secrets.compare_digest(secret, other.encode())


async def _read_socket(
    stream: WatchedStream,
    limits: WireLimits,
    task_status: trio.TaskStatus[trio_websocket.WebSocketRequest] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Takes frames from one connection for as long as it lasts. Whatever the peer makes the WebSocket layer
    raise (it raises for a ping that meets our close, for one) ends that connection and nothing else: the
    link sees it as cut."""
    request = None

    async def notice_the_end(readers: trio.Nursery) -> None:
        await stream.ended.wait()
        readers.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as readers:
            async with trio.open_nursery() as watch:
                watch.start_soon(notice_the_end, readers)
                request = await trio_websocket.wrap_server_stream(
                    readers, stream, message_queue_size=4, max_message_size=limits.max_frame
                )
                watch.cancel_scope.cancel()
            task_status.started(request)
    except* Exception as group:
        log.debug("a link's connection failed", exc_info=group)
    finally:
        await trio.aclose_forcefully(stream)
    if request is None:
        raise LinkRefusedError("no WebSocket handshake")
