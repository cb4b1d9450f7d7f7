from __future__ import annotations

import base64
import enum
import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reflow.wire.values import (
    DEFAULT_DEPTH,
    INT_MAX,
    INT_MIN,
    ErrorValue,
    MalformedMessageError,
    NotAMessageError,
    check_plain,
    decode,
    encode,
    from_plain,
    json_text,
    peek_type,
    to_plain,
    type_of,
    verify,
)

pack = msgspec.msgpack.encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
plain_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


def nested(depth: int) -> Any:
    """That many arrays inside one another."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value if depth else 0


def maps(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"k": value}
    return value


# -- what is sent ------------------------------------------------------------------------------------------------


@given(plain_values)
def test_a_plain_value_comes_back_with_its_types(value: Any) -> None:
    type_, back = decode(from_plain(value))
    assert type_ == type_of(value)
    assert repr(to_plain(type_, back)) == repr(value)


@given(plain_values)
def test_what_is_plain_is_not_copied(value: Any) -> None:
    assert check_plain(value) is value


@pytest.mark.parametrize(
    ("type_", "value", "arrives"),
    [
        ("flow", None, None),
        ("flow", "whatever a trigger is made of", None),
        ("event", {"a": [1]}, {"a": [1]}),
        ("boolean", False, False),
        ("integer", INT_MIN, INT_MIN),
        ("integer", INT_MAX, INT_MAX),
        ("float", 3, 3.0),
        ("float", INT_MAX, float(INT_MAX)),
        ("float", math.inf, math.inf),
        ("string", "é\x00", "é\x00"),
        ("bytes", b"\x00\xff", b"\x00\xff"),
        ("bytes", bytearray(b"a"), b"a"),
        ("bytes", memoryview(b"a"), b"a"),
        ("object", {"": {}}, {"": {}}),
        ("array", (1, [2]), [1, [2]]),
        ("any", None, None),
        ("option", None, None),
        ("option", 5, ("integer", 5)),
        ("option", ("float", 5), ("float", 5.0)),
        ("option", ("option", None), ("option", None)),
        ("error", "broken", ErrorValue("broken")),
        ("error", ValueError("x"), ErrorValue("ValueError: x")),
        ("error", {"message": "m", "code": 5, "data": [1]}, ErrorValue("m", 5, [1])),
        ("error", ErrorValue("m", "E1", {"a": 1}), ErrorValue("m", "E1", {"a": 1})),
    ],
)
def test_each_type_takes_its_values(type_: str, value: Any, arrives: Any) -> None:
    raw = encode(type_, value)
    back = decode(raw)
    assert back == (type_, arrives)
    assert type(back[1]) is type(arrives)
    assert peek_type(raw) == type_


def test_nan_and_the_sign_of_zero_survive() -> None:
    assert math.isnan(decode(encode("float", math.nan))[1])
    assert math.copysign(1, decode(encode("float", -0.0))[1]) == -1


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("boolean", 1),
        ("integer", True),
        ("integer", 1.0),
        ("integer", INT_MAX + 1),
        ("integer", INT_MIN - 1),
        ("float", "1"),
        ("float", True),
        ("float", 10**400),
        ("string", b"a"),
        ("string", "half of a pair: \ud800"),
        ("bytes", "a"),
        ("object", [1]),
        ("object", {1: 2}),
        ("object", {"\udfff": 2}),
        ("array", {"a": 1}),
        ("array", {1, 2}),
        ("error", None),
        ("error", {"code": 1}),
        ("error", {"message": "m", "code": 1.5}),
        ("error", {"message": "m", "code": True}),
        ("option", ("integer", "a")),
        ("stream", None),
        ("number", 1),
        ("", 1),
    ],
)
def test_what_is_not_of_a_type_is_refused(type_: str, value: Any) -> None:
    with pytest.raises(NotAMessageError, match=r"^at\.place"):
        encode(type_, value, "at.place")


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


# -- what arrives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "not an encoded message"),
        (b"\xc0", "not an encoded message"),
        (pack(["integer"]), "not an encoded message"),
        (pack(["integer", 1, 2]), "not an encoded message"),
        (pack({"integer": 1}), "not an encoded message"),
        (pack([1, 1]), "not an encoded message"),
        (pack([b"integer", 1]), "not an encoded message"),
        (pack(["integer", 1]) + b"\x00", "not an encoded message"),
        (pack(["integer", 300])[:-1], "not an encoded message"),
        (b"\x92\xa3\xff\xff\xff\x01", "not an encoded message"),
        (pack(["number", 1]), "no message type"),
        (pack(["flow", 0]), "flow"),
        (pack(["boolean", 1]), "boolean"),
        (pack(["integer", True]), "integer"),
        (pack(["integer", 1.0]), "integer"),
        (pack(["integer", 2**63]), "64 bits"),
        (pack(["float", "1"]), "float"),
        (pack(["float", True]), "float"),
        (pack(["string", b"a"]), "string"),
        (pack(["string", None]), "string"),
        (pack(["bytes", "a"]), "bytes"),
        (pack(["object", [1]]), "object"),
        (pack(["array", {}]), "array"),
        (pack(["any", [1, 2**64 - 1]]), "64 bits"),
        (pack(["any", [1, "a", 2**64 - 1]]), "64 bits"),
        (pack(["any", {"a": 2**64 - 1}]), "64 bits"),
        (pack(["any", {1: 1}]), "keys must be strings"),
        (pack(["any", [{b"k": 1}]]), "keys must be strings"),
        (b"\x92\xa3any\x81\xc0\x01", "keys must be strings"),
        (b"\x92\xa3any\x81\x80\x01", "any"),
        (b"\x92\xa3any\xa1\xff", "any"),
        (b"\x92\xa3any\x81\xa1\xff\x01", "any"),
        (b"\x92\xa3any\xd4\x00\x00", "extension type 0"),
        (b"\x92\xa3any\xd6\xff\x00\x00\x00\x00", "datetime"),
        (b"\x92\xa3any\xc1", "not an encoded message"),
        (b"\x92\xa3any\xdd\xff\xff\xff\xff", "not an encoded message"),
        (b"\x92\xa3any\xc6\xff\xff\xff\xff\x00", "not an encoded message"),
        (pack(["option", 1]), "option"),
        (pack(["option", []]), "option"),
        (pack(["option", ["integer"]]), "option"),
        (pack(["option", ["integer", 1, 2]]), "option"),
        (pack(["option", ["number", 1]]), "option"),
        (pack(["option", ["integer", "a"]]), "integer"),
        (pack(["option", ["option", ["integer", 2**64 - 1]]]), "64 bits"),
        (pack(["option", ["stream", None]]), "streams"),
        (pack(["error", "text"]), "error"),
        (pack(["error", {"code": 1}]), "error"),
        (pack(["error", {"message": 1}]), "error"),
        (pack(["error", {"message": "m", "code": 1.5}]), "error"),
        (pack(["error", {"message": "m", "code": False}]), "error"),
        (pack(["stream", None]), "streams"),
    ],
)
def test_what_is_no_message_is_malformed(raw: bytes, complaint: str) -> None:
    with pytest.raises(MalformedMessageError, match=complaint):
        decode(raw)


def test_an_error_ignores_members_that_it_does_not_know() -> None:
    assert decode(pack(["error", {"message": "m", "of a later version": 1}])) == ("error", ErrorValue("m"))


def test_the_type_is_seen_without_the_value() -> None:
    assert peek_type(b"\x92\xa3any\xd4\x00\x00") == "any"
    with pytest.raises(MalformedMessageError, match="no message type"):
        peek_type(pack(["x" * 1000, 1]))


def test_a_complaint_does_not_repeat_a_long_type() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(pack(["x" * 100_000, 1]))
    assert len(str(caught.value)) < 100


@given(st.binary(max_size=60))
@example(b"\x92\xa6option" * 3000 + b"\xc0")
@example(b"\x92\xa3any" + b"\x91" * 100_000)
@example(b"\x92\xa3any" + b"\x81\xa1a" * 100_000)
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        type_, value = decode(raw)
    except MalformedMessageError:
        return
    assert decode(encode(type_, value))[0] == type_


@given(plain_values, st.data())
def test_any_change_of_a_message_gives_a_message_or_is_malformed(value: Any, data: st.DataObject) -> None:
    raw = bytearray(from_plain(value))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        type_, back = decode(bytes(raw))
    except MalformedMessageError:
        return
    # What was let in is what may be sent on.
    assert decode(encode(type_, back))[0] == type_


@given(plain_values, st.data())
def test_a_cut_message_is_malformed(value: Any, data: st.DataObject) -> None:
    raw = bytes(from_plain(value))
    with pytest.raises(MalformedMessageError):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


# -- depth -------------------------------------------------------------------------------------------------------

DEPTHS = [1, 2, 5, DEFAULT_DEPTH]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("make", [nested, maps])
def test_the_depth_is_bounded_at_both_ends_alike(depth: int, make: Callable[[int], Any]) -> None:
    at_the_limit, beyond = make(depth), make(depth + 1)
    raw = from_plain(at_the_limit, max_depth=depth)
    assert to_plain(*decode(raw, depth)) == at_the_limit
    with pytest.raises(NotAMessageError, match="nested too deeply"):
        from_plain(beyond, max_depth=depth)
    with pytest.raises(MalformedMessageError, match="nested too deeply"):
        decode(from_plain(beyond, max_depth=depth + 1), depth)


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_error_is_a_level_of_its_own(depth: int) -> None:
    raw = encode("error", ErrorValue("m", data=nested(depth - 1)), max_depth=depth)
    assert decode(raw, depth)[1].data == nested(depth - 1)
    with pytest.raises(NotAMessageError, match="nested too deeply"):
        encode("error", ErrorValue("m", data=nested(depth)), max_depth=depth)


@pytest.mark.parametrize("depth", DEPTHS)
def test_each_option_is_a_level_of_its_own(depth: int) -> None:
    def options(levels: int) -> Any:
        value: Any = None
        for _ in range(levels):
            value = ("option", value)
        return value

    raw = encode("option", options(depth), max_depth=depth)
    assert decode(raw, depth) == ("option", options(depth))
    for more in (1, 3000):
        with pytest.raises(NotAMessageError, match="nested too deeply"):
            encode("option", options(depth + more), max_depth=depth)
    with pytest.raises(MalformedMessageError, match="nested too deeply"):
        decode(raw, depth - 1)


def test_scalars_need_no_depth() -> None:
    assert decode(from_plain(5, max_depth=0), 0) == ("integer", 5)


@pytest.mark.parametrize("value", [INT_MAX + 1, [INT_MAX + 1], [0, "a", INT_MAX + 1], {"a": [INT_MAX + 1]}])
def test_integers_over_64_bits_are_found_anywhere(value: Any) -> None:
    with pytest.raises(MalformedMessageError, match="64 bits"):
        verify(value, 5)


# -- as text -----------------------------------------------------------------------------------------------------


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


def test_to_plain_unwraps_options_and_errors() -> None:
    assert to_plain("option", ("option", ("integer", 5))) == 5
    assert to_plain("option", None) is None
    assert to_plain("error", ErrorValue("m", 0, None)) == {"message": "m", "code": 0}
