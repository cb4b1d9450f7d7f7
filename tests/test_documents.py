import json
import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reflow_supervisor.documents import (
    MAX_DEPTH,
    MAX_SIZE,
    Document,
    format_path,
    parse_json,
    parse_yaml,
    read_document,
)
from reflow_supervisor.errors import Location, Severity, UserError


def yaml_problem(text):
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    return problem


def json_problem(text):
    with pytest.raises(UserError) as caught:
        parse_json(text, "f.json")
    (problem,) = caught.value.problems
    return problem


def place(problem):
    return problem.location.line, problem.location.column


class TestYamlValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("no", "no"),
            ("yes", "yes"),
            ("on", "on"),
            ("Off", "Off"),
            ("y", "y"),
            ("12:30", "12:30"),
            ("190:20:30", "190:20:30"),
            ("2024-01-01", "2024-01-01"),
            ("0b11", "0b11"),
            ("1_000", "1_000"),
            ("=", "="),
            ("true", True),
            ("False", False),
            ("~", None),
            ("", None),
            ("null", None),
            ("12", 12),
            ("-7", -7),
            ("+7", 7),
            ("012", 12),
            ("0o17", 15),
            ("0xfF", 255),
            ("1.5", 1.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e3", 1000.0),
            ("-.inf", -math.inf),
            ("'12'", "12"),
            ('"true"', "true"),
            ("!!str 12", "12"),
            ("-", [None]),
            (".", "."),
            ("1.2.3", "1.2.3"),
            ("+", "+"),
        ],
    )
    def test_scalars_follow_the_core_schema(self, text, value):
        data = parse_yaml(f"{text}\n", "f.yaml").data
        assert data == value
        assert type(data) is type(value)

    def test_nan(self):
        assert math.isnan(parse_yaml(".nan", "f.yaml").data)

    def test_keys_are_text_as_written(self):
        assert parse_yaml("1: a\non: b\nnull: c\n'x y': d\n", "f.yaml").data == {
            "1": "a",
            "on": "b",
            "null": "c",
            "x y": "d",
        }

    def test_an_alias_stands_for_the_value_of_its_anchor(self):
        document = parse_yaml("a: &x {k: [1, 2]}\nb: *x\nc: [*x]\n", "f.yaml")
        assert document.data == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}]}
        assert document.locate(("c", 0, "k", 1)) == Location("f.yaml", 1, 15)

    def test_an_empty_document_is_none(self):
        assert parse_yaml("# nothing\n", "f.yaml").data is None
        assert parse_yaml("", "f.yaml").locate(("a",)) == Location("f.yaml", 1, 1)


class TestYamlRefusals:
    @pytest.mark.parametrize(
        ("text", "code", "at", "path"),
        [
            ("a:\n  b: 1\n  c: 2\n  b: 3\n", "duplicate-key", (4, 3), "a.b"),
            ("a: [{x: 1, x: 2}]", "duplicate-key", (1, 12), "a[0].x"),
            ("1: a\n'1': b", "duplicate-key", (2, 1), "1"),
            ("a: !!python/object/apply:os.system [x]", "tag", (1, 4), "a"),
            ("a: !!int '3'", "tag", (1, 4), "a"),
            ("a: !custom {b: 1}", "tag", (1, 4), "a"),
            ("<<: {a: 1}", "merge-key", (1, 1), ""),
            ("? [a]\n: 1", "invalid-key", (1, 3), ""),
            ("? {a: 1}\n: 1", "invalid-key", (1, 3), ""),
            ("a: &k x\n*k : 1", "invalid-key", (2, 1), ""),
            ("a: 1\n---\nb: 2", "several-documents", (2, 1), ""),
            ("a: &x [1, *x]", "alias", (1, 11), "a[1]"),
            ("a: *x", "alias", (1, 4), "a"),
            ("a: 9223372036854775808", "invalid-value", (1, 4), "a"),
            ("a: -9223372036854775809", "invalid-value", (1, 4), "a"),
            ("a: " + "9" * 5000, "invalid-value", (1, 4), "a"),
            ("a: 0x" + "f" * 5000, "invalid-value", (1, 4), "a"),
            ("a: b: c", "syntax-error", (1, 5), ""),
            ("a: [1, 2\n", "syntax-error", (2, 1), ""),
            ("é: 1\nb: \x01", "syntax-error", (2, 4), ""),
        ],
    )
    def test_says_what_and_where(self, text, code, at, path):
        problem = yaml_problem(text)
        assert (problem.code, place(problem), problem.path) == (code, at, path)
        assert problem.severity is Severity.ERROR

    def test_the_largest_integers_are_read(self):
        text = "[9223372036854775807, -9223372036854775808]"
        assert parse_yaml(text, "f").data == parse_json(text, "f").data == [2**63 - 1, -(2**63)]

    @pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 2\n"])
    def test_a_tab_is_named_as_such(self, text):
        problem = yaml_problem(text)
        assert "a tab" in problem.message
        assert problem.hint == "indent with spaces"

    def test_the_first_of_two_equal_keys_is_named(self):
        assert "first in line 1" in yaml_problem("a: 1\nb: 2\na: 3").message

    def test_an_alias_bomb_is_refused_before_it_expands(self):
        lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
        assert yaml_problem("\n".join(lines)).code == "too-large"

    def test_a_deep_alias_bomb_is_refused(self):
        """Each alias alone is shallow; what they stand for is not, and measuring it must not take exponential time."""
        lines = ["a0: &a0 [1]", *[f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 20)]]
        assert parse_yaml("\n".join(lines), "f").data["a1"] == [[1], [1]]
        chain = ["a0: &a0 [1]", *[f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 80)]]
        problem = yaml_problem("\n".join(chain))
        assert (problem.code, problem.location.line) == ("too-deep", MAX_DEPTH)

    @pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
    def test_deep_nesting_is_refused(self, opening):
        for times in (MAX_DEPTH + 1, 1_100, 100_000):
            problem = yaml_problem(opening * times)
            assert problem.code == "too-deep"
            assert problem.location.line == 1


