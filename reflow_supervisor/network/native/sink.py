"""Messages on their way out of a network, as lines of JSON, CSV or text."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec
import trio
from reflow.wire import values

from reflow_supervisor.network.inbox import Activation
from reflow_supervisor.network.lines import Format

from .body import Native


class RefusedInputError(ValueError):
    """A message has no line in this format."""


class LineWriter:
    """Turns messages into lines. In CSV the first object's keys name the columns."""

    def __init__(self, form: Format, delimiter: str = ",", columns: Sequence[str] | None = None) -> None:
        self._form: Format = form
        self._delimiter = delimiter
        self._columns = columns

    def write(self, message: msgspec.Raw) -> str:
        """
        Raises:
            RefusedInputError: it cannot be written so.
        """
        plain = values.to_plain(*values.decode(message))
        match self._form:
            case "jsonl":
                return values.json_text(plain) + "\n"
            case "text":
                return (plain if isinstance(plain, str) else values.json_text(plain)) + "\n"
            case "csv":
                return self._csv(plain)

    def _csv(self, plain: Any) -> str:
        if not isinstance(plain, dict):
            raise RefusedInputError("a row of a CSV file is an object, and this is none")
        row = cast("dict[str, Any]", plain)
        text = io.StringIO()
        lines = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        if self._columns is None:
            self._columns = list(row)
            lines.writerow(self._columns)
        if unknown := [key for key in row if key not in self._columns]:
            raise RefusedInputError(f"the CSV file has no column {unknown[0]!r} (it has: {', '.join(self._columns)})")
        lines.writerow([_field(row.get(name)) for name in self._columns])
        return text.getvalue()


def _field(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, str) else values.json_text(value)


async def write_batch(native: Native, writer: LineWriter, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Waits for input and writes all that there is. What cannot be a line becomes a dead letter.

    Raises:
        OSError: it cannot be written. What it was stays in flight, for the next incarnation.
    """
    taken, since = await native.take(), trio.current_time()
    lines: list[str] = []
    written: list[Activation] = []
    for activation in taken:
        try:
            lines += [writer.write(message) for message in activation.inputs.values()]
        except RefusedInputError as e:
            await native.refuse(activation, str(e))
        else:
            written.append(activation)
    if lines:
        await write("".join(lines).encode("utf-8", "backslashreplace"))
    await native.done(written, since)
