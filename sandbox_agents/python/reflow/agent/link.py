"""The agent's end of the link: a WebSocket client over a Unix socket, with its reading on a thread of its own.

The reading thread answers pings and reads cancels while the script is busy; all else it hands to the main thread as
jobs. Writing is done by the main thread when nothing else waits for it (so that a round trip takes one change of
threads less), else by the reading thread a moment later, when more may be ready for the same frame.

It decides when to write, and how the agent ends when the link does. What requests mean is the runner's.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from ..wire.limits import PROTOCOL_VERSION, RESOURCE, SUBPROTOCOL, WireLimits
from ..wire.messages import AgentExit, Cancel, CloseCode, Code, Hello, HelloResult, Stop
from ..wire.session import (
    InvalidPayloadError,
    NotificationReceived,
    Outcome,
    ProtocolViolationError,
    RequestReceived,
    RpcError,
    Session,
)
from .interrupt import SIGNAL, interruptible
from .text import as_text

T = TypeVar("T")

RECEIVE: Final = 256 * 1024
FLUSH_COUNT: Final = 256
"""Notifications that wait for the other thread to write them, at most."""

HIGH_WATER: Final = 8 * 1024 * 1024
"""Bytes that may wait to be written before the script is held up."""

OPENING_TIMEOUT: Final = 30.0
CLOSING_TIMEOUT: Final = 1.0
MAX_POLL_MS: Final = 60_000


class LinkLostError(Exception):
    """The link could not be opened. `exit_code` is the agent's."""

    def __init__(self, message: str, exit_code: AgentExit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RequestFailedError(Exception):
    """The supervisor answered with an error."""

    def __init__(self, error: RpcError) -> None:
        super().__init__(error.message)
        self.code = error.code


class Busy(msgspec.Struct, frozen=True):
    """What the main thread works on. Replaced as a whole, so that the other thread never sees half of it."""

    id: int | str
    activation: int | None
    since: float


class Job(msgspec.Struct, frozen=True, gc=False):
    """A request for the main thread, and when it came, in seconds of the monotonic clock."""

    request: RequestReceived
    received: float


class Link:
    """
    Args:
        path: the Unix socket.
        token: what the supervisor gave this sandbox to show.
        on_cancel: called on the reading thread with the id of a request that is no longer wanted.
        end: ends the process at once when the link is gone, whatever the script does.
    """

    def __init__(
        self,
        path: str,
        token: str,
        on_cancel: Callable[[int | str], None],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        """Requests for the main thread, in the order in which they came."""
        self.unanswered: set[int | str] = set()
        """The ids of those that have no answer."""
        self.busy: Busy | None = None
        self.stopping = False
        """A `stop` has come: what waits is skipped."""
        self._grace_end: float | None = None
        """When what still runs after a `stop` is cancelled, on the monotonic clock."""
        self._path = path
        self._token = token
        self._on_cancel = on_cancel
        self._end = end
        self._session = Session()
        self._socket = socket.socket(socket.AF_UNIX)
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._lock = threading.Lock()
        """Guards session, WebSocket and backlog: both threads write."""
        self._outgoing: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        """What the main thread says, until somebody with the lock gives it to the session: appending needs none."""
        self._text = False
        """The peer's last frame was JSON."""
        self._backlog = bytearray()
        self._partial: list[Any] = []
        self._partial_size = 0
        self._waiting: dict[int | str, SimpleQueue[Outcome]] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_sent = False
        self._held_up: SimpleQueue[None] | None = None
        self._closed: SimpleQueue[None] | None = None

    @property
    def limits(self) -> WireLimits:
        return self._session.limits

    # -- opening (main thread, before the reading thread) --------------------------------------------------------

    def open(self, agent: str) -> HelloResult:
        """Connects, upgrades to a WebSocket, and says hello.

        Raises:
            LinkLostError: any of it failed.
        """
        self._socket.settimeout(OPENING_TIMEOUT)
        try:
            self._socket.connect(self._path)
            headers = [(b"Authorization", b"Bearer " + self._token.encode())]
            request = Request(host="supervisor", target=RESOURCE, subprotocols=[SUBPROTOCOL], extra_headers=headers)
            self._socket.sendall(self._ws.send(request))
            while not isinstance(event := self._read_event(), AcceptConnection):
                if isinstance(event, RejectConnection):
                    raise LinkLostError(f"the supervisor refused: HTTP {event.status_code}", AgentExit.REFUSED)
            if event.subprotocol != SUBPROTOCOL:
                raise LinkLostError("the supervisor speaks another subprotocol", AgentExit.REFUSED)
            hello = Hello(
                protocol=[PROTOCOL_VERSION],
                runtime="python",
                agent=agent,
                language=".".join(map(str, sys.version_info[:3])),
                pid=os.getpid(),
            )
            self._session.request("hello", hello)
            self._drain()
            self._socket.sendall(self._backlog)
            self._backlog.clear()
            frame = None
            while frame is None:
                event = self._read_event()
                if isinstance(event, CloseConnection):
                    raise LinkLostError(f"hello was refused: closed with {event.code}", AgentExit.REFUSED)
                frame = self._whole(event)
            result = self._welcome(frame)
        except (OSError, EOFError) as e:
            raise LinkLostError(f"the link could not be opened: {e}", AgentExit.LINK_LOST) from None
        except (ProtocolError, ProtocolViolationError) as e:
            raise LinkLostError(f"the supervisor broke the protocol: {e}", AgentExit.VIOLATION) from None
        limits = result.limits
        self._session.limits = WireLimits(
            max_frame=limits.max_frame,
            max_message=limits.max_message,
            max_depth=limits.max_depth,
            max_batch=limits.max_batch,
        )
        return result

    def _welcome(self, frame: bytes | str) -> HelloResult:
        events = self._session.receive(frame)
        if len(events) != 1 or not isinstance(outcome := events[0], Outcome):
            raise ProtocolViolationError("something came before the answer to hello")
        if outcome.error is not None:
            raise LinkLostError(f"hello was refused: {outcome.error.message}", AgentExit.REFUSED)
        assert outcome.result is not None
        return outcome.result.decode(HelloResult)

    def _read_event(self) -> Any:
        """The next WebSocket event; blocks."""
        for event in self._ws.events():
            return event
        while True:
            data = self._socket.recv(RECEIVE)
            if not data:
                raise EOFError("the supervisor hung up")
            self._ws.receive_data(data)
            for event in self._ws.events():
                return event

    # -- writing ------------------------------------------------------------------------------------------------

    def respond(self, id_: int | str, result: Any) -> None:
        """Queues the answer to a request. It leaves with `flush` or `flush_soon`."""
        self.unanswered.discard(id_)
        self._outgoing.append((self._session.respond, (id_, result)))

    def fail(self, id_: int | str, code: Code, message: str, data: Any = None) -> None:
        self.unanswered.discard(id_)
        self._outgoing.append((self._session.fail, (id_, code, message, data)))

    def notify(self, method: str, params: Any) -> None:
        """Queues a notification, to leave soon. Holds the script up while the supervisor does not read."""
        self._outgoing.append((self._session.notify, (method, params)))
        if len(self._outgoing) < FLUSH_COUNT and len(self._backlog) <= HIGH_WATER:
            self.flush_soon()
        else:
            self.flush_all()

    def flush_all(self) -> None:
        """Writes what is queued, and while that is more than the supervisor reads, holds the script up."""
        room = None
        with self._lock:
            self._write_or_wake()
            if len(self._backlog) > HIGH_WATER:
                room = self._held_up = SimpleQueue()
        if room is not None:
            _wait(room)

    def flush(self) -> None:
        """Writes what is queued, now."""
        if self._outgoing:
            with self._lock:
                self._write_or_wake()

    def flush_soon(self) -> None:
        """Lets the reading thread write what is queued, with what else is ready by then."""
        if self._outgoing and not self._wake_sent:
            self._wake()

    def call(self, method: str, params: Any, type_: type[T]) -> T:
        """Asks the supervisor and waits for its answer.

        Raises:
            RequestFailedError: it answered with an error.
        """
        answer: SimpleQueue[Outcome] = SimpleQueue()
        with self._lock:
            self._drain()
            id_ = self._session.request(method, params)
            self._waiting[id_] = answer
            self._write_or_wake()
        try:
            outcome = _wait(answer)
        finally:
            self._waiting.pop(id_, None)
        if outcome.error is not None:
            raise RequestFailedError(outcome.error)
        assert outcome.result is not None  # the process ends when the link does
        try:
            return outcome.result.decode(type_)
        except ProtocolViolationError as e:
            self.violated(e)
            raise

    def close(self) -> None:
        """Says goodbye after everything queued, and waits a moment for the answer."""
        closed = self._closed = SimpleQueue()
        with self._lock:
            self._drain()
            self._backlog += self._ws.send(CloseConnection(code=CloseCode.DONE))
            self._write_or_wake()
        with contextlib.suppress(Empty):
            closed.get(timeout=CLOSING_TIMEOUT)

    def _wake(self) -> None:
        # One byte until it is read: a batch of answers costs one system call, not one each. Two at once do no harm.
        if not self._wake_sent:
            self._wake_sent = True
            self._wake_write.send(b"\0")

    def _drain(self) -> None:
        outgoing = self._outgoing
        while outgoing:
            say, arguments = outgoing.popleft()
            if self._text:
                arguments = (*arguments[:-1], as_text(arguments[-1]))
            say(*arguments)
        while (frame := self._session.data_to_send()) is not None:
            self._backlog += self._ws.send(TextMessage(frame) if isinstance(frame, str) else BytesMessage(frame))

    def _write(self) -> None:
        """Writes as much as the socket takes without blocking."""
        self._drain()
        if not self._backlog:
            return
        try:
            sent = self._socket.send(self._backlog, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The other end is gone; the reading thread finds that out and ends the process.
            sent = len(self._backlog)
        del self._backlog[:sent]
        if not self._backlog and self._held_up is not None:
            self._held_up.put(None)
            self._held_up = None

    def _write_or_wake(self) -> None:
        """The main thread's `_write`: what the socket does not take now is left to the reading thread."""
        self._write()
        if self._backlog:
            self._wake()

    # -- reading (its own thread) --------------------------------------------------------------------------------

    def start(self) -> None:
        """From here on the link is read on a thread of its own."""
        self._socket.setblocking(False)
        self._wake_read.setblocking(False)
        # daemon: it must not keep the process alive, which ends by `end` or when the main thread does.
        threading.Thread(target=self._run, name="link", daemon=True).start()

    def _run(self) -> None:
        # The timer's signal is for the main thread, where it has to interrupt what blocks there.
        signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
        try:
            self._handle_events()  # what came together with the answer to hello
            poll = select.poll()
            poll.register(self._wake_read, select.POLLIN)
            while True:
                poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._backlog else 0))
                for fd, _ in poll.poll(self._grace_left()):
                    if fd == self._wake_read.fileno():
                        self._woken()
                    else:
                        self._readable()
        except (EOFError, OSError):
            self._ended(AgentExit.LINK_LOST)
        except (ProtocolError, ProtocolViolationError) as e:
            self.violated(e)

    def _grace_left(self) -> int | None:
        """Milliseconds until what runs after a `stop` is cancelled, which is done here; None where nothing is due."""
        if self._grace_end is None:
            return None
        left = math.ceil((self._grace_end - time.monotonic()) * 1000)
        if left > 0:
            return min(left, MAX_POLL_MS)
        self._grace_end = None
        # All of them: which one runs may change meanwhile, and those that wait are skipped in any case.
        for id_ in tuple(self.unanswered):
            self._on_cancel(id_)
        return None

    def _woken(self) -> None:
        self._wake_read.recv(16)
        # Before the queue is looked at: what is put there afterwards wakes again.
        self._wake_sent = False
        with self._lock:
            self._write()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(RECEIVE)
        except BlockingIOError:
            with self._lock:
                self._write()
            return
        if not data:
            raise EOFError
        self._ws.receive_data(data)
        self._handle_events()

    def _handle_events(self) -> None:
        for event in self._ws.events():
            frame = self._whole(event)
            if frame is not None:
                self._received(frame)
                continue
            match event:
                case Ping():
                    with self._lock:
                        self._backlog += self._ws.send(event.response())
                        self._write()
                case CloseConnection():
                    if self._closed is None:
                        with self._lock:
                            self._backlog += self._ws.send(event.response())
                            self._write()
                    raise EOFError
                case _:
                    pass

    def _whole(self, event: Any) -> bytes | str | None:
        """The whole WebSocket message, when its last part has come."""
        if not isinstance(event, (BytesMessage, TextMessage)):
            return None
        part = event.data if isinstance(event.data, str) else bytes(event.data)
        self._partial_size += len(part)
        if self._partial_size > self.limits.max_frame:
            raise ProtocolViolationError(f"a frame is over the limit of {self.limits.max_frame} bytes")
        self._partial.append(part)
        if not event.message_finished:
            return None
        parts, self._partial, self._partial_size = self._partial, [], 0
        return parts[0] if len(parts) == 1 else type(part)().join(parts)

    def _received(self, frame: bytes | str) -> None:
        with self._lock:
            text = isinstance(frame, str)
            if text is not self._text:
                # What is queued was made for the kind of frame that came before.
                self._drain()
                self._text = text
            events = self._session.receive(frame)
        for event in events:
            match event:
                case RequestReceived():
                    self._asked(event)
                case NotificationReceived():
                    if event.method == "cancel":
                        with contextlib.suppress(InvalidPayloadError):
                            self._on_cancel(event.params.decode(Cancel).id)
                case Outcome():
                    waiting = self._waiting.get(event.id)
                    if waiting is not None:
                        waiting.put(event)

    def _asked(self, request: RequestReceived) -> None:
        if request.method == "ping":
            busy = self.busy
            activation = None if busy is None else busy.activation
            busy_ms = 0 if busy is None else int((time.monotonic() - busy.since) * 1000)
            with self._lock:
                self._session.respond(request.id, {"busy": activation, "busy_ms": busy_ms})
                self._write()
        elif request.method in ("load", "activate"):
            self._enqueue(request)
        elif request.method == "stop":
            self._stop(request)
        else:
            self._refuse(request, Code.METHOD_NOT_FOUND, f"no method {request.method!r}")

    def _stop(self, request: RequestReceived) -> None:
        if self.stopping:
            self._refuse(request, Code.INVALID_REQUEST, "a stop is under way")
            return
        try:
            grace = request.params.decode(Stop).grace_ms
        except InvalidPayloadError as e:
            self._refuse(request, Code.INVALID_PARAMS, str(e))
            return
        self.stopping = True
        self._grace_end = time.monotonic() + grace / 1000
        self._enqueue(request)

    def _enqueue(self, request: RequestReceived) -> None:
        self.unanswered.add(request.id)
        self.jobs.put(Job(request, time.monotonic()))

    def _refuse(self, request: RequestReceived, code: Code, message: str) -> None:
        with self._lock:
            self._session.fail(request.id, code, message)
            self._write()

    def violated(self, error: Exception) -> None:
        """Ends the link because of what the supervisor said, and the process with it. Any thread may call it."""
        reason = str(error)[:100]
        print(f"reflow agent: the supervisor broke the protocol: {reason}", file=sys.stderr, flush=True)
        with self._lock, contextlib.suppress(OSError, ProtocolError):
            self._socket.settimeout(CLOSING_TIMEOUT)
            self._socket.sendall(self._ws.send(CloseConnection(code=CloseCode.VIOLATION, reason=reason)))
        self._ended(AgentExit.VIOLATION)

    def _ended(self, code: AgentExit) -> None:
        if self._closed is not None:
            self._closed.put(None)
        else:
            # The script may be busy for ever, and without a link nothing of it can count: no waiting for it.
            self._end(code)


@interruptible
def _wait(queue: SimpleQueue[T]) -> T:
    return queue.get()
