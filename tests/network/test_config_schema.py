import math

import pytest

from reflow_supervisor.network.config_schema import MAX_DEPTH, apply_schema

SCHEMA = {
    "properties": {
        "mode": {"type": "string", "enum": ["fast", "exact"], "default": "fast"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
        "ratio": {"type": ["number", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "nested": {"type": "object", "default": {}, "properties": {"depth": {"type": "integer", "default": 3}}},
        "path": {"type": "string", "description": "Where the data is."},
    },
    "required": ["path"],
}


def violations(config, schema=SCHEMA):
    return [(v.path, v.message) for v in apply_schema(schema, config)[1]]


def test_defaults_are_filled_in_at_every_level():
    config, found = apply_schema(SCHEMA, {"path": "x", "extra": 1})
    assert config == {"path": "x", "extra": 1, "mode": "fast", "nested": {"depth": 3}}
    assert found == []


def test_what_is_given_is_left_alone():
    given = {"path": "x", "mode": "exact", "nested": {"depth": 7}, "ratio": None, "tags": ["a"], "limit": 10}
    config, found = apply_schema(SCHEMA, given)
    assert (config, found) == (given, [])
    assert config is not given


def test_defaults_are_not_shared_between_nodes():
    one, _ = apply_schema(SCHEMA, {"path": "x"})
    one["nested"]["depth"] = 99
    assert apply_schema(SCHEMA, {"path": "x"})[0]["nested"] == {"depth": 3}
    assert SCHEMA["properties"]["nested"]["default"] == {}


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({}, (), "the key `path` is missing"),
        ({"path": 3}, ("path",), "3 is not of type string"),
        ({"path": "", "mode": "quick"}, ("mode",), '"quick" is not one of "fast", "exact"'),
        ({"path": "", "limit": 0}, ("limit",), "0 is less than the minimum, 1"),
        ({"path": "", "limit": 11}, ("limit",), "11 is more than the maximum, 10"),
        ({"path": "", "limit": True}, ("limit",), "true is not of type integer"),
        ({"path": "", "limit": 1.0}, ("limit",), "1.0 is not of type integer"),
        ({"path": "", "ratio": "1"}, ("ratio",), '"1" is not of type number or null'),
        ({"path": "", "tags": ["a", 2]}, ("tags", 1), "2 is not of type string"),
        ({"path": "", "nested": []}, ("nested",), "a list is not of type object"),
        ({"path": "", "nested": {"depth": "x" * 500}}, ("nested", "depth"), f'"{"x" * 56}... is not of type integer'),
    ],
)
def test_violations(config, path, message):
    assert violations(config) == [(path, message)]


def test_the_description_of_a_missing_key_is_the_hint():
    (violation,) = apply_schema(SCHEMA, {})[1]
    assert violation.hint == "Where the data is."


def test_all_at_once():
    assert len(violations({"limit": 0, "mode": 1, "tags": 3})) == 4


@pytest.mark.parametrize(("value", "allowed", "fits"), [(1, [True], False), (True, [True], True), (1, [1.0], True)])
def test_enum_tells_numbers_from_booleans(value, allowed, fits):
    assert (violations({"x": value}, {"properties": {"x": {"enum": allowed}}}) == []) is fits


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "int"}, '"int" is not a type'),
        ({"type": 3}, "3 is not a type"),
        ({"type": [{}]}, "a mapping is not a type"),
        ({"enum": 3}, "`enum` is not a list"),
        ({"minimum": "1"}, "`minimum` is not a number"),
        (7, "the schema is not a mapping"),
    ],
)
def test_a_schema_that_makes_no_sense(schema, message):
    (violation,) = apply_schema({"properties": {"x": schema}}, {"x": 1})[1]
    assert violation.in_schema
    assert violation.path == ("x",)
    assert message in violation.message


@pytest.mark.parametrize("keyword", ["properties", "required"])
def test_a_top_that_makes_no_sense(keyword):
    config, (violation,) = apply_schema({keyword: 3}, {"x": 1})
    assert config == {"x": 1}
    assert violation.in_schema


@pytest.mark.parametrize("schema", [{}, {"properties": {"x": True}}, {"properties": {"x": {"format": "uri"}}}])
def test_what_says_nothing_allows_everything(schema):
    assert apply_schema(schema, {"x": math.inf}) == ({"x": math.inf}, [])


def test_a_schema_without_end_is_cut():
    schema = {}
    schema["properties"] = {"x": schema}
    schema["default"] = {}
    _, found = apply_schema(schema, {})
    assert [v.message for v in found] == [f"nested more than {MAX_DEPTH} deep"]
