"""Reads reflow.yaml into the model, and finds everything that is wrong with it at once.

Cattrs builds the objects and collects what fails; this module makes that strict (nothing is converted
silently) and turns each failure into a problem with key path, line, column and what to write instead.
"""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from reflow_supervisor.config.model import Config, ConnectionConfig, GroupConfig
from reflow_supervisor.config.values import Kind, Refused, shown
from reflow_supervisor.documents import Document, KeyPath, format_path, parse_yaml, read_document
from reflow_supervisor.errors import ConfigError, Problem, UserError

_MAX_PROBLEMS = 200
"""As many as anybody reads; a hostile file can have a million."""


def load_config(path: Path, *, must_exist: bool = False) -> Config:
    """Reads a configuration file. Without a file everything has its default.

    Args:
        must_exist: the file was asked for by name, so that its absence is an error.

    Raises:
        ConfigError: all that is wrong with it, in the order of the file.
    """
    if not must_exist and _is_absent(path):
        return Config(source=Document(str(path), None))
    try:
        return _config_from(read_document(path))
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(error.problems) from None


def _is_absent(path: Path) -> bool:
    """Not merely unreadable, nor a link to nowhere: those are for the reader to complain about."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def parse_config(text: str, file: str = "reflow.yaml") -> Config:
    """Like `load_config`, from YAML text.

    Raises:
        ConfigError: all that is wrong with it, in the order of the file.
    """
    try:
        return _config_from(parse_yaml(text, file))
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(error.problems) from None


def _config_from(document: Document) -> Config:
    try:
        config = _converter().structure(document.data, Config)
    except (cattrs.BaseValidationError, Refused) as error:
        problems = list(_problems(error, (), document, Config))
    else:
        problems = list(_contradictions(config, document))
        if not problems:
            return attrs.evolve(config, source=document)
    problems.sort(key=lambda p: (p.location.line, p.location.column) if p.location else (0, 0))
    raise ConfigError(_first(problems, document))


def _first(problems: list[Problem], document: Document) -> list[Problem]:
    rest = len(problems) - _MAX_PROBLEMS
    if rest <= 0:
        return problems
    return [*problems[:_MAX_PROBLEMS], document.problem("more-problems", f"and {rest} more problems")]


def _contradictions(config: Config, document: Document) -> Iterator[Problem]:
    """What each key may say, but not together."""
    sandbox = config.workspace.sandbox
    if sandbox.preload_count > sandbox.max_pool_size:
        message = f"{sandbox.preload_count} is more than max_pool_size, {sandbox.max_pool_size}"
        yield document.problem("contradiction", message, ("workspace", "sandbox", "preload_count"))
    backoff = config.supervision.backoff
    if backoff.initial > backoff.max:
        message = f"{backoff.initial:g} s is more than max, {backoff.max:g} s"
        yield document.problem("contradiction", message, ("supervision", "backoff", "initial"))
    yield from _group_contradictions(config.supervision.groups, ("supervision", "groups"), {}, document)
    network = config.network
    if network.graph is not None:
        for name in ("processes", "connections", "initial", "inports", "outports"):
            if getattr(network, name):
                yield document.problem(
                    "contradiction",
                    "the network is both written here and taken from a graph file",
                    ("network", name),
                    key=True,
                    hint=f"remove either `graph` or `{name}`",
                )


def _group_contradictions(
    groups: Mapping[str, GroupConfig], path: KeyPath, places: dict[str, str], document: Document
) -> Iterator[Problem]:
    """A node is in one group. `places` says in which each has been seen."""
    for name, group in groups.items():
        here = (*path, name)
        for index, node in enumerate(group.nodes):
            if node in places:
                message = f"{node} is in {places[node]} already"
                yield document.problem("contradiction", message, (*here, "nodes", index))
            places[node] = format_path(here)
            if node in group.groups:
                message = f"{node} is the name of a node and of a group in {format_path(here)}"
                yield document.problem("contradiction", message, (*here, "nodes", index))
        if group.backoff is not None and group.backoff.initial > group.backoff.max:
            message = f"{group.backoff.initial:g} s is more than max, {group.backoff.max:g} s"
            yield document.problem("contradiction", message, (*here, "backoff", "initial"))
        if not group.nodes and not group.groups:
            yield document.problem("contradiction", f"{format_path(here)} has neither nodes nor groups", here)
        yield from _group_contradictions(group.groups, (*here, "groups"), places, document)


# --- Structuring --------------------------------------------------------------------------------------------


def key_name(field: attrs.Attribute[Any]) -> str | None:
    """How a field of the model is written in the file; None for a field that is no key."""
    return (field.metadata["name"] or field.name) if "doc" in field.metadata else None


def key_fields(cls: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """The keys of a mapping: how each is written → its field."""
    named = ((key_name(field), field) for field in attrs.fields(cls))
    return {name: field for name, field in named if name is not None}


@functools.cache
def hints(cls: type[Any]) -> Mapping[str, Any]:
    """The types of a class's fields, with the kinds that are attached to them."""
    return get_type_hints(cls, include_extras=True)


def kind_of(hint: Any) -> Kind | None:
    """The kind that is attached to a type, if there is one."""
    return hint.__metadata__[0] if get_origin(hint) is Annotated else None


