"""Typed arrays: numbers of one kind, as raw bytes, that are looked at where they lie and not copied.

Decides what counts as one, in Python and in a message, and how its bytes are laid out there (specs/protocol.md §3).
numpy is not needed and never imported: its arrays are known by their buffers. Processors are taken to be little-endian.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Final, cast, final, overload

from .forms import ARRAY_CODE, FLOAT, INTEGER, LONG_HEADER, MalformedMessageError, header, long_header

MAX_DIMENSIONS: Final = 8
MAX_DIMENSION: Final = 2**32 - 1
ALIGNED: Final = 1024
"""Bytes from which on an array is aligned in its message, and looked at where it lies. A smaller one is copied, so
that a script that keeps it does not keep the frame that it came in."""


@final
class Element:
    """A kind of number.

    Args:
        code: in a message.
        name: as numpy and text frames call it.
        format_: as `struct` and `memoryview` call it.
    """

    __slots__ = ("code", "format", "name", "size", "type")

    def __init__(self, code: int, name: str, format_: str) -> None:
        self.code = code
        self.name = name
        self.format = format_
        self.size = struct.calcsize(format_)
        self.type = FLOAT if name.startswith("float") else INTEGER
        """The message type of one of them."""

    def __repr__(self) -> str:
        return self.name


ELEMENTS: Final = tuple(
    Element(code, name, format_)
    for code, (name, format_) in enumerate(
        (
            ("int8", "b"),
            ("int16", "h"),
            ("int32", "i"),
            ("int64", "q"),
            # Not "B", which is the format of bytes: what comes out of a message must go into another as what it was.
            ("uint8", "@B"),
            ("uint16", "H"),
            ("uint32", "I"),
            ("uint64", "Q"),
            ("float32", "f"),
            ("float64", "d"),
        ),
        start=1,
    )
)
ELEMENT_NAMED: Final = {element.name: element for element in ELEMENTS}
_ELEMENT_OF_CODE: Final = {element.code: element for element in ELEMENTS}

_BYTES_FORMATS: Final = frozenset(("B", "c"))
_KINDS: Final = dict.fromkeys("bhilqn", "int") | dict.fromkeys("BHILQN", "uint") | dict.fromkeys("fd", "float")

_PADDING_SHIFT: Final = 4
_ELEMENT_MASK: Final = 0x0F
_PADDING_MASK: Final = 0x07
_HAS_SHAPE: Final = 0x80


@final
class TypedArray(Sequence[Any]):
    """Numbers of one kind, in C order, over memory that belongs to somebody else; never written to.

    Args:
        shape: how many in each dimension; at least one dimension. None but the first may be 0.
        data: the bytes of all of them.
    """

    __slots__ = ("data", "element", "shape")

    def __init__(self, element: Element, shape: tuple[int, ...], data: memoryview) -> None:
        self.element = element
        self.shape = shape
        self.data = data

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def flat(self) -> memoryview[Any]:
        """All elements, one after another."""
        return cast("memoryview[Any]", cast("Any", self.data).cast(self.element.format))

    def view(self) -> memoryview[Any]:
        """The elements in their dimensions."""
        if len(self.shape) == 1 or not self.data:
            return self.flat()
        return cast("memoryview[Any]", cast("Any", self.data).cast(self.element.format, self.shape))

    def tolist(self) -> list[Any]:
        """Python's own numbers, in lists in lists as the shape says."""
        return self.view().tolist()

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, index: int, /) -> Any: ...

    @overload
    def __getitem__(self, index: slice | tuple[int, ...], /) -> Any: ...

    def __getitem__(self, index: int | slice | tuple[int, ...], /) -> Any:
        """A number; of more dimensions a row, of several indexes one after another; of a slice, an array."""
        if isinstance(index, tuple):
            found: Any = self
            for step in index:
                found = found[step]
            return found
        if len(self.shape) == 1:
            return self.flat()[index]
        if isinstance(index, slice):
            chosen = range(len(self))[index]
            if chosen.step == 1:
                data = self.data[self._row * chosen.start : self._row * max(chosen.start, chosen.stop)]
            else:
                data = memoryview(b"".join(self._row_data(i) for i in chosen))
            return TypedArray(self.element, (len(chosen), *self.shape[1:]), data)
        i = range(len(self))[index]  # negative ones, and the IndexError
        row = TypedArray(self.element, self.shape[1:], self._row_data(i))
        return row.flat() if len(row.shape) == 1 else row

    @property
    def _row(self) -> int:
        """Bytes of one of them along the first dimension."""
        return self.element.size * prod(self.shape[1:])

    def _row_data(self, i: int) -> memoryview:
        return self.data[self._row * i : self._row * (i + 1)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.flat()) if len(self.shape) == 1 else map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypedArray):
            return (self.element, self.shape) == (other.element, other.shape) and self.data == other.data
        return self.tolist() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # as lists

    def __repr__(self) -> str:
        return f"TypedArray({self.element}, {'×'.join(map(str, self.shape))})"

    def __buffer__(self, flags: int) -> memoryview:
        """From Python 3.12 on `memoryview(array)` works; before that, `array.view()` is the same."""
        return self.view()

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """For `numpy.asarray`, which copies nothing then."""
        kind = self.element.name[0] + str(self.element.size)
        return {"version": 3, "shape": self.shape, "typestr": f"<{kind}", "data": self.data}


