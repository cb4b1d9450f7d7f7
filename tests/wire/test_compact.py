"""How many bytes messages have, beside MessagePack and JSON. Of sizes only: times are for the benchmarks."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from reflow.wire import values

from benchmarks.shapes import LARGE, SHAPES

pack = msgspec.msgpack.encode


def size(value: Any, type_: str | None = None) -> int:
    return len(values.from_plain(value) if type_ is None else values.encode(type_, value))


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != LARGE])
def test_a_message_has_no_byte_more_than_its_value_in_messagepack(shape: str) -> None:
    value = SHAPES[shape]
    assert size(value) == len(pack(value))


@pytest.mark.parametrize("value", [None, 5, "text", {"a": 1}, [1.5] * 100])
@pytest.mark.parametrize("type_", ["any", "event"])
def test_where_the_form_does_not_say_the_type_it_costs_six_bytes_at_most(type_: str, value: Any) -> None:
    assert size(value, type_) <= len(pack(value)) + (2 if value in (None, 5) else 6)


def test_an_error_costs_less_than_a_map() -> None:
    error = {"message": "no such row", "code": "E_ROW", "data": {"row": 5}}
    assert size(error, "error") < len(pack(error))


def test_a_megabyte_of_numbers_has_sixteen_bytes_more_at_most() -> None:
    numbers = SHAPES[LARGE]
    assert size(numbers) <= len(numbers) * 8 + 16
    assert size(numbers) < 0.9 * len(pack(numbers.tolist()))
    assert size(numbers) < 0.45 * len(json.dumps(numbers.tolist()))


@pytest.mark.parametrize(
    ("array", "most"),
    [
        (np.linspace(0, 1, 1000, dtype="float64"), 0.9),
        (np.linspace(0, 1, 1000, dtype="float32"), 0.45),
        (np.full(1000, 1 << 40, "int64"), 0.9),
        (np.full(1000, 1 << 20, "int32"), 0.81),
        (np.full(1000, 1 << 14, "int16"), 0.68),
        (np.full(1000, 200, "uint8"), 0.51),
        (np.linspace(0, 1, 100, dtype="float64"), 0.9),
        (np.ones((100, 3), "float32"), 0.45),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else str(value),
)
def test_arrays_of_numbers_are_much_smaller_than_lists_of_them_in_messagepack(array: Any, most: float) -> None:
    """Whose floats have nine bytes each, and whose integers one more than they need, except for the smallest."""
    assert size(array) < most * len(pack(array.tolist()))
