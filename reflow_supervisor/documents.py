"""YAML and JSON files as plain data in which every value still knows its place.

What a file may contain is decided here: data only (no tags, no merge keys), each key once, bounded in size,
depth and expansion, integers that fit 64 bits, text that is valid Unicode. YAML is read by YAML 1.2's schema,
so `no`, `on` and `12:30` are text and `0o17` is a number. What the data means, its reader decides;
`Document.problem` words a finding about it with the file, line and column of its key path.

Nothing here recurses over input, so nesting cannot exhaust the stack.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import attrs
import yaml

from reflow_supervisor.errors import Location, Problem, Severity, UserError

KeyPath = tuple[str | int, ...]
"""From the top of a document to a value: keys of mappings and indices of lists."""

MAX_SIZE = 32 * 1024 * 1024
"""Bytes of a file. A graph of 10 000 nodes has about 4 MB."""

MAX_DEPTH = 64
MAX_VALUES = 4_000_000
"""Keys and values in a document. What a YAML alias stands for counts at each use: alias bombs are refused."""

_INTEGERS = range(-(2**63), 2**63)

# The C parser is about 15 times as fast; PyYAML has it wherever it comes as a wheel.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@attrs.define(slots=True)
class _Spot:
    """Where a mapping or list stands, and what is in it. Places are offsets into the text; a scalar's spot is
    just its place, since big graphs have a great many of them."""

    place: int
    keys: dict[str, int] | None
    values: dict[str, _Spot | int] | list[_Spot | int]


class _Lines:
    """Turns places into lines and columns, which count from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def __call__(self, place: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, place)
        return line, place - self._starts[line - 1] + 1


@attrs.frozen
class _Index:
    root: _Spot | int
    lines: _Lines