def native(array: TypedArray) -> Any:
    """What a script gets: a numpy array where it has imported numpy; otherwise a memoryview, which can be indexed,
    iterated, sliced and given to whatever takes a buffer; and a TypedArray where there is more than one dimension, with
    which a memoryview can do little of that."""
    numpy = sys.modules.get("numpy")
    make = getattr(numpy, "ndarray", None)
    if make is not None:
        return make(array.shape, array.element.name, array.data)
    return array.flat() if len(array.shape) == 1 else array


# -- in Python ---------------------------------------------------------------------------------------------------


def recognized(value: Any) -> TypedArray | None:
    """A script's value as a typed array, where it is one: a numpy array, an `array.array`, a memoryview of anything
    but bytes. Over the value's own memory where it lies there as it travels. None for everything else, also for arrays
    whose elements, shape or size no message has."""
    if isinstance(value, TypedArray):
        return value
    kind = cast("type[Any]", type(value))
    if kind is not memoryview and not hasattr(value, "typecode") and not is_arraylike(value):
        return None
    try:
        view: Any = memoryview(value)
        code: str = view.format
    except (TypeError, ValueError, BufferError):
        return None
    if kind is memoryview and code in _BYTES_FORMATS:
        return None
    element = ELEMENT_NAMED.get(f"{_KINDS.get(code[-1])}{view.itemsize * 8}") if len(code) <= 2 else None
    shape: tuple[int, ...] = view.shape
    if element is None or not is_shape(shape):
        return None
    if code[0] in ">!" and element.size > 1:
        data = _swapped(view.tobytes(), element)
    elif code[0] in "<>!=" or not view.c_contiguous:
        data = memoryview(view.tobytes())  # in C order
    else:
        data = view.cast("B") if view.nbytes else memoryview(b"")
    return TypedArray(element, shape, data)


def numbers_of(data: bytes) -> memoryview[Any]:
    """Bytes as an array of numbers."""
    return TypedArray(ELEMENT_NAMED["uint8"], (len(data),), memoryview(data)).flat()


def is_arraylike(value: Any) -> bool:
    """Whether it is a numpy array, or like one, of whatever."""
    return getattr(value, "shape", None) is not None and hasattr(value, "tolist")


def is_shape(shape: tuple[int, ...]) -> bool:
    """Whether an array in a message may have that shape. Only the first dimension may be 0: what is empty is then an
    empty list, and not an enormous list of empty ones."""
    return (
        1 <= len(shape) <= MAX_DIMENSIONS
        and all(1 <= d <= MAX_DIMENSION for d in shape[1:])
        and 0 <= shape[0] <= MAX_DIMENSION
    )


