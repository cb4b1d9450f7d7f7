"""The opening of a link: takes a sandbox's connection, checks its token and version, and gives back a `Link`.

It decides who may connect (the one with the token, once) and how long that may take. What is said afterwards is the
session's and the holder's matter.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import structlog
import trio
import trio_websocket
from reflow.wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL, WireLimits
from reflow.wire.messages import CloseCode, Code, Hello, HelloResult, LinkLimits
from reflow.wire.session import Event, ProtocolViolationError, RequestReceived, Session
from trio_websocket import ConnectionClosed

from .link import Link, end_connection
from .stream import WatchedStream

log = structlog.stdlib.get_logger(__name__)

HANDSHAKE_TIMEOUT = 5.0
"""Seconds that one connection may take to show its token and to say hello."""


class LinkRefusedError(Exception):
    """A connection that was refused, and why."""


class LinkHub:
    """Opens links and runs them, each in the nursery that is passed in.

    Args:
        nursery: the links' tasks live here; cancelling it closes them all.
        limits: what is accepted from agents.
        ping_interval: seconds between pings.
    """

    def __init__(
        self, nursery: trio.Nursery, limits: WireLimits | None = None, *, ping_interval: float | None = 30
    ) -> None:
        self._nursery = nursery
        self._limits = limits or WireLimits()
        self._ping_interval = ping_interval

    async def accept(self, listener: trio.abc.Listener[trio.SocketStream], token: str) -> Link:
        """Waits for the agent with that token; connections without it are turned away. Bound it in time by a
        cancel scope. The listener is closed afterwards: one agent, one connection."""
        while True:
            stream = await listener.accept()
            try:
                with trio.fail_after(HANDSHAKE_TIMEOUT):
                    link = await self._handshake(stream, token)
            except (LinkRefusedError, ProtocolViolationError, ConnectionClosed, trio.TooSlowError, OSError):
                await trio.aclose_forcefully(stream)
                continue
            await listener.aclose()
            await self._nursery.start(link.run)
            return link

    async def _handshake(self, stream: trio.SocketStream, token: str) -> Link:
        # Room for the longest frame and for as much again of what is no frame: fragments without length, pings.
        watched = WatchedStream(stream, allowance=2 * self._limits.max_frame)
        request: trio_websocket.WebSocketRequest = await self._nursery.start(self._read_socket, watched)
        headers = {bytes(k).lower(): bytes(v) for k, v in request.headers}
        shown = headers.get(b"authorization", b"")
        if request.path != RESOURCE or SUBPROTOCOL not in request.proposed_subprotocols:
            await request.reject(400)
            raise LinkRefusedError("not an agent of this protocol")
        if not secrets.compare_digest(shown, b"Bearer " + token.encode()):
            await request.reject(401)
            raise LinkRefusedError("wrong token")
        ws = await request.accept(subprotocol=SUBPROTOCOL)
        session = Session(self._limits)
        try:
            hello = await self._hello(ws, session)
        except BaseException:
            await end_connection(ws, CloseCode.VIOLATION)
            raise
        return Link(ws, session, hello, watched.renew, ping_interval=self._ping_interval)

    async def _read_socket(
        self,
        stream: WatchedStream,
        task_status: trio.TaskStatus[trio_websocket.WebSocketRequest] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Takes frames from one connection for as long as it lasts. Whatever the peer makes the WebSocket layer
        raise (it raises for a ping that meets our close, for one) ends that connection and nothing else: the
        link sees it as lost."""
        request = None

        async def notice_the_end(readers: trio.Nursery) -> None:
            await stream.ended.wait()
            readers.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as readers:
                async with trio.open_nursery() as watch:
                    watch.start_soon(notice_the_end, readers)
                    request = await trio_websocket.wrap_server_stream(
                        readers, stream, message_queue_size=4, max_message_size=self._limits.max_frame
                    )
                    watch.cancel_scope.cancel()
                task_status.started(request)
        except* Exception as group:
            log.debug("a link's connection failed", exc_info=group)
        finally:
            await trio.aclose_forcefully(stream)
        if request is None:
            raise LinkRefusedError("no WebSocket handshake")

    async def _hello(self, ws: trio_websocket.WebSocketConnection, session: Session) -> Hello:
        events: list[Event] = session.receive(await ws.get_message())
        if len(events) != 1 or not isinstance(events[0], RequestReceived) or events[0].method != "hello":
            await ws.aclose(int(CloseCode.VIOLATION), "hello comes first")
            raise LinkRefusedError("hello comes first")
        request = events[0]
        hello = request.params.decode(Hello)
        limits = self._limits
        if PROTOCOL_VERSION not in hello.protocol:
            session.fail(request.id, Code.NO_COMMON_VERSION, "no common version", {"supported": [PROTOCOL_VERSION]})
            await _flush(ws, session)
            await ws.aclose(int(CloseCode.NO_COMMON_VERSION), None)
            raise LinkRefusedError(f"the agent speaks {hello.protocol[:8]}, not {PROTOCOL_VERSION}")
        session.respond(
            request.id,
            HelloResult(
                protocol=PROTOCOL_VERSION,
                session=secrets.token_hex(8),
                limits=LinkLimits(
                    max_frame=limits.max_frame,
                    max_message=limits.max_message,
                    max_depth=limits.max_depth,
                    max_batch=limits.max_batch,
                ),
            ),
        )
        await _flush(ws, session)
        return hello


async def _flush(ws: Any, session: Session) -> None:
    with contextlib.suppress(ConnectionClosed):
        while (frame := session.data_to_send()) is not None:
            await ws.send_message(frame)
