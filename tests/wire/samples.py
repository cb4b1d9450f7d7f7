"""Strategies that the tests of the wire share."""

from __future__ import annotations

import math
import struct
from typing import Any

from hypothesis import strategies as st
from reflow.wire.arrays import ELEMENTS, MAX_DIMENSIONS, TypedArray
from reflow.wire.plain import INT_MAX, INT_MIN

scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)


def nested_in(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    )


plain_values = nested_in(scalars)


@st.composite
def typed_arrays(draw: st.DrawFn) -> TypedArray:
    """Of any kind, shape, and bits; also of as many bytes as are aligned."""
    element = draw(st.sampled_from(ELEMENTS))
    shape = [draw(st.sampled_from([0, 1, 2, 3, 127, 128, 1023, 1024]))]
    while len(shape) < draw(st.integers(1, MAX_DIMENSIONS)) and math.prod(shape) < 2000:
        shape.append(draw(st.integers(1, 3)))
    unit = draw(st.binary(min_size=element.size, max_size=element.size))
    return TypedArray(element, tuple(shape), memoryview(unit * math.prod(shape)))


values_with_arrays = nested_in(scalars | typed_arrays())


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)
