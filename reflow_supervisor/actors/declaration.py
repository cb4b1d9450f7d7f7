"""From what a script declares, in whatever language and dialect, to a `Component`.

The readers (`metadata_python`, `metadata_javascript`) turn source into `Literal`s, which remember where they stand.
This module decides which keys a declaration may have, what each must look like, and how a mistake reads. It knows
no language beyond how that language spells a key (`await_all_inports`, `awaitAllInports`).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from reflow_supervisor.actors.display import is_showable, shown
from reflow_supervisor.actors.script import Script
from reflow_supervisor.config.values import Duration, Kind, Refused, Size
from reflow_supervisor.errors import Location, Problem, Severity
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.ports import parse_port_type

MAX_DEPTH = 32
"""How deep literals may nest. JSON Schemas written by people stay far below."""
_MAX_PORTS = 256
_MAX_NAME = 128
_MAX_TEXT = 64 * 1024


@attrs.frozen
class Literal:
    """A value as written in a source file. A sequence is a tuple of literals, a mapping a `Table`."""

    content: bool | int | float | str | tuple[Literal, ...] | Table | None
    location: Location

    def plain(self) -> Any:
        """The value as JSON-like data, without places."""
        match self.content:
            case Table(entries):
                return {entry.key: entry.value.plain() for entry in entries}
            case tuple() as items:
                return [item.plain() for item in items]
            case scalar:
                return scalar


@attrs.frozen
class Entry:
    key: str
    location: Location
    """Where the key stands."""
    value: Literal


@attrs.frozen
class Table:
    entries: tuple[Entry, ...] = ()


class Unfit(Exception):
    """A piece of a declaration that cannot be used; the reader goes on with the next piece."""

    def __init__(self, code: str, message: str, location: Location, *, path: str = "", hint: str = "") -> None:
        super().__init__(code, message, location)
        self.problem = Problem(code, message, location, path, hint)

    def within(self, key: str) -> Unfit:
        """The same, with its key path continued outwards."""
        inner = self.problem.path
        joint = "" if not inner or not key or inner.startswith("[") else "."
        outer = Unfit(*self.args)
        outer.problem = attrs.evolve(self.problem, path=f"{key}{joint}{inner}")
        return outer


def scalar(value: bool | int | float | str | None, location: Location) -> Literal:
    """A literal that can travel: text that UTF-8 can carry, integers of 64 bits.

    Raises:
        Unfit: it cannot.
    """
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise Unfit("bad-value", "text with half of a surrogate pair", location, hint="write the whole character")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Unfit("bad-value", "an integer of more than 64 bits", location)
    return Literal(value, location)


@attrs.frozen
class Declaration:
    """One actor as its script declares it, before anything of it was checked.

    `export`: the name in the script that the declaration belongs to. `default_name` and `default_description`
    stand in for what the metadata leaves out.
    """

    metadata: Table
    location: Location
    export: str = ""
    default_name: str = ""
    default_description: str = ""
    old_forms: tuple[str, ...] = ()


@attrs.frozen
class Metadata:
    """What one script declares. `broken` maps the names of actors whose declaration has errors, and which are
    therefore not among `components`, to where they are declared."""

    components: tuple[Component, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, Location] = attrs.field(factory=dict[str, Location])


@attrs.frozen
class Dialect:
    """How a language spells the keys of a declaration."""

    runtime: Runtime
    spell: Callable[[str], str]


def _camel_case(field: str) -> str:
    head, *tail = field.split("_")
    return head + "".join(word.capitalize() for word in tail)


PYTHON = Dialect(Runtime.PYTHON, str)
JAVASCRIPT = Dialect(Runtime.JAVASCRIPT, _camel_case)


# ── What each field must look like ───────────────────────────────────────────────────────────────────────────────────


def _described(content: object) -> str:
    match content:
        case None:
            return "nothing"
        case bool():
            return "true" if content else "false"
        case int() | float():
            return f"the number {content}"
        case str():
            return "text"
        case tuple():
            return "a list"
        case _:
            return "a mapping"


def _wrong(literal: Literal, wanted: str, hint: str = "") -> Unfit:
    return Unfit("wrong-type", f"must be {wanted}, not {_described(literal.content)}", literal.location, hint=hint)


def _text(literal: Literal) -> str:
    if not isinstance(literal.content, str):
        raise _wrong(literal, "text", "put it in quotes")
    if len(literal.content) > _MAX_TEXT:
        raise Unfit("too-long", f"more than {_MAX_TEXT} characters", literal.location)
    # A description may have lines; what could move a terminal's cursor may not be in it.
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", literal.content.replace("\r\n", "\n")):
        raise Unfit("bad-value", "has a control character in it", literal.location)
    return literal.content


def _name(literal: Literal) -> str:
    name = _text(literal)
    if not name.strip() or not is_showable(name):
        raise Unfit("bad-name", "must be a name on one line, and not blank", literal.location)
    if len(name) > _MAX_NAME:
        raise Unfit("bad-name", f"is longer than {_MAX_NAME} characters", literal.location)
    return name


def _boolean(literal: Literal) -> bool:
    if not isinstance(literal.content, bool):
        raise _wrong(literal, "true or false")
    return literal.content


def _items(literal: Literal, wanted: str, hint: str) -> tuple[Literal, ...]:
    if not isinstance(literal.content, tuple):
        raise _wrong(literal, wanted, hint)
    return literal.content


def _names(literal: Literal) -> tuple[str, ...]:
    names: list[str] = []
    for index, item in enumerate(_items(literal, "a list of names", 'write for example ["a", "b"]')):
        try:
            names.append(_name(item))
        except Unfit as error:
            raise error.within(f"[{index}]") from None
    return tuple(names)


def _mapping(literal: Literal) -> Mapping[str, Any]:
    if not isinstance(literal.content, Table):
        raise _wrong(literal, "a mapping")
    return literal.plain()


def _one_of(*allowed: str) -> Callable[[Literal], str]:
    def read(literal: Literal) -> str:
        text = _text(literal)
        if text not in allowed:
            raise Unfit("bad-value", f'must be {" or ".join(allowed)}, not "{text}"', literal.location)
        return text

    return read


def _of_kind(kind: Kind) -> Callable[[Literal], Any]:
    """A value that is written as in reflow.yaml."""

    def read(literal: Literal) -> Any:
        try:
            return kind.parse(literal.plain())
        except Refused as error:
            raise Unfit("bad-value", error.message, literal.location, hint=error.hint) from None

    return read


def _port_type(literal: Literal) -> str:
    declared = _text(literal)
    try:
        parse_port_type(declared)
    except ValueError as error:
        raise Unfit("bad-type", str(error), literal.location) from None
    return declared


def _count(literal: Literal) -> int:
    if not isinstance(literal.content, int) or isinstance(literal.content, bool) or literal.content < 1:
        raise _wrong(literal, "a whole number of at least 1")
    return literal.content


_PORT_FIELDS: Mapping[str, Callable[[Literal], Any]] = {
    "name": _name,
    "type": _port_type,
    "required": _boolean,
    "default": Literal.plain,
    "description": _text,
}


def _port(name: str | None, literal: Literal) -> PortDecl:
    """A port from what stands in a list, or behind its name in a mapping."""
    values: dict[str, Any] = {} if name is None else {"name": name}
    match literal.content:
        case str() if name is None:
            values["name"] = _name(literal)
        case str():
            values["type"] = _port_type(literal)
        case None if name is not None:
            pass
        case Table(entries):
            for entry in entries:
                if entry.key not in _PORT_FIELDS:
                    raise Unfit(
                        "unknown-key",
                        "is no property of a port",
                        entry.location,
                        path=entry.key,
                        hint=f"known are {', '.join(_PORT_FIELDS)}",
                    )
                if entry.value.content is None:
                    continue
                try:
                    values[entry.key] = _PORT_FIELDS[entry.key](entry.value)
                except Unfit as error:
                    raise error.within(entry.key) from None
        case _:
            raise _wrong(literal, "a port: its name, or a mapping with name, type, required, default, description")
    if "name" not in values:
        raise Unfit("missing-key", "a port without a name", literal.location, hint='add name: "…"')
    return PortDecl(**values)


def _ports(literal: Literal) -> tuple[PortDecl, ...]:
    hint = 'write for example ["data", "config"]'
    match literal.content:
        case Table(entries):
            named = [(entry.key, entry.value, f'["{entry.key}"]') for entry in entries]
            for entry in entries:
                _name(Literal(entry.key, entry.location))
        case tuple() as items:
            named = [(None, item, f"[{index}]") for index, item in enumerate(items)]
        case str():
            named = [(None, literal, "")]
        case _:
            raise _wrong(literal, "a list of port names, or a mapping from port names to types", hint)
    if len(named) > _MAX_PORTS:
        raise Unfit("too-many-ports", f"{len(named)} ports; at most {_MAX_PORTS} are possible", literal.location)
    ports: dict[str, PortDecl] = {}
    for name, value, key in named:
        try:
            port = _port(name, value)
        except Unfit as error:
            raise error.within(key) from None
        if port.name in ports:
            raise Unfit("duplicate-port", f'the port "{port.name}" is declared twice', value.location, path=key)
        ports[port.name] = port
    return tuple(ports.values())


_FIELDS: Mapping[str, Callable[[Literal], Any]] = {
    "name": _name,
    "inports": _ports,
    "outports": _ports,
    "await_all_inports": _boolean,
    "version": _text,
    "description": _text,
    "tags": _names,
    "category": _text,
    "config_schema": _mapping,
    "memory": _of_kind(Size(minimum=1024 * 1024)),
    "timeout": _of_kind(Duration(minimum=0.001)),
    "state_backend": _one_of("redis", "memory"),
    "state_scope": _one_of("private", "shared"),
    "max_attempts": _count,
}
UNREAD_FIELDS = frozenset({"state", "config"})
"""Fields of older declarations that are the script's own affair: any expression may stand there, none is read."""
FIELDS = frozenset(_FIELDS)
_SNAKE = re.compile(r"(?<!^)([A-Z])")


