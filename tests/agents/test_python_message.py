from __future__ import annotations

import math
import sys
from array import array
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow import Message
from reflow.wire.values import NotAMessageError

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(plain)
def test_a_plain_value_travels_unchanged(value: Any) -> None:
    message = Message.of(value)
    back = Message.decode(message.encode())
    assert back == message
    assert back.unwrap() == value
    assert back.type == message.type


@pytest.mark.parametrize(
    ("made", "kind", "value"),
    [
        (Message.integer(5), "integer", 5),
        (Message.integer(cast("Any", np.int64(5))), "integer", 5),
        (Message.float(5), "float", 5.0),
        (Message.float(cast("Any", np.float32(0.5))), "float", 0.5),
        (Message.string("x"), "string", "x"),
        (Message.boolean(cast("Any", np.bool_(True))), "boolean", True),
        (Message.array((1, 2)), "array", (1, 2)),
        (Message.array(np.array(["a", "b"])), "array", ["a", "b"]),
        (Message.array(np.array([[True]])), "array", [[True]]),
        (Message.object({"a": 1}), "object", {"a": 1}),
        (Message.bytes(bytearray(b"ab")), "bytes", b"ab"),
        (Message.binary(memoryview(b"ab")), "bytes", b"ab"),
        (Message.event({"k": 1}), "event", {"k": 1}),
        (Message.flow(), "flow", None),
        (Message.option(), "option", None),
        (Message.option(Message.option(3)), "option", 3),
        (Message.error("bad", "E1"), "error", {"message": "bad", "code": "E1"}),
        (Message.error(ValueError("bad")), "error", {"message": "ValueError: bad"}),
        (Message.of(np.float64(2.5)), "float", 2.5),
        (Message.of(np.array([[None]])), "array", [[None]]),
        (Message.of(KeyError("k")), "error", {"message": "KeyError: 'k'"}),
    ],
)
def test_constructors(made: Message, kind: str, value: Any) -> None:
    assert made.type == kind
    assert made.unwrap() == value
    assert type(made.unwrap()) is type(value)
    back = Message.decode(made.encode())
    assert back.type == kind
    assert back.unwrap() == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("made", "kind", "numbers"),
    [
        (Message.array(np.arange(3)), "array", np.arange(3)),
        (Message.array(np.eye(2, dtype="float32")), "array", np.eye(2, dtype="float32")),
        (Message.array(array("h", [1, 2])), "array", np.array([1, 2], "int16")),
        (Message.array(memoryview(array("d", [1.5]))), "array", np.array([1.5])),
        (Message.array(memoryview(b"ab")), "array", np.array([97, 98], "uint8")),
        (Message.array(bytearray(b"ab")), "array", np.array([97, 98], "uint8")),
        (Message.array(np.zeros((2, 300))), "array", np.zeros((2, 300))),
        (Message.of(np.array([[1, 2]])), "array", np.array([[1, 2]])),
        (Message.of(array("b")), "array", np.array([], "int8")),
        (Message.any(np.array([1])), "any", np.array([1])),
        (Message.event(np.array([1])), "event", np.array([1])),
        (Message.option(np.array([1])), "option", np.array([1])),
        (Message.option(Message.array(np.array([1]))), "option", np.array([1])),
    ],
)
def test_arrays_of_numbers_arrive_as_they_were(made: Message, kind: str, numbers: Any) -> None:
    assert made.type == kind
    back = Message.decode(made.encode())
    assert (back.type, back.unwrap().dtype, back.unwrap().shape) == (kind, numbers.dtype, numbers.shape)
    assert np.array_equal(back.unwrap(), numbers)
    assert back == made
    assert back == numbers.tolist()
    assert back == numbers
    assert not back.unwrap().flags.writeable


def test_arrays_arrive_inside_of_values_too() -> None:
    made = Message.object({"x": np.arange(200), "y": [array("f", [0.5])], "b": b"ab", "z": Message.array(np.arange(2))})
    back = Message.decode(made.encode()).unwrap()
    assert np.array_equal(back["x"], np.arange(200))
    assert (back["y"][0].dtype, back["y"][0].tolist(), back["b"], back["z"].tolist()) == (
        "float32",
        [0.5],
        b"ab",
        [0, 1],
    )
    assert Message.decode(made.encode()) == made
    other = Message.object({"x": np.arange(200), "y": [array("f", [0.25])], "b": b"ab", "z": [0, 1]})
    assert made != other
    data = Message.error("m", None, np.arange(3))
    assert Message.decode(data.encode()).data.tolist() == [0, 1, 2]
    assert Message.decode(data.encode()) != Message.error("m", None, np.arange(4))


def test_a_large_array_is_looked_at_where_it_arrived() -> None:
    raw = bytes(Message.array(np.arange(1000.0)).encode())
    assert np.shares_memory(Message.decode(raw).unwrap(), np.frombuffer(raw, "uint8"))


