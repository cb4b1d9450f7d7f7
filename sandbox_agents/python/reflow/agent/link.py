"""The agent's end of the link: a session over one WebSocket after another, with its reading on a thread of its own.

The reading thread answers pings and reads cancels while the script is busy; all else it hands to the main thread as
jobs. Writing is done by the main thread when nothing else waits for it (so that a round trip takes one change of
threads less), else by the reading thread a moment later, when more may be ready for the same frame.

Where a connection is cut, that thread comes back with another, for as long as the supervisor takes it, while the script
goes on: what it says is kept, and it is held up only where that becomes too much.

It decides when to write, when to connect, and how the agent ends when the link does. What requests mean is the
runner's.
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
from wsproto.utilities import ProtocolError

from ..wire.limits import WireLimits
from ..wire.messages import AgentExit, Cancel, CloseCode, Code, HelloResult, Stop
from ..wire.replay import ACK_DELAY
from ..wire.session import (
    FrameGapError,
    InvalidPayloadError,
    NotificationReceived,
    Outcome,
    ProtocolViolationError,
    RequestReceived,
    RpcError,
    Session,
)
from .connection import Connection, CutError, LinkLostError, Stage
from .interrupt import SIGNAL, interruptible

__all__ = ["Busy", "Job", "Link", "LinkLostError", "RequestFailedError"]

T = TypeVar("T")

FLUSH_COUNT: Final = 256
"""Notifications that wait for the other thread to write them, at most."""

WRITE_AHEAD: Final = 256 * 1024
"""Bytes that are handed to a connection which has not taken those before."""

OPENING_TIMEOUT: Final = 30.0
REOPENING_TIMEOUT: Final = 5.0
CLOSING_TIMEOUT: Final = 1.0
MAX_POLL_MS: Final = 60_000

RETRY: Final = (0.01, 1.0)
"""Seconds between two attempts to come back: the first time, and at most."""


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


def retry_delay(attempt: int, jitter: float) -> float:
    """Seconds to wait before the attempt that follows so many. It doubles; `jitter`, of 0 to 1, takes up to a half off,
    so that those who were cut together do not come together."""
    first, longest = RETRY
    return min(first * 2 ** min(attempt, 16), longest) * (1 - jitter / 2)


def _jitter() -> float:
    # Not random.random: to import that takes longer than anything else here.
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Link:
    """
    Args:
        path: the Unix socket.
        token: what the supervisor gave this sandbox to show.
        on_cancel: called on the reading thread with the id of a request that is no longer wanted.
        end: ends the process at once when the link is over, whatever the script does.
        jitter: draws from 0 to 1.
    """

    def __init__(
        self,
        path: str,
        token: str,
        on_cancel: Callable[[int | str], None],
        end: Callable[[int], object] = os._exit,
        jitter: Callable[[], float] = _jitter,
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
        self._secret = token
        """What opens the next connection."""
        self._agent = ""
        self._on_cancel = on_cancel
        self._end = end
        self._jitter = jitter
        self._session = Session()
        self._connection: Connection | None = None
        self._window = 0.0
        """Seconds after a cut in which the supervisor takes this agent up again."""
        self._cut_at = 0.0
        self._attempts = 0
        self._try_at = 0.0
        """When the next attempt is made, or the present one has taken too long. Of meaning while the link is cut."""
        self._cut_by: Exception = CutError()
        self._acknowledge_at: float | None = None
        self._lock = threading.Lock()
        """Guards session and connection: both threads write."""
        self._outgoing: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        """What the main thread says, until somebody with the lock gives it to the session: appending needs none."""
        self._waiting: dict[int | str, SimpleQueue[Outcome]] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_sent = False
        self._poll = select.poll()
        self._held_up: SimpleQueue[None] | None = None
        self._closed: SimpleQueue[None] | None = None

    @property
    def limits(self) -> WireLimits:
        return self._session.limits

    @property
    def _has_to_be_told(self) -> bool:
        """Whether the main thread waits for room, or for the end."""
        return self._held_up is not None or self._closed is not None

    @property
    def _is_up(self) -> bool:
        connection = self._connection
        return connection is not None and connection.stage is Stage.OPEN

    # -- opening (main thread, before the reading thread) --------------------------------------------------------

    def open(self, agent: str) -> HelloResult:
        """Connects, upgrades to a WebSocket, and says hello.

        Raises:
            LinkLostError: any of it failed.
        """
        self._agent = agent
        try:
            connection = self._connect(None)
            until = time.monotonic() + OPENING_TIMEOUT
            while not self._is_up:
                self._poll.register(connection, select.POLLIN | (select.POLLOUT if connection.backlog else 0))
                if not self._poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    raise CutError(f"no answer within {OPENING_TIMEOUT:g} s")
                self._readable(connection)
        except CutError as e:
            raise LinkLostError(f"the link could not be opened: {e}", AgentExit.LINK_LOST) from None
        except ProtocolViolationError as e:
            raise LinkLostError(f"the supervisor broke the protocol: {e}", AgentExit.VIOLATION) from None
        assert connection.welcome is not None
        return connection.welcome

    def _connect(self, received: int | None) -> Connection:
        connection = Connection(self._path, self._secret, self.limits, self._agent, received)
        connection.write()
        with self._lock:
            self._connection = connection
        return connection

    def _opened(self, connection: Connection) -> None:
        """The supervisor has answered hello."""
        welcome = connection.welcome
        assert welcome is not None
        if welcome.resumed:
            self._session.resume(welcome.received)
        self._session.limits = connection.limits
        self._secret = welcome.session
        self._window = welcome.resume_window_ms / 1000

    # -- writing ------------------------------------------------------------------------------------------------

    def respond(self, id_: int | str, result: Any) -> None:
        """Queues the answer to a request. It leaves with `flush` or `flush_soon`."""
        self.unanswered.discard(id_)
        self._outgoing.append((self._session.respond, (id_, result)))

    def fail(self, id_: int | str, code: Code, message: str, data: Any = None) -> None:
        self.unanswered.discard(id_)
        self._outgoing.append((self._session.fail, (id_, code, message, data)))

    def notify(self, method: str, params: Any) -> None:
        """Queues a notification, to leave soon. Holds the script up while the supervisor does not read, or the link is
        cut, and as much waits as the session keeps."""
        self._outgoing.append((self._session.notify, (method, params)))
        if len(self._outgoing) < FLUSH_COUNT and self._session.has_room:
            self.flush_soon()
        else:
            self.flush_all()

    def flush_all(self) -> None:
        """Writes what is queued, and while that is more than the supervisor reads, holds the script up."""
        room = None
        with self._lock:
            self._write_or_wake()
            self._session.pack()  # what the socket does not take yet counts too
            if not self._session.has_room:
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
        """Says goodbye after everything queued, and waits a moment for the answer; where the link is cut, until it is
        up again or over."""
        closed = self._closed = SimpleQueue()
        with self._lock:
            self._write_or_wake()
        while True:
            try:
                closed.get(timeout=CLOSING_TIMEOUT)
                return
            except Empty:
                if self._is_up:
                    return

    def _wake(self) -> None:
        # One byte until it is read: a batch of answers costs one system call, not one each. Two at once do no harm.
        if not self._wake_sent:
            self._wake_sent = True
            self._wake_write.send(b"\0")

    def _drain(self) -> None:
        outgoing = self._outgoing
        while outgoing:
            say, arguments = outgoing.popleft()
            say(*arguments)

    def _write(self) -> None:
        """Writes as much as the socket takes without blocking. What is left is in the connection's backlog, and the
        reading thread waits to write it. Where the link is cut, what is said is kept."""
        self._drain()
        session, connection = self._session, self._connection
        if connection is None or not connection.takes_frames:
            session.pack()
        else:
            while True:
                while len(connection.backlog) < WRITE_AHEAD and (frame := session.data_to_send()) is not None:
                    connection.send(frame)
                if self._closed is not None and not session.queued and not session.has_unsent:
                    connection.say_goodbye(CloseCode.DONE)
                connection.write()
                if connection.backlog or not session.has_unsent:
                    break
        if self._held_up is not None and session.has_room:
            self._held_up.put(None)
            self._held_up = None

    def _write_or_wake(self) -> None:
        """The main thread's `_write`: what the socket does not take now is left to the reading thread."""
        self._write()
        if self._connection is not None and self._connection.backlog:
            self._wake()

    # -- reading (its own thread) --------------------------------------------------------------------------------

    def start(self) -> None:
        """From here on the link is read on a thread of its own."""
        self._wake_read.setblocking(False)
        # daemon: it must not keep the process alive, which ends by `end` or when the main thread does.
        threading.Thread(target=self._run, name="link", daemon=True).start()

    def _run(self) -> None:
        # The timer's signal is for the main thread, where it has to interrupt what blocks there.
        signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
        try:
            self._poll.register(self._wake_read, select.POLLIN)
            while True:
                try:
                    self._turn()
                except CutError as e:
                    self._cut(e)
        except (LinkLostError, OSError):
            self._ended(AgentExit.LINK_LOST)
        except ProtocolViolationError as e:
            self.violated(e)

    def _turn(self) -> None:
        """Waits for the next thing that happens, and deals with it.

        Raises:
            CutError, LinkLostError: the connection, or the link, is gone.
            ProtocolViolationError: the supervisor broke the protocol.
        """
        time_left = self._time_left()  # which may write
        connection = self._connection
        if connection is not None:
            self._poll.register(connection, select.POLLIN | (select.POLLOUT if connection.backlog else 0))
        for fd, _ in self._poll.poll(time_left):
            if fd == self._wake_read.fileno():
                self._woken()
            elif connection is not None:
                self._readable(connection)
        if not self._is_up:
            self._come_back()

    def _time_left(self) -> float | None:
        """Milliseconds until something is due, after it was done where it was; None where nothing is due."""
        now = time.monotonic()
        if self._grace_end is not None and self._grace_end <= now:
            self._grace_end = None
            # All of them: which one runs may change meanwhile, and those that wait are skipped in any case.
            for id_ in tuple(self.unanswered):
                self._on_cancel(id_)
        if self._acknowledge_at is not None and self._acknowledge_at <= now:
            self._acknowledge_at = None
            with self._lock:
                self._session.acknowledge()
                self._write()
        due = [at for at in (self._grace_end, self._acknowledge_at) if at is not None]
        if not self._is_up:
            due += [self._try_at, self._cut_at + self._window]
        if not due:
            return None
        return min(max(0, math.ceil((min(due) - now) * 1000)), MAX_POLL_MS)

    def _cut(self, error: CutError) -> None:
        """The connection is gone.

        Raises:
            LinkLostError: the supervisor takes nobody up again.
        """
        now, connection = time.monotonic(), self._connection
        if connection is not None:
            self._poll.unregister(connection)
            with self._lock:
                self._connection = None
                connection.close()
        if connection is not None and connection.stage is Stage.OPEN:
            self._cut_at, self._attempts, self._cut_by = now, 0, error
        self._try_at = now + retry_delay(self._attempts, self._jitter())
        self._attempts += 1
        self._give_up_in_time(now)

    def _give_up_in_time(self, now: float) -> None:
        if now >= self._cut_at + self._window:
            raise LinkLostError(f"the link is lost: {self._cut_by}", AgentExit.LINK_LOST)

    def _come_back(self) -> None:
        """Makes the next attempt when it is time for it.

        Raises:
            CutError: it failed.
            LinkLostError: it was the last.
        """
        now = time.monotonic()
        self._give_up_in_time(now)
        if now < self._try_at:
            return
        if self._connection is not None:
            raise CutError("the supervisor does not answer")
        self._try_at = now + REOPENING_TIMEOUT
        connection = self._connect(self._session.received)
        self._poll.register(connection, select.POLLIN)

    def _woken(self) -> None:
        self._wake_read.recv(16)
        # Before the queue is looked at: what is put there afterwards wakes again.
        self._wake_sent = False
        with self._lock:
            self._write()

    def _readable(self, connection: Connection) -> None:
        """There is something to read, or room to write."""
        session = self._session
        with self._lock:
            was_open = connection.stage is Stage.OPEN
            frames = connection.receive()
            if connection.stage is Stage.OPEN and not was_open:
                self._opened(connection)
        for frame in frames:
            self._received(frame)
        # An acknowledgement may have made room for what the main thread waits with.
        has_to_write = session.has_unsent or session.acknowledgement_is_due or self._held_up is not None
        if connection.backlog or has_to_write or self._has_to_be_told:
            with self._lock:
                if connection.takes_frames:
                    self._write()
                else:
                    connection.write()
        if self._acknowledge_at is None and session.owes_acknowledgement:
            self._acknowledge_at = time.monotonic() + ACK_DELAY
        if connection.failure is not None:
            raise connection.failure

    def _received(self, frame: bytes | str) -> None:
        with self._lock:
            if isinstance(frame, str) is not self._session.text:
                # What is queued was made for the kind of frame that came before.
                self._drain()
                self._session.pack()
            try:
                events = self._session.receive(frame)
            except FrameGapError as e:
                if self._connection is not None:
                    self._connection.say_goodbye(CloseCode.CUT)
                    self._connection.write()
                raise CutError(str(e)) from None
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
            if self._connection is not None:
                self._connection.say_goodbye(CloseCode.VIOLATION, reason)
                self._connection.write_last(CLOSING_TIMEOUT)
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
