"""Bytes into lines, and lines into messages: JSON, CSV and plain text, a piece at a time, with line numbers.

Pure. It decides where a line ends, which one is too long, and what is wrong with one that is no value. Where bytes
come from, and whether a bad line ends anything, is decided elsewhere.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import attrs
import msgspec
from reflow.wire import values

LONGEST = 16 * 1024 * 1024
"""Bytes of a line, where nothing else is said."""

_BOM = b"\xef\xbb\xbf"

Format = Literal["jsonl", "csv", "text"]


@attrs.frozen
class Line:
    """A line without its end, counted from 1. `data` is None where it is too long."""

    number: int
    data: bytes | None


class LineSplitter:
    """Cuts blocks of bytes into lines. What is too long is skipped without being kept."""

    def __init__(self, longest: int = LONGEST, *, first: int = 1) -> None:
        self._longest = longest
        self._next = first
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes of the line that has not ended."""
        return self._size

    def feed(self, block: bytes) -> Iterator[Line]:
        *ended, rest = block.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield self._end()
        self._add(rest)

    def finish(self) -> Iterator[Line]:
        """The last line, where it has no end."""
        if self._size:
            yield self._end()

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._longest:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def _end(self) -> Line:
        data = b"".join(self._parts) if self._size <= self._longest else None
        if data is not None and self._next == 1:
            data = data.removeprefix(_BOM)  # some programs begin a file of UTF-8 with it; it is no part of a value
        line = Line(self._next, data.removesuffix(b"\r") if data is not None else None)
        self._parts.clear()
        self._size = 0
        self._next += 1
        return line


class BadLineError(ValueError):
    """A line is no value; the text says why, and `number` which line."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number


class Reader(Protocol):
    """Turns lines into messages."""

    def read(self, line: Line) -> msgspec.Raw | None:
        """The message that ends with this line, if one does.

        Raises:
            BadLineError: it is none. The next line begins anew.
        """
        ...

    def finish(self) -> None:
        """
        Raises:
            BadLineError: the last message is not complete.
        """
        ...


def _bytes(line: Line, longest: int) -> bytes:
    if line.data is None:
        raise BadLineError(line.number, f"the line is longer than {longest} bytes")
    return line.data


def _text(line: Line, longest: int) -> str:
    try:
        return _bytes(line, longest).decode()
    except UnicodeDecodeError as e:
        raise BadLineError(line.number, f"not UTF-8: {e.reason} at byte {e.start + 1}") from None


@attrs.define
class JsonReader:
    """One JSON value a line; empty lines are passed over. NaN and infinities are read, as Python writes them."""

    longest: int = LONGEST

    def read(self, line: Line) -> msgspec.Raw | None:
        data = _bytes(line, self.longest)
        if not data.strip():
            return None
        try:
            return values.from_plain(_json(data))
        except (ValueError, RecursionError, values.NotAMessageError) as e:
            why = str(e).removesuffix("; use .encode(…)")  # which is for scripts
            raise BadLineError(line.number, f"not a JSON value: {why}") from None

    def finish(self) -> None:
        pass


def _json(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(data)  # takes NaN and infinities, and says where else it fails


@attrs.define
class TextReader:
    """One string a line, empty ones too."""

    longest: int = LONGEST

    def read(self, line: Line) -> msgspec.Raw:
        return values.from_plain(_text(line, self.longest))

    def finish(self) -> None:
        pass


@attrs.define
class CsvReader:
    """RFC 4180: the first record names the columns, each further one is an object.

    Args:
        numbers: what reads as an integer or a decimal number becomes one, and an empty field null.
        columns: the names, for a file without a first record.
    """

    delimiter: str = ","
    numbers: bool = False
    columns: Sequence[str] | None = None
    longest: int = LONGEST
    _open: list[str] = attrs.field(factory=list[str], init=False)
    _size: int = attrs.field(default=0, init=False)
    _since: int = attrs.field(default=0, init=False)

    def read(self, line: Line) -> msgspec.Raw | None:
        text = _text(line, self.longest)
        if not self._open:
            if not text:
                return None
            self._since = line.number
        self._open.append(text)
        self._size += len(text)
        if self._size > self.longest:
            self._open, self._size = [], 0
            raise BadLineError(self._since, f"the record is longer than {self.longest} bytes")
        # A quote in a quoted field is written twice, so a record is complete when their number is even.
        if sum(part.count('"') for part in self._open) % 2:
            return None
        record, self._open, self._size = "\n".join(self._open), [], 0
        return self._message(record)

    def finish(self) -> None:
        if self._open:
            self._open, since = [], self._since
            raise BadLineError(since, "the record has a quoted field that does not end")

    def _message(self, record: str) -> msgspec.Raw | None:
        try:
            (fields,) = csv.reader([record], delimiter=self.delimiter, strict=True)
        except (csv.Error, ValueError) as e:
            raise BadLineError(self._since, f"not a CSV record: {e}") from None
        if self.columns is None:
            repeated = {name for name in fields if fields.count(name) > 1}
            if repeated:
                raise BadLineError(self._since, f"the column {min(repeated)!r} is there twice")
            self.columns = fields
            return None
        if len(fields) != len(self.columns):
            raise BadLineError(self._since, f"{len(fields)} fields, and there are {len(self.columns)} columns")
        plain = [_number(field) for field in fields] if self.numbers else fields
        return values.from_plain(dict(zip(self.columns, plain, strict=True)))


def _number(field: str) -> int | float | str | None:
    if not field:
        return None
    if field[-1].isdigit() or field[-1] == ".":  # not "nan", not "inf", and no text is tried twice
        for kind in (int, float):
            try:
                number = kind(field)
            except ValueError:
                continue
            # An integer that a message cannot hold stays what it was.
            return number if isinstance(number, float) or -(2**63) <= number < 2**63 else field
    return field


def reader_for(form: Format, *, longest: int = LONGEST, numbers: bool = False, delimiter: str = ",") -> Reader:
    match form:
        case "jsonl":
            return JsonReader(longest)
        case "csv":
            return CsvReader(delimiter, numbers, longest=longest)
        case "text":
            return TextReader(longest)
