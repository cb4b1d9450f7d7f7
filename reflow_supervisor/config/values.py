"""How single values of reflow.yaml are written: sizes, durations, cores, endpoints, bounded numbers.

A kind turns what stands in the file into the value that the program uses, says in words what it accepts, and
gives the JSON Schema of it. Kinds are attached to the fields of the model with `Annotated`; how a refusal is
reported, and where, is decided in `loading`.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import attrs


class Refused(Exception):
    """A value is not what its key takes. The message completes "key: …"; the hint says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Kind(Protocol):
    def parse(self, value: Any) -> Any:
        """The value as the program uses it.

        Raises:
            Refused: it is not of this kind.
        """
        ...

    def schema(self) -> dict[str, Any]: ...

    def __str__(self) -> str:
        """What is accepted, in words: "a duration (30, \"30s\", …)"."""
        ...


def shown(value: Any) -> str:
    """A value as an error shows it: what kind of thing it is where it is long, and never the whole of it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return repr(value) if len(value) <= 60 else repr(value[:57] + "...")
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(minimum: float | str | None, maximum: float | str | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


def _bounds(minimum: float | None, maximum: float | None) -> dict[str, Any]:
    bounds = {"minimum": minimum, "maximum": maximum}
    return {name: bound for name, bound in bounds.items() if bound is not None}


@attrs.frozen
class Integer:
    minimum: int | None = None
    maximum: int | None = None

    def parse(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not _within(value, self):
            raise Refused(f"{shown(value)} is not {self}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", **_bounds(self.minimum, self.maximum)}

    def __str__(self) -> str:
        return f"an integer{_range(self.minimum, self.maximum)}"


@attrs.frozen
class Number:
    minimum: float | None = None
    maximum: float | None = None

    def parse(self, value: Any) -> float:
        if not _is_number(value) or not _within(value, self):
            raise Refused(f"{shown(value)} is not {self}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", **_bounds(self.minimum, self.maximum)}

    def __str__(self) -> str:
        return f"a number{_range(self.minimum, self.maximum)}"


class _Bounded(Protocol):
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...


def _within(value: float, kind: _Bounded) -> bool:
    # Written so that NaN, for which every comparison is false, lies within no bounds.
    low = kind.minimum is None or value >= kind.minimum
    high = kind.maximum is None or value <= kind.maximum
    return low and high and value == value


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]i?)?B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@attrs.frozen
class Size:
    """Bytes. "MB" is "MiB", 1024 · 1024: what Docker, systemd and people who limit memory mean by it."""

    minimum: int = 1
    maximum: int = 2**40

    def parse(self, value: Any) -> int:
        number = value
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            power = _POWERS[(match[2] or "").lower().removesuffix("i")]
            number = round(float(match[1]) * 1024**power)
        if not isinstance(number, int) or isinstance(number, bool):
            raise Refused(f"{shown(value)} is not {self}")
        if not _within(number, self):
            allowed = _range(size_text(self.minimum), size_text(self.maximum))
            raise Refused(f"{shown(value)} is not a size{allowed}")
        return number

    def schema(self) -> dict[str, Any]:
        pattern = r"^\s*\d{1,15}(\.\d{1,6})? ?([KkMmGgTt][Ii]?)?[Bb]?\s*$"
        bounds = _bounds(self.minimum, self.maximum)
        return {"anyOf": [{"type": "integer", **bounds}, {"type": "string", "pattern": pattern}]}

    def __str__(self) -> str:
        return 'a size (bytes, or "512MB", "1GiB")'


def size_text(size: int) -> str:
    """A size as it is written: the largest unit that keeps it whole."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or size % 1024:
            return f"{size}{unit}" if unit != "B" else str(size)
        size //= 1024
    return f"{size}TB"


_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@attrs.frozen
class Duration:
    """Seconds."""

    minimum: float = 0.0
    maximum: float = 365 * 86400.0

    def parse(self, value: Any) -> float:
        number = value
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            number = float(match[1]) * _SECONDS[match[2] or ""]
        if not _is_number(number):
            raise Refused(f"{shown(value)} is not {self}")
        if not _within(number, self):
            allowed = _range(duration_text(self.minimum), duration_text(self.maximum))
            raise Refused(f"{shown(value)} is not a duration{allowed}")
        return float(number)

    def schema(self) -> dict[str, Any]:
        pattern = r"^\s*\d{1,12}(\.\d{1,9})? ?(ms|s|m|h|d)?\s*$"
        bounds = _bounds(self.minimum, self.maximum)
        return {"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": pattern}]}

    def __str__(self) -> str:
        return 'a duration (seconds, or "500ms", "30s", "5m", "1h", "1d")'


def duration_text(seconds: float) -> str:
    """A duration as it is written."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{_plain(seconds / length)}{unit}"
    return f"{_plain(seconds * 1000)}ms" if 0 < seconds < 1 else f"{_plain(seconds)}s"


def _plain(number: float) -> str:
    """Without exponent and trailing zeros."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


_CORES = re.compile(r"(\d{1,7})m")


@attrs.frozen
class Cores:
    """Processor cores: 0.5 is half of one, and so is "500m"."""

    minimum: float = 0.01
    maximum: float = 1024.0

    def parse(self, value: Any) -> float:
        number = value
        if isinstance(value, str) and (match := _CORES.fullmatch(value.strip())):
            number = int(match[1]) / 1000
        if not _is_number(number):
            raise Refused(f"{shown(value)} is not {self}")
        if not _within(number, self):
            raise Refused(f"{shown(value)} is not a number of cores{_range(self.minimum, self.maximum)}")
        return float(number)

    def schema(self) -> dict[str, Any]:
        bounds = _bounds(self.minimum, self.maximum)
        return {"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": r"^\s*\d{1,7}m\s*$"}]}

    def __str__(self) -> str:
        return 'a number of cores (0.5, or "500m" for half of one)'


@attrs.frozen
class Text:
    """Text that matches a pattern as a whole. `secret`: it may hold a password, so errors do not show it."""

    pattern: str
    what: str
    secret: bool = False

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            subject = "the value" if self.secret and isinstance(value, str) else shown(value)
            raise Refused(f"{subject} is not {self.what}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}

    def __str__(self) -> str:
        return self.what


@attrs.frozen
class Endpoint:
    """A port of a node."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}.{self.port}"


NAME_PATTERN = r"[^\x00-\x20\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]{0,126}[^\x00-\x20\x7f-\x9f])?"
"""Ids of nodes and names of ports and components: up to 128 characters, none of them a control character, no
space at either end."""


@attrs.frozen
class EndpointKind:
    """`node.port`. The last dot counts: ids of nodes may have dots in them, names of ports may not."""

    def parse(self, value: Any) -> Endpoint:
        if isinstance(value, str):
            node, dot, port = value.strip().rpartition(".")
            if dot and re.fullmatch(NAME_PATTERN, node) and re.fullmatch(NAME_PATTERN, port):
                return Endpoint(node, port)
        raise Refused(f"{shown(value)} is not {self}", 'write it as "node.port"')

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^.+\.[^.]+$"}

    def __str__(self) -> str:
        return "a port of a node (node.port)"
