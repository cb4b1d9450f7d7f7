"""A byte stream that tells when it ends and bounds what comes in unasked.

trio-websocket leaves two things open that an endpoint for strangers needs: whoever waits for the opening
handshake is not told that the peer has gone, and fragments of no length, pings and the like cost memory or
time without end although no message ever becomes too big.
"""

from __future__ import annotations

import trio


class WatchedStream(trio.abc.Stream):
    """Args:
    allowance: bytes that may come in until `renew` is called again; None: any number.
    """

    def __init__(self, stream: trio.SocketStream, allowance: int | None = None) -> None:
        self._stream = stream
        self._allowance = allowance
        self._left = allowance
        self.ended = trio.Event()
        """Set when the peer is known to be gone."""

    def allow(self, allowance: int) -> None:
        """From now on it is this."""
        self._allowance = self._left = allowance

    def renew(self) -> None:
        """The peer has sent something worth having: the allowance begins anew."""
        self._left = self._allowance

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.ended.set()
                raise trio.BrokenResourceError("the peer sent too much that is no message")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.ended.set()
        await self._stream.aclose()
