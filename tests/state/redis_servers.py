"""A real Redis server, and a proxy in front of it that breaks connections."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio

from reflow_supervisor.state.redis_binary import find_server


class RedisProcess:
    """A server that writes every commit to disk before it answers, so that killing it may lose nothing."""

    def __init__(self, directory: Path) -> None:
        self._binary = find_server().path
        self._directory = directory
        self.socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self._directory),
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "always",
        }
        config = "".join(f"{name} {value}\n" for name, value in options.items())
        self._process = subprocess.Popen(
            [self._binary, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(config.encode())
        give_up = time.monotonic() + 20
        while self.command("PING") != b"+PONG\r\n":
            assert time.monotonic() < give_up, "the test's Redis server does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        """Harmless where it never ran."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def command(self, line: str) -> bytes:
        """An inline command as one types it; the answer as Redis sends it, b"" where nobody answers."""
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(5)
            client.connect(os.fspath(self.socket))
            client.sendall(line.encode() + b"\r\n")
            return client.recv(65536)
        return b""


Direction = Literal["to server", "to client"]


class BreakingProxy:
    """Stands before the server.

    `cuts` are carried out one after the other: once the first one's number of bytes has gone its way, the connection
    that carries the next byte is cut. While `hold` is set, what a client sends is delivered only when that event is
    set, even where the client has gone away meanwhile.
    """

    def __init__(self, listener: trio.SocketListener, upstream: Path, path: Path) -> None:
        self._listener = listener
        self._upstream = upstream
        self.url = f"unix://{path}"
        self.cuts: deque[tuple[Direction, int]] = deque()
        self.done = 0
        self.hold: trio.Event | None = None

    async def run(self) -> None:
        await trio.serve_listeners(self._serve, [self._listener])

    async def _serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(os.fspath(self._upstream))
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, "to server", client, server, nursery.cancel_scope)
            nursery.start_soon(self._copy, "to client", server, client, nursery.cancel_scope)

    async def _copy(
        self, way: Direction, source: trio.SocketStream, sink: trio.SocketStream, connection: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                if way == "to server" and self.hold is not None:
                    await self.hold.wait()
                if self.cuts and self.cuts[0][0] == way:
                    left = self.cuts[0][1] - len(data)
                    if left < 0:
                        await sink.send_all(data[:left])
                        self.cuts.popleft()
                        self.done += 1
                        break
                    self.cuts[0] = (way, left)
                await sink.send_all(data)
        connection.cancel()
