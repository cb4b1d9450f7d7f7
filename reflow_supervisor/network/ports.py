"""Types of ports: how they are written, which outport may feed which inport, and which messages a port takes.

The rules are Reflow's. `any` and `stream` go with everything, in both directions; otherwise types must be equal,
except that an array fits by its elements, `option(t)` is as good as `t`, and an integer fits where a float is
wanted. `bytes` and `error` are this project's additions, for the messages of the same name.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from typing import Any, cast

import attrs


class PortKind(enum.StrEnum):
    ANY = "any"
    FLOW = "flow"
    EVENT = "event"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    STRING = "string"
    BYTES = "bytes"
    OBJECT = "object"
    ARRAY = "array"
    OPTION = "option"
    STREAM = "stream"
    ENCODED = "encoded"
    ERROR = "error"


@attrs.frozen
class PortType:
    """`element` for ARRAY and OPTION; `name` for OBJECT, empty where any object will do."""

    kind: PortKind
    element: PortType | None = None
    name: str = ""

    def __str__(self) -> str:
        inner = str(self.element) if self.element else self.name
        return f"{self.kind}({inner})" if inner else str(self.kind)


ANY = PortType(PortKind.ANY)

MAX_DEPTH = 16
"""Of arrays in options in arrays."""

_TYPE = re.compile(r"\s*(\w{1,32})\s*(?:\((.{0,512})\))?\s*", re.DOTALL)


@functools.lru_cache(maxsize=4096)
def parse_port_type(text: str) -> PortType:
    """Reads a type as scripts declare it: `array(option(integer))`. Case and spaces do not matter, except in the
    name of an object. A bare `array` or `option` has `any` in it.

    Raises:
        ValueError: what is wrong with it, for people.
    """
    wrappers: list[PortKind] = []
    rest = text
    while match := _TYPE.fullmatch(rest):
        word, inner = match[1].lower(), match[2]
        try:
            kind = PortKind(word)
        except ValueError:
            break
        if kind in (PortKind.ARRAY, PortKind.OPTION):
            wrappers.append(kind)
            if len(wrappers) > MAX_DEPTH:
                raise ValueError(f"the type is nested more than {MAX_DEPTH} deep")
            rest = inner or PortKind.ANY
            continue
        if inner is not None and kind is not PortKind.OBJECT:
            raise ValueError(f"{kind} takes nothing in parentheses")
        made = PortType(kind, name=(inner or "").strip())
        for wrapper in reversed(wrappers):
            made = PortType(wrapper, made)
        return made
    shown = rest if len(rest) <= 60 else rest[:57] + "..."
    raise ValueError(f"{shown!r} is not a type of port; the types are {', '.join(PortKind)}")


def port_type_text(declared: Any) -> str:
    """The type that a graph file gives a port, as text: there it is a mapping `{"type": "array", "value": {…}}`, or
    the text itself.

    Raises:
        ValueError: it is neither.
    """
    closing = 0
    text = ""
    while isinstance(declared, Mapping) and closing <= MAX_DEPTH:
        fields = cast("Mapping[str, Any]", declared)
        declared = fields.get("type")
        if not isinstance(declared, str):
            break
        if (value := fields.get("value")) is not None:
            text += f"{declared}("
            closing += 1
            declared = value
    if not isinstance(declared, str):
        raise ValueError("is neither the name of a type nor a mapping with `type`")
    return text + declared + ")" * closing


def compatible(source: PortType, target: PortType) -> bool:
    """Whether an outport of type `source` may feed an inport of type `target`."""
    source, target = _bare(source), _bare(target)
    if source.kind in _OPEN or target.kind in _OPEN:
        return True
    if source.kind is PortKind.INTEGER and target.kind is PortKind.FLOAT:
        return True
    if source.kind is not target.kind:
        return False
    if source.kind is PortKind.OBJECT:
        return not source.name or not target.name or source.name == target.name
    if source.element and target.element:
        return compatible(source.element, target.element)
    return True


_OPEN = (PortKind.ANY, PortKind.STREAM)


def _bare(port: PortType) -> PortType:
    while port.kind is PortKind.OPTION and port.element:
        port = port.element
    return port


_ALWAYS = frozenset({"any", "option", "stream"})
"""Tags that say nothing about what is inside, or may turn out to be anything."""

_ALSO = {PortKind.FLOAT: "integer", PortKind.ENCODED: "bytes"}


def accepts(port_type: PortType, message_type: str, elements: tuple[str, int] | None = None) -> bool:
    """Whether a message of this type may pass a port. Looks at no more than the type, so that it costs the same for
    every message: the elements of an array and the name of an object were checked when the ports were connected.

    Args:
        elements: of a typed array, what its elements are (`integer` or `float`) and how many dimensions it has, which
            it says without being looked into: of several dimensions it is an array of arrays.
    """
    port_type = _bare(port_type)
    kind = port_type.kind
    if elements is not None and kind is PortKind.ARRAY:
        return _accepts_elements(port_type, *elements)
    return kind in _OPEN or message_type == kind or message_type in _ALWAYS or _ALSO.get(kind) == message_type


def _accepts_elements(port_type: PortType, element: str, dimensions: int) -> bool:
    while port_type.kind is PortKind.ARRAY and port_type.element and dimensions:
        port_type, dimensions = _bare(port_type.element), dimensions - 1
    # Where the port says nothing of the arrays inside, as most do not, it takes them by the numbers in them.
    return port_type.kind is not PortKind.ARRAY and accepts(port_type, element)
