"""Plain values: what may stand inside a message, wherever in it (specs/protocol.md §3).

Decides what is one, on the way out (where a script's mistake is named with its place) and on the way in (where bytes
are hostile until they are checked).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from . import arrays
from .arrays import TypedArray
from .forms import MalformedMessageError

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

DEFAULT_DEPTH: Final = 64


class NotAMessageError(TypeError):
    """A value that cannot travel. The text names the place inside the value and what to use instead."""


_HINTS: Final[dict[str, str]] = {
    "set": "use a list: sorted(…) or list(…)",
    "frozenset": "use a list: sorted(…) or list(…)",
    "datetime": "use .isoformat()",
    "date": "use .isoformat()",
    "Decimal": "use float(…) or str(…)",
    "ndarray": "use .tolist()",
    "array": "use .tolist()",
    "memoryview": "use .tolist()",
    "TypedArray": "use .tolist()",
    "function": "call it, and return what it gives",
    "coroutine": "await it",
    "generator": "use list(…)",
    "dict_keys": "use list(…)",
    "dict_values": "use list(…)",
}

if TYPE_CHECKING:

    def kind_of(value: Any, /) -> type[Any]: ...

else:
    kind_of = type  # a `cast` of what it gives would be a call more for each element

_SCALARS: Final = frozenset((type(None), bool, int, float, str, bytes))
_NO_LOOK: Final = _SCALARS - {int}
_ONLY_INTEGERS: Final[set[type[Any]]] = {int}
_ONLY_TEXTS: Final[set[type[Any]]] = {str}
_CONTAINERS: Final = frozenset((list, dict))


def _refuse(value: object, path: str) -> NotAMessageError:
    kind = type(value).__name__
    hint = _HINTS.get(kind, "use bool, int, float, str, bytes, list, dict or None")
    return NotAMessageError(f"{path}: a {kind} is not a message value; {hint}")


def check_plain(value: Any, path: str = "value", max_depth: int = DEFAULT_DEPTH, *, typed: bool = True) -> Any:
    """The value, with what msgspec would encode silently wrongly refused, and numpy-like scalars made plain.

    Returns the same object where nothing had to change. The walk is iterative in depth only up to `max_depth`.

    Args:
        typed: arrays of numbers become TypedArrays, for a message; otherwise they are refused.

    Raises:
        NotAMessageError: what is wrong, and where: "outputs.result.items[3]: a set is not a message value; …".
    """
    # Most values are fine as they are, and for these no place has to be spelled out.
    return value if _is_plain(value, max_depth) else _checked(value, path, max_depth, typed)


def _is_plain(value: Any, depth: int) -> bool:
    """Element types are gathered by `set(map(type, …))`, so that a long list of scalars costs no Python per element."""
    kind = kind_of(value)
    if kind in _NO_LOOK:
        return True
    if kind is int:
        return INT_MIN <= value <= INT_MAX
    if depth <= 0:
        return False
    if kind is dict:
        mapping: dict[Any, Any] = value
        for key, item in mapping.items():
            if type(key) is not str:
                return False
            # Leaves are passed over here: a call for each would cost most.
            leaf = kind_of(item)
            if leaf in _NO_LOOK or (leaf is int and INT_MIN <= item <= INT_MAX):
                continue
            if not _is_plain(item, depth - 1):
                return False
        return True
    if kind is list or kind is tuple:
        items: list[Any] = value
        kinds: set[type[Any]] = set(map(type, items))
        if kinds <= _NO_LOOK:
            return True
        if kinds == _ONLY_INTEGERS:
            return min(items) >= INT_MIN and max(items) <= INT_MAX
        for item in items:
            leaf = kind_of(item)
            if leaf in _NO_LOOK or (leaf is int and INT_MIN <= item <= INT_MAX):
                continue
            if not _is_plain(item, depth - 1):
                return False
        return True
    return False


def _checked(value: Any, path: str, max_depth: int, typed: bool) -> Any:
    """A value in which something is not plain, made so."""
    kind = kind_of(value)
    if kind in _NO_LOOK:
        return value
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise NotAMessageError(f"{path}: an integer must fit 64 bits; use a float or a string for larger ones")
        return value
    if max_depth <= 0 and kind is not TypedArray:
        raise NotAMessageError(f"{path}: nested too deeply")
    if kind is list or kind is tuple:
        items: list[Any] = value
        changed: list[Any] | None = None
        for i, item in enumerate(items):
            plain = check_plain(item, f"{path}[{i}]", max_depth - 1, typed=typed)
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
            plain = check_plain(item, f"{path}.{key}", max_depth - 1, typed=typed)
            if plain is not item:
                if replaced is None:
                    replaced = dict(mapping)
                replaced[key] = plain
        return mapping if replaced is None else replaced
    return _made_plain(value, path, max_depth, typed)


def _made_plain(value: Any, path: str, max_depth: int, typed: bool) -> Any:
    """What is not of a plain type, as what is."""
    other: Any = value  # unnarrowed: it is looked at by what it can do
    if (array := arrays.recognized(other)) is not None:
        if not typed:
            raise _refuse(other, path)
        return array
    if isinstance(value, (bytearray, memoryview)):
        return bytes(other)
    if isinstance(value, str):  # a subclass, whose own __str__ may say something else (enums)
        return str.__str__(other)
    bases: tuple[Any, ...] = (int, float, bytes)
    for base in bases:  # subclasses: enums, counters, …
        if isinstance(value, base):
            return check_plain(base(other), path, max_depth, typed=typed)
    if isinstance(value, dict):
        return check_plain(dict(other), path, max_depth, typed=typed)
    if isinstance(value, (list, tuple)):
        return check_plain(list(other), path, max_depth, typed=typed)
    unwrap: Any = getattr(other, "unwrap", None)
    if callable(unwrap) and hasattr(other, "type"):  # a Message inside a value
        return check_plain(unwrap(), path, max_depth - 1, typed=typed)
    item_method: Any = getattr(other, "item", None)
    if callable(item_method) and getattr(other, "shape", None) == ():  # a numpy scalar
        return check_plain(item_method(), path, max_depth - 1, typed=typed)
    if typed and arrays.is_arraylike(other):  # of elements that no typed array has
        return check_plain(other.tolist(), path, max_depth, typed=typed)
    raise _refuse(value, path)


def verify(value: Any, depth: int, made: frozenset[type[Any]] | set[type[Any]] = frozenset()) -> None:
    """That a freshly decoded value is plain: depth, string keys, 64-bit integers, no timestamps.

    Element types are gathered by `set(map(type, …))`, so that a long array of scalars costs no Python per element.

    Args:
        made: types of what the decoder's hook made.

    Raises:
        MalformedMessageError: it is not.
    """
    kind = kind_of(value)
    if kind is int:
        if value > INT_MAX:
            raise MalformedMessageError("an integer over 64 bits (signed)")
        return
    if kind in _SCALARS or kind in made:
        return
    if kind not in _CONTAINERS:
        raise MalformedMessageError(f"a {kind.__name__} is no plain value")
    if depth <= 0:
        raise MalformedMessageError("nested too deeply")
    if kind is dict:
        if not set(map(type, value)) <= _ONLY_TEXTS:
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
            verify(item, depth - 1, made)
