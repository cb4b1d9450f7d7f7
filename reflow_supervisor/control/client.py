"""A Trio client of the control endpoint: what the terminal UI, `status` and `stop` are made of.

This module decides nothing about reconnecting: a connection that is lost says so, and whoever uses it tries
again.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from reflow_supervisor.control import endpoint, protocol
from reflow_supervisor.control.endpoint import Disconnected
from reflow_supervisor.control.protocol import (
    ControlError,
    DeadLetters,
    Incoming,
    LettersDone,
    ShownLetter,
    Snapshot,
    Version,
)
from reflow_supervisor.rpc.stream import WatchedStream

__all__ = ["Client", "ControlError", "Disconnected", "open_client"]

T = TypeVar("T")

_CLOSE_TIMEOUT = 1.0


@contextlib.asynccontextmanager
async def open_client(path: Path, *, timeout: float = 5.0) -> AsyncGenerator[Client]:
    """Connects to the supervisor that serves on `path`.

    Raises:
        Disconnected: nobody serves there, or it did not answer within `timeout` seconds.
    """
    raised: BaseException | None = None
    stream: WatchedStream | None = None
    try:
        async with trio.open_nursery() as nursery:
            socket: WebSocketConnection | None = None
            with trio.move_on_after(timeout):
                stream = WatchedStream(await endpoint.connect(path))
                socket = await _shake_hands(nursery, stream, path)
            if socket is None:
                raise Disconnected(f"the supervisor at {path} did not answer within {timeout:g} s")
            client = Client(socket)
            nursery.start_soon(client.receive)
            try:
                yield client
            except BaseException as error:
                raised = error
                raise
            finally:
                with trio.move_on_after(_CLOSE_TIMEOUT):
                    await socket.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The nursery is nobody's business but ours: callers get their own exception back, and not a group of
        # it. A ping that meets our own close makes the WebSocket layer raise; the connection is over then anyway.
        rest = group.split(LocalProtocolError)[1]
        match rest.exceptions if rest is not None else ():
            case ():
                pass
            case (error,) if error is raised or isinstance(error, Disconnected):
                raised = error
            case (ConnectionRejected(status_code=status),):
                raised = Disconnected(f"the supervisor at {path} refused the connection (HTTP {status})")
            case _:
                raise
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)
    if raised is not None:
        raise raised


async def _shake_hands(nursery: trio.Nursery, stream: WatchedStream, path: Path) -> WebSocketConnection:
    socket: WebSocketConnection | None = None
    async with trio.open_nursery() as waiting:

        async def open_socket() -> None:
            nonlocal socket
            socket = await wrap_client_stream(
                nursery,
                stream,  # pyright: ignore[reportArgumentType]  # any stream will do, says its twin for servers
                "localhost",
                protocol.RESOURCE,
                subprotocols=[protocol.SUBPROTOCOL],
                max_message_size=protocol.MAX_RESPONSE,
            )
            waiting.cancel_scope.cancel()

        waiting.start_soon(open_socket)
        await stream.ended.wait()
        # Let a refusal that came with the end be read first: it says more.
        await trio.lowlevel.checkpoint()
        waiting.cancel_scope.cancel()
    if socket is None:
        raise Disconnected(f"the supervisor at {path} closed the connection; it may have as many clients as it takes")
    return socket


@attrs.define
class _Waiter:
    done: trio.Event = attrs.field(factory=trio.Event)
    response: Incoming | None = None


class Client:
    """An open connection. Several tasks may use it at once. Made by `open_client`."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._closed: str | None = None
        self._latest: msgspec.Raw | None = None
        self._news = trio.Event()

    async def snapshot(self) -> Snapshot:
        return await self._ask("snapshot", Snapshot)

    async def version(self) -> Version:
        return await self._ask("version", Version)

    async def dead_letters(self, limit: int = 100, node: str = "") -> DeadLetters:
        return await self._ask("dead_letters.list", DeadLetters, limit=limit, node=node)

    async def dead_letter(self, letter_id: str) -> ShownLetter:
        return await self._ask("dead_letters.show", ShownLetter, id=letter_id)

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        """None: all, of that node where it is not ""."""
        return await self._of_letters("replay", ids, node)

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        return await self._of_letters("drop", ids, node)

    async def _of_letters(self, what: str, ids: Sequence[str] | None, node: str) -> LettersDone:
        method = f"dead_letters.{what}"
        if ids is None:
            return await self._ask(method, LettersDone, all=True, node=node)
        done: list[str] = []
        refused: dict[str, str] = {}
        for start in range(0, len(ids), protocol.MAX_LETTERS):
            part = await self._ask(method, LettersDone, ids=list(ids[start : start + protocol.MAX_LETTERS]))
            done += part.done
            refused |= part.refused
        return LettersDone(done=tuple(done), refused=refused)

    async def call(self, method: str, **params: Any) -> Any:
        """Any method by its name, with its result as plain JSON values.

        Raises:
            ControlError: the supervisor answered with an error.
            Disconnected: the connection went away; whether the method was executed is not known.
        """
        return await self._ask(method, object, **params)

    def subscribe(self, interval: float) -> AsyncIterator[Snapshot]:
        """Snapshots, one now and then one each `interval` seconds, until the connection goes (Disconnected).

        Whoever is slower than that gets the newest one, never a backlog. There is one subscription a
        connection: the last one counts.
        """
        return _Snapshots(self, interval)

    async def unsubscribe(self) -> None:
        await self.call("unsubscribe")

    async def _ask(self, method: str, as_type: type[T], **params: Any) -> T:
        response = await self._exchange(method, params)
        if (error := response.error) is not None:
            raise ControlError(error.code, error.message, error.data)
        return _decode(response.result, as_type)

    async def _exchange(self, method: str, params: Mapping[str, Any]) -> Incoming:
        request_id = next(self._ids)
        waiter = self._waiters[request_id] = _Waiter()
        try:
            if self._closed is None:
                with contextlib.suppress(ConnectionClosed):
                    await self._socket.send_message(protocol.encode_request(request_id, method, params))
                await waiter.done.wait()
        finally:
            del self._waiters[request_id]
        if waiter.response is None:
            raise Disconnected(self._closed)
        return waiter.response

    async def next_snapshot(self) -> Snapshot:
        """Waits for one that `subscribe` has asked for."""
        while self._latest is None:
            if self._closed is not None:
                raise Disconnected(self._closed)
            await self._news.wait()
        latest, self._latest = self._latest, None
        return _decode(latest, Snapshot)

    async def receive(self) -> None:
        """Hands out what arrives, until the connection goes. `open_client` runs it."""
        why = "the connection was closed"
        try:
            while True:
                self._dispatch(protocol.decode_incoming(await self._socket.get_message()))
        except ConnectionClosed:
            why = "the supervisor closed the connection"
        except ValueError as error:
            why = str(error)
        finally:
            self._closed = why
            self._announce()
            for waiter in self._waiters.values():
                waiter.done.set()

    def _dispatch(self, message: Incoming) -> None:
        if message.method == "snapshot":
            self._latest = message.params
            self._announce()
        elif isinstance(message.id, int) and (waiter := self._waiters.get(message.id)):
            waiter.response = message
            waiter.done.set()
        # Anything else is a notification of a later version, or for a caller that has been cancelled since.

    def _announce(self) -> None:
        self._news.set()
        self._news = trio.Event()


class _Snapshots:
    """An iterator and not a generator: one that is left half way then needs no closing."""

    def __init__(self, client: Client, interval: float) -> None:
        self._client = client
        self._interval = interval
        self._subscribed = False

    def __aiter__(self) -> AsyncIterator[Snapshot]:
        return self

    async def __anext__(self) -> Snapshot:
        if not self._subscribed:
            await self._client.call("subscribe", interval_ms=round(self._interval * 1000))
            self._subscribed = True
        return await self._client.next_snapshot()


def _decode(raw: msgspec.Raw, as_type: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=as_type)
    except msgspec.DecodeError as error:
        raise Disconnected(f"the supervisor speaks another version of the control protocol: {error}") from None
