"""Plain values as lines of JSON: for people, files, and programs behind a pipe.

Decides what stands for what JSON has no words for. Nothing turns these lines back into messages; text frames are
another matter, and are in `text`.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final, cast

import msgspec

from .arrays import TypedArray
from .forms import FLOAT


def json_text(value: Any) -> str:
    """A plain value as one line of JSON. bytes become base64, typed arrays arrays of numbers; NaN and infinities become
    the literals that Python's and JSON5's readers take, since dropping them would lose data."""
    try:
        text = _encode_json(value)
        # What JSON has no number for has become null there.
        if b"null" not in text or not _has_odd_float(value):
            return text.decode()
    except (TypeError, ValueError):
        pass
    import json

    def fallback(item: object) -> Any:
        if isinstance(item, (bytes, bytearray, memoryview)):
            return base64.b64encode(bytes(cast("bytes", item))).decode()
        return _as_list(item)

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=fallback)


def _as_list(item: object) -> list[Any]:
    if isinstance(item, TypedArray):
        return item.tolist()
    raise TypeError(f"{type(item).__name__} has no JSON form")


_encode_json: Final = msgspec.json.Encoder(enc_hook=_as_list).encode


def _has_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_odd_float, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(_has_odd_float, cast("list[Any]", value)))
    if isinstance(value, TypedArray):
        return value.element.type == FLOAT and not all(map(math.isfinite, value.flat()))
    return False