class TestJson:
    @pytest.mark.parametrize(
        ("text", "code", "at", "path"),
        [
            ('{"a": 1,\n "a": 2}', "duplicate-key", (2, 2), "a"),
            ('{"a": [{"b": 1, "\\u0062": 2}]}', "duplicate-key", (1, 17), "a[0].b"),
            ('{"a": [1, 9223372036854775808]}', "invalid-value", (1, 11), "a[1]"),
            ('{"a": [{"b": ' + "9" * 5000 + "}]}", "invalid-value", (1, 14), "a[0].b"),
            ('{"a": [0, NaN]}', "invalid-value", (1, 11), "a[1]"),
            ("[-Infinity]", "invalid-value", (1, 2), "[0]"),
            ('{"a": "\\ud800"}', "invalid-text", (1, 7), "a"),
            ('{"\\udfff": 1}', "invalid-text", (1, 2), ""),
            ('{"a" 1}', "syntax-error", (1, 6), ""),
            ("", "syntax-error", (1, 1), ""),
            ("[1,]", "syntax-error", (1, 4), ""),
        ],
    )
    def test_says_what_and_where(self, text, code, at, path):
        problem = json_problem(text)
        if text == "[1,]":  # where the parser sees it differs between versions of Python
            assert problem.code == code
        else:
            assert (problem.code, place(problem), problem.path) == (code, at, path)

    @pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * 65])
    def test_deep_nesting_is_refused(self, text):
        assert json_problem(text).code == "too-deep"

    @pytest.mark.parametrize("innermost", ["", "1", '"x"'])
    def test_the_deepest_allowed_is_read_and_located(self, innermost):
        document = parse_json("[" * MAX_DEPTH + innermost + "]" * MAX_DEPTH, "f.json")
        assert document.locate((0,) * (MAX_DEPTH - 1)).column == MAX_DEPTH
        assert json_problem("[" * (MAX_DEPTH + 1) + innermost + "]" * (MAX_DEPTH + 1)).code == "too-deep"

    def test_surrogate_pairs_are_text(self):
        assert parse_json('"\\ud83d\\ude00"', "f").data == "😀"

    @pytest.mark.slow
    def test_ten_thousand_nodes_load_quickly(self):
        nodes = {f"n{i}": {"id": f"n{i}", "component": "C", "metadata": {"x": i, "y": 0}} for i in range(10_000)}
        text = json.dumps({"processes": nodes}, indent=2)
        start = time.perf_counter()
        document = parse_json(text, "big.json")
        where = document.locate(("processes", "n9999", "metadata", "y"))
        assert time.perf_counter() - start < 5
        assert text.splitlines()[where.line - 1][where.column - 1 :] == "0"


