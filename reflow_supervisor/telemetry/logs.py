"""The log of one run: lines for people or JSON objects for machines, and the last records for the control endpoint.

Most of what is logged comes from scripts, so every record is made fit first: cut to a size, with control characters
neutralised, and such that no text can pass for another record. This module decides how a record looks; whether there
may be one (`rate`) and where it goes (`sinks`) is decided elsewhere. Nothing is configured globally: each `Logs` is a
structlog logger of its own.
"""

from __future__ import annotations

import time
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, get_args

import attrs
import msgspec
import structlog

from .sinks import Sink

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)

MAX_MESSAGE = 16 * 1024
"""Characters of one record's message. What is cut is the middle: a traceback's end says what went wrong."""
MAX_FIELDS = 4 * 1024
"""Characters of one record's fields, as JSON."""
KEPT = 500
"""Records for the control endpoint."""

# ASCII only, so that what is written needs no thought about control characters.
_dump = structlog.processors.JSONRenderer(ensure_ascii=True)
_COLOURS: Mapping[str, str] = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"
_WIDEST_NODE = 24


class Report(Protocol):
    """How the rooms log."""

    def __call__(self, level: str, node: str, text: str, fields: Mapping[str, Any] | None = None, /) -> None:
        """
        Args:
            level: one of LEVELS; anything else (scripts name their own) counts as "info".
            node: the actor instance that it is about, "" for the workspace.
            text: what there is to say; may have lines, and may be anybody's.
            fields: further data of JSON's kinds. Only JSON output shows it.
        """
        ...


@attrs.frozen
class Record:
    """A record that was logged: numbered from 1 without gaps, `at` in seconds since the epoch. `message` is fit to be
    shown; it may have lines."""

    seq: int
    at: float
    level: Level
    source: str
    message: str


_Event = MutableMapping[str, Any]


class _Writer:
    """What structlog calls a logger: takes rendered lines, whatever their level."""

    def __init__(self, sink: Sink) -> None:
        self.msg = sink.write


class _Logger(structlog.BoundLoggerBase):
    def emit(self, event: str, **fields: Any) -> None:
        self._proxy_to_logger("msg", event, **fields)


class Logs:
    """
    Args:
        sink: where records go.
        form: "text" for people, or "json": one object a line.
        colour: whether text is coloured; for terminals only.
        workspace: its name, in every JSON record.
        level: the lowest that is logged.
        keep: how many records `records` has.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        form: Literal["text", "json"] = "text",
        colour: bool = False,
        workspace: str = "",
        level: Level = "debug",
        keep: int = KEPT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._least = LEVELS.index(level)
        self._clock = clock
        self._records: deque[Record] = deque(maxlen=keep)
        self._seq = 0
        render = _text_renderer(colour) if form == "text" else _json
        self._logger = _Logger(_Writer(sink), [render], {"workspace": workspace} if workspace else {})

    def report(self, level: str, node: str, text: str, fields: Mapping[str, Any] | None = None, /) -> None:
        """See `Report`."""
        known: Level = level if level in LEVELS else "info"
        if LEVELS.index(known) < self._least:
            return
        self._seq += 1
        record = Record(self._seq, self._clock(), known, neutral(node), neutral(_cut(text)))
        self._records.append(record)
        self._logger.emit(record.message, record=record, fields=fields)

    def records(self, after: int = 0) -> tuple[Record, ...]:
        """The last records, oldest first, without those numbered up to `after`."""
        return tuple(record for record in self._records if record.seq > after)


def neutral(text: str) -> str:
    """The text with everything written out (`\\x1b`, `\\u202e`) that could move a cursor, turn writing around or
    hide. Line feeds and tabs stay; other line ends become line feeds."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or c.isprintable() or unicodedata.category(c) == "Zs" else _written(c) for c in text
    )


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cut(text: str) -> str:
    text = text.rstrip("\n")
    if len(text) <= MAX_MESSAGE:
        return text
    head, tail = MAX_MESSAGE // 4, MAX_MESSAGE - MAX_MESSAGE // 4
    return f"{text[:head]}\n… {len(text) - MAX_MESSAGE} characters left out …\n{text[-tail:]}"


def _text_renderer(colour: bool) -> Callable[[Any, str, _Event], str]:
    width = 0

    def render(_logger: Any, _name: str, event: _Event) -> str:
        nonlocal width
        record: Record = event["record"]
        clock = datetime.fromtimestamp(record.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        source = f"{record.source}:" if record.source else ""
        # A column as wide as the widest name so far: names come once each, then every line is aligned.
        width = max(width, min(len(source), _WIDEST_NODE))
        padded = f"{source:<{width}} " if width else ""
        # A script's further lines never begin where a record does.
        first, *further = record.message.split("\n")
        lines = "".join(f"\n{'':<20}| {line}" for line in further)
        level = f"{record.level:<7}"
        if colour:
            level = f"{_COLOURS[record.level]}{level}{_RESET}"
        return f"{clock} {level} {padded}{first}{lines}\n"

    return render


def _json(_logger: Any, _name: str, event: _Event) -> str:
    record: Record = event["record"]
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.level,
        "message": record.message,
    }
    if record.source:
        line["actor"] = record.source
    if "workspace" in event:
        line["workspace"] = event["workspace"]
    if event["fields"]:
        line["fields"] = _bounded(event["fields"])
    return f"{_dump(None, 'msg', line)}\n"


def _bounded(fields: Mapping[str, Any]) -> Any:
    """Fields that are JSON, and not too much of it: a script's are any plain values."""
    try:
        encoded = msgspec.json.encode(fields)
    except (TypeError, ValueError, RecursionError) as error:
        return {"left_out": f"the fields have no JSON form: {str(error)[:200]}"}
    if len(encoded) > MAX_FIELDS:
        return {"left_out": f"the fields have {len(encoded)} bytes; at most {MAX_FIELDS} are logged"}
    # Through msgspec's own reading of them, so that NaN and bytes come out as JSON has them.
    return msgspec.json.decode(encoded)