def _swapped(data: bytes, element: Element) -> memoryview:
    import array

    numbers = array.array(element.format, data)
    numbers.byteswap()
    return memoryview(numbers).cast("B")


# -- in messages -------------------------------------------------------------------------------------------------


def is_aligned(array: TypedArray) -> bool:
    return array.data.nbytes >= ALIGNED


def extension(array: TypedArray, start: int) -> tuple[bytes, memoryview]:
    """The extension of an array: what stands before its bytes, and these.

    Args:
        start: where in its message the extension begins; counts for an array that is aligned.
    """
    before = _before(array)
    if not is_aligned(array):
        return header(ARRAY_CODE, len(before) + array.nbytes) + before, array.data
    padding = -(start + LONG_HEADER + len(before)) % array.element.size
    before[0] |= padding << _PADDING_SHIFT
    before += bytes(padding)
    return long_header(ARRAY_CODE, len(before) + array.nbytes) + before, array.data


def content(array: TypedArray) -> bytes:
    """What the extension of an array that is not aligned holds."""
    return bytes(_before(array) + array.data)


def _before(array: TypedArray) -> bytearray:
    """What stands in the extension before the padding."""
    shape = array.shape
    if len(shape) == 1:
        return bytearray((array.element.code,))
    return bytearray((array.element.code | _HAS_SHAPE, len(shape))) + b"".join(d.to_bytes(4, "little") for d in shape)


def parsed(content: memoryview) -> TypedArray:
    """The array in the content of an extension, over the same memory where it is large.

    Raises:
        MalformedMessageError: it is none.
    """
    if not content:
        raise MalformedMessageError("an array without an element type")
    first = content[0]
    element = _ELEMENT_OF_CODE.get(first & _ELEMENT_MASK)
    if element is None:
        raise MalformedMessageError(f"an array of elements of an unknown kind, {first & _ELEMENT_MASK}")
    padding = first >> _PADDING_SHIFT & _PADDING_MASK
    shape, at = _shape(content) if first & _HAS_SHAPE else (None, 1)
    data = content[at + padding :]
    if any(content[at : at + padding]) or len(content) < at + padding:
        raise MalformedMessageError("an array whose padding is not zeros")
    if shape is None:
        if data.nbytes % element.size:
            raise MalformedMessageError(f"an array of {data.nbytes} bytes cannot hold elements of {element.size} each")
        shape = (data.nbytes // element.size,)
    elif prod(shape) * element.size != data.nbytes:
        raise MalformedMessageError(f"an array of {data.nbytes} bytes does not hold {shape} elements of {element.size}")
    return TypedArray(element, shape, memoryview(bytes(data)) if data.nbytes < ALIGNED else data.toreadonly())


def _shape(content: memoryview) -> tuple[tuple[int, ...], int]:
    dimensions = content[1] if len(content) > 1 else 0
    end = 2 + 4 * dimensions
    if not 2 <= dimensions <= MAX_DIMENSIONS or len(content) < end:
        raise MalformedMessageError(f"an array has 1 to {MAX_DIMENSIONS} dimensions, and says them all")
    shape = tuple(int.from_bytes(content[i : i + 4], "little") for i in range(2, end, 4))
    if not is_shape(shape):
        raise MalformedMessageError("an array of which a dimension other than the first is 0")
    return shape, end


def peek(message: memoryview) -> tuple[str, int] | None:
    """Of a well-formed message that is a typed array, the message type of its elements and how many dimensions it has.
    Of any other one, None."""
    first = message[0]
    at = {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(first, 1 if 0xD4 <= first <= 0xD8 else 0)
    if not at or message[at] != ARRAY_CODE:
        return None
    element = _ELEMENT_OF_CODE[message[at + 1] & _ELEMENT_MASK]
    return element.type, message[at + 2] if message[at + 1] & _HAS_SHAPE else 1
