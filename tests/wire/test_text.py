from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from reflow import Message
from reflow.wire import values
from reflow.wire.arrays import TypedArray
from reflow.wire.messages import Activate, Commit, Log, Send
from reflow.wire.text import from_pair, from_text, pair_of, to_text
from reflow.wire.values import NotAMessageError
from wire.samples import scalars, typed_arrays

MESSAGES: list[tuple[Message, list[Any]]] = [
    (Message.flow(), ["flow", None]),
    (Message.boolean(False), ["boolean", False]),
    (Message.integer(2**63 - 1), ["integer", 2**63 - 1]),
    (Message.float(2.5), ["float", 2.5]),
    (Message.float(5), ["float", 5.0]),
    (Message.float(math.inf), ["float", "Infinity"]),
    (Message.float(-math.inf), ["float", "-Infinity"]),
    (Message.float(math.nan), ["float", "NaN"]),
    (Message.string("NaN"), ["string", "NaN"]),
    (Message.bytes(b"hi"), ["bytes", "aGk="]),
    (Message.object({"a": [1, None]}), ["object", {"a": [1, None]}]),
    (Message.array([]), ["array", []]),
    (Message.any(7), ["any", 7]),
    (Message.event(None), ["event", None]),
    (Message.option(None), ["option", None]),
    (Message.option(-math.inf), ["option", ["float", "-Infinity"]]),
    (Message.option(Message.option(b"hi")), ["option", ["option", ["bytes", "aGk="]]]),
    (Message.error("m", 5, [1]), ["error", {"message": "m", "code": 5, "data": [1]}]),
    (Message.error("m"), ["error", {"message": "m"}]),
    (
        Message.array(np.array([1, -1], "int8")),
        ["array", {"element": "int8", "shape": [2], "data": "Af8="}],
    ),
    (
        Message.option(Message.array(np.zeros((2, 1), "uint8"))),
        ["option", ["array", {"element": "uint8", "shape": [2, 1], "data": "AAA="}]],
    ),
]


def said(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(msgspec.json.encode(pair_of(raw)))


@pytest.mark.parametrize(("message", "text"), MESSAGES, ids=lambda value: str(value)[:40])
def test_what_goes_out_comes_back(message: Message, text: list[Any]) -> None:
    raw = message.encode()
    assert said(raw) == text
    assert bytes(from_pair(msgspec.json.encode(text))) == bytes(raw)


@given(scalars | typed_arrays())
def test_scalars_and_arrays_come_back_to_the_last_bit(value: Any) -> None:
    if value is None:
        return
    raw = values.from_plain(value)
    assert bytes(from_pair(msgspec.json.encode(pair_of(raw)))) == bytes(raw)


def test_inside_values_what_json_lacks_becomes_what_it_has() -> None:
    value = {"n": [math.nan, b"hi"], "x": np.array([1.5, math.inf]), "u": np.array([[1], [2**64 - 1]], "uint64")}
    assert said(Message.any(value).encode()) == ["any", {"n": [None, "aGk="], "x": [1.5, None], "u": [[1], [None]]}]
    assert said(Message.error("m", None, np.zeros(1)).encode()) == ["error", {"message": "m", "data": [0.0]}]


@pytest.mark.parametrize(
    "pair",
    [
        5,
        None,
        {},
        [],
        ["integer"],
        ["integer", 1, 2],
        [1, 1],
        ["number", 1],
        ["flow", 1],
        ["boolean", 1],
        ["integer", 1.5],
        ["integer", "1"],
        ["float", "nan"],
        ["float", "1"],
        ["float", None],
        ["string", 5],
        ["bytes", "aGk"],
        ["bytes", "*"],
        ["bytes", 5],
        ["object", []],
        ["array", "a"],
        ["option", 5],
        ["option", [1, 2]],
        ["option", ["number", 2]],
        ["option", ["integer", "a"]],
        ["error", {}],
        ["stream", None],
        ["array", {}],
        ["array", {"element": "int8", "shape": [1]}],
        ["array", {"element": "int8", "shape": [1], "data": "AA==", "more": 1}],
        ["array", {"element": "int8", "shape": [2], "data": "AA=="}],
        ["array", {"element": "int8", "shape": [], "data": "AA=="}],
        ["array", {"element": "int8", "shape": [-1, -1], "data": "AA=="}],
        ["array", {"element": "int8", "shape": [1, 0], "data": ""}],
        ["array", {"element": "int8", "shape": [1.5], "data": "AA=="}],
        ["array", {"element": "int8", "shape": [1], "data": "*"}],
        ["array", {"element": "float16", "shape": [1], "data": "AAA="}],
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(pair: Any) -> None:
    with pytest.raises(NotAMessageError):
        from_pair(msgspec.json.encode(pair))


def test_messages_are_put_where_they_stand() -> None:
    raw, text = Message.float(math.inf).encode(), ["float", "Infinity"]
    send = Send(activation=1, attempt=1, index=0, port="out", message=raw)
    assert to_text(send) == {"activation": 1, "attempt": 1, "index": 0, "port": "out", "message": text}
    assert to_text(Commit(outputs=[("out", raw)], sent=2)) == {"outputs": [["out", text]], "state": [], "sent": 2}
    activate = Activate(activation=1, attempt=2, epoch=3, inputs={"in": raw}, timeout_ms=5)
    assert to_text(activate) == {"activation": 1, "attempt": 2, "epoch": 3, "inputs": {"in": text}, "timeout_ms": 5}
    for params in ({"a": 1}, Log(level="info", message="m")):
        assert to_text(params) is params


@pytest.mark.parametrize(
    "body",
    [
        Send(activation=1, attempt=1, index=0, port="out", message=Message.any([]).encode()),
        Commit(outputs=[("out", Message.bytes(b"a").encode())], sent=2),
        Activate(activation=1, attempt=2, epoch=3, inputs={"in": Message.array(np.zeros(3)).encode()}, timeout_ms=5),
    ],
    ids=lambda body: type(body).__name__,
)
def test_and_taken_from_there(body: Any) -> None:
    read = from_text(msgspec.json.decode(msgspec.json.encode(to_text(body)), type=type(body)), 64)
    assert msgspec.msgpack.encode(read) == msgspec.msgpack.encode(body)


def test_a_frames_depth_is_kept() -> None:
    """Of eight levels there are left below params, inputs and the pair: five."""

    def activate(depth: int) -> Activate:
        inputs = {"in": msgspec.Raw(b'["array",' + b"[" * depth + b"]" * depth + b"]")}
        return Activate(activation=1, attempt=1, epoch=1, inputs=inputs)

    assert values.decode(from_text(activate(5), 8).inputs["in"])[1] == [[[[[]]]]]
    with pytest.raises(NotAMessageError, match="too deep"):
        from_text(activate(6), 8)


def test_a_typed_array_stays_one() -> None:
    raw = from_pair(b'["array",{"element":"float64","shape":[1],"data":"AAAAAAAA+D8="}]')
    found = values.decode(raw)[1]
    assert isinstance(found, TypedArray)
    assert found.tolist() == [1.5]
