from __future__ import annotations

import enum
from array import array
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from reflow.wire.arrays import ELEMENT_NAMED, TypedArray
from reflow.wire.plain import INT_MAX, INT_MIN, MalformedMessageError, NotAMessageError, check_plain, verify
from wire.samples import plain_values

pack = msgspec.msgpack.encode


@given(plain_values)
def test_what_is_plain_is_not_copied(value: Any) -> None:
    assert check_plain(value) is value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"rows": [0, 1, {"tags": {1, 2}}]}, r"^value\.rows\[2\]\.tags: a set .*use a list"),
        ([[object()]], r"^value\[0\]\[0\]: a object "),
        ({"f": len}, r"^value\.f: a builtin_function_or_method "),
        ([1, 2**63], r"^value\[1\]: an integer must fit 64 bits"),
        ({"a": {5: 1}}, r"^value\.a: object keys must be strings, not int \(5\)"),
    ],
)
def test_the_refusal_says_where(value: Any, where: str) -> None:
    with pytest.raises(NotAMessageError, match=where):
        check_plain(value)


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    def __str__(self) -> str:
        return "something else"


def test_subclasses_become_what_they_are_made_of() -> None:
    given_: dict[str, Any] = {"level": Level.HIGH, "name": Name("n"), "pair": (1, bytearray(b"b")), "text": ["t"]}
    plain = check_plain(given_)
    assert plain == {"level": 3, "name": "n", "pair": [1, b"b"], "text": ["t"]}
    assert type(plain["level"]) is int
    assert type(plain["name"]) is str
    assert given_["level"] is Level.HIGH  # a copy: the script's own value stays as it was
    assert plain["text"] is given_["text"]


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotAMessageError, match="nested too deeply"):
        check_plain(loop)


@pytest.mark.parametrize("value", [INT_MAX + 1, [INT_MAX + 1], [0, "a", INT_MAX + 1], {"a": [INT_MAX + 1]}])
def test_integers_over_64_bits_are_found_anywhere(value: Any) -> None:
    with pytest.raises(MalformedMessageError, match="64 bits"):
        verify(value, 5)


@pytest.mark.parametrize("value", [[INT_MAX, INT_MIN], [1, 2.5, "a", None], {"a": INT_MAX, "b": 1.5}, (1, (2,)), []])
def test_what_is_plain_is_taken(value: Any) -> None:
    assert check_plain(value) is value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([INT_MIN - 1], r"^v\[0\]: an integer"),
        ([1.5, INT_MAX + 1], r"^v\[1\]: an integer"),
        ({"a": 1.5, "b": INT_MIN - 1}, r"^v\.b: an integer"),
        ([True, object()], r"^v\[1\]: a object"),
        ({"a": 1, 2: 1}, r"^v: object keys must be strings, not int \(2\)"),
        ({b"a": 1}, r"^v: object keys"),
        ([{"a": [set()]}], r"^v\[0\]\.a\[0\]: a set"),
    ],
)
def test_among_what_is_taken_at_a_glance_the_rest_is_found(value: Any, where: str) -> None:
    with pytest.raises(NotAMessageError, match=where):
        check_plain(value, "v")


def test_arrays_of_numbers_become_typed_arrays_and_others_lists() -> None:
    numbers, texts = np.array([1.5]), np.array(["a"])
    plain = check_plain({"x": [numbers, array("h", [1])], "y": texts, "z": np.array([True]), "b": memoryview(b"b")})
    assert [item.element.name for item in plain["x"]] == ["float64", "int16"]
    assert (plain["y"], plain["z"], plain["b"]) == (["a"], [True], b"b")
    with pytest.raises(NotAMessageError, match=r"^v\[0\]: a complex"):
        check_plain(np.array([1j]), "v")


@pytest.mark.parametrize("value", [np.array([1]), array("d"), memoryview(array("d")), np.array(["a"])])
def test_where_no_message_is_arrays_are_refused(value: Any) -> None:
    """Frames have no typed arrays outside of messages; to turn them into lists could make of one a huge frame."""
    with pytest.raises(NotAMessageError, match=r"^fields\.a: an? \w+ is not a message value; use .tolist"):
        check_plain({"a": value}, "fields", typed=False)


def test_a_typed_array_needs_no_depth() -> None:
    typed = TypedArray(ELEMENT_NAMED["int8"], (1, 1), memoryview(b"a"))
    assert check_plain([typed], max_depth=1)[0] is typed
    verify([typed], 1, {TypedArray})
    with pytest.raises(MalformedMessageError, match="TypedArray"):
        verify([typed], 1)


@pytest.mark.parametrize("value", [{1: 1}, {"a": 1, b"b": 1}, [{None: 1}], [[0], {"a": {(): 1}}]])
def test_keys_that_are_no_strings_are_found_anywhere(value: Any) -> None:
    with pytest.raises(MalformedMessageError, match="keys"):
        verify(value, 5)


def test_a_timestamp_is_no_plain_value() -> None:
    with pytest.raises(MalformedMessageError, match="datetime"):
        verify(msgspec.msgpack.decode(b"\x91\xd6\xff\x00\x00\x00\x00"), 5)
