"""A component's `config_schema`, applied to the configuration of a node.

The subset of JSON Schema that actors use: type, properties, required, enum, minimum, maximum, items, default, and
`additionalProperties: false`. Other keywords are left alone. Both sides come from strangers: a schema that makes no
sense is itself a finding, and never an exception. What a finding becomes, and where it stands, is decided in `check`.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from reflow_supervisor.documents import KeyPath

MAX_DEPTH = 64


@attrs.frozen
class Violation:
    """`path` leads from the configuration to the value. `in_schema`: the schema itself is wrong, not the value."""

    path: KeyPath
    message: str
    hint: str = ""
    in_schema: bool = False


def apply_schema(schema: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
    """The configuration with the schema's defaults filled in, and what is wrong with it."""
    violations: list[Violation] = []
    plain = dict(config)
    complete = _complete({"type": "object", **schema}, plain, (), violations)
    return (cast("dict[str, Any]", complete) if isinstance(complete, dict) else plain), violations


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _complete(schema: Any, value: Any, path: KeyPath, found: list[Violation]) -> Any:
    """The value with defaults filled in. Recursion is bounded by MAX_DEPTH, whatever schema and value are."""
    if len(path) > MAX_DEPTH:
        found.append(Violation(path[:MAX_DEPTH], f"nested more than {MAX_DEPTH} deep"))
        return value
    if not isinstance(schema, dict):
        if schema is not True:  # `true` allows everything
            found.append(Violation(path, "the schema is not a mapping", in_schema=True))
        return value
    keywords = cast("dict[str, Any]", schema)
    if not _has_type(keywords, value, path, found):
        return value
    _check_enum(keywords, value, path, found)
    if _is_number(value):
        _check_range(keywords, value, path, found)
    if isinstance(value, dict):
        return _complete_object(keywords, cast("dict[str, Any]", value), path, found)
    if not isinstance(value, list) or "items" not in keywords:
        return cast("Any", value)
    items = cast("list[Any]", value)
    return [_complete(keywords["items"], item, (*path, index), found) for index, item in enumerate(items)]


def _has_type(keywords: Mapping[str, Any], value: Any, path: KeyPath, found: list[Violation]) -> bool:
    declared = keywords.get("type")
    if declared is None:
        return True
    names: list[Any] = cast("list[Any]", declared) if isinstance(declared, list) else [declared]
    unknown = [name for name in names if not isinstance(name, str) or name not in _TYPES]
    if unknown:
        message = f"{_shown(unknown[0])} is not a type; the types are {', '.join(_TYPES)}"
        found.append(Violation(path, message, in_schema=True))
        return False
    if any(_TYPES[name](value) for name in names):
        return True
    found.append(Violation(path, f"{_shown(value)} is not of type {' or '.join(names)}"))
    return False


def _check_enum(keywords: Mapping[str, Any], value: Any, path: KeyPath, found: list[Violation]) -> None:
    allowed = keywords.get("enum")
    if allowed is None:
        return
    if not isinstance(allowed, list):
        found.append(Violation(path, "`enum` is not a list", in_schema=True))
        return
    choices = cast("list[Any]", allowed)
    # In Python 1 == True, in JSON they are different things.
    if not any(choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in choices):
        shown = ", ".join(_shown(choice) for choice in choices[:20])
        found.append(Violation(path, f"{_shown(value)} is not one of {shown}"))


def _check_range(keywords: Mapping[str, Any], value: float, path: KeyPath, found: list[Violation]) -> None:
    for keyword, words in (("minimum", "less"), ("maximum", "more")):
        bound = keywords.get(keyword)
        if bound is None:
            continue
        if not _is_number(bound):
            found.append(Violation(path, f"`{keyword}` is not a number", in_schema=True))
        elif value < bound if keyword == "minimum" else value > bound:
            found.append(Violation(path, f"{_shown(value)} is {words} than the {keyword}, {_shown(bound)}"))


def _complete_object(
    keywords: Mapping[str, Any], value: Mapping[str, Any], path: KeyPath, found: list[Violation]
) -> dict[str, Any]:
    properties = keywords.get("properties")
    if properties is not None and not isinstance(properties, dict):
        found.append(Violation(path, "`properties` is not a mapping", in_schema=True))
        properties = None
    known = cast("dict[str, Any]", properties or {})
    if keywords.get("additionalProperties") is False:
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name)[:100], known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
                found.append(Violation((*path, name), "there is no such key", hint))
    complete = dict(value)
    for name, inner in known.items():
        if name not in complete:
            if not isinstance(inner, dict) or "default" not in inner:
                continue
            complete[name] = copy.deepcopy(cast("dict[str, Any]", inner)["default"])
        complete[name] = _complete(inner, complete[name], (*path, name), found)
    required = keywords.get("required")
    if required is None or isinstance(required, bool):  # a flag on the property is an old form, and says nothing here
        return complete
    if not isinstance(required, list):
        found.append(Violation(path, "`required` is not a list", in_schema=True))
        return complete
    for name in cast("list[Any]", required):
        if name not in complete:
            hint = _description(known.get(name)) if isinstance(name, str) else ""
            found.append(Violation(path, f"the key `{name}` is missing", hint))
    return complete


def _description(schema: Any) -> str:
    description = cast("dict[str, Any]", schema).get("description") if isinstance(schema, dict) else None
    return description[:200] if isinstance(description, str) else ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
