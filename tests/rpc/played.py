"""Links with a played agent at their other end, over real Unix sockets, and through a network that can be cut."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import attrs
import msgspec
import trio
import wsproto
from reflow.wire.limits import RESOURCE, SUBPROTOCOL, WireLimits
from reflow.wire.session import NotificationReceived, Outcome, ProtocolViolationError, RequestReceived
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request, TextMessage

from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link

TOKEN = "the token"


class OneByOne(trio.abc.Listener[trio.SocketStream]):
    """Gives out these connections, and those that are added, until it is closed."""

    def __init__(self, *streams: trio.SocketStream) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.SocketStream](1000)
        for stream in streams:
            self.add(stream)

    def add(self, stream: trio.SocketStream) -> None:
        self._send.send_nowait(stream)

    async def accept(self) -> trio.SocketStream:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._send.close()


def connection() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in (ours, theirs))  # type: ignore[return-value]


class CutOffError(AssertionError):
    """The connection ended while something was expected."""


class Agent:
    """The other end, which does what it is told to, allowed or not."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.secret = TOKEN
        self.sent = 0
        """How many frames it has numbered."""
        self.came = 0
        """How many frames have come, which it acknowledges with the next of its own."""
        self.acknowledged = 0
        """How many of its own frames the supervisor has acknowledged."""
        self.hears_text = False
        self._messages: deque[dict[str, Any]] = deque()
        self.use(stream)

    def use(self, stream: trio.SocketStream) -> None:
        """From here on it has another connection."""
        self.stream = stream
        self.closed: tuple[int, str] | None = None
        self.cut = False
        """The connection ended without a close frame."""
        self.status: int | None = None
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._frames: deque[bytes | str] = deque()
        self._partial: list[Any] = []

    async def upgrade(self, secret: str | None = None) -> None:
        headers = [(b"authorization", f"Bearer {secret or self.secret}".encode())]
        request = Request(host="localhost", target=RESOURCE, subprotocols=[SUBPROTOCOL], extra_headers=headers)
        await self.stream.send_all(self._ws.send(request))
        while self.status is None:
            if self.cut:
                raise CutOffError
            await self._read()

    async def say_hello(self, **members: Any) -> None:
        params = {"protocol": [1], "runtime": "test", **members}
        message = {"jsonrpc": "2.0", "id": "hello", "method": "hello", "params": params}
        await self.stream.send_all(self._ws.send(BytesMessage(msgspec.msgpack.encode(message))))

    async def hello(self, **members: Any) -> dict[str, Any]:
        """Says hello. Returns what is answered."""
        await self.say_hello(**members)
        return msgspec.msgpack.decode(await self.frame())

    async def open(self) -> None:
        await self.upgrade()
        result = (await self.hello())["result"]
        assert result["protocol"] == 1
        assert not result.get("resumed")
        self.secret = result["session"]

    async def resume(self, stream: trio.SocketStream, received: int | None = None) -> int:
        """Comes back. Returns how many of its frames the supervisor has."""
        self.use(stream)
        await self.upgrade()
        result = (await self.hello(resume={"received": self.came if received is None else received}))["result"]
        assert (result["session"], result["resumed"]) == (self.secret, True)
        return result.get("received", 0)

    async def _read(self) -> None:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        self._ws.receive_data(data or None)
        for event in self._ws.events():
            match event:
                case AcceptConnection():
                    self.status = 101
                case RejectConnection():
                    self.status = event.status_code
                case BytesMessage() | TextMessage():
                    self._partial.append(event.data if isinstance(event.data, str) else bytes(event.data))
                    if event.message_finished:
                        self._frames.append(type(self._partial[0])().join(self._partial))
                        self._partial.clear()
                case CloseConnection():
                    self.closed = event.code, event.reason or ""
                    if self._ws.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                        with contextlib.suppress(trio.BrokenResourceError):
                            await self.stream.send_all(self._ws.send(event.response()))
                case _:
                    pass
        self.cut = self.cut or (not data and self.closed is None)

    # -- what it says -----------------------------------------------------------------------------------------------

    def framed(self, content: Any, *, text: bool = False, number: int | None = None) -> bytes:
        """One message, or an array of them, in the next frame, or in one of another number."""
        if number is None:
            self.sent += 1
        messages = content if isinstance(content, list) else [content]
        frame = [self.sent if number is None else number, self.came, *messages]
        event = TextMessage(json.dumps(frame)) if text else BytesMessage(msgspec.msgpack.encode(frame))
        return self._ws.send(event)

    async def say(self, content: Any, *, text: bool = False, number: int | None = None) -> None:
        await self.stream.send_all(self.framed(content, text=text, number=number))

    async def acknowledge(self) -> None:
        await self.stream.send_all(self._ws.send(BytesMessage(msgspec.msgpack.encode([0, self.came]))))

    async def ask(self, method: str, params: Any = None, *, id: int | str) -> None:
        await self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})

    async def answer(self, id: int | str, result: Any = None) -> None:
        await self.say(answered(id, result))

    async def close(self, code: int, reason: str = "") -> None:
        await self.stream.send_all(self._ws.send(CloseConnection(code=code, reason=reason)))

    # -- what it hears ----------------------------------------------------------------------------------------------

    async def frame(self) -> bytes | str:
        while not self._frames:
            if self.closed is not None or self.cut:
                raise CutOffError(self.closed)
            await self._read()
        return self._frames.popleft()

    async def heard(self, method: str | None = None) -> dict[str, Any]:
        """The next message, which is a request or notification of that method."""
        while not self._messages:
            frame = await self.frame()
            self.hears_text = isinstance(frame, str)
            number, self.acknowledged, *messages = (
                json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
            )
            assert (number == 0) == (messages == [])
            if number > 0:
                assert number == self.came + 1
                self.came = number
            self._messages.extend(messages)
        message = self._messages.popleft()
        assert message.get("method") == method
        return message

    async def until_closed(self) -> tuple[int, str]:
        """Code and reason. Whatever comes before is passed over."""
        while self.closed is None:
            assert not self.cut
            await self._read()
        return self.closed

    async def until_cut(self) -> None:
        while not self.cut:
            await self._read()