_Hook = Callable[[Any, Any], Any]


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)

    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook_func(lambda hint: get_origin(hint) is Literal, _choice)
    converter.register_structure_hook_func(lambda hint: kind_of(hint) is not None, _of_kind)

    def register(handles: Callable[[Any], bool], make: Callable[[Any, cattrs.Converter], _Hook]) -> None:
        def factory(hint: Any) -> _Hook:
            return make(hint, converter)

        converter.register_structure_hook_factory(handles, factory)

    register(attrs.has, _mapping_hook)
    register(lambda hint: get_origin(hint) is tuple, _list_hook)
    register(lambda hint: get_origin(hint) is Mapping, _table_hook)
    register(lambda hint: get_origin(hint) in (Union, types.UnionType), _optional_hook)
    return converter


def _boolean(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{shown(value)} is not true or false")
    return value


def _choice(value: Any, hint: Any) -> Any:
    choices = get_args(hint)
    if value not in choices or not isinstance(value, str):
        raise Refused(f"{shown(value)} is not one of {', '.join(choices)}", _did_you_mean(value, choices))
    return value


def _of_kind(value: Any, hint: Any) -> Any:
    kind = kind_of(hint)
    assert kind is not None
    return kind.parse(value)


def _optional_hook(hint: Any, converter: cattrs.Converter) -> _Hook:
    (inner,) = [arg for arg in get_args(hint) if arg is not types.NoneType]

    def structure(value: Any, _: Any) -> Any:
        return None if value is None else converter.structure(value, inner)

    return structure


def _mapping_hook(cls: type[Any], converter: cattrs.Converter) -> _Hook:
    names = {field.name: name for name, field in key_fields(cls).items()}
    overrides = {
        field.name: override(rename=names[field.name]) if field.name in names else override(omit=True)
        for field in attrs.fields(cls)
    }
    build = make_dict_structure_fn(cls, converter, **overrides)  # pyright: ignore[reportArgumentType]

    def structure(value: Any, _: Any) -> Any:
        if value is None:  # a key with nothing under it
            value = {}
        if cls is ConnectionConfig and isinstance(value, str):
            value = _arrow(value)
        if not isinstance(value, dict):
            raise Refused(f"{shown(value)} is not a mapping")
        return build(cast("dict[str, Any]", value), cls)

    return structure


def _arrow(text: str) -> dict[str, Any]:
    source, arrow, target = text.partition("->")
    if not arrow:
        raise Refused(f"{shown(text)} is not a connection", 'write it as "a.out -> b.in"')
    return {"from": source.strip(), "to": target.strip()}


def _list_hook(hint: Any, converter: cattrs.Converter) -> _Hook:
    element = get_args(hint)[0]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise Refused(f"{shown(value)} is not a list")
        return tuple(converter.structure(cast("list[Any]", value), list[element]))

    return structure


def _table_hook(hint: Any, converter: cattrs.Converter) -> _Hook:
    key, value_hint = get_args(hint)

    def structure(value: Any, _: Any) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Refused(f"{shown(value)} is not a mapping")
        return converter.structure(cast("dict[str, Any]", value), dict[key, value_hint])

    return structure


# --- Reporting ----------------------------------------------------------------------------------------------


def _problems(error: Exception, path: KeyPath, document: Document, cls: Any) -> Iterator[Problem]:
    match error:
        case cattrs.ClassValidationError():
            for inner, note in error.group_exceptions()[0]:
                yield from _problems(inner, (*path, _written(error.cl, note.name)), document, error.cl)
            for inner in error.group_exceptions()[1]:
                yield from _problems(inner, path, document, error.cl)
        case cattrs.IterableValidationError():
            for inner, note in error.group_exceptions()[0]:
                yield from _problems(inner, (*path, note.index), document, cls)
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield _unknown_key(name, path, document, error.cl)
        case KeyError():
            missing = str(error.args[0])
            doc = key_fields(cls)[missing].metadata["doc"]
            yield document.problem("missing-key", f"the key `{missing}` is missing", path[:-1], hint=doc)
        case Refused():
            yield document.problem("invalid-value", error.message, path, hint=error.hint)
        case _:
            raise error


def _written(cls: type[Any], attribute: str) -> str:
    return key_name(getattr(attrs.fields(cls), attribute)) or attribute


def _unknown_key(name: str, path: KeyPath, document: Document, cls: type[Any]) -> Problem:
    known = list(key_fields(cls))
    hint = _did_you_mean(name, known)
    if not hint and (elsewhere := [p for p in _all_keys(Config) if p[-1] == name and p[:-1] != path]):
        places = [format_path(p[:-1]) or "the top of the file" for p in elsewhere[:2]]
        hint = f"it belongs to {' or '.join(places)}"
    if not hint:
        hint = f"known keys: {', '.join(known)}"
    where = f"`{format_path(path)}` has" if path else "there is"
    return document.problem("unknown-key", f"{where} no key `{name}`", (*path, name), key=True, hint=hint)


def _all_keys(cls: type[Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in key_fields(cls).items():
        yield (*path, name)
        hint = hints(cls)[field.name]
        if attrs.has(hint):
            yield from _all_keys(hint, (*path, name))


def _did_you_mean(value: Any, known: Iterable[str]) -> str:
    # Matching takes time with the length, and nobody misspells a name into a page of text.
    if not isinstance(value, str) or len(value) > 100:
        return ""
    close = difflib.get_close_matches(value, list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else ""
