"""Messages in text frames, where JSON has no words for some of their values (specs/protocol.md §2).

Decides what stands for them where a message's type says what is meant: base64 for bytes, names for NaN and the
infinities. Inside other values bytes become base64 all the same, and such numbers null.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final, cast

import msgspec

from ..wire import values
from ..wire.messages import Commit, Send
from ..wire.values import NotAMessageError

_NAMES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_decode: Final = msgspec.msgpack.Decoder().decode


def as_text(params: Any) -> Any:
    """Params or a result for a text frame: messages that are encoded in MessagePack are taken apart again."""
    match params:
        case Commit():
            outputs = [[port, _to_text(*_decode(raw))] for port, raw in params.outputs]
            return {"outputs": outputs, "state": params.state, "sent": params.sent}
        case Send():
            return {**msgspec.structs.asdict(params), "message": _to_text(*_decode(params.message))}
        case _:
            return params


def _to_text(type_: str, value: Any) -> list[Any]:
    if type_ == values.OPTION:
        return [type_, None if value is None else _to_text(*value)]
    if type_ == values.FLOAT and not math.isfinite(value):
        return [type_, "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"]
    return [type_, value]


def from_text(type_: str, value: Any) -> tuple[str, Any]:
    """Type and value of a message that came as JSON, as `wire.values.encode` takes them.

    Raises:
        NotAMessageError: the value is not one of that type.
    """
    if type_ == values.OPTION:
        if value is None:
            return type_, None
        pair = cast("list[Any]", value if isinstance(value, list) else [])
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise NotAMessageError("an option holds nothing, or a message: [type, value]")
        return type_, from_text(*pair)
    if type_ == values.BYTES:
        try:
            return type_, base64.b64decode(value, validate=True)
        except (TypeError, ValueError):
            raise NotAMessageError("bytes are base64 in a text frame") from None
    if type_ == values.FLOAT and isinstance(value, str):
        if value not in _NAMES:
            raise NotAMessageError('a float is a number, "NaN", "Infinity" or "-Infinity"')
        return type_, _NAMES[value]
    return type_, value
