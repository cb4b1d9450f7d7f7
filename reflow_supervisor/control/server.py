"""Serves the control endpoint: who may ask how much, how often, and what a misbehaving client costs.

This module does not know what a workspace is: it asks a `ControlProvider`. A client that is broken, hostile,
slow or gone costs its own connection and nothing else. Nothing is queued for a client: the next snapshot is
taken when the last one has been sent, so one that reads slowly sees fewer of them, and one that stops reading
is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs
import msgspec
import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from reflow_supervisor import __version__
from reflow_supervisor.control import endpoint, protocol
from reflow_supervisor.control.protocol import (
    ActorParams,
    ControlError,
    DeadLetterParams,
    DeadLetters,
    DeadLettersParams,
    Done,
    ErrorCode,
    LettersDone,
    NoParams,
    Request,
    SelectionParams,
    ShownLetter,
    Snapshot,
    SubscribeParams,
    Version,
    decode_params,
)
from reflow_supervisor.errors import UserError
from reflow_supervisor.rpc.stream import WatchedStream

log = structlog.stdlib.get_logger(__name__)


class ControlProvider(Protocol):
    """What the workspace shows and does. Everything here runs in the supervisor's own Trio run.

    A command sets something in motion and returns; what comes of it is seen in later snapshots. One that has
    begun is not cancelled when the client that asked for it leaves, but is given up after
    `ServerLimits.command_timeout`. A ControlError or a UserError is the client's answer; any other exception
    is a bug, which is logged.
    """

    def snapshot(self) -> Snapshot:
        """The present moment. Called often: no I/O."""
        ...

    async def stop(self) -> None:
        """Drain the workspace: no new input, what is under way is finished, then it ends."""
        ...

    async def kill(self) -> None:
        """End the workspace without draining."""
        ...

    async def restart_actor(self, actor_id: str) -> None: ...

    async def stop_actor(self, actor_id: str) -> None: ...

    async def start_actor(self, actor_id: str) -> None: ...

    async def pause_actor(self, actor_id: str) -> None: ...

    async def resume_actor(self, actor_id: str) -> None: ...

    async def dead_letters(self, limit: int, node: str) -> DeadLetters: ...

    async def dead_letter(self, letter_id: str) -> ShownLetter: ...

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone:
        """None: all, of that node where it is not ""."""
        ...

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone: ...


@attrs.frozen
class ServerLimits:
    """Times in seconds. With a keepalive, a client whose process is stopped or whose host is gone frees its
    place.
    """

    connections: int = 32
    requests_at_once: int = 8
    requests_per_second: float = 200
    handshake_timeout: float = 5
    send_timeout: float = 10
    command_timeout: float = 10
    keepalive_interval: float = 20
    keepalive_timeout: float = 20


async def serve_control(
    path: Path,
    provider: ControlProvider,
    *,
    limits: ServerLimits | None = None,
    task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves on the Unix socket `path` until cancelled. Its directory must exist. Started when it listens.

    Raises:
        EnvironmentError_: another process serves there, or the path cannot be used.
    """
    server = _Server(provider, limits or ServerLimits())
    with endpoint.claim(path) as listener:
        task_status.started(path)
        await trio.serve_listeners(server.serve_stream, [listener])


class _Server:
    def __init__(self, provider: ControlProvider, limits: ServerLimits) -> None:
        self._provider = provider
        self._limits = limits
        self._connections = 0

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        try:
            if self._connections >= self._limits.connections or not endpoint.peer_may_connect(stream):
                return
            self._connections += 1
            try:
                await self._serve_peer(stream)
            except* ConnectionClosed:
                pass
            except* Exception:
                # Whatever a peer makes the WebSocket layer raise ends here, with its connection.
                log.warning("control connection failed", exc_info=True)
            finally:
                self._connections -= 1
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_peer(self, stream: trio.SocketStream) -> None:
        watched = WatchedStream(stream, allowance=4 * protocol.MAX_REQUEST)
        async with trio.open_nursery() as nursery:
            socket = await self._shake_hands(nursery, watched)
            if socket is not None:
                await _Session(self._provider, self._limits, socket, watched, nursery).run()
            nursery.cancel_scope.cancel()

    async def _shake_hands(self, nursery: trio.Nursery, stream: WatchedStream) -> WebSocketConnection | None:
        request: WebSocketRequest | None = None

        async def propose(scope: trio.CancelScope) -> None:
            nonlocal request
            request = await wrap_server_stream(nursery, stream, max_message_size=protocol.MAX_REQUEST)
            scope.cancel()

        with trio.move_on_after(self._limits.handshake_timeout):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(propose, waiting.cancel_scope)
                await stream.ended.wait()
                waiting.cancel_scope.cancel()
            if request is None:
                return None
            if request.path != protocol.RESOURCE:
                await request.reject(404, body=b"the control endpoint is " + protocol.RESOURCE.encode())
            elif protocol.SUBPROTOCOL not in request.proposed_subprotocols:
                await request.reject(400, body=b"the subprotocol is " + protocol.SUBPROTOCOL.encode())
            else:
                return await request.accept(subprotocol=protocol.SUBPROTOCOL)
        return None


