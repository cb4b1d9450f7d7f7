"""One link to one agent: moves frames between WebSockets and a `reflow.wire.session.Session`.

A link outlives its connections. While there is none, requests stay open and what is said is kept; `resume` gives it
another one, for which it waits as long as its window says.

It decides when the link is over, and why: lost, hung (no answer to a ping), or closed because the agent broke the
protocol. It does not know what activations are: whoever holds the link gives it two handlers for what the agent asks
and tells, and calls methods. Every call gets exactly one outcome, *unknown* included. Who may connect is decided in
`accept`.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import attrs
import trio
import trio_websocket
from reflow.wire.messages import FINAL, CloseCode, Code, Hello, Pong
from reflow.wire.replay import ACK_DELAY
from reflow.wire.session import (
    FrameGapError,
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

MESSAGE_TOO_BIG = 1009
"""The close code of the WebSocket layer, for a message that is longer than any frame."""

CLOSING_TIMEOUT = 1.0
"""Seconds that an agent has to answer the close of its link."""

LAST_WORDS = 1.0
"""Seconds that a connection may go on when the sandbox is known to be gone: what it said before is still to be read."""

QUIET = 0.5
"""Seconds for which a cut is not spoken of. Most often the sandbox is found to be gone by then, which says more."""

STABLE = 1.0
"""Seconds after which a connection counts as one. The window of a link begins with the cut of the last one that did,
or over which a frame came through: so connections that come and go for nothing do not keep it alive for ever."""


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


@attrs.define(eq=False)
class _Connection:
    """A WebSocket after its handshake. `greeting` is sent before anything else."""

    ws: trio_websocket.WebSocketConnection
    on_frame: Callable[[], None]
    greeting: bytes | str | None
    opened_at: float
    progress: int
    """How many frames had come and been acknowledged when it opened."""
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    broken: bool = False
    """It cannot be written to. What it has may still be read."""
    close: CloseCode = CloseCode.CUT


class _Pong:
    """The answer to one ping."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.answered = trio.Event()

    def answer(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.answered.set()


def _say_nothing(what: str | float) -> None:
    """For a link that nobody watches."""


class Link:
    """A link after its handshake. `run` must be running for anything to move.

    Args:
        on_frame: called for each frame that came in over this first connection.
        greeting: a frame for this first connection that is no part of the session.
        ping_interval: seconds between pings; None sends none.
        ping_timeout: seconds without an answer after which the agent counts as hung.
        resume_window: seconds that an agent whose connection was cut has to come back. 0: the link is over then.
        gone: returns when there is nobody left who could come back.
    """

    def __init__(
        self,
        ws: trio_websocket.WebSocketConnection,
        session: Session,
        hello: Hello,
        on_frame: Callable[[], None] = lambda: None,
        *,
        greeting: bytes | str | None = None,
        ping_interval: float | None = 30,
        ping_timeout: float = 10,
        resume_window: float = 0,
        gone: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.hello = hello
        self.closed = trio.Event()
        self.end: LinkEnd | None = None
        self.cuts = 0
        """How many of its connections were cut."""
        self.resumes = 0
        """How often it went on with another."""
        self._session = session
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._resume_window = resume_window
        self._gone = gone
        self._is_gone = False
        self._connection: _Connection | None = _Connection(ws, on_frame, greeting, trio.current_time(), 0)
        self._cut_at = 0.0
        """When the window began."""
        self._last_cut = 0.0
        self._resumed_at = 0.0
        self._cut_by = LinkEnd(ClosedBy.LOST)
        """Why there is no connection."""
        self._cut_is_told = False
        self._changed = trio.Event()
        """Set when there is another connection, or when one was cut."""
        self._handler: LinkHandler | None = None
        self._on_cut: Callable[[str], None] = _say_nothing
        self._on_resumed: Callable[[float], None] = _say_nothing
        self._callbacks: dict[int | str, Callable[[Outcome], None]] = {}
        self._wake = trio.Event()
        self._written = trio.Event()
        self._owing = trio.Event()
        self._held: trio.Event | None = None
        self._holds = 0
        self._scope = trio.CancelScope()

    def attach(
        self,
        handler: LinkHandler,
        *,
        on_cut: Callable[[str], None] = _say_nothing,
        on_resumed: Callable[[float], None] = _say_nothing,
    ) -> None:
        """Sets who hears what the agent says. Until then its requests are refused and its notifications dropped.

        Args:
            on_cut: told why the connection was cut, when the link waits for another.
            on_resumed: told that there is one, and how many seconds there was none. Follows `on_cut`.
        """
        self._handler = handler
        self._on_cut = on_cut
        self._on_resumed = on_resumed

    def speak(self, *, text: bool) -> None:
        """Says the next in text, or in MessagePack: as the agent's hello was."""
        self._session.text = text

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None and self.end is None

    def patience(self, since: float) -> float:
        """Seconds to add to a time limit that runs since then (on Trio's clock), because the link was cut meanwhile.
        No more than the window, however often: an agent must not gain time by cutting its own link."""
        return self._resume_window if self._connection is None or self._resumed_at > since else 0.0

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
        """Moves frames until the link is over. Never raises because of the agent: `end` says what happened."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._acknowledge)
                    if self._ping_interval is not None:
                        nursery.start_soon(self._ping, self._ping_interval)
                    if self._gone is not None:
                        nursery.start_soon(self._watch, self._gone)
                    task_status.started()
                    while self.end is None:
                        connection = self._connection
                        if connection is None:
                            await self._wait_for_another()
                            continue
                        await self._use(connection)
                        if connection is not self._connection:
                            nursery.start_soon(end_connection, connection.ws, connection.close)
        finally:
            if self.end is None:  # cancelled from outside
                self.end = LinkEnd(ClosedBy.US)
            self._settle()
            if self._connection is not None:
                code = CloseCode.VIOLATION if self.end.by is ClosedBy.VIOLATION else CloseCode.DONE
                await end_connection(self._connection.ws, code, self.end.detail)
            self.closed.set()

    def _settle(self) -> None:
        """Gives every call that is still open its outcome: unknown. Also one whose answer came in a frame that was
        not read to its end."""
        methods = {outcome.id: outcome.method for outcome in self._session.lost()}
        callbacks, self._callbacks = self._callbacks, {}
        for id, callback in callbacks.items():
            callback(Outcome(id, methods.get(id, "")))

    # -- connections --------------------------------------------------------------------------------------------

    def resume(
        self,
        ws: trio_websocket.WebSocketConnection,
        on_frame: Callable[[], None],
        received: int,
        greet: Callable[[int], bytes | str],
    ) -> None:
        """Goes on with another connection, in the place of one that may still be there.

        Args:
            received: how many of our frames the agent says to have.
            greet: makes the answer to its hello, from how many of its frames we have.

        Raises:
            LinkClosedError: the link is over, or is never resumed.
            ProtocolViolationError: it cannot have received that many; now the link is over.
        """
        if self._connection is not None and self._resume_window:
            # First of all: from here on, nothing of what comes over the former one counts.
            self._cut(self._connection, "another connection took its place", close=CloseCode.REPLACED)
        if self.end is not None or not self._resume_window:
            raise LinkClosedError(self.end or LinkEnd(ClosedBy.LOST))
        session, now = self._session, trio.current_time()
        try:
            session.resume(received)
        except ProtocolViolationError as e:
            self.violated(str(e))
            raise
        greeting = greet(session.received)
        self._connection = _Connection(ws, on_frame, greeting, now, session.received + session.acknowledged)
        self._resumed_at = now
        self.resumes += 1
        self._tell_cut()
        self._on_resumed(now - self._last_cut)
        self._change()

    def _cut(
        self,
        connection: _Connection,
        detail: str = "",
        *,
        by: ClosedBy = ClosedBy.LOST,
        close: CloseCode = CloseCode.CUT,
    ) -> None:
        """The connection is of no more use. Nothing happens where it has been replaced already."""
        if connection is not self._connection:
            return
        cut_by = LinkEnd(by, detail)
        if self._is_gone or not self._resume_window:
            self._over(cut_by)
            return
        now, progress = trio.current_time(), self._session.received + self._session.acknowledged
        if not self.cuts or now - connection.opened_at >= STABLE or progress > connection.progress:
            self._cut_at = now
        self._last_cut = now
        self._cut_by = cut_by
        self._cut_is_told = False
        self.cuts += 1
        self._connection = None
        connection.close = close
        connection.scope.cancel()
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _tell_cut(self) -> None:
        if not self._cut_is_told:
            self._cut_is_told = True
            self._on_cut(str(self._cut_by))

    async def _wait_for_another(self) -> None:
        with trio.move_on_at(self._cut_at + self._resume_window):
            with trio.move_on_after(QUIET):
                await self._changed.wait()
                return
            self._tell_cut()
            await self._changed.wait()
            return
        detail = f"it did not come back within {self._resume_window:g} s"
        why = self._cut_by
        self._over(LinkEnd(why.by, f"{why.detail}; {detail}" if why.detail else detail))

    async def _watch(self, gone: Callable[[], Awaitable[object]]) -> None:
        await gone()
        self._is_gone = True
        if self._connection is not None:
            await trio.sleep(LAST_WORDS)
        self._over(self._cut_by)

    async def _use(self, connection: _Connection) -> None:
        """Until it is cut."""
        with connection.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, connection)
                nursery.start_soon(self._write, connection)

    async def _read(self, connection: _Connection) -> None:
        session = self._session
        try:
            while True:
                while session.queued > MAX_QUEUED and session.has_room and not connection.broken:
                    self._written = trio.Event()
                    await self._written.wait()
                if session.queued > 2 * MAX_QUEUED:
                    raise ProtocolViolationError("it asks on and on, and acknowledges none of the answers")
                while self._held is not None:
                    await self._held.wait()
                frame = await connection.ws.get_message()
                if connection is not self._connection:
                    return  # replaced in the same moment; the agent sends it again
                connection.on_frame()
                self._received(frame)
                if session.acknowledgement_is_due or session.has_unsent:
                    self._wake.set()
                elif session.owes_acknowledgement:
                    self._owing.set()
        except ProtocolViolationError as e:
            self.violated(str(e))
        except FrameGapError as e:
            self._cut(connection, str(e))
        except ConnectionClosed as e:
            if connection is self._connection:
                self._connection_closed(connection, e)

    def _received(self, frame: bytes | str) -> None:
        for event in self._session.receive(frame):
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

    def _connection_closed(self, connection: _Connection, error: ConnectionClosed) -> None:
        reason = error.reason
        code, text = (None, "") if reason is None else (reason.code, reason.reason or "")
        if code == MESSAGE_TOO_BIG:
            self.violated(text)
        elif code in FINAL:
            self._over(LinkEnd(ClosedBy.LOST, text))
        else:
            self._cut(connection, text)

    async def _write(self, connection: _Connection) -> None:
        session, ws = self._session, connection.ws
        try:
            if connection.greeting is not None:
                await ws.send_message(connection.greeting)
            # What is taken from the session for a connection that has been replaced would be missing on the next.
            while connection is self._connection:
                frame = session.data_to_send()
                if frame is not None:
                    await ws.send_message(frame)
                    continue
                self._written.set()
                await self._wake.wait()
                self._wake = trio.Event()
        except ConnectionClosed:
            # What came before the end is still to be read; the end is found there.
            connection.broken = True
            self._written.set()

    async def _acknowledge(self) -> None:
        """Tells the agent what has come, where nothing else has been said for a while."""
        while True:
            await self._owing.wait()
            await trio.sleep(ACK_DELAY)
            self._owing = trio.Event()
            if self._session.owes_acknowledgement:
                self._session.acknowledge()
                self._wake.set()

    async def _ping(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            while self._connection is None:
                await self._changed.wait()
            pong = _Pong()
            self.call("ping", {}, pong.answer)
            await self._wait_for(pong)
            if pong.outcome is not None and pong.outcome.result is not None:
                try:
                    pong.outcome.result.decode(Pong)
                except ProtocolViolationError as e:
                    self.violated(f"ping: {e}")

    async def _wait_for(self, pong: _Pong) -> None:
        """An agent that does not answer may have a connection that is dead. It gets a chance to come back with another,
        and the ping with it; one that does not answer then is hung."""
        detail = f"no answer to a ping within {self._ping_timeout:g} s"
        patient = True
        while pong.outcome is None:
            connection = self._connection
            if connection is None:
                await self._changed.wait()
                continue
            was_held, holds = self.held, self._holds
            with trio.move_on_after(self._ping_timeout) as scope:
                await self._first_of(pong.answered)
            if was_held or self.held or holds != self._holds:
                continue  # its answer may have come, and was not read
            if scope.cancelled_caught and pong.outcome is None:
                if patient:
                    patient = False
                    self._cut(connection, detail, by=ClosedBy.HUNG)
                else:
                    self._over(LinkEnd(ClosedBy.HUNG, detail))

    async def _first_of(self, answered: trio.Event) -> None:
        """Waits for an event, or for a change of connection."""
        async with trio.open_nursery() as nursery:

            async def until_changed() -> None:
                await self._changed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_changed)
            await answered.wait()
            nursery.cancel_scope.cancel()


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