@attrs.frozen(eq=False)
class Document:
    """The content of one file, `data`, made of dict, list, str, int, float, bool and None only."""

    file: str
    data: Any
    _index: Callable[[], _Index] | None = attrs.field(default=None, repr=False)

    def locate(self, path: Sequence[str | int] = (), *, key: bool = False) -> Location:
        """The place of the value at `path`, or of its key; where it does not exist, of what is around it."""
        if self._index is None:
            return Location(self.file)
        index = self._index()
        spot = index.root
        for depth, step in enumerate(path):
            if isinstance(spot, int):
                break
            if key and depth == len(path) - 1 and spot.keys and isinstance(step, str) and step in spot.keys:
                spot = spot.keys[step]
                break
            child = _child(spot, step)
            if child is None:
                break
            spot = child
        return Location(self.file, *index.lines(spot if isinstance(spot, int) else spot.place))

    def problem(
        self,
        code: str,
        message: str,
        path: Sequence[str | int] = (),
        *,
        key: bool = False,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Problem:
        """A finding about the value at `path`, or about its key."""
        return Problem(code, message, self.locate(path, key=key), format_path(path), hint, severity)


def _child(spot: _Spot, step: str | int) -> _Spot | int | None:
    if isinstance(spot.values, dict):
        return spot.values.get(step) if isinstance(step, str) else None
    return spot.values[step] if isinstance(step, int) and 0 <= step < len(spot.values) else None


def format_path(path: Sequence[str | int]) -> str:
    """A key path as people write it: `network.connections[3].from`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            plain = re.fullmatch(r"[\w-]+", step)
            text += f".{step}" if plain else f"[{json.dumps(step, ensure_ascii=False)}]"
    return text.removeprefix(".")


def read_document(path: Path) -> Document:
    """Reads a file: JSON where its name ends in `.json`, YAML otherwise.

    Raises:
        UserError: it cannot be read, or is not what this module accepts; with the place.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise UserError(
            Problem("unreadable-file", f"cannot be read: {error.strerror or error}", Location(file))
        ) from None
    if len(raw) > MAX_SIZE:
        _refuse(file, "too-large", f"is larger than {MAX_SIZE // 2**20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        _refuse(file, "not-utf-8", "is not UTF-8 text", line, column, hint="save the file as UTF-8")
    parse = parse_json if path.suffix.lower() == ".json" else parse_yaml
    return parse(text, file)


def _refuse(
    file: str, code: str, message: str, line: int = 0, column: int = 0, *, path: str = "", hint: str = ""
) -> NoReturn:
    raise UserError(Problem(code, message, Location(file, line, column), path, hint)) from None


_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
_TOO_MANY = f"more than {MAX_VALUES} values"
_NOT_64_BITS = "the integer does not fit 64 bits"


def _twice(key: str, first: tuple[int, int]) -> str:
    return f"the key {key!r} is there twice, first in line {first[0]}"


def _check_text(value: str) -> str | None:
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair, which is no character"
    return None


# --- YAML ---------------------------------------------------------------------------------------------------

# Plain scalars that are not text, by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).
_YAML_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_YAML_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_YAML_INT = re.compile(r"[-+]?[0-9]+")
_YAML_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_YAML_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_YAML_INF = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_YAML_NAN = frozenset({".nan", ".NaN", ".NAN"})
_MAX_DIGITS = 400
"""Longer numbers fit no type anyway, and Python refuses to convert very long ones."""

_YAML_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


def _resolve(text: str) -> Any:
    """The value of a plain (unquoted, untagged) scalar. Raises ValueError for a number beyond all bounds."""
    if text in _YAML_NULL:
        return None
    if text in _YAML_BOOL:
        return _YAML_BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > _MAX_DIGITS and (_YAML_FLOAT.fullmatch(text) or _YAML_BASED.fullmatch(text)):
        raise ValueError("the number has too many digits")
    if _YAML_INT.fullmatch(text):
        return int(text)
    if match := _YAML_BASED.fullmatch(text):
        return int(match[1], 8) if match[1] else int(match[2], 16)
    if _YAML_FLOAT.fullmatch(text):
        return float(text)
    if match := _YAML_INF.fullmatch(text):
        return -math.inf if match[1] == "-" else math.inf
    return math.nan if text in _YAML_NAN else text


@attrs.define(slots=True)
class _Open:
    """A mapping or list that is being read. `weight` counts the values in it."""

    data: dict[str, Any] | list[Any]
    spot: _Spot
    anchor: str | None
    weight: int = 1
    key: str | None = None


def parse_yaml(text: str, file: str) -> Document:
    """Reads one YAML document. An empty one is None.

    Raises:
        UserError: the first thing in it that is wrong, with the place.
    """
    lines = _Lines(text)
    reader = _YamlReader(file, lines)
    # PyYAML's stubs leave the loader's type open.
    events = cast("Generator[yaml.Event, None, None]", yaml.parse(text, Loader=_YamlLoader))  # pyright: ignore[reportUnknownMemberType]
    try:
        for event in events:
            reader.receive(event)
    except yaml.reader.ReaderError as error:
        before = text.encode("utf-8", "surrogatepass")[: error.position].decode("utf-8", "ignore")
        message = "a control character, which YAML does not allow"
        _refuse(file, "syntax-error", message, *lines(len(before)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message, hint = error.problem or str(error), ""
        # PyYAML's libyaml has a bound of its own since 6.0.4. Its scanner reads ahead, and may come first.
        if mark and "maximum nesting depth" in message:
            _refuse(file, "too-deep", _TOO_DEEP, mark.line + 1, mark.column + 1)
        if mark and "\t" in _line(text, mark.line) and ("tab" in message or "cannot start any" in message):
            message, hint = "a tab where YAML wants spaces", "indent with spaces"
        elif error.context:
            message = f"{message} {error.context}"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        _refuse(file, "syntax-error", f"not valid YAML: {message}", line, column, hint=hint)
    finally:
        events.close()
    index = _Index(reader.root, lines)
    return Document(file, reader.data, lambda: index)


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""


class _YamlReader:
    """Turns the parser's events into data and spots. An alias shares the value of its anchor."""

    def __init__(self, file: str, lines: _Lines) -> None:
        self.file = file
        self.data: Any = None
        self.root: _Spot | int = 0
        self._lines = lines
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, _Spot | int, int]] = {}
        self._seen_document = False

    def receive(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._start(event, {}, _Spot(_place(event), {}, {}))
            case yaml.SequenceStartEvent():
                self._start(event, [], _Spot(_place(event), None, []))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                self._add(event, done.data, done.spot, done.weight, done.anchor)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                if self._seen_document:
                    self._fail(event, "several-documents", "a second document: only one is read")
                self._seen_document = True
            case _:
                pass

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].data, dict) and self._open[-1].key is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        tag, text = event.tag, event.value
        if tag is not None and tag not in _YAML_STR_TAGS:
            self._fail(event, "tag", f"the tag {tag}: only plain data is read", hint="remove the tag")
        if complaint := _check_text(text):
            self._fail(event, "invalid-text", complaint)
        if self._awaits_key():
            self._key(event, text)
            return
        value: Any = text
        # implicit[0]: the scalar is plain, and its type for the reader to find.
        if tag is None and event.implicit[0]:
            try:
                value = _resolve(text)
            except ValueError as error:
                self._fail(event, "invalid-value", str(error))
            if isinstance(value, int) and value not in _INTEGERS:
                self._fail(event, "invalid-value", _NOT_64_BITS)
        self._add(event, value, _place(event), 1, event.anchor)

    def _key(self, event: yaml.ScalarEvent, text: str) -> None:
        """Keys are text as written: a node may be called `1`, `on` or `null`."""
        top = self._open[-1]
        assert top.spot.keys is not None
        if text == "<<" and event.implicit[0]:
            self._fail(event, "merge-key", "merge keys (`<<`) are not part of YAML 1.2", hint="write it out")
        first = top.spot.keys.get(text)
        top.key = text
        if first is not None:
            self._fail(event, "duplicate-key", _twice(text, self._lines(first)))
        top.spot.keys[text] = _place(event)
        top.weight += 1

    def _start(self, event: yaml.CollectionStartEvent, data: dict[str, Any] | list[Any], spot: _Spot) -> None:
        if event.tag is not None and event.tag != "!":
            self._fail(event, "tag", f"the tag {event.tag}: only plain data is read", hint="remove the tag")
        if self._awaits_key():
            what = "a mapping" if spot.keys is not None else "a list"
            self._fail(event, "invalid-key", f"{what} as a key: keys are text")
        if len(self._open) >= MAX_DEPTH:
            self._fail(event, "too-deep", _TOO_DEEP)
        self._open.append(_Open(data, spot, event.anchor))

    def _alias(self, event: yaml.AliasEvent) -> None:
        if self._awaits_key():
            self._fail(event, "invalid-key", "an alias as a key: write the key out")
        if event.anchor not in self._anchors:
            inside = any(level.anchor == event.anchor for level in self._open)
            reason = "stands inside its own anchor" if inside else "has no anchor before it"
            self._fail(event, "alias", f"the alias *{event.anchor} {reason}")
        value, spot, weight = self._anchors[event.anchor]
        if len(self._open) + _height(spot) > MAX_DEPTH:
            self._fail(event, "too-deep", f"{_TOO_DEEP}, through an alias")
        self._add(event, value, spot, weight, None)

    def _add(self, event: yaml.Event, value: Any, spot: _Spot | int, weight: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, spot, weight)
        if not self._open:
            self.data, self.root = value, spot
            return
        top = self._open[-1]
        top.weight += weight
        if top.weight > MAX_VALUES:
            self._fail(event, "too-large", f"{_TOO_MANY}, those behind aliases counted at each use")
        if isinstance(top.data, list):
            assert isinstance(top.spot.values, list)
            top.data.append(value)
            top.spot.values.append(spot)
        else:
            assert isinstance(top.spot.values, dict)
            assert top.key is not None
            top.data[top.key] = value
            top.spot.values[top.key] = spot
            top.key = None

    def _fail(self, event: yaml.Event, code: str, message: str, *, hint: str = "") -> NoReturn:
        path = [len(level.data) if isinstance(level.data, list) else level.key for level in self._open]
        where = format_path([step for step in path if step is not None])
        _refuse(self.file, code, message, *self._lines(_place(event)), path=where, hint=hint)


def _place(event: yaml.Event) -> int:
    return event.start_mark.index


def _height(spot: _Spot | int) -> int:
    """How deep the collections under an aliased value are nested. Goes down level by level and looks at what
    several aliases share once a level, so that it cannot be made to take exponential time."""
    height, level = 0, [spot]
    while collections := {id(s): s for s in level if isinstance(s, _Spot)}:
        height += 1
        level = [
            child
            for s in collections.values()
            for child in (s.values.values() if isinstance(s.values, dict) else s.values)
        ]
    return height


# --- JSON ---------------------------------------------------------------------------------------------------


class _Suspicious(Exception):
    """Something in the document must be refused; the slow reader finds out what and where."""


def parse_json(text: str, file: str) -> Document:
    """Reads a JSON document with the standard library's parser; places are worked out when first asked for.

    Raises:
        UserError: the first thing in it that is wrong, with the place.
    """

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _Suspicious
        return made

    def constant(name: str) -> NoReturn:
        raise _Suspicious

    try:
        data = json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
        _look_over(data, file)
    except json.JSONDecodeError as error:
        _refuse(file, "syntax-error", f"not valid JSON: {error.msg}", error.lineno, error.colno)
    # ValueError: an integer of thousands of digits. RecursionError: nesting that the parser cannot follow.
    except (_Suspicious, ValueError, RecursionError):
        _index_json(text, file)
        raise AssertionError("the fast reader refused what the slow reader accepts") from None
    return Document(file, data, functools.cache(lambda: _index_json(text, file)))


def _look_over(data: Any, file: str) -> None:
    level: list[Any] = [data]
    values = 0
    for depth in itertools.count():
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if not value.isascii() and _check_text(value):
                    raise _Suspicious
            elif isinstance(value, dict | list):
                if depth == MAX_DEPTH:
                    raise _Suspicious
                if isinstance(value, dict):
                    inner.extend(cast("dict[str, Any]", value).values())
                inner.extend(cast("list[Any]", value))  # of a mapping: its keys
            elif isinstance(value, int) and value not in _INTEGERS:
                raise _Suspicious
        values += len(level)
        if values > MAX_VALUES:
            _refuse(file, "too-large", _TOO_MANY)
        if not inner:
            return
        level = inner


# The text is known to be JSON, so that commas and colons say nothing that brackets and order do not.
_JSON_TOKEN = re.compile(
    r"""[\s,:]*+ (?:
      (?P<string> "(?:[^"\\]|\\.)*+" )
    | (?P<open> [\[{] )
    | (?P<close> [\]}] )
    | (?P<scalar> [\w.+-]+ )
    )""",
    re.VERBOSE | re.DOTALL,
)


def _index_json(text: str, file: str) -> _Index:
    """Where everything stands in a text that the fast reader has parsed or refused.

    Raises:
        UserError: what this module refuses beyond the grammar: duplicate keys, depth, size, integers beyond
            64 bits, NaN, broken text.
    """
    lines = _Lines(text)
    root: _Spot | int = 0
    # What is open, outermost first, and the key in it whose value comes next.
    stack: list[_Spot] = []
    keys: list[str | None] = []

    def fail(code: str, message: str, place: int) -> NoReturn:
        steps = [
            len(level.values) if isinstance(level.values, list) else key for level, key in zip(stack, keys, strict=True)
        ]
        path = format_path([step for step in steps if step is not None])
        _refuse(file, code, message, *lines(place), path=path)

    for token in _JSON_TOKEN.finditer(text):
        kind = token.lastgroup
        assert kind is not None
        place = token.start(kind)
        word = token[kind]
        spot: _Spot | int = place
        if kind == "open":
            if len(stack) == MAX_DEPTH:
                fail("too-deep", _TOO_DEEP, place)
            stack.append(_Spot(place, {}, {}) if word == "{" else _Spot(place, None, []))
            keys.append(None)
            continue
        if kind == "close":
            spot = stack.pop()
            keys.pop()
        elif kind == "string":
            string = cast("str", json.loads(word, strict=False)) if "\\" in word else word[1:-1]
            if complaint := _check_text(string):
                fail("invalid-text", complaint, place)
            if stack and (places := stack[-1].keys) is not None and keys[-1] is None:
                keys[-1] = string
                if string in places:
                    fail("duplicate-key", _twice(string, lines(places[string])), place)
                places[string] = place
                continue
        elif word in ("NaN", "Infinity", "-Infinity"):
            fail("invalid-value", f"{word} is not JSON", place)
        elif word.lstrip("-").isdecimal() and (len(word) > _MAX_DIGITS or int(word) not in _INTEGERS):
            fail("invalid-value", _NOT_64_BITS, place)
        if not stack:
            root = spot
        elif isinstance(inside := stack[-1].values, list):
            inside.append(spot)
        else:
            key = keys[-1]
            assert key is not None
            inside[key] = spot
            keys[-1] = None
    return _Index(root, lines)
