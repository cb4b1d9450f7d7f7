"""Messages: what flows between actors, its types, and its encoding as a MessagePack array `[type, value]`.

Decides what is a message and what is not, and says where in a value it is not. What a script sees (the `Message`
class) is built on top, in `reflow.message`; which port takes which type is decided by the supervisor.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final, cast

import msgspec

FLOW: Final = "flow"
EVENT: Final = "event"
BOOLEAN: Final = "boolean"
INTEGER: Final = "integer"
FLOAT: Final = "float"
STRING: Final = "string"
BYTES: Final = "bytes"
OBJECT: Final = "object"
ARRAY: Final = "array"
ANY: Final = "any"
OPTION: Final = "option"
ERROR: Final = "error"
STREAM: Final = "stream"

TYPES: Final = frozenset(
    (FLOW, EVENT, BOOLEAN, INTEGER, FLOAT, STRING, BYTES, OBJECT, ARRAY, ANY, OPTION, ERROR, STREAM)
)

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

DEFAULT_DEPTH: Final = 64

_encoder = msgspec.msgpack.Encoder()


class NotAMessageError(TypeError):
    """A value that cannot travel. The text names the place inside the value and what to use instead."""


class MalformedMessageError(ValueError):
    """Bytes from the other side that are not an encoded message."""


class ErrorValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of an `error` message."""

    message: str
    code: str | int | None = None
    data: Any = None


