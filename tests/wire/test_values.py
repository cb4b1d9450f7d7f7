from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reflow.wire.arrays import ALIGNED, ELEMENT_NAMED, TypedArray
from reflow.wire.values import (
    DEFAULT_DEPTH,
    INT_MAX,
    INT_MIN,
    ErrorValue,
    MalformedMessageError,
    NotAMessageError,
    Reader,
    UnfitMessageError,
    check,
    decode,
    encode,
    from_plain,
    peek_array,
    peek_type,
    to_plain,
    type_of,
)
from wire.samples import doubles, plain_values, values_with_arrays

pack = msgspec.msgpack.encode


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


@given(values_with_arrays, st.sampled_from(["", "any", "event", "option", "error"]))
def test_arrays_come_back_anywhere(value: Any, wrapper: str) -> None:
    type_ = wrapper or type_of(value)
    raw = encode(type_, {"message": "m", "data": value} if wrapper == "error" else value)
    found, back = decode(raw)
    assert found == type_ == check(raw)
    if wrapper == "error":
        back = back.data
    elif wrapper == "option":
        back = None if back is None else back[1]
    assert back == value
    # What was taken is sent on as the same bytes.
    assert bytes(encode(*decode(raw))) == bytes(raw)


@pytest.mark.parametrize("element", ["float64", "int32", "uint16", "uint8"])
@pytest.mark.parametrize("before", [0, 1, 5, 40, 300, 70_000])
@pytest.mark.parametrize("type_", ["array", "any", "event", "option", "error"])
def test_large_arrays_are_aligned_wherever_they_stand(element: str, before: int, type_: str) -> None:
    kind = ELEMENT_NAMED[element]
    data = bytes(range(1, 1 + kind.size)) * (ALIGNED // kind.size)
    array_ = TypedArray(kind, (ALIGNED // kind.size,), memoryview(data))
    value: Any = ["x" * before, array_, {"y": array_}] if before else array_
    if type_ == "error":
        value = {"message": "m", "data": value}
    raw = bytes(encode(type_, value))
    at = raw.index(data)
    assert at % kind.size == 0
    if before:
        assert raw.index(data, at + len(data)) % kind.size == 0


def test_a_large_array_is_not_copied_when_it_is_read() -> None:
    raw = bytes(from_plain([np.zeros(1000), np.zeros(100, "int8")]))
    large, small = decode(raw)[1]
    assert large.data.obj is raw
    assert small.data.obj is not raw
    assert large.data.readonly
    assert small.data.readonly
    assert decode(bytearray(raw))[1][0].data.readonly


def test_what_becomes_of_arrays_is_for_the_reader_to_say() -> None:
    reader = Reader(lambda typed: typed.tolist)
    raw = from_plain({"x": [np.arange(3)]})
    assert reader.decode(raw)[1]["x"][0]() == [0, 1, 2]
    assert reader.decode(from_plain(np.arange(3)))[1]() == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "hexed"),
    [
        (np.array([1.5, 2.5]), "c711060a" + doubles(1.5, 2.5).hex()),
        (array("b", [1]), "d5060101"),
        (memoryview(array("b", [1])), "d5060101"),
        (np.array([[1], [2]], "uint8"), "c70c0685020200000001000000" + "0102"),
        (np.array([1.5, 2.5], ">f8"), "c711060a" + doubles(1.5, 2.5).hex()),
        (np.array([1.5, 0, 2.5])[::2], "c711060a" + doubles(1.5, 2.5).hex()),
    ],
)
def test_what_python_has_for_numbers_is_sent_as_bytes(value: Any, hexed: str) -> None:
    assert bytes(from_plain(value)).hex() == hexed
    assert bytes(encode("any", [value])).hex().endswith("91" + hexed)


def test_a_nan_is_always_the_same_one() -> None:
    for nan in (math.nan, -math.nan, math.inf - math.inf):
        assert bytes(encode("float", nan)).hex() == "cb7ff8000000000000"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros(3), ("float", 1)),
        (np.zeros((200, 3), "float32"), ("float", 2)),
        (np.zeros(1, "uint8"), ("integer", 1)),
        (np.zeros((1, 1, 1), "int64"), ("integer", 3)),
        ([1, 2], None),
        ([], None),
        (5, None),
    ],
)
def test_what_an_array_is_of_is_seen_without_decoding_it(value: Any, found: Any) -> None:
    raw = from_plain(value)
    assert peek_array(raw) == found
    assert peek_type(bytes(raw)[:8]) == type_of(value)


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
        ("array", array("h", [1]), TypedArray(ELEMENT_NAMED["int16"], (1,), memoryview(b"\x01\x00"))),
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


# -- what arrives ------------------------------------------------------------------------------------------------


