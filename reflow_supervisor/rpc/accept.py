"""Who may open a link, and who may take one up again when its connection was cut.

A sandbox's listener stays open for the life of that sandbox, with a door behind it. Its token opens the door once;
then the session's own secret does, which only the agent was told. Everybody else is turned away: a few at once, so
many a second, each within a bounded time, and without any effect on the link.
"""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Awaitable, Callable

import trio
from reflow.wire.limits import PROTOCOL_VERSION, WireLimits
from reflow.wire.messages import CloseCode, Code, HelloResult, LinkLimits
from reflow.wire.session import ProtocolViolationError, Session
from trio_websocket import ConnectionClosed

from .handshake import LinkRefusedError, Opening, is_same, open_connection
from .link import Link, LinkClosedError

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0
"""Seconds that one connection may take to show its secret and to say hello."""

MAX_HANDSHAKES = 8
"""Connections of one sandbox that may be about it at once. One more, and the oldest has taken too long."""

CONNECTION_RATE = 20.0
"""Connections of one sandbox that are looked at in a second, after a first `CONNECTION_BURST`. So a script that does
nothing but connect costs little, and its own link is back within a second all the same."""
CONNECTION_BURST = 40

SECRET_BYTES = 32

NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
NO_RESOURCES_PAUSE = 0.1
"""Seconds until the next try to accept, when this machine has no room for another connection."""