class TypedMessage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`[type, value]` as it travels; the value is left encoded until somebody needs it."""

    type: str
    value: msgspec.Raw


_HINTS: Final[dict[str, str]] = {
    "set": "use a list: sorted(…) or list(…)",
    "frozenset": "use a list: sorted(…) or list(…)",
    "datetime": "use .isoformat()",
    "date": "use .isoformat()",
    "Decimal": "use float(…) or str(…)",
    "ndarray": "use .tolist()",
    "function": "call it, and return what it gives",
    "coroutine": "await it",
    "generator": "use list(…)",
    "dict_keys": "use list(…)",
    "dict_values": "use list(…)",
}


def _refuse(value: object, path: str) -> NotAMessageError:
    kind = type(value).__name__
    hint = _HINTS.get(kind, "use bool, int, float, str, bytes, list, dict or None")
    return NotAMessageError(f"{path}: a {kind} is not a message value; {hint}")


def check_plain(value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH) -> Any:
    """The value, with what msgspec would encode silently wrongly refused, and numpy-like scalars made plain.

    Returns the same object where nothing had to change. The walk is iterative in depth only up to `max_depth`.

    Raises:
        NotAMessageError: what is wrong, and where: "outputs.result.items[3]: a set is not a message value; …".
    """
    kind = cast("type[Any]", type(value))
    if value is None or kind is bool or kind is str or kind is float or kind is bytes:
        return value
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise NotAMessageError(f"{path}: an integer must fit 64 bits; use a float or a string for larger ones")
        return value
    if max_depth <= 0:
        raise NotAMessageError(f"{path}: nested too deeply")
    if kind is list or kind is tuple:
        items: list[Any] = value
        changed: list[Any] | None = None
        for i, item in enumerate(items):
            # The common leaf types are passed over here: a call for each element of a long array would cost most.
            leaf = cast("type[Any]", type(item))
            if leaf is float or leaf is str or leaf is bool or item is None:
                continue
            if leaf is int and INT_MIN <= item <= INT_MAX:
                continue
            plain = check_plain(item, f"{path}[{i}]", max_depth - 1)
            if plain is not item:
                if changed is None:
                    changed = list(items)
                changed[i] = plain
        return items if changed is None else changed
    if kind is dict:
        mapping: dict[Any, Any] = value
        replaced: dict[str, Any] | None = None
        for key, item in mapping.items():
            if type(key) is not str:
                raise NotAMessageError(
                    f"{path}: object keys must be strings, not {type(key).__name__} ({key!r}); use str(…)"
                )
            plain = check_plain(item, f"{path}.{key}", max_depth - 1)
            if plain is not item:
                if replaced is None:
                    replaced = dict(mapping)
                replaced[key] = plain
        return mapping if replaced is None else replaced
    other: Any = value  # unnarrowed: from here on it is looked at by what it can do
    if isinstance(value, (bytearray, memoryview)):
        return bytes(other)
    if isinstance(value, str):  # a subclass, whose own __str__ may say something else (enums)
        return str.__str__(other)
    bases: tuple[Any, ...] = (int, float, bytes)
    for base in bases:  # subclasses: enums, counters, …
        if isinstance(value, base):
            return check_plain(base(other), path, max_depth)
    if isinstance(value, dict):
        return check_plain(dict(other), path, max_depth)
    if isinstance(value, (list, tuple)):
        return check_plain(list(other), path, max_depth)
    unwrap: Any = getattr(other, "unwrap", None)
    if callable(unwrap) and hasattr(other, "type"):  # a Message inside a value
        return check_plain(unwrap(), path, max_depth - 1)
    item_method: Any = getattr(other, "item", None)
    if callable(item_method) and getattr(other, "shape", None) == ():  # a numpy scalar
        return check_plain(item_method(), path, max_depth - 1)
    raise _refuse(value, path)


def type_of(value: Any) -> str:
    """The message type that a plain value has by itself (its Python type decides)."""
    if value is None:
        return OPTION
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return INTEGER
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, str):
        return STRING
    if isinstance(value, (bytes, bytearray, memoryview)):
        return BYTES
    if isinstance(value, dict):
        return OBJECT
    return ARRAY if isinstance(value, (list, tuple)) else ANY


def encode(type_: str, value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH) -> msgspec.Raw:
    """The encoded message `[type, value]`.

    Raises:
        NotAMessageError: the value is no message value, or not one of that type.
    """
    shaped = _shape(type_, value, path, max_depth)
    try:
        return msgspec.Raw(_encoder.encode([type_, shaped]))
    except UnicodeEncodeError:
        raise NotAMessageError(
            f"{path}: a text holds half of a surrogate pair, which is not valid Unicode; use .encode(…)"
        ) from None


def _shape(type_: str, value: Any, path: str, max_depth: int) -> Any:
    match type_:
        case "flow":
            return None
        case "boolean":
            if not isinstance(value, bool):
                raise NotAMessageError(f"{path}: a boolean is True or False, not {type(value).__name__}")
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise NotAMessageError(f"{path}: an integer is needed, not {type(value).__name__}")
        case "float":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise NotAMessageError(f"{path}: a float is needed, not {type(value).__name__}")
            try:
                return float(value)
            except OverflowError:
                raise NotAMessageError(f"{path}: an integer of this size is no float; use a string") from None
        case "string":
            if not isinstance(value, str):
                raise NotAMessageError(f"{path}: a string is needed, not {type(value).__name__}")
        case "bytes":
            if not isinstance(value, (bytes, bytearray, memoryview)):
                raise NotAMessageError(f"{path}: bytes are needed, not {type(value).__name__}")
        case "object":
            if not isinstance(value, dict):
                raise NotAMessageError(f"{path}: an object is a dict, not {type(value).__name__}")
        case "array":
            if not isinstance(value, (list, tuple)):
                raise NotAMessageError(f"{path}: an array is a list, not {type(value).__name__}")
        case "option":
            if value is None:
                return None
            if max_depth <= 0:
                raise NotAMessageError(f"{path}: nested too deeply")
            inner_type, inner = value if _is_typed(value) else (type_of(value), value)
            return [inner_type, _shape(inner_type, inner, path, max_depth - 1)]
        case "error":
            error = value if isinstance(value, ErrorValue) else _to_error(value, path)
            if not _is_code(error.code):
                raise NotAMessageError(f"{path}.code: a string or an integer is needed, not {_name(error.code)}")
            return {
                k: check_plain(v, f"{path}.{k}", max_depth - 1)
                for k, v in (("message", error.message), ("code", error.code), ("data", error.data))
                if v is not None
            }
        case "event" | "any":
            pass
        case "stream":
            raise NotAMessageError(f"{path}: streams are not carried by this version of the protocol")
        case _:
            raise NotAMessageError(f"{path}: {type_!r} is no message type")
    return check_plain(value, path, max_depth)


def _is_typed(value: Any) -> bool:
    if not isinstance(value, tuple):
        return False
    pair = cast("tuple[Any, ...]", value)
    return len(pair) == 2 and isinstance(pair[0], str) and pair[0] in TYPES


def _is_code(code: object) -> bool:
    return code is None or (isinstance(code, (str, int)) and not isinstance(code, bool))


def _to_error(value: Any, path: str) -> ErrorValue:
    if isinstance(value, str):
        return ErrorValue(value)
    if isinstance(value, BaseException):
        return ErrorValue(f"{type(value).__name__}: {value}")
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if isinstance(fields.get("message"), str):
            return ErrorValue(fields["message"], fields.get("code"), fields.get("data"))
    raise NotAMessageError(f"{path}: an error needs a message (a string, an exception, or a dict with 'message')")


def from_plain(value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH) -> msgspec.Raw:
    """The encoded message of a plain value, by its own type."""
    return encode(type_of(value), value, path, max_depth)


def _no_extensions(code: int, data: memoryview) -> Any:
    raise MalformedMessageError(f"MessagePack extension type {code} is not allowed")


_typed_decoder = msgspec.msgpack.Decoder(TypedMessage, ext_hook=_no_extensions)
_plain_decoder = msgspec.msgpack.Decoder(ext_hook=_no_extensions)

_CONTAINERS: Final = frozenset((list, dict))
_SCALARS: Final = frozenset((type(None), bool, int, float, str, bytes))


def verify(value: Any, depth: int) -> None:
    """That a freshly decoded value is plain: depth, string keys, 64-bit integers, no timestamps.

    Raises:
        MalformedMessageError: it is not.

    Element types are gathered by `set(map(type, …))`, so that a long array of scalars costs no Python per element.
    """
    kind = cast("type[Any]", type(value))
    if kind is int:
        if value > INT_MAX:
            raise MalformedMessageError("an integer over 64 bits (signed)")
        return
    if kind in _SCALARS:
        return
    if kind not in _CONTAINERS:
        raise MalformedMessageError(f"a {kind.__name__} is no plain value")
    if depth <= 0:
        raise MalformedMessageError("nested too deeply")
    if kind is dict:
        if any(type(k) is not str for k in value):
            raise MalformedMessageError("an object's keys must be strings")
        items: Any = value.values()
    else:
        items = value
    kinds: set[type[Any]] = set(map(type, items))
    if kinds == _ONLY_INTEGERS:
        if max(items) > INT_MAX:
            raise MalformedMessageError("an integer over 64 bits (signed)")
    elif not kinds <= _NO_LOOK:
        for item in items:
            verify(item, depth - 1)


_ONLY_INTEGERS: Final[set[type[Any]]] = {int}
_NO_LOOK: Final = _SCALARS - {int}


def peek_type(raw: bytes | msgspec.Raw) -> str:
    """The type of an encoded message, without looking at its value.

    Raises:
        MalformedMessageError: the bytes are no message.
    """
    return _split(raw).type


def _split(raw: bytes | msgspec.Raw) -> TypedMessage:
    try:
        message = _typed_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise MalformedMessageError(f"not an encoded message: {e}") from None
    if message.type not in TYPES:
        raise MalformedMessageError(f"{message.type[:40]!r} is no message type")
    return message


def decode(raw: bytes | msgspec.Raw, max_depth: int = DEFAULT_DEPTH) -> tuple[str, Any]:
    """Type and value of an encoded message from the other side, checked for what its type promises.

    An `option` comes as None or as a (type, value) tuple, an `error` as ErrorValue.

    Raises:
        MalformedMessageError: the bytes are no message, or the value is not of its type.
    """
    message = _split(raw)
    try:
        value = _plain_decoder.decode(message.value)
        verify(value, max_depth)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as e:
        raise MalformedMessageError(f"{message.type}: {e}") from None
    return message.type, _of_type(message.type, value)


def _of_type(type_: str, value: Any) -> Any:
    ok = True
    match type_:
        case "flow":
            ok = value is None
        case "boolean":
            ok = isinstance(value, bool)
        case "integer":
            ok = isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX
        case "float":
            ok = isinstance(value, (int, float)) and not isinstance(value, bool)
            value = float(value) if ok else value
        case "string":
            ok = isinstance(value, str)
        case "bytes":
            ok = isinstance(value, bytes)
        case "object":
            ok = isinstance(value, dict)
        case "array":
            ok = isinstance(value, list)
        case "option":
            if value is not None:
                return _inner(value)
        case "error":
            fields = cast("dict[str, Any]", value if isinstance(value, dict) else {})
            ok = isinstance(fields.get("message"), str) and _is_code(fields.get("code"))
            if ok:
                value = ErrorValue(fields["message"], fields.get("code"), fields.get("data"))
        case "stream":
            raise MalformedMessageError("streams are not carried by this version of the protocol")
        case _:
            pass
    if not ok:
        wanted = "an error has a message (a string), and may have a code (a string or an integer)"
        found = f"the value of a message of type {type_!r} is a {_name(cast('object', value))}"
        raise MalformedMessageError(wanted if type_ == ERROR else found)
    return cast("Any", value)


def _inner(pair: Any) -> tuple[str, Any]:
    """The message that an option holds. It was decoded with the option: decoding it again at each level would cost
    the square of the depth."""
    match pair:
        case [str(type_), value] if type_ in TYPES:
            return type_, _of_type(type_, value)
        case _:
            raise MalformedMessageError("an option holds nothing, or a message: [type, value]")


def _name(value: object) -> str:
    return type(value).__name__


def to_plain(type_: str, value: Any) -> Any:
    """The plain value of a decoded message: what `unwrap()` gives, and what is collected."""
    if type_ == OPTION:
        return None if value is None else to_plain(*value)
    if type_ == ERROR and isinstance(value, ErrorValue):
        return {
            k: v for k, v in (("message", value.message), ("code", value.code), ("data", value.data)) if v is not None
        }
    return value


def json_text(value: Any) -> str:
    """A plain value as one line of JSON. bytes become base64; NaN and infinities become the literals that Python's
    and JSON5's readers take, since dropping them would lose data."""
    try:
        if not _has_odd_float(value):
            return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        pass
    import json

    def fallback(item: object) -> Any:
        if isinstance(item, (bytes, bytearray, memoryview)):
            return base64.b64encode(bytes(cast("bytes", item))).decode()
        raise TypeError(f"{type(item).__name__} has no JSON form")

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=fallback)


def _has_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_odd_float, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(_has_odd_float, cast("list[Any]", value)))
    return False
