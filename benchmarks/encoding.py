"""Encoding of one message: bytes, and nanoseconds to encode and to decode it.

*reflow* is all that an agent does with an output and with an input: it finds the type, looks at every part of the
value, encodes it, and on the other side checks all of it again. The peers are told no type, check nothing, and take and
give the bare value; so is *msgspec*, the codec that *reflow* is built on in Python, and the limit of it. For the
megabyte, *reflow*, *orjson* and *pickle* get a numpy array, and *reflow* and *pickle* give one back; the others get a
list that was made of it beforehand (JavaScript: JSON gets the typed array, and makes that list).

*check* is what the supervisor does with a message that passes through it.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import timeit
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgpack
import msgspec
import numpy
import orjson
from reflow import Message
from reflow.wire import values

from benchmarks.harness import Figure, interleaved, main, scaled
from benchmarks.shapes import LARGE, SHAPES
from reflow_supervisor.sandbox import interpreters

OURS = "reflow"


@attrs.frozen
class Codec:
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    takes: frozenset[type] = frozenset()
    """What it takes besides JSON's types."""


CODECS: Mapping[str, Codec] = {
    OURS: Codec(
        lambda value: Message.of(value).encode(),
        lambda raw: Message.decode(raw).unwrap(),
        frozenset({numpy.ndarray}),
    ),
    "msgspec": Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode),
    "msgpack": Codec(msgpack.packb, msgpack.unpackb),
    "json": Codec(lambda value: json.dumps(value, separators=(",", ":")).encode(), json.loads),
    "orjson": Codec(
        lambda value: orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), orjson.loads, frozenset({numpy.ndarray})
    ),
    "pickle": Codec(lambda value: pickle.dumps(value, protocol=5), pickle.loads, frozenset({numpy.ndarray})),
}


def given(shape: str, codec: Codec) -> Any:
    value = SHAPES[shape]
    if shape != LARGE:
        return value
    return numpy.array(value) if numpy.ndarray in codec.takes else value.tolist()


def timer(call: Callable[[], object], milliseconds: float) -> Callable[[], float]:
    """Measures the nanoseconds of a call: the least of five rounds, so that a disturbance is no figure."""
    clock = timeit.Timer(call)
    count = 1
    while (took := clock.timeit(count)) * 1000 < milliseconds:
        count = max(count * 2, round(count * min(10, milliseconds * 1.2e-3 / max(took, 1e-9))))
    return lambda: min(clock.repeat(5, count)) / count * 1e9


def in_python(repetitions: int, milliseconds: float) -> Iterator[Figure]:
    calls: dict[tuple[str, str, str], Callable[[], object]] = {}
    for shape in SHAPES:
        for name, codec in CODECS.items():
            value = given(shape, codec)
            encoded = codec.encode(value)
            yield figure(shape, "Python, bytes", "B", name, [len(memoryview(encoded))])
            calls[shape, "Python, encode", name] = partial(codec.encode, value)
            calls[shape, "Python, decode", name] = partial(codec.decode, encoded)
            if name == OURS:
                calls[shape, "Python, decode", "check"] = partial(values.check, encoded, 58)
    subjects = {" | ".join(key): timer(call, milliseconds) for key, call in calls.items()}
    found = interleaved(subjects, repetitions)
    for shape, group, column in calls:
        yield figure(shape, group, "ns", column, found[" | ".join((shape, group, column))])


def in_javascript(repetitions: int, milliseconds: float) -> Iterator[Figure]:
    script = Path(__file__).with_suffix(".js")
    shapes = {shape: list(value) if shape == LARGE else value for shape, value in SHAPES.items()}
    asked = {"shapes": shapes, "large": LARGE, "repetitions": repetitions, "milliseconds": milliseconds}
    command = [interpreters.node().executable, str(script)]
    done = subprocess.run(command, input=json.dumps(asked), text=True, stdout=subprocess.PIPE, check=True)
    for found in json.loads(done.stdout):
        shape, codec = found["shape"], found["codec"]
        yield figure(shape, "JavaScript, bytes", "B", codec, [found["bytes"]])
        for what in ("encode", "decode"):
            yield figure(shape, f"JavaScript, {what}", "ns", codec, found[what])


def figure(shape: str, group: str, unit: str, codec: str, values: list[float]) -> Figure:
    return Figure(shape, unit, values, peer=codec not in (OURS, "check"), group=group, column=codec)


def measure(scale: float) -> list[Figure]:
    repetitions, milliseconds = scaled(5, scale), max(1.0, 20 * scale)
    return [*in_python(repetitions, milliseconds), *in_javascript(repetitions, milliseconds)]


if __name__ == "__main__":
    main(__doc__, measure)