class LinkHub:
    """Opens links and runs them, each in the nursery that is passed in.

    Args:
        nursery: the links' tasks live here; cancelling it closes them all.
        limits: what is accepted from agents.
        ping_interval: seconds between pings.
        resume_window: seconds that an agent whose connection was cut has to come back; 0: it may not.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        limits: WireLimits | None = None,
        *,
        ping_interval: float | None = 30,
        resume_window: float = 0,
    ) -> None:
        self.nursery = nursery
        self.limits = limits or WireLimits()
        self.ping_interval = ping_interval
        self.resume_window = resume_window

    async def accept(
        self,
        listener: trio.abc.Listener[trio.SocketStream],
        token: str,
        gone: Callable[[], Awaitable[object]] | None = None,
    ) -> Link:
        """Waits for the agent with that token; connections without it are turned away. Bound it in time by a
        cancel scope.

        The listener is in use until somebody closes it, or the hub's nursery is cancelled: the agent may come back.

        Args:
            gone: returns when everybody who could connect is gone.

        Raises:
            OSError, trio.ClosedResourceError: the listener failed before the agent came.
        """
        door = _Door(self, listener, token, gone)
        self.nursery.start_soon(door.run)
        try:
            return await door.first()
        except BaseException:
            door.close()
            raise


class _Door:
    """One sandbox's listener."""

    def __init__(
        self,
        hub: LinkHub,
        listener: trio.abc.Listener[trio.SocketStream],
        token: str,
        gone: Callable[[], Awaitable[object]] | None,
    ) -> None:
        self._hub = hub
        self._listener = listener
        self._secret = token
        """What opens the door now."""
        self._gone = gone
        self._link: Link | None = None
        self._failure: Exception | None = None
        self._opened = trio.Event()
        self._scope = trio.CancelScope()
        self._handshakes: dict[trio.CancelScope, None] = {}
        """Those under way, the oldest first."""

    async def first(self) -> Link:
        """The link, when it has been opened."""
        await self._opened.wait()
        if self._link is None:
            assert self._failure is not None
            raise self._failure
        return self._link

    def close(self) -> None:
        """Nobody wants the link any more."""
        self._scope.cancel()
        if self._link is not None:
            self._link.close()

    async def run(self) -> None:
        """Until the listener is closed. Never raises because of who connects."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._accept_all(nursery)
        except* (OSError, trio.ClosedResourceError, trio.BrokenResourceError) as group:
            self._failure = group.exceptions[0]  # one: the others are dealt with where they come up
        finally:
            self._opened.set()

    async def _accept_all(self, nursery: trio.Nursery) -> None:
        allowance, looked_at = float(CONNECTION_BURST), trio.current_time()
        while True:
            now = trio.current_time()
            allowance = min(CONNECTION_BURST, allowance + (now - looked_at) * CONNECTION_RATE)
            looked_at = now
            if allowance < 1:
                await trio.sleep(1 / CONNECTION_RATE)
                continue
            try:
                stream = await self._listener.accept()
            except OSError as error:
                if error.errno not in NO_RESOURCES:
                    raise
                log.debug("no room for another connection: %s", error)
                await trio.sleep(NO_RESOURCES_PAUSE)
                continue
            allowance -= 1
            if len(self._handshakes) >= MAX_HANDSHAKES:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            nursery.start_soon(self._meet, stream)

    async def _meet(self, stream: trio.SocketStream) -> None:
        scope = trio.CancelScope(deadline=trio.current_time() + HANDSHAKE_TIMEOUT)
        self._handshakes[scope] = None
        is_in = False
        try:
            with scope:
                opening = await open_connection(self._hub.nursery, stream, self._is_right, self._hub.limits)
                await self._let_in(opening)
                is_in = True
        except (LinkRefusedError, ProtocolViolationError, ConnectionClosed, OSError, trio.BrokenResourceError) as e:
            log.debug("a connection was turned away: %s", e)
        finally:
            self._handshakes.pop(scope, None)
            if not is_in:
                await trio.aclose_forcefully(stream)

    def _is_right(self, secret: bytes) -> bool:
        return is_same(secret, self._secret)

    async def _let_in(self, opening: Opening) -> None:
        """What an agent gets that has shown the secret and said hello.

        Raises:
            LinkRefusedError, ProtocolViolationError: nothing.
        """
        hub, link, resume = self._hub, self._link, opening.hello.resume
        if not self._is_right(opening.secret):
            # The token was right when it was shown; meanwhile somebody else came in with it.
            await opening.refuse(Code.NOT_ALLOWED, "this token has been used", CloseCode.REPLACED)
            raise LinkRefusedError("a token that has been used")
        if link is None and resume is None:
            self._secret = secrets.token_urlsafe(SECRET_BYTES)
            self._open(opening)
            return
        if link is not None and resume is not None:
            try:
                link.resume(opening.ws, opening.on_frame, resume.received, lambda n: opening.answer(self._welcome(n)))
            except LinkClosedError:
                pass
            except ProtocolViolationError as e:
                await opening.refuse(Code.INVALID_PARAMS, str(e), CloseCode.VIOLATION)
                raise
            else:
                link.speak(text=opening.text)
                opening.accepted(hub.limits)
                return
        await opening.refuse(Code.SESSION_OVER, "there is no such session, or no longer", CloseCode.REPLACED)
        raise LinkRefusedError("no session to resume")

    def _open(self, opening: Opening) -> None:
        hub = self._hub
        self._link = link = Link(
            opening.ws,
            Session(hub.limits),
            opening.hello,
            opening.on_frame,
            greeting=opening.answer(self._welcome(None)),
            ping_interval=hub.ping_interval,
            resume_window=hub.resume_window,
            gone=self._gone,
        )
        link.speak(text=opening.text)
        opening.accepted(hub.limits)
        hub.nursery.start_soon(link.run)
        self._opened.set()

    def _welcome(self, received: int | None) -> HelloResult:
        """Args:
        received: how many frames have come; None for a new session.
        """
        limits = self._hub.limits
        return HelloResult(
            protocol=PROTOCOL_VERSION,
            session=self._secret,
            limits=LinkLimits(
                max_frame=limits.max_frame,
                max_message=limits.max_message,
                max_depth=limits.max_depth,
                max_batch=limits.max_batch,
            ),
            resume_window_ms=round(self._hub.resume_window * 1000),
            resumed=received is not None,
            received=received or 0,
        )
