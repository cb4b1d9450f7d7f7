"""The forms of messages in binary frames: what a first byte says, and how extensions begin and end.

Decides which type a form has (specs/protocol.md §3) and where an extension's content lies. What the content says is
decided in `values` and `arrays`. A form's type is known from its first byte, or from an extension's header, so that a
message can be routed without being decoded.
"""

from __future__ import annotations

from typing import Final

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

EVENT_CODE: Final = 1
ANY_CODE: Final = 2
OPTION_CODE: Final = 3
ERROR_CODE: Final = 4
STREAM_CODE: Final = 5
ARRAY_CODE: Final = 6

TYPE_OF_CODE: Final = {
    EVENT_CODE: EVENT,
    ANY_CODE: ANY,
    OPTION_CODE: OPTION,
    ERROR_CODE: ERROR,
    STREAM_CODE: STREAM,
    ARRAY_CODE: ARRAY,
}

LONG_HEADER: Final = 6
"""Bytes of an extension's longest header."""


class MalformedMessageError(ValueError):
    """Bytes from the other side that are not an encoded message."""


class UnfitMessageError(MalformedMessageError):
    """Well-formed bytes that stand where a message does, and are none."""


def _types_by_byte() -> tuple[str | None, ...]:
    types: list[str | None] = [None] * 256
    for first, last, type_ in (
        (0x00, 0x7F, INTEGER),
        (0x80, 0x8F, OBJECT),
        (0x90, 0x9F, ARRAY),
        (0xA0, 0xBF, STRING),
        (0xC0, 0xC0, FLOW),
        (0xC2, 0xC3, BOOLEAN),
        (0xC4, 0xC6, BYTES),
        (0xCA, 0xCB, FLOAT),
        (0xCC, 0xD3, INTEGER),
        (0xD9, 0xDB, STRING),
        (0xDC, 0xDD, ARRAY),
        (0xDE, 0xDF, OBJECT),
        (0xE0, 0xFF, INTEGER),
    ):
        types[first : last + 1] = [type_] * (last + 1 - first)
    return tuple(types)


TYPE_OF_BYTE: Final = _types_by_byte()
"""By a message's first byte; None for extensions, and for 0xc1, which begins nothing."""

_FIXED_LENGTH: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_FIXED_BYTE: Final = {length: byte for byte, length in _FIXED_LENGTH.items()}
_LENGTH_SIZE: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Of extensions and bytes: how many bytes after the first say the length."""


def header(code: int, length: int) -> bytes:
    """The shortest header of an extension with that much content."""
    if (fixed := _FIXED_BYTE.get(length)) is not None:
        return bytes((fixed, code))
    if length < 0x100:
        return bytes((0xC7, length, code))
    if length < 0x10000:
        return b"\xc8" + length.to_bytes(2, "big") + bytes((code,))
    return long_header(code, length)


def long_header(code: int, length: int) -> bytes:
    """The header whose size is the same for every length: what stands behind it has a place that is known before."""
    return b"\xc9" + length.to_bytes(4, "big") + bytes((code,))


def array_header(length: int) -> bytes:
    return _container(length, 0x90, 0xDC)


def map_header(length: int) -> bytes:
    return _container(length, 0x80, 0xDE)


def _container(length: int, fixed: int, sized: int) -> bytes:
    if length < 16:
        return bytes((fixed | length,))
    if length < 0x10000:
        return bytes((sized,)) + length.to_bytes(2, "big")
    return bytes((sized + 1,)) + length.to_bytes(4, "big")


def is_extension(first: int) -> bool:
    return 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8


def extension(message: memoryview) -> tuple[int, memoryview]:
    """Code and content of a message that is an extension, and nothing besides.

    Raises:
        MalformedMessageError: it is none, or is not whole.
    """
    first = message[0]
    if (size := _LENGTH_SIZE.get(first)) is None:
        length, code_at = _FIXED_LENGTH.get(first, -1), 1
    else:
        length, code_at = int.from_bytes(message[1 : 1 + size], "big"), 1 + size
    if length < 0 or len(message) != code_at + 1 + length:
        raise MalformedMessageError("not an encoded message: its length is not what it says")
    return message[code_at], message[code_at + 1 :]


def bytes_content(message: memoryview) -> memoryview:
    """What a message of type `bytes` holds.

    Raises:
        MalformedMessageError: it is not whole.
    """
    start = 1 + _LENGTH_SIZE[message[0]]
    if len(message) != start + int.from_bytes(message[1:start], "big") or len(message) < start:
        raise MalformedMessageError("not an encoded message: its length is not what it says")
    return message[start:]


def peek_type(raw: bytes | memoryview) -> str:
    """The type of an encoded message, from its first bytes alone.

    Raises:
        MalformedMessageError: no message begins so.
    """
    message = memoryview(raw)
    if not message:
        raise MalformedMessageError("not an encoded message: it is empty")
    type_ = TYPE_OF_BYTE[message[0]]
    if type_ is None and is_extension(message[0]):
        code = message[1 + _LENGTH_SIZE.get(message[0], 0) :][:1]
        type_ = TYPE_OF_CODE.get(code[0]) if code else None
    if type_ is None:
        raise MalformedMessageError("not an encoded message: no type begins so")
    return type_