class TestPlaces:
    YAML = "a:\n  - b: 1\n    c: [x, 'y']\nd: é\ne: 1\n"
    JSON = '{\n "a": [ {"b": 1, "c": ["x", "y, ]\\" é"]} ],\n "d": {},\n "e": null}\n'

    @pytest.mark.parametrize(
        ("path", "key", "line", "column"),
        [
            ((), False, 1, 1),
            (("a",), True, 1, 1),
            (("a", 0), False, 2, 5),
            (("a", 0, "b"), True, 2, 5),
            (("a", 0, "b"), False, 2, 8),
            (("a", 0, "c", 1), False, 3, 12),
            (("e",), True, 5, 1),
            (("a", 0, "zz", "y"), False, 2, 5),
            (("a", 7), False, 2, 3),
            (("d", "x"), False, 4, 4),
            (("d", 0), False, 4, 4),
        ],
    )
    def test_yaml(self, path, key, line, column):
        assert parse_yaml(self.YAML, "f").locate(path, key=key) == Location("f", line, column)

    @pytest.mark.parametrize(
        ("path", "key", "line", "column"),
        [
            ((), False, 1, 1),
            (("a", 0, "c", 1), False, 2, 29),
            (("a", 0, "c"), True, 2, 18),
            (("d",), False, 3, 7),
            (("e",), True, 4, 2),
            (("e",), False, 4, 7),
            (("nope",), True, 1, 1),
        ],
    )
    def test_json(self, path, key, line, column):
        assert parse_json(self.JSON, "f").locate(path, key=key) == Location("f", line, column)

    def test_windows_line_ends(self):
        assert parse_yaml("a: 1\r\nb: 2\r\n", "f").locate(("b",)) == Location("f", 2, 4)
        assert parse_json('{"a": 1,\r\n"b": 2}', "f").locate(("b",)) == Location("f", 2, 6)

    def test_a_problem_reads_as_one_line(self):
        problem = parse_yaml(self.YAML, "f.yaml").problem("odd", "is odd", ("a", 0, "b"), hint="make it even")
        assert str(problem) == "f.yaml:2:8: error: a[0].b: is odd (make it even)"

    def test_a_document_without_a_file_has_no_lines(self):
        assert Document("f", {"a": 1}).locate(("a",)) == Location("f")


def test_key_paths_read_as_people_write_them():
    assert format_path(("network", "connections", 3, "from")) == "network.connections[3].from"
    assert format_path(("processes", "my node.x", "config")) == 'processes["my node.x"].config'
    assert format_path((0, 1)) == "[0][1]"
    assert format_path(()) == ""


class TestReading:
    def test_the_name_decides_the_language(self, tmp_path):
        (tmp_path / "a.JSON").write_text('{"a":\t1}')
        (tmp_path / "a.yaml").write_text("a: 1")
        assert read_document(tmp_path / "a.JSON").data == read_document(tmp_path / "a.yaml").data == {"a": 1}

    def test_a_byte_order_mark_is_skipped(self, tmp_path):
        (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
        assert read_document(tmp_path / "a.json").locate(("a",)).column == 7

    @pytest.mark.parametrize(
        ("content", "code", "line", "column"),
        [(b"a: 1\nb: \xff", "not-utf-8", 2, 4), (b"x" * (MAX_SIZE + 1), "too-large", 0, 0)],
    )
    def test_refuses_bytes(self, tmp_path, content, code, line, column):
        path = tmp_path / "a.yaml"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_document(path)
        (problem,) = caught.value.problems
        assert (problem.code, *place(problem)) == (code, line, column)

    def test_a_file_that_cannot_be_read(self, tmp_path):
        with pytest.raises(UserError, match="No such file"):
            read_document(tmp_path / "missing.yaml")
        with pytest.raises(UserError, match="directory"):
            read_document(tmp_path)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


@given(json_values, st.sampled_from([None, 2]))
@settings(max_examples=50)
def test_json_is_read_back_and_every_value_has_its_place(value, indent):
    text = json.dumps(value, indent=indent)
    document = parse_json(text, "f")
    assert document.data == value
    lines = text.split("\n")

    def visit(value, path):
        where = document.locate(path)
        assert lines[where.line - 1][where.column - 1 :].startswith(json.dumps(value, indent=indent)[0])
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, inner in items:
            visit(inner, (*path, step))

    visit(value, ())


@given(st.text(st.sampled_from("{}[]:,\"\\ \n\tau019-.eENIn&*!<#|>'?%@é\x00"), max_size=60))
@example('["\\')
@example("[1e]")
@settings(max_examples=200)
def test_any_text_is_either_read_or_refused(text):
    for parse in (parse_json, parse_yaml):
        try:
            where = parse(text, "f").locate(())
        except UserError as error:
            where = error.problems[0].location
        assert (where.file, where.line >= 1) == ("f", True)
