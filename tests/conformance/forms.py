"""Messages as dialogues write them, `[type, value]`, and as they stand in binary frames (specs/protocol.md §3).

Written from the specification, for the dialogues alone: a mistake in the code that it shares with nobody cannot hide
itself.
"""

from __future__ import annotations

import struct
from typing import Any

from msgspec import msgpack

EXTENSIONS = {"event": 1, "any": 2, "option": 3, "error": 4, "stream": 5}
ARRAY = 6
NAMES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
ELEMENTS = dict(enumerate(NAMES, start=1))


class Numbers:
    """A typed array. No data class: msgspec would take it for a map."""

    def __init__(self, element: str, shape: tuple[int, ...], data: bytes) -> None:
        self.element, self.shape, self.data = element, shape, data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Numbers({self.element}, {self.shape}, {self.data.hex()[:200]})"


def pack(value: Any) -> bytes:
    return msgpack.encode(value, enc_hook=_array)


def unpack(frame: bytes) -> Any:
    return msgpack.decode(frame, ext_hook=_extension)


def _extension(code: int, data: memoryview) -> Any:
    return _numbers(bytes(data)) if code == ARRAY else msgpack.Ext(code, bytes(data))


def _array(numbers: Any) -> msgpack.Ext:
    """Without padding, which is allowed: it is for the agents to align."""
    assert isinstance(numbers, Numbers), numbers
    code = next(code for code, name in ELEMENTS.items() if name == numbers.element)
    if len(numbers.shape) == 1:
        return msgpack.Ext(ARRAY, bytes((code,)) + numbers.data)
    shape = struct.pack(f"<{len(numbers.shape)}I", *numbers.shape)
    return msgpack.Ext(ARRAY, bytes((code | 0x80, len(numbers.shape))) + shape + numbers.data)


def _numbers(content: bytes) -> Numbers:
    element = ELEMENTS[content[0] & 0x0F]
    shape: tuple[int, ...] = ()
    at = 1
    if content[0] & 0x80:
        at = 2 + 4 * content[1]
        shape = struct.unpack(f"<{content[1]}I", content[2:at])
    data = content[at + (content[0] >> 4 & 7) :]
    size = int(element.strip("uintfloa")) // 8
    return Numbers(element, shape or (len(data) // size,), data)


def form(pair: Any) -> Any:
    """What stands for a `[type, value]` in a binary frame. What is none is left as it is."""
    match pair:
        case [("flow" | "boolean" | "integer" | "float" | "string" | "bytes" | "object" | "array"), value]:
            return value
        case ["option", inner]:
            return msgpack.Ext(EXTENSIONS["option"], b"" if inner is None else pack(form(inner)))
        case ["error", {"message": message, **rest}]:
            items = [message, rest.get("code"), rest.get("data")]
            while items[-1] is None:
                items.pop()
            return msgpack.Ext(EXTENSIONS["error"], pack(items))
        case [("event" | "any") as type_, value]:
            return msgpack.Ext(EXTENSIONS[type_], pack(value))
        case _:
            return pair


def pair(value: Any) -> list[Any]:
    """`[type, value]` of what stands for it in a binary frame."""
    match value:
        case None:
            return ["flow", None]
        case bool():
            return ["boolean", value]
        case int():
            return ["integer", value]
        case float():
            return ["float", value]
        case str():
            return ["string", value]
        case bytes():
            return ["bytes", value]
        case dict():
            return ["object", value]
        case list() | Numbers():
            return ["array", value]
        case msgpack.Ext(code=3):
            return ["option", pair(unpack(value.data)) if value.data else None]
        case msgpack.Ext(code=4):
            items = unpack(value.data)
            return ["error", dict(zip(("message", "code", "data"), items, strict=False))]
        case msgpack.Ext(code=code):
            return [next(name for name, its_code in EXTENSIONS.items() if its_code == code), unpack(value.data)]
        case _:
            raise AssertionError(f"{value!r} stands where a message does")


def to_binary(message: Any) -> Any:
    """A message of JSON-RPC, with its inputs as they stand in binary frames."""
    match message:
        case {"method": "activate", "params": {"inputs": dict(inputs)}}:
            params = {**message["params"], "inputs": {port: form(its) for port, its in inputs.items()}}
            return {**message, "params": params}
        case _:
            return message


def from_binary(message: dict[str, Any]) -> dict[str, Any]:
    """A message of JSON-RPC, with its outputs as dialogues write them."""
    match message:
        case {"method": "send", "params": {"message": value}}:
            return {**message, "params": {**message["params"], "message": pair(value)}}
        case {"result": {"outputs": list(outputs)}}:
            return {**message, "result": {**message["result"], "outputs": [[port, pair(v)] for port, v in outputs]}}
        case _:
            return message
