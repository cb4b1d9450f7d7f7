"""One link to one agent: moves bytes between a WebSocket and a `reflow.wire.session.Session`.

It decides when the link is over, and why: lost, hung (no answer to a ping), or closed because the agent broke the
protocol. It does not know what activations are: whoever holds the link gives it two handlers for what the agent asks
and tells, and calls methods. Every call gets exactly one outcome, *unknown* included.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import attrs
import trio
import trio_websocket
from reflow.wire.messages import CloseCode, Code, Hello, Pong
from reflow.wire.session import (
    LocalProtocolError,
    NotificationReceived,
    Outcome,
    ProtocolViolationError,
    RequestReceived,
    RpcError,
    Session,
)
from trio_websocket import ConnectionClosed

T = TypeVar("T")

MAX_QUEUED = 4096
"""Messages that may wait for an agent that does not read; when there are more it is not listened to either."""

CLOSING_TIMEOUT = 1.0
"""Seconds that an agent has to answer the close of its link."""


class ClosedBy(enum.StrEnum):
    """Why a link is over."""

    US = "us"
    LOST = "lost"
    HUNG = "hung"
    VIOLATION = "violation"


@attrs.frozen
class LinkEnd:
    by: ClosedBy
    detail: str = ""

    def __str__(self) -> str:
        text = {
            ClosedBy.US: "closed",
            ClosedBy.LOST: "the link went down",
            ClosedBy.HUNG: "the agent does not answer",
            ClosedBy.VIOLATION: "the agent broke the protocol",
        }[self.by]
        return f"{text}: {self.detail}" if self.detail else text


class LinkClosedError(Exception):
    """The link was over before the request had an answer: its outcome is unknown."""

    def __init__(self, end: LinkEnd) -> None:
        super().__init__(str(end))
        self.end = end


class RequestFailedError(Exception):
    """The agent answered with an error."""

    def __init__(self, method: str, error: RpcError) -> None:
        super().__init__(f"{method}: {error.message} ({error.code})")
        self.error = error


class LinkHandler(Protocol):
    """What the holder of a link does with what the agent says. Called on the link's task, synchronously: a handler
    that raises ProtocolViolationError ends the link; it must not raise anything else."""

    def on_request(self, request: RequestReceived) -> None:
        """Must lead to one `respond` or `fail` of that id, at once or later."""
        ...

    def on_notification(self, notification: NotificationReceived) -> None: ...


class Link:
    """A link after its handshake. `run` must be running for anything to move.

    Args:
        on_frame: called for each frame that came in.
        ping_interval: seconds between pings; None sends none.
        ping_timeout: seconds without an answer after which the agent counts as hung.
    """

    def __init__(
        self,
        ws: trio_websocket.WebSocketConnection,
        session: Session,
        hello: Hello,
        on_frame: Callable[[], None] = lambda: None,
        *,
        ping_interval: float | None = 30,
        ping_timeout: float = 10,
    ) -> None:
        self.hello = hello
        self.closed = trio.Event()
        self.end: LinkEnd | None = None
        self._ws = ws
        self._session = session
        self._on_frame = on_frame
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._handler: LinkHandler | None = None
        self._callbacks: dict[int | str, Callable[[Outcome], None]] = {}
        self._wake = trio.Event()
        self._written = trio.Event()
        self._held: trio.Event | None = None
        self._holds = 0
        self._scope = trio.CancelScope()

    def attach(self, handler: LinkHandler) -> None:
        """Sets who hears what the agent says. Until then its requests are refused and its notifications dropped."""
        self._handler = handler

    # -- calls --------------------------------------------------------------------------------------------------

    def call(self, method: str, params: Any, on_outcome: Callable[[Outcome], None]) -> int | str:
        """Sends a request without waiting. `on_outcome` is called exactly once, on the link's task.

        Raises:
            LinkClosedError: the link is over; nothing was sent.
        """
        try:
            id = self._session.request(method, params)
        except LocalProtocolError:
            raise LinkClosedError(self.end or LinkEnd(ClosedBy.LOST)) from None
        self._callbacks[id] = on_outcome
        self._wake.set()
        return id

    def cancel(self, id: int | str) -> None:
        self._session.cancel(id)
        self._wake.set()

    async def request(self, method: str, params: Any, type_: type[T]) -> T:
        """Sends a request and waits for its result. Cancelling the wait cancels the request.

        Raises:
            RequestFailedError: the agent answered with an error.
            LinkClosedError: the outcome is unknown.
            ProtocolViolationError: the result is not of that type; the link is over.
        """
        done = trio.Event()
        outcomes: list[Outcome] = []

        def answered(outcome: Outcome) -> None:
            outcomes.append(outcome)
            done.set()

        id = self.call(method, params, answered)
        try:
            await done.wait()
        except trio.Cancelled:
            self._callbacks[id] = _ignore
            self.cancel(id)
            raise
        outcome = outcomes[0]
        if outcome.error is not None:
            raise RequestFailedError(method, outcome.error)
        if outcome.result is None:
            raise LinkClosedError(self.end or LinkEnd(ClosedBy.LOST))
        try:
            return outcome.result.decode(type_)
        except ProtocolViolationError as e:
            self.violated(f"{method}: {e}")
            raise

    def notify(self, method: str, params: Any = None) -> None:
        self._session.notify(method, params)
        self._wake.set()

    def respond(self, id: int | str, result: Any = None) -> None:
        self._session.respond(id, result)
        self._wake.set()

    def fail(self, id: int | str, code: int, message: str) -> None:
        self._session.fail(id, code, message)
        self._wake.set()

    # -- back-pressure ------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        return self._held is not None

    def hold(self) -> None:
        """Reads nothing more until `release`: when all between is full, the script waits in what it sends. Meanwhile
        the agent cannot be heard, and so does not count as hung."""
        if self._held is None:
            self._held = trio.Event()
            self._holds += 1

    def release(self) -> None:
        if self._held is not None:
            self._held.set()
            self._held = None

    # -- the end ------------------------------------------------------------------------------------------------

    def violated(self, detail: str) -> None:
        """Ends the link because of what the agent did."""
        self._over(LinkEnd(ClosedBy.VIOLATION, detail))

    def close(self) -> None:
        """Ends the link; `run` closes the connection."""
        self._over(LinkEnd(ClosedBy.US))

    def _over(self, end: LinkEnd) -> None:
        if self.end is None:
            self.end = end
        self._scope.cancel()

    async def aclose(self) -> None:
        """Ends the link and waits until its connection is closed."""
        self.close()
        await self.closed.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Moves bytes until the link is over. Never raises because of the agent: `end` says what happened."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    if self._ping_interval is not None:
                        nursery.start_soon(self._ping)
                    task_status.started()
        finally:
            if self.end is None:  # cancelled from outside
                self.end = LinkEnd(ClosedBy.US)
            self._settle()
            code = CloseCode.VIOLATION if self.end.by is ClosedBy.VIOLATION else CloseCode.DONE
            await end_connection(self._ws, code, self.end.detail)
            self.closed.set()

    def _settle(self) -> None:
        """Gives every call that is still open its outcome: unknown. Also one whose answer came in a frame that was
        not read to its end."""
        methods = {outcome.id: outcome.method for outcome in self._session.lost()}
        callbacks, self._callbacks = self._callbacks, {}
        for id, callback in callbacks.items():
            callback(Outcome(id, methods.get(id, "")))

    async def _read(self) -> None:
        receive = self._session.receive
        try:
            while True:
                while self._session.queued > MAX_QUEUED:
                    self._written = trio.Event()
                    await self._written.wait()
                while self._held is not None:
                    await self._held.wait()
                frame = await self._ws.get_message()
                self._on_frame()
                for event in receive(frame):
                    if isinstance(event, Outcome):
                        callback = self._callbacks.pop(event.id, None)
                        if callback is not None:
                            callback(event)
                    elif isinstance(event, NotificationReceived):
                        if self._handler is not None:
                            self._handler.on_notification(event)
                    elif event.method == "ping":
                        self.respond(event.id)
                    elif self._handler is not None:
                        self._handler.on_request(event)
                    else:
                        self.fail(event.id, Code.NOT_ALLOWED, "no actor is loaded yet")
        except ProtocolViolationError as e:
            self.violated(str(e))
        except ConnectionClosed as e:
            reason = getattr(e, "reason", None)
            self._over(LinkEnd(ClosedBy.LOST, str(getattr(reason, "reason", None) or "")))

    async def _write(self) -> None:
        session = self._session
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while (frame := session.data_to_send()) is not None:
                    await self._ws.send_message(frame)
                self._written.set()
        except ConnectionClosed:
            self._over(LinkEnd(ClosedBy.LOST))

    async def _ping(self) -> None:
        assert self._ping_interval is not None
        while True:
            await trio.sleep(self._ping_interval)
            holds = self._holds
            if self.held:
                continue
            with trio.move_on_after(self._ping_timeout) as scope:
                with contextlib.suppress(LinkClosedError, RequestFailedError, ProtocolViolationError):
                    await self.request("ping", {}, Pong)
            if scope.cancelled_caught and holds == self._holds:
                self._over(LinkEnd(ClosedBy.HUNG, f"no answer to a ping within {self._ping_timeout:g} s"))
                return


async def end_connection(ws: trio_websocket.WebSocketConnection, code: CloseCode, reason: str = "") -> None:
    """Closes a connection within two seconds, whatever the peer does, also when cancelled; its reader ends too."""
    gone = (ConnectionClosed, trio.BrokenResourceError)
    with trio.move_on_after(CLOSING_TIMEOUT, shield=True), contextlib.suppress(*gone):
        await ws.aclose(int(code), reason[:100] or None)
    # A peer that does not read the close frame may have the reader waiting for room for what it sent itself.
    with trio.move_on_after(CLOSING_TIMEOUT, shield=True), contextlib.suppress(ConnectionClosed):
        while True:
            await ws.get_message()


def _ignore(outcome: Outcome) -> None:
    """The outcome of a call that nobody waits for any more."""
