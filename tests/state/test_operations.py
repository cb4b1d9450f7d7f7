from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow_supervisor.state.operations import (
    MAX_TTL,
    InvalidStateOps,
    StateLimits,
    is_json,
    parse_key,
    parse_keys,
    parse_ops,
)
from reflow_supervisor.state.store import Append, Delete, Expire, Set, SetList, Trim

LIMITS = StateLimits(operations=10, items=5, value=20, total=50, keys=3)


def test_every_operation_is_read() -> None:
    raw = [
        ["set", "a", '{"x": 1}', None],
        ["set", "b", b"7", 1000],
        ["list", "c", ["1", b'"two"'], None],
        ["append", "d", ["3"], 5],
        ["trim", "e", 1, 2],
        ["delete", "f"],
        ["expire", "g", None],
        ["expire", "h", 0],
    ]
    assert parse_ops(raw, LIMITS) == (
        Set("a", b'{"x": 1}'),
        Set("b", b"7", 1000),
        SetList("c", (b"1", b'"two"')),
        Append("d", (b"3",), 5),
        Trim("e", 1, 2),
        Delete("f"),
        Expire("g", None),
        Expire("h", 0),
    )
    assert parse_ops([], LIMITS) == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "operations must be an array, not null"),
        ({"set": 1}, "operations must be an array, not dict"),
        ([["delete", "k"]] * 11, "11 operations in one commit; at most 10"),
        ([["delete", "k"], "delete"], "operation 1: must be an array [name, key, ...], not str"),
        ([[]], "operation 0: must be an array"),
        ([["incr", "k"]], "operation 0: unknown name 'incr'; known are set, list, append"),
        ([["x" * 9999, "k"]], "unknown name 'xxx"),
        ([[["set"], "k"]], "unknown name list"),
        ([["delete", "k", 1]], "'delete' must have 2 elements, not 3"),
        ([["set", "k", "1"]], "'set' must have 4 elements, not 3"),
        ([["delete", 7]], "a key must be a string, not int"),
        ([["delete", b"k"]], "a key must be a string, not bytes"),
        ([["set", "k", 1, None]], "'set' of the key 'k': JSON text must be a string or bytes, not int"),
        ([["set", "k", "{", None]], "not a JSON document: b'{'"),
        ([["set", "k", "NaN", None]], "not a JSON document"),
        ([["set", "k", b'"\xff"', None]], "not a JSON document"),
        ([["set", "k", '"\ud800"', None]], "JSON text is not valid Unicode"),
        ([["set", "k", "1" * 21, None]], "a value of 21 bytes; at most 20"),
        ([["set", "k", "1" * 20, None]] * 3, "operation 2: 'set' of the key 'k': more than 50 bytes of values"),
        ([["set", "k", "1", 0]], "ttl must be from 1 to"),
        ([["set", "k", "1", True]], "ttl must be an integer, not bool"),
        ([["set", "k", "1", 1.5]], "ttl must be an integer, not float"),
        ([["set", "k", "1", MAX_TTL + 1]], "ttl must be from 1 to"),
        ([["expire", "k", -1]], "ttl must be from 0 to"),
        ([["list", "k", "12", None]], "items must be an array, not str"),
        ([["append", "k", ["1", "1,"], None]], "'append' of the key 'k': not a JSON document"),
        ([["append", "k", ["1"] * 3, None]] * 2, "more than 5 list items in one commit"),
        ([["trim", "k", -1, 0]], "left must be from 0 to"),
        ([["trim", "k", 0, None]], "right must be an integer, not null"),
    ],
)
def test_anything_else_is_refused_with_its_reason(raw: object, reason: str) -> None:
    with pytest.raises(InvalidStateOps) as caught:
        parse_ops(raw, LIMITS)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("key", ["k", "user:1", "ü €", "𝄞" * 128, " ", "*?[]", "\u200d"])
def test_a_good_key_is_taken_as_it_is(key: str) -> None:
    assert parse_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 513, "€" * 171, "a\nb", "a\0", "\x7f", "\x85", "\ud800", None, 1])
def test_a_bad_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidStateOps, match="key"):
        parse_key(key)


def test_keys_are_a_bounded_array_of_keys() -> None:
    assert parse_keys(["a", "b"], LIMITS) == ("a", "b")
    for raw in ("abc", ["a"] * 4, ["a", ""]):
        with pytest.raises(InvalidStateOps, match="key"):
            parse_keys(raw, LIMITS)


def test_json_too_deep_or_out_of_range_is_none() -> None:
    assert is_json(b'[{"a": "\\u00e9"}, -1.5e3, true, null]')
    assert not is_json(b"[" * 100_000 + b"]" * 100_000)
    assert not is_json(b"1e999")
    assert not is_json(b"")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.floats() | st.binary(max_size=5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
shaped = st.tuples(
    st.sampled_from(["set", "list", "append", "trim", "delete", "expire", "?"]), plain, plain, plain
).map(list)


@pytest.mark.slow
@settings(max_examples=50)
@given(plain | st.lists(plain | shaped, max_size=12))
def test_hostile_data_gives_operations_or_a_reason_and_nothing_else(raw: Any) -> None:
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(raw))
    try:
        ops = parse_ops(received, LIMITS)
    except InvalidStateOps:
        return
    assert len(ops) == len(received)