def answered(id: int | str, result: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {} if result is None else result}


def failed(id: int | str, code: int = -32021) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "failed"}}


@attrs.define
class Ears:
    """A handler that remembers, and answers when the test does."""

    requests: list[RequestReceived] = attrs.Factory(list[RequestReceived])
    notifications: list[NotificationReceived] = attrs.Factory(list[NotificationReceived])
    refuse: str | None = None

    def on_request(self, request: RequestReceived) -> None:
        self.requests.append(request)

    def on_notification(self, notification: NotificationReceived) -> None:
        if notification.method == self.refuse:
            raise ProtocolViolationError(f"{self.refuse} is not wanted")
        self.notifications.append(notification)


@attrs.define
class Calls:
    """Calls and what they came to: one outcome each, at the end."""

    link: Link
    outcomes: dict[int | str, list[Outcome]] = attrs.Factory(dict[int | str, list[Outcome]])

    def make(self, method: str = "m", params: Any = None) -> int | str:
        heard: list[Outcome] = []
        id = self.link.call(method, params, heard.append)
        assert id not in self.outcomes
        self.outcomes[id] = heard
        return id

    def kinds(self) -> list[str]:
        assert all(len(heard) == 1 for heard in self.outcomes.values()), self.outcomes
        return [kind(heard[0]) for heard in self.outcomes.values()]


def kind(outcome: Outcome) -> str:
    return "unknown" if outcome.unknown else "ok" if outcome.error is None else "error"


@contextlib.asynccontextmanager
async def linked(
    limits: WireLimits | None = None, *, ping_interval: float | None = None
) -> AsyncGenerator[tuple[Link, Agent]]:
    """A link that runs, and its agent. Every task of it must have ended by itself when the agent has hung up."""
    async with resumable(limits, ping_interval=ping_interval, resume_window=0) as (link, agent, _):
        yield link, agent


@contextlib.asynccontextmanager
async def resumable(
    limits: WireLimits | None = None,
    *,
    ping_interval: float | None = None,
    resume_window: float = 10,
    gone: Callable[[], Awaitable[object]] | None = None,
) -> AsyncGenerator[tuple[Link, Agent, Callable[[], trio.SocketStream]]]:
    """The same with a link that may be resumed, and what makes another connection to it."""
    ours, theirs = connection()
    async with trio.open_nursery() as nursery:
        hub = LinkHub(nursery, limits, ping_interval=ping_interval, resume_window=resume_window)
        agent, listener = Agent(theirs), OneByOne(ours)
        links: list[Link] = []
        streams = [theirs]

        def connect() -> trio.SocketStream:
            ours, theirs = connection()
            listener.add(ours)
            streams.append(theirs)
            return theirs

        async with trio.open_nursery() as opening:
            opening.start_soon(agent.open)
            links.append(await hub.accept(listener, TOKEN, gone))
        try:
            yield links[0], agent, connect
        finally:
            for stream in streams:
                await trio.aclose_forcefully(stream)
        with trio.fail_after(60):
            await links[0].closed.wait()
        listener.close()
    assert links[0].end is not None