def test_an_array_stands_for_its_numbers() -> None:
    message = Message.array(np.array([1.5, 2.5]))
    assert (len(message), list(message), message[1], 2.5 in message, bool(message)) == (2, [1.5, 2.5], 2.5, True, True)
    assert message.sum() == 4
    assert (message * 2).tolist() == [3, 5]
    assert not Message.array(np.array([]))
    assert Message.array(np.array([0.0]))
    assert repr(message) == "Message.array(array([1.5, 2.5]))"
    assert repr(Message.array(memoryview(array("d", [0.5])))) == "Message.array(TypedArray(float64, 1))"
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_without_numpy_an_array_is_a_memoryview(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Message.object({"x": array("d", [1.5, 2.5])}).encode()
    monkeypatch.delitem(sys.modules, "numpy")
    found = Message.decode(raw).unwrap()["x"]
    assert isinstance(found, memoryview)
    assert Message.decode(Message.array(found).encode()) == [1.5, 2.5]
    assert Message.of(found) == Message.array(array("d", [1.5, 2.5]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Message.integer(2**63), "64 bits"),
        (lambda: Message.integer(-(2**63) - 1), "64 bits"),
        (lambda: Message.integer("5"), "int"),  # type: ignore[arg-type]
        (lambda: Message.integer(1.5), "int"),  # type: ignore[arg-type]
        (lambda: Message.float("1.5"), "float"),  # type: ignore[arg-type]
        (lambda: Message.float(10**400), "range"),
        (lambda: Message.string(b"x"), "str"),  # type: ignore[arg-type]
        (lambda: Message.boolean(1), "bool"),  # type: ignore[arg-type]
        (lambda: Message.array({1, 2}), "list"),
        (lambda: Message.array("abc"), "list"),
        (lambda: Message.array(b"abc"), "list"),
        (lambda: Message.array(np.array(1.5)), "list"),
        (lambda: Message.object([1]), "dict"),  # type: ignore[arg-type]
        (lambda: Message.bytes("x"), "bytes"),  # type: ignore[arg-type]
        (lambda: Message.stream(iter([1])), "context.send"),
        (lambda: Message.of({1, 2}), "set"),
        (lambda: Message.of(object()), "object"),
    ],
)
def test_constructors_refuse(make: Any, says: str) -> None:
    with pytest.raises(NotAMessageError, match=says):
        make()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"items": [1, 2, {3}]}, "outputs.out.items[2]: a set"),
        ([[2**64]], "outputs.out[0][0]: an integer"),
        ({"a": {1: 2}}, "outputs.out.a: object keys"),
        ({"f": lambda: 1}, "outputs.out.f: a function"),
    ],
)
def test_what_is_inside_is_checked_when_sent_and_its_place_named(value: Any, place: str) -> None:
    with pytest.raises(NotAMessageError) as raised:
        Message.of(value).encode("outputs.out")
    assert str(raised.value).startswith(place)


def test_messages_and_numpy_scalars_inside_values_become_plain() -> None:
    message = Message.object({"n": Message.integer(1), "mean": np.mean([1.0, 2.0]), "list": [Message.option(2)]})
    assert Message.decode(message.encode()).unwrap() == {"n": 1, "mean": 1.5, "list": [2]}


def test_doubles_survive() -> None:
    assert math.isnan(Message.decode(Message.float(math.nan).encode()).unwrap())
    assert math.copysign(1, Message.decode(Message.float(-0.0).encode()).unwrap()) == -1
    assert Message.decode(Message.float(-math.inf).encode()).unwrap() == -math.inf


def test_an_error_has_message_and_code() -> None:
    error = Message.error("bad", "E1", {"row": 3})
    assert error.is_error()
    assert (error.message, error.code, error.data) == ("bad", "E1", {"row": 3})
    assert str(error) == "bad"
    assert repr(error) == "Message.error('bad', code='E1', data={'row': 3})"
    assert not Message.string("bad").is_error()
    assert Message.string("bad").message is None
    assert Message.string("bad").code is None


def test_equality_is_by_type_and_value_and_with_plain_values_by_value() -> None:
    assert Message.integer(1) == Message.integer(1)
    assert Message.integer(1) != Message.float(1)
    assert Message.integer(1) == 1
    assert Message.string("a") == "a"
    assert Message.array([1]) == [1]
    assert len({Message.integer(1), Message.integer(1), 1}) == 1


def test_an_old_script_may_treat_it_as_its_value() -> None:
    number, text, items, mapping = (
        Message.integer(7),
        Message.string("ab"),
        Message.array([1, 2, 3]),
        Message.object({"k": 5}),
    )
    assert (number + 1, 1 + number, number * 2, 10 - number) == (8, 8, 14, 3)
    assert (number / 2, 15 // number, number % 4, 15 % number) == (3.5, 2, 3, 1)
    assert (number - 1, 2 * number, 14 / number, number // 2, number**2, 2**number) == (6, 14, 2, 3, 49, 128)
    assert (-number, abs(Message.integer(-3)), round(Message.float(2.567), 1)) == (-7, 3, 2.6)
    assert (int(number), float(number), list(range(number))) == (7, 7.0, [0, 1, 2, 3, 4, 5, 6])
    assert number > 6
    assert number >= Message.integer(7)
    assert number < 8
    assert number <= 7
    assert number + Message.integer(1) == 8
    assert text.upper() == "AB"
    assert text + "c" == "abc"
    assert "c" + text == "cab"
    assert f"{text:>4}|{number:03}" == "  ab|007"
    assert f"{Message.error('bad'):>5}" == "  bad"
    assert (len(items), list(items), items[1], 2 in items, Message.integer(9) in items) == (
        3,
        [1, 2, 3],
        2,
        True,
        False,
    )
    assert (mapping["k"], mapping.get("x", 0), list(mapping.items())) == (5, 0, [("k", 5)])
    assert bytes(Message.bytes(b"x")) == b"x"


def test_truth_is_that_of_the_value_except_for_what_has_none() -> None:
    assert not Message.integer(0)
    assert not Message.array([])
    assert not Message.option()
    assert Message.string("x")
    assert Message.flow()
    assert Message.error("")


def test_an_unknown_attribute_is_an_attribute_error_that_names_the_type() -> None:
    with pytest.raises(AttributeError, match="'integer' has no attribute 'upper'"):
        Message.integer(1).upper()
    with pytest.raises(AttributeError):
        _ = Message.integer(1)._private


def test_repr() -> None:
    assert repr(Message.integer(5)) == "Message.integer(5)"
    assert repr(Message.flow()) == "Message.flow()"
    assert repr(Message.option("x")) == "Message.option('x')"
