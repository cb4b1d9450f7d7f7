from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from reflow.wire.arrays import ELEMENT_NAMED, TypedArray
from reflow.wire.lines import json_text
from wire.samples import doubles, plain_values


@given(plain_values)
def test_json_text_is_one_line_and_keeps_what_json_can_say(value: Any) -> None:
    def as_json(item: Any) -> Any:
        if isinstance(item, bytes):
            return base64.b64encode(item).decode()
        if isinstance(item, list):
            return [as_json(i) for i in item]
        if isinstance(item, dict):
            return {k: as_json(v) for k, v in item.items()}
        return item

    text = json_text(value)
    assert "\n" not in text
    assert json.loads(text) == as_json(value)


def test_json_text_names_the_numbers_that_json_lacks() -> None:
    assert json_text([math.inf, -math.inf, {"a": math.nan}, b"\x00"]) == '[Infinity,-Infinity,{"a":NaN},"AA=="]'


def typed(element: str, data: bytes, *shape: int) -> TypedArray:
    return TypedArray(ELEMENT_NAMED[element], shape, memoryview(data))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (typed("float64", doubles(1.5, -0.0), 2), "[1.5,-0.0]"),
        (typed("int16", bytes(12), 2, 3), "[[0,0,0],[0,0,0]]"),
        (typed("uint64", b"\xff" * 8, 1), "[18446744073709551615]"),
        (typed("uint8", b"ab", 2), "[97,98]"),
        (typed("float64", b"", 0, 5), "[]"),
        ({"x": [typed("int8", b"\xff", 1)], "b": b"a", "n": None}, '{"x":[[-1]],"b":"YQ==","n":null}'),
        (typed("float64", doubles(math.nan, math.inf), 1, 2), "[[NaN,Infinity]]"),
        ({"x": typed("float64", doubles(-math.inf), 1), "n": None, "b": b"a"}, '{"x":[-Infinity],"n":null,"b":"YQ=="}'),
    ],
)
def test_typed_arrays_are_arrays_of_numbers(value: Any, text: str) -> None:
    assert json_text(value) == text


def test_null_is_no_number_that_json_lacks() -> None:
    assert json_text({"a": None, "b": [1.5, "null"]}) == '{"a":null,"b":[1.5,"null"]}'
