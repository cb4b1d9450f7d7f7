"""`Message`: what a script receives on its inports and returns on its outports.

It decides how a message looks to a script. What may travel, and how it is encoded, is decided in `reflow.wire.values`.
Scripts written for older Reflow treat an input as if it were its value; so a message passes arithmetic,
comparison, iteration and the value's own methods on to it.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, final

import msgspec

from .wire import arrays, values
from .wire.plain import kind_of
from .wire.values import ErrorValue, NotAMessageError

Int = builtins.int
Float = builtins.float
Object = builtins.object
Bytes = builtins.bytes


@final
class Message:
    """An immutable value with its message type. Made by the constructors: `Message.integer(5)`.

    A constructor raises NotAMessageError for what is not of its type; what is *inside* arrays and objects is checked
    when the message is sent, with the place in the value named.
    """

    __slots__ = ("_type", "_value")

    _type: str
    _value: Any

    def __init__(self, type: str, value: Any) -> None:
        """Used by the constructors below; `value` is in the form of `reflow.wire.values`."""
        self._type: Final = type
        self._value: Final = value

    # -- constructors -------------------------------------------------------------------------------------------

    @staticmethod
    def integer(value: Int) -> Message:
        """A 64-bit integer."""
        try:
            number = operator.index(value)
        except TypeError:
            raise NotAMessageError(f"Message.integer needs an int, not {_kind(value)}; use int(…)") from None
        if not values.INT_MIN <= number <= values.INT_MAX:
            raise NotAMessageError(
                "Message.integer: an integer must fit 64 bits; use a float or a string for larger ones"
            )
        return Message(values.INTEGER, number)

    @staticmethod
    def float(value: Float) -> Message:
        """A double; NaN and infinities are allowed."""
        if isinstance(value, (str, builtins.bytes)):
            raise NotAMessageError(f"Message.float needs a number, not {_kind(value)}; use float(…)")
        try:
            return Message(values.FLOAT, builtins.float(value))
        except (TypeError, OverflowError):
            raise NotAMessageError(f"Message.float needs a number in a double's range, not {_kind(value)}") from None

    @staticmethod
    def string(value: str) -> Message:
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - scripts are not type-checked
            raise NotAMessageError(f"Message.string needs a str, not {_kind(value)}; use str(…)")
        return Message(values.STRING, value)

    @staticmethod
    def boolean(value: bool) -> Message:
        plain = _scalar(value)
        if not isinstance(plain, bool):
            raise NotAMessageError(f"Message.boolean needs True or False, not {_kind(value)}; use bool(…)")
        return Message(values.BOOLEAN, plain)

    @staticmethod
    def array(value: Any) -> Message:
        """A list or a tuple; or numbers in a numpy array, an `array.array` or a memoryview (of bytes too: asked for as
        an array, they are numbers), which travel as they lie in memory and arrive as the same kind of array. They are
        not copied before they are sent: do not change them till then."""
        plain = _plain(value)
        if isinstance(plain, bytes) and not isinstance(value, bytes):
            plain = arrays.numbers_of(plain)
        if not isinstance(plain, (list, tuple)) and arrays.recognized(plain) is None:
            raise NotAMessageError(f"Message.array needs a list, a tuple or an array, not {_kind(value)}; use list(…)")
        return Message(values.ARRAY, plain)

    @staticmethod
    def object(value: Mapping[str, Any]) -> Message:
        """A dict with string keys."""
        plain: Any = _plain(value)
        if not isinstance(plain, Mapping):
            raise NotAMessageError(f"Message.object needs a dict, not {_kind(value)}; use dict(…)")
        return Message(values.OBJECT, plain if isinstance(plain, dict) else dict(cast("Mapping[str, Any]", plain)))

    @staticmethod
    def error(message: Any, code: str | Int | None = None, data: Any = None) -> Message:
        """What went wrong, as a message: a text or an exception."""
        text = f"{type(message).__name__}: {message}" if isinstance(message, BaseException) else str(message)
        return Message(values.ERROR, ErrorValue(text, code, data))

    @staticmethod
    def bytes(value: Bytes | bytearray | memoryview) -> Message:
        if not isinstance(value, (builtins.bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NotAMessageError(f"Message.bytes needs bytes, not {_kind(value)}; use bytes(…) or .encode()")
        return Message(values.BYTES, builtins.bytes(value))

    @staticmethod
    def binary(value: Bytes | bytearray | memoryview) -> Message:
        """Reflow's other name for `bytes`."""
        return Message.bytes(value)

    @staticmethod
    def any(value: Any) -> Message:
        """Any plain value, for a port of type `any`."""
        return Message(values.ANY, _plain(value))

    @staticmethod
    def event(value: Any = None) -> Message:
        return Message(values.EVENT, _plain(value))

    @staticmethod
    def option(value: Any = None) -> Message:
        """A message (or a plain value) that may be missing."""
        if value is None:
            return Message(values.OPTION, None)
        inner = value if isinstance(value, Message) else Message.of(value)
        return Message(values.OPTION, (inner._type, inner._value))

    @staticmethod
    def flow() -> Message:
        """A bare trigger."""
        return Message(values.FLOW, None)

    @staticmethod
    def stream(generator: Any) -> Message:
        """Streams are not carried yet: send the pieces one by one with `context.send(port, piece)`."""
        raise NotAMessageError(
            f"Message.stream: a {_kind(generator)} cannot be sent as a stream by this version; "
            "send each piece with context.send(port, piece)"
        )

    @staticmethod
    def of(value: Any, path: str = "value") -> Message:
        """A plain value as the message that its type makes it; a Message as it is.

        Raises:
            NotAMessageError: it is none.
        """
        exact = _TYPE_OF_EXACT.get(kind_of(value))
        if exact is not None:
            return Message(exact, value)
        if isinstance(value, Message):
            return value
        if isinstance(value, BaseException):
            return Message.error(value)
        plain = _plain(value)
        type_ = values.type_of(plain)
        if type_ == values.ANY:
            values.check_plain(plain, path)
        return Message(type_, plain)

    # -- on the wire --------------------------------------------------------------------------------------------

    @staticmethod
    def decode(raw: Bytes | msgspec.Raw, max_depth: Int = values.DEFAULT_DEPTH) -> Message:
        """
        Raises:
            MalformedMessageError: the bytes are no encoded message.
        """
        return Message(*_reader.decode(raw, max_depth))

    def encode(self, path: str = "value", max_depth: Int = values.DEFAULT_DEPTH) -> msgspec.Raw:
        """
        Raises:
            NotAMessageError: something inside cannot travel; `path` is how the text begins to say where.
        """
        return values.encode(self._type, self._value, path, max_depth)

    # -- what a script asks -------------------------------------------------------------------------------------

    @property
    def type(self) -> str:
        return self._type

    def unwrap(self) -> Any:
        """The plain value: an option's inner value or None; an error as a dict of message, code and data.

        A typed array that arrived is a numpy array where the script has imported numpy, else a memoryview, or, where it
        has more than one dimension, a `reflow.wire.arrays.TypedArray`, a sequence of rows. It can only be read: copy it
        to change it.
        """
        kind = self._type
        if kind in (values.OPTION, values.ERROR):
            return values.to_plain(kind, self._value)
        return self._value

    def is_error(self) -> bool:
        return self._type == values.ERROR

    @property
    def message(self) -> str | None:
        """The text of an error; None for other messages."""
        return self._value.message if self._type == values.ERROR else None

    @property
    def code(self) -> str | Int | None:
        return self._value.code if self._type == values.ERROR else None

    @property
    def data(self) -> Any:
        return self._value.data if self._type == values.ERROR else None

    # -- as its value -------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        match self._type:
            case "flow":
                return "Message.flow()"
            case "error":
                parts = [repr(self.message)]
                parts += [f"{k}={v!r}" for k, v in (("code", self.code), ("data", self.data)) if v is not None]
                return f"Message.error({', '.join(parts)})"
            case _:
                value = self.unwrap()
                array = arrays.recognized(value) if isinstance(value, memoryview) else None
                return f"Message.{self._type}({value if array is None else array!r})"

    def __str__(self) -> str:
        return self._value.message if self._type == values.ERROR else str(self.unwrap())

    def __format__(self, spec: str) -> str:
        return format(str(self) if self._type == values.ERROR else self.unwrap(), spec)

    def __eq__(self, other: Object) -> bool:
        if isinstance(other, Message):
            return self._type == other._type and _same(self._value, other._value)
        return _same(self.unwrap(), other)

    def __hash__(self) -> Int:
        return hash(self.unwrap())

    def __bool__(self) -> bool:
        if self._type in (values.FLOW, values.ERROR):
            return True
        value = self.unwrap()
        return bool(value) if arrays.recognized(value) is None else len(value) > 0

    def __getattr__(self, name: str) -> Any:
        # Only what a value offers by name: special methods are looked up on types, and are below.
        if not name.startswith("_"):
            try:
                return getattr(self.unwrap(), name)
            except AttributeError:
                pass
        raise AttributeError(f"a message of type {self._type!r} has no attribute {name!r}")

    def __len__(self) -> Int:
        return len(self.unwrap())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unwrap())

    def __getitem__(self, index: Any) -> Any:
        return self.unwrap()[index]

    def __contains__(self, item: Object) -> bool:
        return _unwrapped(item) in self.unwrap()

    def __int__(self) -> Int:
        return builtins.int(self.unwrap())

    def __float__(self) -> Float:
        return builtins.float(self.unwrap())

    def __index__(self) -> Int:
        return operator.index(self.unwrap())

    def __bytes__(self) -> Bytes:
        return builtins.bytes(self.unwrap())

    def __lt__(self, other: Any) -> Any:
        return self.unwrap() < _unwrapped(other)

    def __le__(self, other: Any) -> Any:
        return self.unwrap() <= _unwrapped(other)

    def __gt__(self, other: Any) -> Any:
        return self.unwrap() > _unwrapped(other)

    def __ge__(self, other: Any) -> Any:
        return self.unwrap() >= _unwrapped(other)

    def __add__(self, other: Any) -> Any:
        return self.unwrap() + _unwrapped(other)

    def __radd__(self, other: Any) -> Any:
        return other + self.unwrap()

    def __sub__(self, other: Any) -> Any:
        return self.unwrap() - _unwrapped(other)

    def __rsub__(self, other: Any) -> Any:
        return other - self.unwrap()

    def __mul__(self, other: Any) -> Any:
        return self.unwrap() * _unwrapped(other)

    def __rmul__(self, other: Any) -> Any:
        return other * self.unwrap()

    def __truediv__(self, other: Any) -> Any:
        return self.unwrap() / _unwrapped(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.unwrap()

    def __floordiv__(self, other: Any) -> Any:
        return self.unwrap() // _unwrapped(other)

    def __rfloordiv__(self, other: Any) -> Any:
        return other // self.unwrap()

    def __mod__(self, other: Any) -> Any:
        return self.unwrap() % _unwrapped(other)

    def __rmod__(self, other: Any) -> Any:
        return other % self.unwrap()

    def __pow__(self, other: Any) -> Any:
        return self.unwrap() ** _unwrapped(other)

    def __rpow__(self, other: Any) -> Any:
        return other ** self.unwrap()

    def __neg__(self) -> Any:
        return -self.unwrap()

    def __abs__(self) -> Any:
        return abs(self.unwrap())

    def __round__(self, digits: Int | None = None) -> Any:
        return round(self.unwrap(), digits)


_reader: Final = values.Reader(arrays.native)

_TYPE_OF_EXACT: Final[dict[type[Any], str]] = {
    bool: values.BOOLEAN,
    int: values.INTEGER,
    float: values.FLOAT,
    str: values.STRING,
    bytes: values.BYTES,
    list: values.ARRAY,
    dict: values.OBJECT,
}
_PLAIN_TYPES: Final = frozenset((type(None), *_TYPE_OF_EXACT))


def _unwrapped(value: Any) -> Any:
    return value.unwrap() if isinstance(value, Message) else value


def _kind(value: object) -> str:
    return f"a message of type {value.type}" if isinstance(value, Message) else type(value).__name__


def _scalar(value: Any) -> Any:
    """A numpy scalar as Python's own; anything else as it is. numpy itself is not imported for it."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _plain(value: Any) -> Any:
    """A message as its value, a numpy scalar as Python's own, bytes as bytes. Arrays of numbers stay what they are; of
    what no typed array holds (texts, complex numbers, booleans) they become lists."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, Message):
        return value.unwrap()
    if arrays.recognized(value) is not None:
        return value
    if isinstance(value, (memoryview, bytearray)):
        return bytes(cast("bytearray", value))
    return value.tolist() if arrays.is_arraylike(value) else value


def _same(value: Any, other: Any) -> bool:
    """Equal, and of arrays equal in every element, to lists too. numpy's own `==` gives an array, or raises, also from
    deep within a value; that of a memoryview knows no lists."""
    try:
        if (value == other) is True:
            return True
    except ValueError:
        pass
    return bool(_lists(value) == _lists(other))


def _lists(value: Any) -> Any:
    """The same with lists in the place of arrays."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return type(cast("list[Any]", value))(map(_lists, cast("list[Any]", value)))
    if isinstance(value, ErrorValue):
        return value.message, value.code, _lists(value.data)
    return value if (array := arrays.recognized(value)) is None else array.tolist()
