from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import arrays
from reflow.wire.arrays import ALIGNED, ELEMENT_NAMED, MAX_DIMENSIONS, TypedArray, native, parsed, recognized
from reflow.wire.forms import MalformedMessageError
from wire.samples import doubles, typed_arrays

NUMPY_NAMES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]


def typed(element: str, data: bytes, *shape: int) -> TypedArray:
    return TypedArray(ELEMENT_NAMED[element], shape, memoryview(data))


def content_of(array_: TypedArray, start: int = 0) -> memoryview:
    """What is in its extension."""
    before, data = arrays.extension(array_, start)
    raw = before + data
    header = 6 if arrays.is_aligned(array_) else len(before) - len(arrays.content(array_)) + data.nbytes
    return memoryview(raw)[header:]


# -- in Python ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_numpys_numbers_are_known(name: str) -> None:
    found = recognized(np.arange(6, dtype=name).reshape(2, 3))
    assert found is not None
    assert (found.element.name, found.shape, found.data.nbytes) == (name, (2, 3), 6 * np.dtype(name).itemsize)
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
def test_pythons_numbers_are_known(code: str) -> None:
    numbers = array(code, [1, 2])
    for value in (numbers, memoryview(numbers)):
        found = recognized(value)
        if code == "B" and value is not numbers:
            assert found is None  # which is bytes
            continue
        assert found is not None
        assert (found.element.size, found.tolist()) == (numbers.itemsize, [1, 2])


@pytest.mark.parametrize(
    "value",
    [
        np.arange(4.0),
        np.repeat(np.arange(4.0), 2)[::2],
        np.arange(4, dtype=">f8"),
        np.repeat(np.arange(4.0), 2).astype(">f8")[::2],
        np.arange(4.0).astype("<f8"),
        (ctypes.c_double * 4)(0, 1, 2, 3),
    ],
)
def test_whatever_their_order_in_memory_is(value: Any) -> None:
    value = memoryview(value) if isinstance(value, ctypes.Array) else value
    found = recognized(value)
    assert found is not None
    assert bytes(found.data) == doubles(0, 1, 2, 3)


def test_fortran_order_and_turned_arrays_come_in_c_order() -> None:
    value = np.array([[1, 2], [3, 4]], "int8")
    for turned, rows in ((np.asfortranarray(value), [[1, 2], [3, 4]]), (value.T, [[1, 3], [2, 4]])):
        found = recognized(turned)
        assert found is not None
        assert found.tolist() == rows