@functools.lru_cache(maxsize=1024)
def field_of(key: str) -> str:
    """The field that a key means, whichever language's spelling it has. Older scripts call the name `component`."""
    field = _SNAKE.sub(r"_\1", key).lower()
    return "name" if field == "component" else field


# ── The whole declaration ────────────────────────────────────────────────────────────────────────────────────────────


class Collector:
    """Gathers what one script declares, checking each declaration on its own."""

    def __init__(self, script: Script, dialect: Dialect) -> None:
        self.script = script
        self._dialect = dialect
        self._components: list[Component] = []
        self._problems: list[Problem] = []
        self._broken: dict[str, Location] = {}
        self._exports: dict[str, Location] = {}

    @property
    def found(self) -> int:
        """How many actors the script declares, readable ones and others."""
        return len(self._components) + len(self._broken)

    def report(self, problem: Problem) -> None:
        """Keeps a problem; what it quotes of the script is made fit to be shown."""
        fit = attrs.evolve(problem, message=shown(problem.message), path=shown(problem.path), hint=shown(problem.hint))
        self._problems.append(fit)

    def add(self, declaration: Declaration, problems: Sequence[Problem] = ()) -> None:
        """Checks a declaration and keeps its component, if nothing is wrong with it.

        Args:
            declaration: what could be read.
            problems: what could not.
        """
        component, more = _build(declaration, self.script, self._dialect)
        found = [*problems, *more]
        first = self._exports.setdefault(declaration.export, declaration.location)
        if declaration.export and first is not declaration.location:
            message = f"{declaration.export} is defined again, and the actor declared at {first} would run this code"
            found.append(Problem("duplicate-export", message, declaration.location, hint="rename one of them"))
        for problem in found:
            self.report(problem)
        if any(problem.severity is Severity.ERROR for problem in found):
            self._broken.setdefault(component.name, declaration.location)
        else:
            self._components.append(component)

    def result(self) -> Metadata:
        if not self.found and not self._problems:
            self.report(
                Problem(
                    "no-actor",
                    "declares no actor",
                    Location(self.script.file),
                    hint="put @actor(...) in front of a function at the top level, or exclude the file",
                    severity=Severity.WARNING,
                )
            )
        place = _by_place
        return Metadata(
            tuple(sorted(self._components, key=lambda component: place(component.location))),
            tuple(sorted(self._problems, key=lambda problem: place(problem.location))),
            self._broken,
        )


