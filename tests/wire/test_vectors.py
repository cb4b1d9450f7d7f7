"""The vectors of specs/vectors, which every implementation must pass, in Python."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from reflow.wire import values
from reflow.wire.arrays import ELEMENT_NAMED, TypedArray, native
from reflow.wire.limits import WireLimits
from reflow.wire.session import (
    FrameGapError,
    NotificationReceived,
    Outcome,
    ProtocolViolationError,
    RequestReceived,
    Session,
)
from reflow.wire.values import ErrorValue, MalformedMessageError

SPECS = Path(__file__).resolve().parents[2] / "specs"
MESSAGES = json.loads((SPECS / "vectors" / "messages.json").read_text())
FRAMES = json.loads((SPECS / "vectors" / "frames.json").read_text())


def each(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[v["name"] for v in vectors])


def described(value: Any) -> Any:
    """The value that a description stands for."""
    match value:
        case {"$int": text}:
            return int(text)
        case {"$float": text}:
            return float(text)
        case {"$bytes": text}:
            return bytes.fromhex(described(text))
        case {"$repeat": [item, times]}:
            return described(item) * times
        case {"$array": {"element": element, "shape": shape, "data": data}}:
            return TypedArray(ELEMENT_NAMED[element], tuple(shape), memoryview(unhex(data)))
        case dict():
            return {k: described(v) for k, v in value.items()}
        case list():
            return [described(v) for v in value]
        case _:
            return value


def unhex(parts: str | list[str | list[Any]]) -> bytes:
    if isinstance(parts, str):
        return bytes.fromhex(parts)
    return b"".join(bytes.fromhex(p) if isinstance(p, str) else bytes.fromhex(p[0]) * p[1] for p in parts)


def frame_of(vector: dict[str, Any]) -> bytes | str:
    return vector["text"] if "text" in vector else unhex(vector["hex"])


def same(value: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down; a NaN equals a NaN, and 0.0 is not -0.0."""
    if type(value) is not type(other):
        return False
    if isinstance(value, float):
        return (math.isnan(value) and math.isnan(other)) or (
            value == other and math.copysign(1, value) == math.copysign(1, other)
        )
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(same(v, other[k]) for k, v in value.items())
    if isinstance(value, list):
        return len(value) == len(other) and all(map(same, value, other))
    return value == other


def pair_of(type_: str, value: Any) -> list[Any]:
    """A decoded message as vectors describe it."""
    if type_ == values.OPTION and value is not None:
        return [type_, pair_of(*value)]
    if isinstance(value, ErrorValue):
        return [type_, values.to_plain(type_, value)]
    return [type_, value]


def decode(raw: bytes) -> list[Any]:
    return pair_of(*values.decode(raw, MESSAGES["max_depth"]))


@each(MESSAGES["valid"])
def test_a_message_is_decoded(vector: dict[str, Any]) -> None:
    assert same(decode(unhex(vector["hex"])), described(vector["message"]))


def tuples(pair: list[Any]) -> Any:
    """The value of a message as `encode` takes it."""
    type_, value = pair
    return (value[0], tuples(value)) if type_ == values.OPTION and value is not None else value


@each([v for v in MESSAGES["valid"] if v.get("canonical", True)])
def test_a_message_is_encoded(vector: dict[str, Any]) -> None:
    message = described(vector["message"])
    raw = bytes(values.encode(message[0], tuples(message), max_depth=MESSAGES["max_depth"]))
    assert raw.hex() == unhex(vector["hex"]).hex()


@each([v for v in MESSAGES["valid"] if not v.get("canonical", True)])
def test_what_is_encoded_otherwise_means_the_same(vector: dict[str, Any]) -> None:
    message = described(vector["message"])
    raw = bytes(values.encode(message[0], tuples(message), max_depth=MESSAGES["max_depth"]))
    assert same(decode(raw), message)


