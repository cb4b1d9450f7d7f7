"""What a script writes to its standard output and error, and logs: a record a line, so many a second.

It decides how bytes become lines. Lines beyond the limit are counted and spoken of once a second (`telemetry.rate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from reflow_supervisor.telemetry.rate import LineLimiter

from .node import Host, Node

MAX_LINE = 8192
"""Bytes that are kept of a line: its beginning, and of one that never ends its last ones."""


class Output:
    """The output of one sandbox."""

    def __init__(self, host: Host, node: Node) -> None:
        self._report = host.report
        self._node = node.id
        self._limiter = LineLimiter(node.plan.log_rate, trio.current_time())
        self._dropped = trio.Event()

    def line(self, level: str, text: str, fields: Mapping[str, Any] | None = None) -> None:
        """One line, from wherever the script wrote it."""
        if self._limiter.admit(trio.current_time()):
            self._report(level, self._node, text, fields)
        else:
            self._dropped.set()

    async def run(self, stdout: trio.abc.ReceiveStream, stderr: trio.abc.ReceiveStream) -> None:
        """Forwards both until they end."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_what_is_dropped)
                async with trio.open_nursery() as streams:
                    streams.start_soon(self._forward, stdout, "info")
                    streams.start_soon(self._forward, stderr, "warning")
                nursery.cancel_scope.cancel()
        finally:
            self._say()

    async def _forward(self, stream: trio.abc.ReceiveStream, level: str) -> None:
        rest = b""
        try:
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-MAX_LINE:]
                for line in lines:
                    text = line[:MAX_LINE].decode("utf-8", "replace").removesuffix("\r")
                    self.line(level, f"{text}…" if len(line) > MAX_LINE else text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if rest:
            self.line(level, rest.decode("utf-8", "replace"))

    async def _say_what_is_dropped(self) -> None:
        while True:
            await self._dropped.wait()
            await trio.sleep_until(self._limiter.due)
            self._dropped = trio.Event()
            self._say()

    def _say(self) -> None:
        dropped = self._limiter.take_dropped()
        if dropped:
            self._report("warning", self._node, f"{dropped} lines of output dropped", {"dropped": dropped})
