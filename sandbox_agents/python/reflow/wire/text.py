"""Messages in text frames, where they are `[type, value]` in JSON (specs/protocol.md §2).

Decides what stands for what JSON has no words for, where a message's type says what is meant: base64 for bytes and
typed arrays, names for NaN and the infinities. Inside other values bytes become base64 all the same, typed arrays
arrays, and such numbers null. It knows in which params and results messages stand; whoever makes or takes these
has the messages encoded as they are in binary frames.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final, TypeVar, cast

import msgspec

from . import arrays, values
from .arrays import TypedArray
from .messages import Activate, Commit, Send
from .values import NotAMessageError

T = TypeVar("T")

_NAMES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

INPUT_DEPTH: Final = 3
OUTPUT_DEPTH: Final = 4
SENT_DEPTH: Final = 2
"""How deep a message's value stands in params or a result, where it is an array of type and value."""


class _ArrayText(msgspec.Struct, forbid_unknown_fields=True):
    """A typed array."""

    element: str
    shape: list[int]
    data: bytes


# -- out ---------------------------------------------------------------------------------------------------------


def to_text(body: Any) -> Any:
    """Params or a result for a text frame. What holds no messages stays as it is."""
    match body:
        case Activate():
            fields = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
            return {**fields, "inputs": {port: pair_of(raw) for port, raw in body.inputs.items()}}
        case Commit():
            outputs = [[port, pair_of(raw)] for port, raw in body.outputs]
            return {"outputs": outputs, "state": body.state, "sent": body.sent}
        case Send():
            return {**msgspec.structs.asdict(body), "message": pair_of(body.message)}
        case _:
            return body


def pair_of(raw: msgspec.Raw | bytes) -> list[Any]:
    """An encoded message as `[type, value]`, of which JSON can be made."""
    return _pair(*values.decode(raw))


def _pair(type_: str, value: Any) -> list[Any]:
    if type_ == values.OPTION:
        return [type_, None if value is None else _pair(*value)]
    if type_ == values.FLOAT and not math.isfinite(value):
        return [type_, "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"]
    if isinstance(value, TypedArray):
        if type_ == values.ARRAY:
            return [type_, _ArrayText(value.element.name, list(value.shape), bytes(value.data))]
        return [type_, _numbers(value)]
    return [type_, msgspec.to_builtins(values.to_plain(type_, value), builtin_types=(bytes,), enc_hook=_numbers)]


def _numbers(array: TypedArray) -> list[Any]:
    found = array.tolist()
    return _within_64_bits(found) if array.element.name == "uint64" else found


def _within_64_bits(numbers: list[Any]) -> list[Any]:
    """A frame must not hold larger integers."""
    return [
        _within_64_bits(cast("list[Any]", n)) if isinstance(n, list) else n if n <= values.INT_MAX else None
        for n in numbers
    ]


# -- in ----------------------------------------------------------------------------------------------------------


def from_text(body: T, depth: int) -> T:
    """Params or a result of a text frame, with the messages in it as they are in binary frames.

    Args:
        depth: how many arrays and maps may stand inside one another in all of it.

    Raises:
        NotAMessageError: what should be a message is none.
    """
    match body:
        case Activate():
            body.inputs = {port: from_pair(raw, depth - INPUT_DEPTH) for port, raw in body.inputs.items()}
        case Commit():
            body.outputs = [(port, from_pair(raw, depth - OUTPUT_DEPTH)) for port, raw in body.outputs]
        case Send():
            body.message = from_pair(body.message, depth - SENT_DEPTH)
        case _:
            pass
    return body


def from_pair(raw: msgspec.Raw | bytes, max_depth: int = values.DEFAULT_DEPTH) -> msgspec.Raw:
    """The encoded message that a `[type, value]` in JSON says.

    Raises:
        NotAMessageError: it says none.
    """
    try:
        pair = msgspec.json.decode(raw, type=tuple[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise NotAMessageError(f"a message is an array of its type and its value: {e}") from None
    return values.encode(*_value_of(*pair), max_depth=max_depth)


def _value_of(type_: str, value: Any) -> tuple[str, Any]:
    if type_ == values.OPTION:
        if value is None:
            return type_, None
        pair = cast("list[Any]", value if isinstance(value, list) else [])
        if len(pair) != 2 or not isinstance(pair[0], str) or pair[0] not in values.TYPES:
            raise NotAMessageError("an option holds nothing, or a message: [type, value]")
        return type_, _value_of(*pair)
    if type_ == values.BYTES:
        try:
            return type_, base64.b64decode(value, validate=True)
        except (TypeError, ValueError):
            raise NotAMessageError("bytes are base64 in a text frame") from None
    if type_ == values.FLOAT and isinstance(value, str):
        if value not in _NAMES:
            raise NotAMessageError('a float is a number, "NaN", "Infinity" or "-Infinity"')
        return type_, _NAMES[value]
    if type_ == values.FLOW and value is not None:
        raise NotAMessageError("a flow has no value")
    if type_ == values.ARRAY and isinstance(value, dict):
        return type_, _array(cast("object", value))
    return type_, value


def _array(value: object) -> TypedArray:
    try:
        said = msgspec.convert(value, _ArrayText)
    except msgspec.ValidationError as e:
        raise NotAMessageError(f"a typed array in a text frame has element, shape, and data in base64: {e}") from None
    element, shape = arrays.ELEMENT_NAMED.get(said.element), tuple(said.shape)
    if element is None:
        raise NotAMessageError(f"a typed array of {said.element[:40]!r}; there are {', '.join(arrays.ELEMENT_NAMED)}")
    if not arrays.is_shape(shape) or math.prod(shape) * element.size != len(said.data):
        raise NotAMessageError(f"a typed array of {len(said.data)} bytes, and its shape says otherwise")
    return TypedArray(element, shape, memoryview(said.data))
