"""Messages: what flows between actors, its types, and its encoding (specs/protocol.md §3).

Decides what is a message and what is not, and says where in a value it is not. How extensions and arrays are laid out
is decided in `forms` and `arrays`. What a script sees (the `Message` class) is built on top, in `reflow.message`; which
port takes which type is decided by the supervisor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Final, cast

import msgspec

from . import arrays, forms
from .arrays import TypedArray
from .forms import (
    ANY,
    ARRAY,
    BOOLEAN,
    BYTES,
    ERROR,
    EVENT,
    FLOAT,
    FLOW,
    INTEGER,
    OBJECT,
    OPTION,
    STREAM,
    STRING,
    TYPES,
    MalformedMessageError,
    UnfitMessageError,
    peek_type,
)
from .lines import json_text
from .plain import DEFAULT_DEPTH, INT_MAX, INT_MIN, NotAMessageError, check_plain, kind_of, verify

__all__ = [
    "ANY",
    "ARRAY",
    "BOOLEAN",
    "BYTES",
    "DEFAULT_DEPTH",
    "ERROR",
    "EVENT",
    "FLOAT",
    "FLOW",
    "INTEGER",
    "INT_MAX",
    "INT_MIN",
    "OBJECT",
    "OPTION",
    "STREAM",
    "STRING",
    "TYPES",
    "ErrorValue",
    "MalformedMessageError",
    "NotAMessageError",
    "Reader",
    "UnfitMessageError",
    "check",
    "check_plain",
    "decode",
    "encode",
    "from_plain",
    "json_text",
    "peek_array",
    "peek_type",
    "to_plain",
    "type_of",
    "verify",
]


Encoded = bytes | memoryview | msgspec.Raw
"""A message as it stands in a binary frame."""


class ErrorValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of an `error` message."""

    message: str
    code: str | int | None = None
    data: Any = None


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
    if isinstance(value, dict):
        return OBJECT
    if isinstance(value, (list, tuple)):
        return ARRAY
    if isinstance(value, (bytes, bytearray)):
        return BYTES
    if arrays.recognized(value) is not None:
        return ARRAY
    return BYTES if isinstance(value, memoryview) else ANY


# -- messages into bytes -----------------------------------------------------------------------------------------


def encode(type_: str, value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH) -> msgspec.Raw:
    """The encoded message of that type.

    Args:
        max_depth: how many arrays, maps and options may stand inside one another in its value.

    Raises:
        NotAMessageError: the value is no message value, or not one of that type.
    """
    try:
        # Most messages are small, and what Python encodes here costs most of them more than what msgspec does.
        if type(value) is _EXACT.get(type_) or (
            type(value) is int and type_ == INTEGER and INT_MIN <= value <= INT_MAX
        ):
            return msgspec.Raw(_encode(value))
        return msgspec.Raw(_message(type_, value, path, max_depth, 0)[0])
    except UnicodeEncodeError:
        raise NotAMessageError(
            f"{path}: a text holds half of a surrogate pair, which is not valid Unicode; use .encode(…)"
        ) from None


_EXACT: Final[dict[str, type[Any]]] = {BOOLEAN: bool, STRING: str, BYTES: bytes}
"""Of these types a value needs no look."""


def from_plain(value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH) -> msgspec.Raw:
    """The encoded message of a plain value, by its own type."""
    return encode(type_of(value), value, path, max_depth)


class _AlignedArrayInside(Exception):
    """Not an error: it turns from the quick way of encoding to the other one."""


def _small_array(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, TypedArray):
        raise NotAMessageError(f"a {type(value).__name__} is not a message value")
    if arrays.is_aligned(value):
        raise _AlignedArrayInside
    return msgspec.msgpack.Ext(forms.ARRAY_CODE, arrays.content(value))


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_small_array).encode

_Content = tuple[bytes, bool]
"""Encoded, and whether an array inside is aligned, which then says how long the headers before it are."""


def _message(type_: str, value: Any, path: str, depth: int, start: int) -> _Content:
    """
    Args:
        start: where it begins, from the beginning of the message that it is an option's part of.
    """
    write = _WRITERS.get(type_)
    if write is None:
        raise NotAMessageError(f"{path}: {type_!r} is no message type")
    return write(value, path, depth, start)


def _flow(value: Any, path: str, depth: int, start: int) -> _Content:
    return b"\xc0", False


def _boolean(value: Any, path: str, depth: int, start: int) -> _Content:
    if not isinstance(value, bool):
        raise NotAMessageError(f"{path}: a boolean is True or False, not {type(value).__name__}")
    return _encode(value), False


def _integer(value: Any, path: str, depth: int, start: int) -> _Content:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotAMessageError(f"{path}: an integer is needed, not {type(value).__name__}")
    return _encode(check_plain(value, path)), False