@each(MESSAGES["valid"])
def test_the_type_of_a_message_is_seen_from_its_first_bytes(vector: dict[str, Any]) -> None:
    raw = unhex(vector["hex"])
    assert values.peek_type(raw[:6]) == values.check(raw, MESSAGES["max_depth"]) == vector["message"][0]


@each(MESSAGES["invalid"])
def test_what_is_no_message_is_refused(vector: dict[str, Any]) -> None:
    for refuse in (values.decode, values.check, values.Reader(native).decode):
        with pytest.raises(MalformedMessageError):
            refuse(unhex(vector["hex"]), MESSAGES["max_depth"])


def session_for(vector: dict[str, Any]) -> Session:
    session = Session(WireLimits(**FRAMES["limits"]))
    for _ in range(vector.get("asked", 0)):
        session.request("m")
    return session


def events_of(session: Session, frame: bytes | str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for event in session.receive(frame):
        match event:
            case RequestReceived(id, method, params):
                found.append({"kind": "request", "id": id, "method": method, "params": params.plain()})
            case NotificationReceived(method, params):
                found.append({"kind": "notification", "method": method, "params": params.plain()})
            case Outcome(id, result=result, error=error):
                if error is not None:
                    found.append({"kind": "error", "id": id, "code": error.code, "message": error.message})
                else:
                    assert result is not None
                    found.append({"kind": "result", "id": id, "result": result.plain()})
    return found


@each(FRAMES["valid"])
def test_a_frame_is_read(vector: dict[str, Any]) -> None:
    session = session_for(vector)
    assert same(events_of(session, frame_of(vector)), described(vector["events"]))


@each(FRAMES["invalid"])
def test_a_frame_that_is_none_is_refused(vector: dict[str, Any]) -> None:
    session = session_for(vector)
    with pytest.raises(ProtocolViolationError):
        events_of(session, frame_of(vector))


@each(FRAMES["gaps"])
def test_a_frame_before_which_one_is_missing_is_of_no_use(vector: dict[str, Any]) -> None:
    session = session_for(vector)
    with pytest.raises(FrameGapError):
        session.receive(frame_of(vector))
    assert session.received == 0


def test_every_message_type_of_the_specification_has_vectors() -> None:
    section = (SPECS / "protocol.md").read_text().partition("## 3. Messages")[2].partition("\n## ")[0]
    types = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert types == values.TYPES
    assert {v["message"][0] for v in MESSAGES["valid"]} == types - {"stream"}
    assert any(v["why"] == "version 1 carries no streams" for v in MESSAGES["invalid"])


def test_every_element_of_the_specification_has_vectors() -> None:
    section = (SPECS / "protocol.md").read_text().partition("## 3. Messages")[2].partition("\n## ")[0]
    elements = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", section, re.MULTILINE)}
    assert elements == {name: element.code for name, element in ELEMENT_NAMED.items()}
    of_vectors = [
        v["message"][1]["$array"]["element"] for v in MESSAGES["valid"] if "$array" in str(v["message"][1])[:9]
    ]
    assert set(of_vectors) == set(elements)


def test_every_limit_has_frames_at_its_edge() -> None:
    limits = FRAMES["limits"]
    sizes = {len(unhex(v["hex"])) for v in FRAMES["valid"] if "hex" in v}
    assert max(sizes) == limits["max_frame"]
    assert max(len(v["events"]) for v in FRAMES["valid"]) == limits["max_batch"]
    assert limits["max_frame"] + 1 in {len(unhex(v["hex"])) for v in FRAMES["invalid"] if "hex" in v}


@pytest.mark.parametrize("vectors", [MESSAGES, FRAMES], ids=["messages", "frames"])
def test_names_are_unique(vectors: dict[str, Any]) -> None:
    for kind in vectors.keys() & {"valid", "invalid", "gaps"}:
        names = [v["name"] for v in vectors[kind]]
        assert names
        assert len(set(names)) == len(names)
