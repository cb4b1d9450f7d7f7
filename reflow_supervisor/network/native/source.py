"""Lines on their way into a network: what has been read and not yet been sent, over a source's incarnations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import trio

from reflow_supervisor.documents import KeyPath
from reflow_supervisor.errors import Location, Problem
from reflow_supervisor.network.lines import LONGEST, BadLineError, Line, LineSplitter, reader_for

from .body import Native

FORMAT: Mapping[str, Any] = {
    "format": {"enum": ["jsonl", "csv", "text"], "default": "jsonl"},
    "numbers": {"type": "boolean", "default": False, "description": "of CSV: what reads as a number becomes one"},
    "delimiter": {"type": "string", "default": ",", "description": "of CSV: one character"},
    "longest_line": {"type": "integer", "minimum": 1, "maximum": 2**30, "default": LONGEST, "description": "bytes"},
    "on_bad_line": {
        "enum": ["stop", "skip"],
        "default": "stop",
        "description": "stop: no more input; what came before is finished, and the run fails",
    },
}
"""How lines are read, by whoever reads them."""


def check_delimiter(config: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if len(config.get("delimiter", ",")) != 1:
        yield ("delimiter",), "a delimiter is one character"


class LineSource:
    """Takes bytes, gives messages. Used by one incarnation at a time, and kept for the next one.

    Args:
        config: format, numbers, delimiter, longest_line and on_bad_line of the component.
        name: the file, as it is spoken of.
    """

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        longest: int = config["longest_line"]
        self._name = name
        self._skip = config["on_bad_line"] == "skip"
        self._splitter = LineSplitter(longest)
        self._reader = reader_for(
            config["format"], longest=longest, numbers=config["numbers"], delimiter=config["delimiter"]
        )
        self._lines: deque[Line] = deque()
        self._ended = False

    def feed(self, block: bytes) -> None:
        self._lines.extend(self._splitter.feed(block))

    def finish(self) -> None:
        """There is no more: the last line may have no end."""
        self._lines.extend(self._splitter.finish())
        self._ended = True

    async def drain(self, native: Native) -> None:
        """Sends what is complete, in order, as there is room.

        A bad line ends the run, where none may be: nothing behind it is sent.

        Raises:
            NativeError: a connection refuses a message.
        """
        while self._lines:
            line = self._lines[0]
            try:
                message = self._reader.read(line)
            except BadLineError as e:
                self._lines.popleft()
                await self._bad(native, e)
                continue
            if message is not None:
                await native.emit("out", message)
            self._lines.popleft()
        native.router.bump()
        if self._ended:
            self._ended = False
            try:
                self._reader.finish()
            except BadLineError as e:
                await self._bad(native, e)

    async def _bad(self, native: Native, error: BadLineError) -> None:
        where = Location(self._name, error.number)
        if not self._skip:
            hint = "on_bad_line: skip goes on without it"
            native.router.refuse(Problem("bad-input", str(error), where, path=native.id, hint=hint))
            await trio.sleep_forever()  # draining ends sources
        native.meter.failure("BadLine", f"{where}: {error}", "", native.wall_clock())
        native.report("error", native.id, f"{where}: {error}")
