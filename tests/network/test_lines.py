"""Bytes into lines and lines into messages: JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import values

from reflow_supervisor.network.lines import BadLineError, CsvReader, JsonReader, Line, LineSplitter, Reader, TextReader


def split(blocks: list[bytes], longest: int = 100) -> list[Line]:
    splitter = LineSplitter(longest)
    found = [line for block in blocks for line in splitter.feed(block)]
    return [*found, *splitter.finish()]


def read(reader: Reader, text: bytes) -> list[object]:
    found: list[object] = []
    for line in split([text], 1000):
        message = reader.read(line)
        if message is not None:
            found.append(values.to_plain(*values.decode(message)))
    reader.finish()
    return found


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_lines_do_not_depend_on_how_the_bytes_came(data: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(ends)]
    assert split(pieces, 50) == split([data], 50)


def test_a_line_that_is_too_long_is_skipped_and_counted() -> None:
    assert split([b"abc\n", b"x" * 60, b"x" * 60, b"\ndef\r\n", b"g"]) == [
        Line(1, b"abc"),
        Line(2, None),
        Line(3, b"def"),
        Line(4, b"g"),
    ]


def test_json_lines() -> None:
    assert read(JsonReader(), b'1\n\n{"a": [null]}\r\n"\xc3\xa4"') == [1, {"a": [None]}, "ä"]
    (nan,) = read(JsonReader(), b"NaN\n")
    assert str(nan) == "nan"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nope", "not a JSON value"),
        (b"[1", "not a JSON value"),
        (b'"\xff"', "not a JSON value"),
        (b"[" * 5000, "not a JSON value"),
        (b"1" * 30, "not a JSON value"),
        (None, "longer than 16777216 bytes"),
    ],
)
def test_what_is_no_json(line: bytes | None, why: str) -> None:
    with pytest.raises(BadLineError, match=why) as error:
        JsonReader().read(Line(7, line))
    assert error.value.number == 7


def test_text_lines() -> None:
    assert read(TextReader(), b"a\n\n  b\n") == ["a", "", "  b"]
    with pytest.raises(BadLineError, match=r"not UTF-8: .* at byte 2"):
        TextReader().read(Line(1, b"a\xff"))


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=5))
def test_csv_is_read_as_python_writes_it(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b"), *rows])
    assert read(CsvReader(), text.getvalue().encode()) == [{"a": a, "b": b} for a, b in rows]


def test_csv_numbers_and_other_delimiters() -> None:
    text = b"when;n;x;name\n2012-01-01;7;-1.5e3;nan\n2012-01-02;;007;12345678901234567890\n"
    assert read(CsvReader(";", numbers=True), text) == [
        {"when": "2012-01-01", "n": 7, "x": -1500.0, "name": "nan"},
        {"when": "2012-01-02", "n": None, "x": 7, "name": "12345678901234567890"},
    ]


@pytest.mark.parametrize(
    ("text", "number", "why"),
    [
        (b"a,b\n1\n", 2, "1 fields, and there are 2 columns"),
        (b"a,a\n", 1, "the column 'a' is there twice"),
        (b'a\n"x" y\n', 2, "not a CSV record"),
        (b'a\n1\n"x\ny\n', 3, "a quoted field that does not end"),
    ],
)
def test_what_is_no_csv(text: bytes, number: int, why: str) -> None:
    with pytest.raises(BadLineError, match=why) as error:
        read(CsvReader(), text)
    assert error.value.number == number


def test_a_quote_that_never_ends_is_bounded() -> None:
    reader = CsvReader(longest=100)
    for line in (Line(1, b"a"), Line(2, b'"' + b"x" * 99)):
        assert reader.read(line) is None
    with pytest.raises(BadLineError, match="longer than 100 bytes") as error:
        reader.read(Line(3, b"x"))
    assert error.value.number == 2


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 100])
def test_a_mark_of_byte_order_at_the_beginning_is_no_part_of_the_first_value(cut: int) -> None:
    data = b"\xef\xbb\xbfa,b\n1,\xef\xbb\xbfx\n"
    splitter = LineSplitter()
    lines = [*splitter.feed(data[:cut]), *splitter.feed(data[cut:]), *splitter.finish()]
    assert [line.data for line in lines] == [b"a,b", b"1,\xef\xbb\xbfx"]
