from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest
from reflow.wire import messages
from reflow.wire.messages import (
    FINAL,
    Activate,
    AgentExit,
    CloseCode,
    Code,
    Commit,
    Failure,
    Hello,
    Load,
    Log,
    Pong,
    Send,
    StateSettings,
    Stop,
)

TYPES = [
    kind
    for _, kind in inspect.getmembers(messages, inspect.isclass)
    if issubclass(kind, msgspec.Struct) and not kind.__name__.startswith("_")
]

ACTIVATE: dict[str, Any] = {"activation": 1, "attempt": 1, "epoch": 1, "inputs": {}}


def convert(value: Any, kind: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)


def filled(kind: Any) -> dict[str, Any]:
    """The members that a shape asks for, and one that no version knows."""
    samples: dict[str, Any] = {
        "protocol": [1], "runtime": "r", "session": "s", "node": "n", "component": "c", "file": "f", "source": "",
        "name": "n", "activation": 1, "attempt": 1, "epoch": 1, "inputs": {}, "index": 0, "port": "p",
        "message": "m", "keys": [], "id": 1, "level": "info", "type": "t", "max_frame": 1, "max_message": 1,
        "max_depth": 1, "max_batch": 1, "received": 0,
        "limits": {"max_frame": 1, "max_message": 1, "max_depth": 1, "max_batch": 1},
    }  # fmt: skip
    if kind is messages.HelloResult:
        samples["protocol"] = 1
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    return {name: samples[name] for name in required} | {"of a later version": [1]}


def test_there_are_shapes_to_test() -> None:
    assert {Hello, Load, Activate, Commit, Send, Failure} <= set(TYPES)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_unknown_members_are_ignored(kind: Any) -> None:
    members = filled(kind)
    assert convert(members, kind) == convert({k: v for k, v in members.items() if k != "of a later version"}, kind)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_each_required_member_is_missed(kind: Any) -> None:
    members = filled(kind)
    convert(members, kind)
    for name in members.keys() - {"of a later version"}:
        with pytest.raises(msgspec.ValidationError, match=name):
            convert({k: v for k, v in members.items() if k != name}, kind)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_scalar_that_has_its_default_does_not_travel(kind: Any) -> None:
    value = convert(filled(kind), kind)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    fields = msgspec.structs.fields(kind)
    assert {field.name for field in fields if field.required} <= set(sent)
    assert not {field.name for field in fields if field.default is not msgspec.NODEFAULT} & set(sent)


@pytest.mark.parametrize("name", ["activation", "attempt", "epoch"])
@pytest.mark.parametrize(("value", "fits"), [(1, True), (2**63 - 1, True), (0, False), (-1, False), (2**63, False)])
def test_ordinals_are_from_one_to_what_64_bits_hold(name: str, value: int, fits: bool) -> None:
    if fits:
        assert getattr(convert(ACTIVATE | {name: value}, Activate), name) == value
    else:
        with pytest.raises(msgspec.ValidationError, match=name):
            convert(ACTIVATE | {name: value}, Activate)


@pytest.mark.parametrize(("value", "fits"), [(0, True), (2**53 - 1, True), (-1, False), (2**53, False), (1.5, False)])
def test_times_are_milliseconds_that_every_language_holds_exactly(value: float, fits: bool) -> None:
    shapes: list[tuple[Any, dict[str, Any], str]] = [
        (Activate, ACTIVATE, "timeout_ms"),
        (Activate, ACTIVATE, "deadline_ms"),
        (Stop, {}, "grace_ms"),
        (StateSettings, {}, "ttl_ms"),
    ]
    for kind, members, name in shapes:
        if fits:
            assert getattr(convert(members | {name: value}, kind), name) == value
        else:
            with pytest.raises(msgspec.ValidationError, match=name):
                convert(members | {name: value}, kind)


def test_messages_stay_encoded_until_somebody_needs_them() -> None:
    raw = msgspec.msgpack.encode(["integer", 5])
    activate = convert(ACTIVATE | {"inputs": {"in": ["integer", 5]}}, Activate)
    assert bytes(activate.inputs["in"]) == raw
    commit = convert({"outputs": [["out", ["integer", 5]]]}, Commit)
    assert [(port, bytes(message)) for port, message in commit.outputs] == [("out", raw)]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(commit)) == {
        "outputs": [["out", ["integer", 5]]],
        "state": [],
    }


@pytest.mark.parametrize("outputs", [[["out"]], [["out", 1, 2]], [[1, 2]], {"out": 1}, "out"])
def test_outputs_are_pairs_of_a_port_and_a_message(outputs: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="outputs"):
        convert({"outputs": outputs}, Commit)


def test_defaults() -> None:
    assert convert({}, Commit) == Commit(outputs=[], state=[], sent=0)
    assert convert({}, Pong).busy is None
    assert convert({}, Stop).grace_ms == 5000
    assert convert(filled(Load), Load).outports is None
    assert convert(filled(Log), Log).fields == {}


def test_defaults_are_not_shared() -> None:
    first, second = Commit(), Commit()
    first.state.append(["delete", "key"])
    assert second.state == []


def test_codes_of_the_specification() -> None:
    """Other implementations know these as numbers."""
    assert {code.name: int(code) for code in Code} == {
        "PARSE_ERROR": -32700,
        "INVALID_REQUEST": -32600,
        "METHOD_NOT_FOUND": -32601,
        "INVALID_PARAMS": -32602,
        "INTERNAL_ERROR": -32603,
        "CANCELLED": -32800,
        "DEADLINE_EXCEEDED": -32801,
        "NO_COMMON_VERSION": -32001,
        "SESSION_OVER": -32002,
        "SKIPPED": -32010,
        "LOAD_FAILED": -32020,
        "SCRIPT_FAILED": -32021,
        "UNSENDABLE_RESULT": -32022,
        "STATE_UNAVAILABLE": -32030,
        "NOT_ALLOWED": -32031,
    }
    assert [int(code) for code in CloseCode] == [1000, 4001, 4002, 4003, 4004]
    assert frozenset(CloseCode) - {CloseCode.CUT} == FINAL
    assert [int(code) for code in AgentExit] == [0, 70, 71, 72]