def extension(code: int, content: bytes) -> bytes:
    return pack(msgspec.msgpack.Ext(code, content))


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "empty"),
        (b"\xc1", "not an encoded message"),
        (pack(1) + b"\x00", "not an encoded message"),
        (pack(300)[:-1], "not an encoded message"),
        (pack(b"ab")[:-1], "length"),
        (pack(b"ab") + b"\x00", "length"),
        (b"\xc6\xff\xff\xff\xff\x00", "length"),
        (b"\xc5\x00", "length"),
        (b"\xa1\xff", "not an encoded message"),
        (pack(2**63), "64 bits"),
        (pack([1, 2**64 - 1]), "64 bits"),
        (pack([1, "a", 2**64 - 1]), "64 bits"),
        (pack({"a": 2**64 - 1}), "64 bits"),
        (pack({1: 1}), "keys must be strings"),
        (pack([{b"k": 1}]), "keys must be strings"),
        (b"\x81\xc0\x01", "keys must be strings"),
        (b"\x81\x80\x01", "not an encoded message"),
        (b"\x81\xa1\xff\x01", "not an encoded message"),
        (b"\xdd\xff\xff\xff\xff", "not an encoded message"),
        (extension(0, b""), "unknown type 0"),
        (extension(7, b"\xc0"), "unknown type 7"),
        (b"\xd6\xff\x00\x00\x00\x00", "unknown type 255"),
        (b"\x91\xd6\xff\x00\x00\x00\x00", "datetime"),
        (b"\x91" + extension(1, b"\xc0"), "type 1 is not allowed inside"),
        (extension(2, extension(3, b"")), "type 3 is not allowed inside"),
        (extension(2, b""), "not an encoded message"),
        (extension(2, b"\xc0\xc0"), "not an encoded message"),
        (extension(2, pack({"a": 2**64 - 1})), "64 bits"),
        (extension(2, pack({1: 1})), "keys must be strings"),
        (extension(2, b"\xc0")[:-1], "length"),
        (extension(2, b"\xc0") + b"\xc0", "length"),
        (b"\xc7", "length"),
        (b"\xd4", "length"),
        (b"\xd4\x02", "length"),
        (extension(3, extension(3, pack(2**64 - 1))), "64 bits"),
        (extension(3, b"\xc0\xc0"), "not an encoded message"),
        (extension(3, extension(5, b"\x91\x01")), "streams"),
        (extension(4, pack("text")), "error"),
        (extension(4, pack([])), "error"),
        (extension(4, pack([1])), "error"),
        (extension(4, pack({"message": "m"})), "error"),
        (extension(4, pack(["m", 1.5])), "error"),
        (extension(4, pack(["m", False])), "error"),
        (extension(5, b"\x91\x01"), "streams"),
        (extension(6, b""), "element"),
        (b"\x91" + extension(6, b"\x0a\x00"), "elements of 8 each"),
    ],
)
def test_what_is_no_message_is_malformed(raw: bytes, complaint: str) -> None:
    for refuse in (decode, check):
        with pytest.raises(MalformedMessageError, match=complaint):
            refuse(raw)


@pytest.mark.parametrize("raw", [extension(5, b"\x91\x01"), extension(4, pack("m")), extension(3, extension(5, b""))])
def test_what_is_well_formed_and_no_message_is_unfit(raw: bytes) -> None:
    with pytest.raises(UnfitMessageError):
        decode(raw)


def test_an_error_ignores_what_it_does_not_know() -> None:
    assert decode(extension(4, pack(["m", None, None, "of a later version"]))) == ("error", ErrorValue("m"))


@pytest.mark.parametrize("raw", [pack(b"\x00" * 100_000), pack("a" * 100_000), pack([0.5] * 10_000)])
def test_large_messages_are_checked_too(raw: bytes) -> None:
    assert check(raw) == decode(raw)[0]
    for broken in (raw[:-1], raw + b"\xc0"):
        with pytest.raises(MalformedMessageError):
            check(broken)
    with pytest.raises(MalformedMessageError):
        check(pack(["a" * 100_000, 2**63]))


@given(st.binary(max_size=60))
@example(b"\x91" * 100_000)
@example(b"\x81\xa1a" * 100_000)
@example(b"\xc9\x00\x01\x86\xa0\x02" + b"\x91" * 100_000)
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


def test_an_option_deeper_than_the_stack_is_refused_all_the_same() -> None:
    raw = b""
    for _ in range(2000):
        raw = pack(msgspec.msgpack.Ext(3, raw))
    with pytest.raises(MalformedMessageError, match="nested too deeply"):
        decode(raw)


def test_scalars_need_no_depth() -> None:
    assert decode(from_plain(5, max_depth=0), 0) == ("integer", 5)


def test_to_plain_unwraps_options_and_errors() -> None:
    assert to_plain("option", ("option", ("integer", 5))) == 5
    assert to_plain("option", None) is None
    assert to_plain("error", ErrorValue("m", 0, None)) == {"message": "m", "code": 0}