def _by_place(location: Location | None) -> tuple[int, int]:
    return (location.line, location.column) if location else (0, 0)


def _build(declaration: Declaration, script: Script, dialect: Dialect) -> tuple[Component, list[Problem]]:
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    seen: set[str] = set()
    for entry in declaration.metadata.entries:
        field = field_of(entry.key)
        if field in UNREAD_FIELDS:
            continue
        read = _FIELDS.get(field)
        if read is None:
            problems.append(_unknown_key(entry, dialect))
            continue
        if field in seen:
            problems.append(Problem("duplicate-key", "is given twice", entry.location, entry.key))
            continue
        seen.add(field)
        if entry.key != dialect.spell(field):
            problems.append(
                Problem(
                    "spelling",
                    f"is read as {dialect.spell(field)}",
                    entry.location,
                    entry.key,
                    hint=f"write {dialect.spell(field)}",
                    severity=Severity.WARNING,
                )
            )
        if entry.value.content is None:
            continue  # None, null and undefined mean the default, as they do when the script runs
        try:
            values[field] = read(entry.value)
        except Unfit as error:
            problems.append(error.within(entry.key).problem)
    if "name" not in values and declaration.default_name:
        values["name"] = declaration.default_name
    if "name" not in values and not any(problem.path == "name" for problem in problems):
        problems.append(
            Problem(
                "missing-key",
                "an actor without a name",
                declaration.location,
                hint='add name: "…" to its metadata',
            )
        )
    values.setdefault("name", "")
    values.setdefault("description", declaration.default_description)
    old_forms = declaration.old_forms
    if "outports" not in values:
        old_forms = (*old_forms, "outports are not declared")
    component = Component(
        **values,
        runtime=dialect.runtime,
        open_ports="outports" not in values,
        export=declaration.export,
        path=script.path,
        location=declaration.location,
        source_hash=script.sha256,
        old_forms=old_forms,
    )
    return component, problems


def _unknown_key(entry: Entry, dialect: Dialect) -> Problem:
    known = sorted(dialect.spell(field) for field in _FIELDS)
    near = difflib.get_close_matches(entry.key, known, n=1)
    return Problem(
        "unknown-key",
        "is not known and has no effect",
        entry.location,
        entry.key,
        hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}",
        severity=Severity.WARNING,
    )
