"""Which values a state key may hold: JSON documents.

Decides what is one, exactly: nothing is turned silently into something else, except that tuples come back as lists
and numpy scalars as Python's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec

from .wire.values import INT_MAX, INT_MIN

MAX_DEPTH: Final = 64

_encode = msgspec.json.Encoder().encode

_HINTS: Final[dict[str, str]] = {
    "set": "use a list: sorted(…) or list(…)",
    "frozenset": "use a list: sorted(…) or list(…)",
    "bytes": "use base64 text, or send it as a message",
    "datetime": "use .isoformat()",
    "date": "use .isoformat()",
    "Decimal": "use float(…) or str(…)",
    "ndarray": "use .tolist()",
    "array": "use .tolist()",
    "memoryview": "use .tolist(), or base64 text for bytes",
    "TypedArray": "use .tolist()",
    "coroutine": "await it",
}


def to_json(value: Any, path: str) -> str:
    """The JSON text of a value.

    Raises:
        TypeError, ValueError: the value is no JSON document; the text begins with `path` and names the place inside.
    """
    plain = value if _is_leaf(value) else _plain(value, path, MAX_DEPTH)
    try:
        return _encode(plain).decode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: a text holds half of a surrogate pair, which is not valid Unicode") from None


def from_json(text: str) -> Any:
    """A fresh value each time: changing it changes nothing that is stored."""
    return msgspec.json.decode(text)


def _is_leaf(value: Any) -> bool:
    """Whether the value is fine as it is: asked first, so that no place has to be spelled out for most values."""
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is int:
        return INT_MIN <= value <= INT_MAX
    return kind is str or kind is bool or value is None or (kind is float and math.isfinite(value))


def _plain(value: Any, path: str, depth: int) -> Any:
    if _is_leaf(value):
        return value
    if isinstance(value, str):  # a subclass, as an enumeration may be
        return str.__str__(value)
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise ValueError(f"{path}: an integer must fit 64 bits; use a float or a string for larger ones")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path}: {value} is not a JSON number; use None or a string")
        return float(value)
    if depth == 0:
        raise ValueError(f"{path}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[Any]", value)
        return [item if _is_leaf(item) else _plain(item, f"{path}[{i}]", depth - 1) for i, item in enumerate(items)]
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        for key in members:
            if not isinstance(key, str):
                raise TypeError(f"{path}: object keys must be strings, not {type(key).__name__} ({key!r}); use str(…)")
        return {
            key: item if _is_leaf(item) else _plain(item, f"{path}.{key}", depth - 1) for key, item in members.items()
        }
    unwrap = getattr(value, "unwrap", None)
    if callable(unwrap) and hasattr(value, "type"):  # a Message
        return _plain(unwrap(), path, depth - 1)
    item_of = getattr(value, "item", None)
    if callable(item_of) and getattr(value, "shape", None) == ():  # a numpy scalar
        return _plain(item_of(), path, depth - 1)
    name = type(value).__name__
    hint = _HINTS.get(name, "use None, bool, int, float, str, list or dict")
    raise TypeError(f"{path}: a {name} cannot be kept in state; {hint}")
