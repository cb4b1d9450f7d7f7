"""One WebSocket connection of the agent's link: from its first byte to its end, without waiting anywhere.

It decides what an opening is (specs/protocol.md §1, §4) and what the end of a connection means. When to open another,
and what is said over it, is `link`'s matter.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import sys
from typing import Any, Final

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
from ..wire.messages import FINAL, AgentExit, CloseCode, Hello, HelloResult, Resume
from ..wire.session import Outcome, ProtocolViolationError, Session

RECEIVE: Final = 256 * 1024


class CutError(Exception):
    """The connection is gone. Another may follow."""


class LinkLostError(Exception):
    """The link is over: no other connection may follow. `exit_code` is the agent's."""

    def __init__(self, message: str, exit_code: AgentExit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Stage(enum.Enum):
    UPGRADING = enum.auto()
    HELLO = enum.auto()
    OPEN = enum.auto()


class Connection:
    """
    Args:
        path: the Unix socket.
        secret: what this agent has to show.
        limits: of what is taken from the supervisor.
        agent: this agent's version.
        received: how many of the supervisor's frames have come over earlier connections; None for the first one.

    Raises:
        CutError: nobody listens there.
    """

    def __init__(self, path: str, secret: str, limits: WireLimits, agent: str, received: int | None) -> None:
        self.stage = Stage.UPGRADING
        self.welcome: HelloResult | None = None
        """What the supervisor answered to hello."""
        self.failure: Exception | None = None
        """Why nothing more will come: one of those that `receive` speaks of."""
        self._limits = limits
        self._agent = agent
        self._received = received
        self._opening = Session(limits, numbered=False)
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._partial: list[Any] = []
        self._partial_size = 0
        self._has_said_goodbye = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError as e:
            self._socket.close()
            raise CutError(str(e)) from None
        headers = [(b"Authorization", b"Bearer " + secret.encode())]
        request = Request(host="supervisor", target=RESOURCE, subprotocols=[SUBPROTOCOL], extra_headers=headers)
        self.backlog = bytearray(self._ws.send(request))
        """What is to be written."""

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def takes_frames(self) -> bool:
        """Whether `send` is in order now."""
        return self.stage is Stage.OPEN and self.failure is None and not self._has_said_goodbye

    # -- writing ------------------------------------------------------------------------------------------------

    def send(self, frame: bytes | str) -> None:
        """Adds a frame to what is to be written."""
        self.backlog += self._ws.send(TextMessage(frame) if isinstance(frame, str) else BytesMessage(frame))

    def say_goodbye(self, code: CloseCode, reason: str = "") -> None:
        """Adds a close to what is to be written, once."""
        if not self._has_said_goodbye:
            self._has_said_goodbye = True
            self.backlog += self._ws.send(CloseConnection(code=code, reason=reason))

    def write(self) -> None:
        """Writes as much as the socket takes."""
        if not self.backlog:
            return
        try:
            sent = self._socket.send(self.backlog, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            # The other end is gone; whoever reads finds that out.
            sent = len(self.backlog)
        del self.backlog[:sent]

    def write_last(self, seconds: float) -> None:
        """Writes all of it, waiting for so long at most, where nobody reads any more."""
        self._socket.settimeout(seconds)
        self._socket.sendall(self.backlog)

    def close(self) -> None:
        # A script may have closed the descriptor.
        with contextlib.suppress(OSError):
            self._socket.close()

    # -- reading ------------------------------------------------------------------------------------------------

    def receive(self) -> list[bytes | str]:
        """The frames that have come. What belongs to the opening is dealt with; the caller writes what is answered.

        Nothing is raised, because what came before counts: `failure` is set to a CutError or a LinkLostError where the
        connection is gone, to a ProtocolViolationError where the supervisor broke the protocol.
        """
        frames: list[bytes | str] = []
        try:
            data = self._socket.recv(RECEIVE)
            if not data:
                raise CutError("the supervisor hung up")
            self._ws.receive_data(data)
            for event in self._ws.events():
                frame = self._whole(event) if isinstance(event, (BytesMessage, TextMessage)) else self._handle(event)
                if frame is not None and self.stage is Stage.OPEN:
                    frames.append(frame)
                elif frame is not None:
                    self._welcomed(frame)
        except BlockingIOError:
            pass
        except OSError as e:
            self.failure = CutError(str(e))
        except ProtocolError as e:
            self.failure = ProtocolViolationError(str(e))
        except (CutError, LinkLostError, ProtocolViolationError) as e:
            self.failure = e
        return frames

    def _handle(self, event: Any) -> None:
        match event:
            case Ping():
                self.backlog += self._ws.send(event.response())
            case CloseConnection():
                if not self._has_said_goodbye:
                    self.backlog += self._ws.send(event.response())
                self._closed(event)
            case AcceptConnection():
                if event.subprotocol != SUBPROTOCOL:
                    raise LinkLostError("the supervisor speaks another subprotocol", AgentExit.REFUSED)
                self.stage = Stage.HELLO
                self._say_hello()
            case RejectConnection():
                raise LinkLostError(f"the supervisor refused: HTTP {event.status_code}", AgentExit.REFUSED)
            case _:
                pass

    def _whole(self, event: Any) -> bytes | str | None:
        """The whole WebSocket message, when its last part has come."""
        part = event.data if isinstance(event.data, str) else bytes(event.data)
        self._partial_size += len(part)
        if self._partial_size > self._limits.max_frame:
            raise ProtocolViolationError(f"a frame is over the limit of {self._limits.max_frame} bytes")
        self._partial.append(part)
        if not event.message_finished:
            return None
        parts, self._partial, self._partial_size = self._partial, [], 0
        return parts[0] if len(parts) == 1 else type(part)().join(parts)

    def _closed(self, event: CloseConnection) -> None:
        if self.stage is not Stage.OPEN and event.code in FINAL:
            raise LinkLostError(f"hello was refused: closed with {event.code}", AgentExit.REFUSED)
        text = event.reason or f"the supervisor closed with {event.code}"
        if event.code in FINAL:
            raise LinkLostError(text, AgentExit.LINK_LOST)
        raise CutError(text)

    # -- the opening --------------------------------------------------------------------------------------------

    def _say_hello(self) -> None:
        hello = Hello(
            protocol=[PROTOCOL_VERSION],
            runtime="python",
            agent=self._agent,
            language=".".join(map(str, sys.version_info[:3])),
            pid=os.getpid(),
            resume=None if self._received is None else Resume(received=self._received),
        )
        self._opening.request("hello", hello)
        frame = self._opening.data_to_send()
        assert frame is not None
        self.send(frame)

    def _welcomed(self, frame: bytes | str) -> None:
        (event,) = self._opening.receive(frame)
        if not isinstance(event, Outcome):
            raise ProtocolViolationError("something came before the answer to hello")
        if event.error is not None:
            raise LinkLostError(f"hello was refused: {event.error.message}", AgentExit.REFUSED)
        assert event.result is not None
        welcome = event.result.decode(HelloResult)
        if welcome.resumed is not (self._received is not None):
            raise ProtocolViolationError("hello: a session was to be resumed, or a new one to be opened")
        limits = welcome.limits
        self._limits = WireLimits(
            max_frame=limits.max_frame,
            max_message=limits.max_message,
            max_depth=limits.max_depth,
            max_batch=limits.max_batch,
        )
        self.welcome = welcome
        self.stage = Stage.OPEN

    @property
    def limits(self) -> WireLimits:
        return self._limits