class _Session:
    """One client. Every task of it is in `nursery`, and any of them may end all of it by cancelling that."""

    def __init__(
        self,
        provider: ControlProvider,
        limits: ServerLimits,
        socket: WebSocketConnection,
        stream: WatchedStream,
        nursery: trio.Nursery,
    ) -> None:
        self._provider = provider
        self._limits = limits
        self._socket = socket
        self._stream = stream
        self._nursery = nursery
        self._places = trio.Semaphore(limits.requests_at_once)
        self._unsubscribed = trio.Event()

    async def run(self) -> None:
        self._nursery.start_soon(self._keep_alive)
        while True:
            message = await self._socket.get_message()
            self._stream.renew()
            if not isinstance(message, str):
                with trio.move_on_after(1):
                    await self._socket.aclose(1003, "text frames only")
                return
            await self._places.acquire()
            self._nursery.start_soon(self._answer, message)
            # Slower reading, not a refusal, is what a client gets that asks too often.
            await trio.sleep(1 / self._limits.requests_per_second)

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(self._limits.keepalive_interval)
            with trio.move_on_after(self._limits.keepalive_timeout) as scope:
                await self._socket.ping()
                self._stream.renew()
            if scope.cancelled_caught:
                self._nursery.cancel_scope.cancel()

    async def _answer(self, message: str) -> None:
        try:
            if (reply := await self._reply(message)) is not None:
                await self._send(reply)
        finally:
            self._places.release()

    async def _reply(self, message: str) -> str | None:
        try:
            request = protocol.decode_request(message)
        except ControlError as error:
            return protocol.encode_error(None, error)
        try:
            result = await self._execute(request)
            if isinstance(request.id, msgspec.UnsetType):
                return None
            return protocol.encode_result(request.id, result)
        except ControlError as error:
            failure = error
        except UserError as error:
            failure = ControlError(ErrorCode.REFUSED, str(error))
        except Exception:
            log.exception("control request failed", method=request.method)
            failure = ControlError(ErrorCode.INTERNAL_ERROR, "the supervisor failed at this request; its log says how")
        return None if isinstance(request.id, msgspec.UnsetType) else protocol.encode_error(request.id, failure)

    async def _execute(self, request: Request) -> msgspec.Struct:
        match request.method:
            case "ping":
                decode_params(request.params, NoParams)
                return Done()
            case "version":
                decode_params(request.params, NoParams)
                return Version(version=__version__)
            case "snapshot":
                decode_params(request.params, NoParams)
                return protocol.fit(self._provider.snapshot())
            case "subscribe":
                self._subscribe(decode_params(request.params, SubscribeParams).interval_ms / 1000)
                return Done()
            case "unsubscribe":
                decode_params(request.params, NoParams)
                self._unsubscribe()
                return Done()
            case _:
                return await self._command(request)

    async def _command(self, request: Request) -> msgspec.Struct:
        with trio.move_on_after(self._limits.command_timeout, shield=True):
            match request.method:
                case "stop":
                    decode_params(request.params, NoParams)
                    await self._provider.stop()
                case "kill":
                    decode_params(request.params, NoParams)
                    await self._provider.kill()
                case "actor.restart":
                    await self._provider.restart_actor(decode_params(request.params, ActorParams).id)
                case "actor.stop":
                    await self._provider.stop_actor(decode_params(request.params, ActorParams).id)
                case "actor.start":
                    await self._provider.start_actor(decode_params(request.params, ActorParams).id)
                case "actor.pause":
                    await self._provider.pause_actor(decode_params(request.params, ActorParams).id)
                case "actor.resume":
                    await self._provider.resume_actor(decode_params(request.params, ActorParams).id)
                case "dead_letters.list":
                    listed = decode_params(request.params, DeadLettersParams)
                    return await self._provider.dead_letters(listed.limit, listed.node)
                case "dead_letters.show":
                    return await self._provider.dead_letter(decode_params(request.params, DeadLetterParams).id)
                case "dead_letters.replay":
                    some = decode_params(request.params, SelectionParams)
                    return await self._provider.replay_dead_letters(some.wanted, some.node)
                case "dead_letters.drop":
                    some = decode_params(request.params, SelectionParams)
                    return await self._provider.drop_dead_letters(some.wanted, some.node)
                case unknown:
                    raise ControlError(ErrorCode.METHOD_NOT_FOUND, f"no method {unknown!r}")
            return Done()
        raise ControlError(
            ErrorCode.INTERNAL_ERROR,
            f"{request.method} took longer than {self._limits.command_timeout:g} s; what it did is not known",
        )

    def _subscribe(self, interval: float) -> None:
        self._unsubscribe()
        self._unsubscribed = trio.Event()
        self._nursery.start_soon(self._publish, self._unsubscribed, interval)

    def _unsubscribe(self) -> None:
        self._unsubscribed.set()

    async def _publish(self, unsubscribed: trio.Event, interval: float) -> None:
        failing = False
        while not unsubscribed.is_set():
            try:
                snapshot = protocol.encode_notification("snapshot", protocol.fit(self._provider.snapshot()))
            except Exception:
                if not failing:  # once is enough for the log, at several times a second
                    log.exception("no snapshot to publish")
                failing = True
            else:
                failing = False
                await self._send(snapshot)
            # Only the waiting is cut short: half a frame would be the end of the connection.
            with trio.move_on_after(interval):
                await unsubscribed.wait()

    async def _send(self, message: str) -> None:
        with trio.move_on_after(self._limits.send_timeout) as scope:
            try:
                await self._socket.send_message(message)
            except ConnectionClosed:
                return  # `run` sees it too, and ends the session
        if scope.cancelled_caught:
            log.warning("control client dropped: it does not read")
            self._nursery.cancel_scope.cancel()