def test_what_lies_as_it_travels_is_not_copied() -> None:
    value = np.zeros(3)
    found = recognized(value)
    assert found is not None
    value[1] = 5
    assert found.tolist() == [0, 5, 0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        [1.5],
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        np.float64(1.5),
        np.array(1.5),
        np.array([True]),
        np.array([1j]),
        np.array(["a"]),
        np.array([None]),
        np.array([(1, 2)], "i4,i4"),
        np.zeros(1, "float16"),
        np.zeros(1, np.longdouble),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.zeros((1,) * (MAX_DIMENSIONS + 1)),
        np.zeros((3, 0)),
        array("u", "a"),
        type("Odd", (), {"shape": (1,), "tolist": None})(),
        type("Odd", (), {"typecode": "d"})(),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:The 'u' type code is deprecated")
def test_everything_else_is_none(value: Any) -> None:
    assert recognized(value) is None


def test_an_empty_array_has_a_shape() -> None:
    for value, shape in ((np.zeros((0, 5)), (0, 5)), (array("d"), (0,)), (memoryview(array("d")), (0,))):
        found = recognized(value)
        assert found is not None
        assert (found.shape, found.tolist(), bytes(found.data)) == (shape, [], b"")


# -- what a script has -------------------------------------------------------------------------------------------


def test_a_script_that_has_imported_numpy_gets_its_arrays_over_the_same_memory() -> None:
    data = doubles(1, 2, 3, 4)
    found = native(typed("float64", data, 2, 2))
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[1, 2], [3, 4]]
    assert np.shares_memory(found, np.frombuffer(data))
    assert not found.flags.writeable
    for empty in (native(typed("float64", b"", 0)), native(typed("int8", b"", 0, 3))):
        assert empty.size == 0


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_numpy_calls_every_element_as_we_do(name: str) -> None:
    found = native(typed(name, bytes(8), 8 // np.dtype(name).itemsize))
    assert found.dtype == np.dtype(name)
    assert found.tolist() == [0] * (8 // np.dtype(name).itemsize)


@pytest.fixture
def no_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")


@pytest.mark.usefixtures("no_numpy")
def test_without_numpy_one_dimension_is_a_memoryview() -> None:
    found = native(typed("float64", doubles(1.5, 2.5, 3.5), 3))
    assert isinstance(found, memoryview)
    assert (found[1], len(found), list(found), found.tolist()) == (2.5, 3, [1.5, 2.5, 3.5], [1.5, 2.5, 3.5])
    assert found[1:].tolist() == [2.5, 3.5]
    assert array("d", found) == array("d", [1.5, 2.5, 3.5])
    assert found.readonly


@pytest.mark.usefixtures("no_numpy")
def test_without_numpy_bytes_that_are_numbers_stay_numbers() -> None:
    found = native(typed("uint8", b"ab", 2))
    assert (list(found), list(found[1:])) == ([97, 98], [98])
    for part in (found, found[1:]):
        again = recognized(part)
        assert again is not None
        assert again.element.name == "uint8"


@pytest.mark.usefixtures("no_numpy")
def test_without_numpy_more_dimensions_are_rows() -> None:
    grid = native(typed("int16", array("h", range(12)).tobytes(), 2, 3, 2))
    assert isinstance(grid, TypedArray)
    rows = [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    assert (len(grid), grid.tolist(), [row.tolist() for row in grid]) == (2, rows, rows)
    assert grid[1].tolist() == grid[-1].tolist() == rows[1]
    assert isinstance(grid[1][2], memoryview)
    assert (grid[1, 2, 0], list(grid[1, 2])) == (10, [10, 11])
    assert (grid[:1].tolist(), grid[1:].tolist(), grid[5:].tolist()) == (rows[:1], rows[1:], [])
    assert grid[::-1].tolist() == rows[::-1]
    assert memoryview(grid.view())[0, 1, 1] == 3
    with pytest.raises(IndexError):
        grid[2]
    assert grid == rows
    assert grid == typed("int16", bytes(grid.data), 2, 3, 2)
    assert grid != typed("int16", bytes(grid.data), 3, 2, 2)
    assert grid != 5
    assert repr(grid) == "TypedArray(int16, 2×3×2)"
    with pytest.raises(TypeError, match="unhashable"):
        hash(grid)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before Python 3.12 no class could have a buffer")
def test_rows_have_a_buffer() -> None:
    assert memoryview(typed("int8", b"abcd", 2, 2)).tolist() == [[97, 98], [99, 100]]  # type: ignore[arg-type]


def test_numpy_takes_a_typed_array_without_a_copy() -> None:
    data = doubles(1, 2, 3, 4)
    found = np.asarray(typed("float64", data, 2, 2))
    assert found.tolist() == [[1, 2], [3, 4]]
    assert np.shares_memory(found, np.frombuffer(data))


def test_numpy_is_not_imported() -> None:
    """It is large, and most scripts have no use for it."""
    program = "import sys, reflow.message, reflow.agent.runner; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- in messages -------------------------------------------------------------------------------------------------


@given(typed_arrays(), st.integers(0, 20))
def test_an_array_comes_back_from_its_bytes(array_: TypedArray, start: int) -> None:
    assert parsed(content_of(array_, start)) == array_


@given(typed_arrays(), st.integers(0, 100))
def test_a_large_array_begins_at_a_multiple_of_its_elements(array_: TypedArray, start: int) -> None:
    before, data = arrays.extension(array_, start)
    if data.nbytes >= ALIGNED:
        assert (start + len(before)) % array_.element.size == 0


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_malformed(content: bytes) -> None:
    try:
        found = parsed(memoryview(content))
    except MalformedMessageError:
        return
    assert math.prod(found.shape) * found.element.size == found.data.nbytes
    assert len(found.tolist()) == found.shape[0]
    assert parsed(content_of(found)) == found


@given(typed_arrays(), st.data())
def test_any_change_of_an_array_gives_an_array_or_is_malformed(array_: TypedArray, data: st.DataObject) -> None:
    content = bytearray(content_of(array_))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(content) - 1, 40)))] = data.draw(st.integers(0, 255))
    try:
        found = parsed(memoryview(content)[: data.draw(st.integers(0, len(content)))])
    except MalformedMessageError:
        return
    assert math.prod(found.shape) * found.element.size == found.data.nbytes
