"""How a record looks, whoever its text is from."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.telemetry.logs import MAX_FIELDS, MAX_MESSAGE, Logs, neutral
from reflow_supervisor.telemetry.sinks import StreamSink

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def logs(**settings: Any) -> tuple[Logs, io.StringIO]:
    stream = io.StringIO()
    return Logs(StreamSink(stream), clock=lambda: 1_700_000_000.25, **settings), stream


class TestText:
    def test_further_lines_never_begin_where_a_record_does(self) -> None:
        log, stream = logs()
        log.report("error", "a", "one\n12:00:00.000 info    b: two\r\nthree\n")
        first, second, third = stream.getvalue().splitlines()
        assert first.endswith(" error   a: one")
        assert second == " " * 20 + "| 12:00:00.000 info    b: two"
        assert third == " " * 20 + "| three"

    def test_names_make_a_column_of_bounded_width(self) -> None:
        log, stream = logs()
        for name in ("a", "longer", "n" * 60, "b"):
            log.report("info", name, "text")
        found = [line[21:] for line in stream.getvalue().splitlines()]
        assert found == ["a: text", "longer: text", "n" * 60 + ": text", f"{'b:':<24} text"]

    def test_colours_only_where_they_are_wanted(self) -> None:
        log, stream = logs(colour=True)
        log.report("error", "", "text")
        assert "\x1b[31merror  \x1b[0m text\n" in stream.getvalue()

    @given(st.text(max_size=200), st.text(max_size=30))
    def test_no_text_leaves_its_record(self, text: str, node: str) -> None:
        log, stream = logs()
        log.report("info", node.replace("\n", " ").replace("\r", " "), text)
        first, *further = stream.getvalue().removesuffix("\n").split("\n")
        assert first[2] == ":"
        assert all(line.startswith(" " * 20 + "| ") for line in further)
        assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in stream.getvalue())
        assert not set("\r\x1b\x0b\x0c\x85\u2028\u2029\u202e") & set(stream.getvalue())


class TestJson:
    def test_a_record_is_one_object_on_one_line(self) -> None:
        log, stream = logs(form="json", workspace="w")
        log.report("warning", "a", "one\ntwo ü", {"x": [1, None]})
        log.report("info", "", "plain")
        first, second = map(json.loads, stream.getvalue().splitlines())
        assert first == {
            "time": "2023-11-14T22:13:20.250Z",
            "level": "warning",
            "message": "one\ntwo ü",
            "actor": "a",
            "workspace": "w",
            "fields": {"x": [1, None]},
        }
        assert second.keys() == {"time", "level", "message", "workspace"}

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"x": "y" * MAX_FIELDS}, f"the fields have {MAX_FIELDS + 8} bytes; at most {MAX_FIELDS} are logged"),
            ({"x": object()}, "the fields have no JSON form: "),
            ({"x": 1j}, "the fields have no JSON form: "),
        ],
    )
    def test_fields_that_cannot_be_shown_say_why(self, fields: dict[str, Any], why: str) -> None:
        log, stream = logs(form="json")
        log.report("info", "a", "text", fields)
        assert json.loads(stream.getvalue())["fields"]["left_out"].startswith(why)

    def test_fields_of_any_depth(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        log, stream = logs(form="json")
        log.report("info", "a", "text", {"x": deep})
        assert "left_out" in json.loads(stream.getvalue())["fields"]

    def test_numbers_that_json_does_not_have(self) -> None:
        log, stream = logs(form="json")
        log.report("info", "a", "text", {"x": math.nan, "y": -math.inf, "z": 2**100})
        line = json.loads(stream.getvalue(), parse_constant=lambda name: pytest.fail(name))
        assert (line["fields"]["x"], line["fields"]["y"]) == (None, None)

    @given(st.dictionaries(st.text(max_size=5), ANYTHING, max_size=4), st.text())
    def test_whatever_a_script_logs_is_one_line_of_ascii_json(self, fields: dict[str, Any], text: str) -> None:
        log, stream = logs(form="json")
        log.report("info", "a", text, fields)
        assert stream.getvalue().isascii()
        assert stream.getvalue().count("\n") == 1
        assert json.loads(stream.getvalue())["level"] == "info"


class TestRecords:
    def test_the_last_ones_are_kept_numbered_without_gaps(self) -> None:
        log, _ = logs(keep=2, level="info")
        for level, text in (("info", "one"), ("debug", "not logged"), ("error", "two"), ("shout", "three")):
            log.report(level, "a", text)
        assert [(r.seq, r.level, r.message) for r in log.records()] == [(2, "error", "two"), (3, "info", "three")]
        assert [r.seq for r in log.records(after=2)] == [3]
        assert log.records(after=9) == ()

    def test_of_a_long_message_the_middle_is_left_out(self) -> None:
        log, _ = logs()
        log.report("info", "a", "b" + "m" * (2 * MAX_MESSAGE) + "e")
        (record,) = log.records()
        assert record.message[0] + record.message[-1] == "be"
        assert f"… {MAX_MESSAGE + 2} characters left out …" in record.message
        assert len(record.message) < MAX_MESSAGE + 100


def test_what_could_move_a_cursor_is_written_out() -> None:
    assert neutral("a\x1b[2Jb\x07\u202e\U000e0001") == "a\\x1b[2Jb\\x07\\u202e\\U000e0001"
    assert neutral("tab\tand\r\nline\u00a0end") == "tab\tand\nline\u00a0end"