def _float(value: Any, path: str, depth: int, start: int) -> _Content:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotAMessageError(f"{path}: a float is needed, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise NotAMessageError(f"{path}: an integer of this size is no float; use a string") from None
    # Of the many that are no number, one is written.
    return _encode(number if number == number else math.nan), False


def _string(value: Any, path: str, depth: int, start: int) -> _Content:
    if not isinstance(value, str):
        raise NotAMessageError(f"{path}: a string is needed, not {type(value).__name__}")
    return _encode(check_plain(value, path)), False


def _bytes(value: Any, path: str, depth: int, start: int) -> _Content:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise NotAMessageError(f"{path}: bytes are needed, not {type(value).__name__}")
    return _encode(bytes(cast("bytes", value))), False


def _object(value: Any, path: str, depth: int, start: int) -> _Content:
    if not isinstance(value, dict):
        raise NotAMessageError(f"{path}: an object is a dict, not {type(value).__name__}")
    return _plain(value, path, depth, start)


def _array(value: Any, path: str, depth: int, start: int) -> _Content:
    if isinstance(value, (list, tuple)):
        return _plain(value, path, depth, start)
    array = arrays.recognized(value)
    if array is None:
        raise NotAMessageError(f"{path}: an array is a list, or an array of numbers, not {type(value).__name__}")
    return b"".join(arrays.extension(array, start)), arrays.is_aligned(array)


def _any(value: Any, path: str, depth: int, start: int) -> _Content:
    return _extension(forms.ANY_CODE, _plain(value, path, depth, start + forms.LONG_HEADER))


def _event(value: Any, path: str, depth: int, start: int) -> _Content:
    return _extension(forms.EVENT_CODE, _plain(value, path, depth, start + forms.LONG_HEADER))


def _option(value: Any, path: str, depth: int, start: int) -> _Content:
    if value is None:
        return forms.header(forms.OPTION_CODE, 0), False
    if max(depth, 0) == 0:
        raise NotAMessageError(f"{path}: nested too deeply")
    type_, inner = value if _is_typed(value) else (type_of(value), value)
    return _extension(forms.OPTION_CODE, _message(type_, inner, path, depth - 1, start + forms.LONG_HEADER))


def _error(value: Any, path: str, depth: int, start: int) -> _Content:
    error = value if isinstance(value, ErrorValue) else _to_error(value, path)
    if not _is_code(error.code):
        raise NotAMessageError(f"{path}.code: a string or an integer is needed, not {_name(error.code)}")
    items = [
        check_plain(member, f"{path}.{name}", depth - 1)
        for name, member in (("message", error.message), ("code", error.code), ("data", error.data))
    ]
    while items[-1] is None:
        items.pop()
    return _extension(forms.ERROR_CODE, _packed(items, start + forms.LONG_HEADER))


def _stream(value: Any, path: str, depth: int, start: int) -> _Content:
    raise NotAMessageError(f"{path}: streams are not carried by this version of the protocol")


_WRITERS: Final[dict[str, Callable[[Any, str, int, int], _Content]]] = {
    FLOW: _flow,
    EVENT: _event,
    BOOLEAN: _boolean,
    INTEGER: _integer,
    FLOAT: _float,
    STRING: _string,
    BYTES: _bytes,
    OBJECT: _object,
    ARRAY: _array,
    ANY: _any,
    OPTION: _option,
    ERROR: _error,
    STREAM: _stream,
}


def _extension(code: int, encoded: _Content) -> _Content:
    content, aligned = encoded
    header = forms.long_header if aligned else forms.header
    return header(code, len(content)) + content, aligned


def _plain(value: Any, path: str, depth: int, start: int) -> _Content:
    return _packed(check_plain(value, path, depth), start)


def _packed(value: Any, start: int) -> _Content:
    """A plain value that was checked."""
    try:
        return _encode(value), False
    except _AlignedArrayInside:
        pieces = _Pieces(start)
        pieces.add(value)
        return b"".join(pieces.found), True


class _Pieces:
    """A value in pieces, with the arrays in it where they are aligned: msgspec does not say where it is."""

    def __init__(self, start: int) -> None:
        self.found: list[bytes | memoryview] = []
        self._at = start

    def _put(self, *pieces: bytes | memoryview) -> None:
        self.found += pieces
        self._at += sum(map(len, pieces))

    def add(self, value: Any) -> None:
        if isinstance(value, TypedArray):
            self._put(*arrays.extension(value, self._at))
            return
        try:
            self._put(_encode(value))
        except _AlignedArrayInside:
            if isinstance(value, dict):
                mapping = cast("dict[str, Any]", value)
                self._put(forms.map_header(len(mapping)))
                for key, item in mapping.items():
                    self._put(_encode(key))
                    self.add(item)
            else:
                self._put(forms.array_header(len(value)))
                for item in value:
                    self.add(item)


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


def _name(value: object) -> str:
    return type(value).__name__


# -- bytes into messages -----------------------------------------------------------------------------------------

_QUICK: Final = 16 * 1024
"""Bytes up to which a message is first read by types that are checked as it is read. What does not fit them is read
again, and looked through."""


def _quick_decoders(depth: int) -> list[Callable[[Any], Any]]:
    integer = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
    scalar: Any = None | bool | integer | float | str
    type_ = scalar
    decoders: list[Callable[[Any], Any]] = [msgspec.msgpack.Decoder(type_).decode]
    for _ in range(depth):
        type_ = scalar | list[type_] | dict[str, type_]
        decoders.append(msgspec.msgpack.Decoder(type_).decode)
    return decoders


_quick: Final = _quick_decoders(4)
"""By how deep the value may nest. All that these give is plain; what they refuse may still be."""
_DEEPEST: Final = len(_quick) - 1
_quick_deepest: Final = _quick[_DEEPEST]

_TYPE_OF_KIND: Final[dict[type[Any], str]] = {
    type(None): FLOW,
    bool: BOOLEAN,
    int: INTEGER,
    float: FLOAT,
    str: STRING,
    list: ARRAY,
    dict: OBJECT,
}


class Reader:
    """Decodes messages from the other side.

    Args:
        make: what becomes of the typed arrays in them; they stay TypedArrays where nothing is said.
    """

    def __init__(self, make: Callable[[TypedArray], Any] | None = None) -> None:
        self._make = make
        self._made: set[type[Any]] = set()
        self._plain = msgspec.msgpack.Decoder(ext_hook=self._extension).decode

    def decode(self, raw: Encoded, max_depth: int = DEFAULT_DEPTH) -> tuple[str, Any]:
        """Type and value of an encoded message, checked for what its type promises.

        An `option` comes as None or as a (type, value) tuple, an `error` as ErrorValue.

        Raises:
            MalformedMessageError: the bytes are no message.
        """
        if len(raw) <= _QUICK:
            read = _quick_deepest if max_depth >= _DEEPEST else _quick[max(max_depth, 0)]
            try:
                value = read(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
            else:
                return _TYPE_OF_KIND[type(value)], value
        message = memoryview(raw)
        if not message:
            raise MalformedMessageError("not an encoded message: it is empty")
        first = message[0]
        if forms.is_extension(first):
            return self._of_code(*forms.extension(message), max_depth)
        if forms.TYPE_OF_BYTE[first] == BYTES:
            return BYTES, bytes(forms.bytes_content(message))
        value = self._read(message, max_depth)
        return _TYPE_OF_KIND[type(value)], value

    def _of_code(self, code: int, content: memoryview, depth: int) -> tuple[str, Any]:
        match code:
            case forms.ARRAY_CODE:
                return ARRAY, self._array(content)
            case forms.EVENT_CODE:
                return EVENT, self._read(content, depth)
            case forms.ANY_CODE:
                return ANY, self._read(content, depth)
            case forms.OPTION_CODE:
                if not content:
                    return OPTION, None
                if depth <= 0:
                    raise MalformedMessageError("nested too deeply")
                return OPTION, self.decode(content, depth - 1)
            case forms.ERROR_CODE:
                return ERROR, _error_of(self._read(content, depth))
            case forms.STREAM_CODE:
                raise UnfitMessageError("streams are not carried by this version of the protocol")
            case _:
                raise MalformedMessageError(f"not an encoded message: an extension of unknown type {code}")

    def _read(self, content: memoryview, depth: int) -> Any:
        try:
            value = self._plain(content)
            verify(value, depth, self._made)
        except MalformedMessageError:
            raise
        except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as e:
            raise MalformedMessageError(f"not an encoded message: {e}") from None
        return value

    def _extension(self, code: int, data: memoryview) -> Any:
        if code != forms.ARRAY_CODE:
            raise MalformedMessageError(f"MessagePack extension type {code} is not allowed inside a value")
        made = self._array(data)
        self._made.add(kind_of(made))
        return made

    def _array(self, content: memoryview) -> Any:
        array = arrays.parsed(content)
        return array if self._make is None else self._make(array)


_reader: Final = Reader()
decode: Final = _reader.decode


def check(raw: Encoded, max_depth: int = DEFAULT_DEPTH) -> str:
    """The type of an encoded message that is one in every respect. As quick as that can be: of bytes and arrays only
    the lengths have to be looked at.

    Raises:
        MalformedMessageError: the bytes are no message.
    """
    if len(raw) > _QUICK:
        message = memoryview(raw)
        if forms.TYPE_OF_BYTE[message[0]] == BYTES:
            forms.bytes_content(message)
            return BYTES
    return decode(raw, max_depth)[0]


def peek_array(raw: Encoded) -> tuple[str, int] | None:
    """Of a message that was checked and is a typed array, the message type of its elements and how many dimensions it
    has; of any other, None."""
    return arrays.peek(memoryview(raw))


def _error_of(value: Any) -> ErrorValue:
    match value:
        case [str(message)]:
            return ErrorValue(message)
        case [str(message), str() | int() | None as code, *rest] if _is_code(code):
            return ErrorValue(message, code, rest[0] if rest else None)
        case _:
            raise UnfitMessageError(
                "an error has a message (a string), and may have a code (a string or an integer) and data"
            )


def to_plain(type_: str, value: Any) -> Any:
    """The plain value of a decoded message: what `unwrap()` gives, and what is collected."""
    if type_ == OPTION:
        return None if value is None else to_plain(*value)
    if type_ == ERROR and isinstance(value, ErrorValue):
        return {
            k: v for k, v in (("message", value.message), ("code", value.code), ("data", value.data)) if v is not None
        }
    return value
