"""From the plain data that an untrusted agent sends with a commit to state operations, or to a reason why
not.

An operation is an array: ["set", key, json, ttl], ["list", key, [json, ...], ttl], ["append", key, [json,
...], ttl], ["trim", key, left, right], ["delete", key], ["expire", key, ttl]. `json` is JSON text (string or
bytes), `ttl` milliseconds or null. This module decides what is well formed; whether an operation fits what
the key holds, the store decides.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import attrs
import msgspec

from reflow_supervisor.errors import ReflowError
from reflow_supervisor.state.store import Append, Delete, Expire, Set, SetList, StateOp, Trim

MAX_KEY_BYTES = 512
MAX_TTL = 100 * 365 * 24 * 3600 * 1000
"""A hundred years in milliseconds: far from where adding it to a clock overflows."""
_SHOWN = 60


@attrs.frozen
class StateLimits:
    """What one commit may carry, and one request for keys. Sizes in bytes of JSON."""

    operations: int = 10_000
    items: int = 100_000
    """List items in all operations of a commit together."""
    value: int = 8 * 1024 * 1024
    """One JSON document: a value, or one item of a list."""
    total: int = 32 * 1024 * 1024
    keys: int = 1_000
    """Keys in one request."""


class InvalidStateOps(ReflowError, ValueError):
    """What the agent sent are no state operations; the message says which one and why."""


def parse_ops(raw: object, limits: StateLimits) -> tuple[StateOp, ...]:
    """The operations of one commit.

    Args:
        raw: as decoded from MessagePack: lists, strings, bytes, numbers, None.
        limits: what is too much.

    Raises:
        InvalidStateOps: anything is not as described above. If this raises anything else, that is a bug.
    """
    if not _is_array(raw):
        raise InvalidStateOps(f"operations must be an array, not {_name(raw)}")
    if len(raw) > limits.operations:
        raise InvalidStateOps(f"{len(raw)} operations in one commit; at most {limits.operations} are allowed")
    reader = _Reader(limits)
    return tuple(reader.operation(place, item) for place, item in enumerate(raw))


def parse_keys(raw: object, limits: StateLimits) -> tuple[str, ...]:
    """The keys that an agent asks for.

    Raises:
        InvalidStateOps: they are not an array of valid keys.
    """
    if not _is_array(raw):
        raise InvalidStateOps(f"keys must be an array, not {_name(raw)}")
    if len(raw) > limits.keys:
        raise InvalidStateOps(f"{len(raw)} keys in one request; at most {limits.keys} are allowed")
    return tuple(parse_key(item) for item in raw)


def parse_key(raw: object) -> str:
    """A key, or a pattern for keys: 1 to 512 bytes of UTF-8 without control characters.

    Raises:
        InvalidStateOps: it is not.
    """
    if not isinstance(raw, str):
        raise InvalidStateOps(f"a key must be a string, not {_name(raw)}")
    # Four bytes is the longest character, so this bounds what is encoded and shown.
    if not raw or len(raw) > MAX_KEY_BYTES:
        raise InvalidStateOps(f"a key must have 1 to {MAX_KEY_BYTES} bytes; this one has {len(raw)} characters")
    try:
        size = len(raw.encode())
    except UnicodeEncodeError:
        raise InvalidStateOps(f"the key {_shown(raw)} is not valid Unicode") from None
    if size > MAX_KEY_BYTES:
        raise InvalidStateOps(f"a key must have 1 to {MAX_KEY_BYTES} bytes; this one has {size}")
    if not raw.isprintable() and any(unicodedata.category(char) == "Cc" for char in raw):
        raise InvalidStateOps(f"the key {_shown(raw)} contains a control character")
    return raw


def is_json(document: bytes) -> bool:
    """Whether this is one JSON document that both runtimes can read."""
    try:
        # Decoding in full, since msgspec.Raw does not look at the bytes inside strings or the range of
        # numbers.
        msgspec.json.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Reader:
    """Reads the operations of one commit; counts what they use of the limits together."""

    def __init__(self, limits: StateLimits) -> None:
        self._limits = limits
        self._items_left = limits.items
        self._bytes_left = limits.total

    def operation(self, place: int, raw: object) -> StateOp:
        try:
            return self._operation(raw)
        except InvalidStateOps as error:
            raise InvalidStateOps(f"operation {place}: {error}") from None

    def _operation(self, raw: object) -> StateOp:
        if not _is_array(raw) or not raw:
            raise InvalidStateOps(f"must be an array [name, key, ...], not {_name(raw)}")
        name = raw[0]
        entry = _OPERATIONS.get(name) if isinstance(name, str) else None
        if entry is None:
            raise InvalidStateOps(f"unknown name {_shown(name)}; known are {', '.join(_OPERATIONS)}")
        length, read = entry
        if len(raw) != length:
            raise InvalidStateOps(f"{name!r} must have {length} elements, not {len(raw)}")
        key = parse_key(raw[1])
        try:
            return read(self, key, raw[2:])
        except InvalidStateOps as error:
            raise InvalidStateOps(f"{name!r} of the key {_shown(key)}: {error}") from None

    def set(self, key: str, rest: list[Any]) -> StateOp:
        return Set(key, self._json(rest[0]), _ttl(rest[1], least=1))

    def set_list(self, key: str, rest: list[Any]) -> StateOp:
        return SetList(key, self._items(rest[0]), _ttl(rest[1], least=1))

    def append(self, key: str, rest: list[Any]) -> StateOp:
        return Append(key, self._items(rest[0]), _ttl(rest[1], least=1))

    def trim(self, key: str, rest: list[Any]) -> StateOp:
        return Trim(key, _integer("left", rest[0], 0, 2**31), _integer("right", rest[1], 0, 2**31))

    def delete(self, key: str, _rest: list[Any]) -> StateOp:
        return Delete(key)

    def expire(self, key: str, rest: list[Any]) -> StateOp:
        return Expire(key, _ttl(rest[0], least=0))

    def _items(self, raw: object) -> tuple[bytes, ...]:
        if not _is_array(raw):
            raise InvalidStateOps(f"items must be an array, not {_name(raw)}")
        self._items_left -= len(raw)
        if self._items_left < 0:
            raise InvalidStateOps(f"more than {self._limits.items} list items in one commit")
        return tuple(self._json(item) for item in raw)

    def _json(self, raw: object) -> bytes:
        if isinstance(raw, str):
            try:
                document = raw.encode()
            except UnicodeEncodeError:
                raise InvalidStateOps("JSON text is not valid Unicode") from None
        elif isinstance(raw, bytes):
            document = raw
        else:
            raise InvalidStateOps(f"JSON text must be a string or bytes, not {_name(raw)}")
        if len(document) > self._limits.value:
            raise InvalidStateOps(f"a value of {len(document)} bytes; at most {self._limits.value} are allowed")
        self._bytes_left -= len(document)
        if self._bytes_left < 0:
            raise InvalidStateOps(f"more than {self._limits.total} bytes of values in one commit")
        if not is_json(document):
            raise InvalidStateOps(f"not a JSON document: {_shown(document)}")
        return document


# What each operation is called on the wire: how many elements its array has, and who reads those behind the
# key.
_OPERATIONS: Mapping[str, tuple[int, Callable[[_Reader, str, list[Any]], StateOp]]] = {
    "set": (4, _Reader.set),
    "list": (4, _Reader.set_list),
    "append": (4, _Reader.append),
    "trim": (4, _Reader.trim),
    "delete": (2, _Reader.delete),
    "expire": (3, _Reader.expire),
}


def _ttl(raw: object, *, least: int) -> int | None:
    return None if raw is None else _integer("ttl", raw, least, MAX_TTL)


def _integer(what: str, raw: object, least: int, most: int) -> int:
    # bool is an int to Python, and True milliseconds are somebody's mistake.
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise InvalidStateOps(f"{what} must be an integer, not {_name(raw)}")
    if not least <= raw <= most:
        raise InvalidStateOps(f"{what} must be from {least} to {most}")
    return raw


def _is_array(raw: object) -> TypeGuard[list[Any]]:
    return isinstance(raw, list)


def _name(raw: object) -> str:
    return "null" if raw is None else type(raw).__name__


def _shown(raw: object) -> str:
    """What it is in a message, cut to a length: it may be of any size."""
    if not isinstance(raw, str | bytes):
        return _name(raw)
    return repr(raw) if len(raw) <= _SHOWN else f"{raw[:_SHOWN]!r}..."
