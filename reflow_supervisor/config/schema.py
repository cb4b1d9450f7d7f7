"""The JSON Schema of reflow.yaml, made from the model: for editors, and for tools that write such files."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin

import attrs

from reflow_supervisor.config.loading import hints, key_fields, kind_of
from reflow_supervisor.config.model import Config, ConnectionConfig
from reflow_supervisor.config.values import Duration, Size, duration_text, size_text


def json_schema() -> dict[str, Any]:
    """What specs/reflow.schema.json holds."""
    definitions: dict[str, Any] = {}
    root = _schema_of(Config, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "reflow.yaml",
        "description": "Configuration of a reflow-supervise workspace",
        **root,
        "$defs": definitions,
    }


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind := kind_of(hint):
        return kind.schema()
    if attrs.has(hint):
        # The top is written in place; everything below it by reference.
        if hint is Config:
            return _object(hint, definitions)
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # a group holds groups
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    args = get_args(hint)
    origin = get_origin(hint)
    if hint is bool:
        return {"type": "boolean"}
    if hint is str:
        return {"type": "string"}
    if hint is Any:
        return {}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(args[0], definitions)}
    if origin is Mapping:
        names, values = _schema_of(args[0], definitions), _schema_of(args[1], definitions)
        return {"type": ["object", "null"], "propertyNames": names, "additionalProperties": values}
    if origin in (Union, types.UnionType):
        inner = [_schema_of(arg, definitions) for arg in args if arg is not types.NoneType]
        return {"anyOf": [*inner, {"type": "null"}]}
    raise TypeError(f"no schema for {hint}")


def _object(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    types_of = hints(cls)
    fields = key_fields(cls)
    properties: dict[str, Any] = {}
    for name, field in fields.items():
        described = {"description": field.metadata["doc"], **_schema_of(types_of[field.name], definitions)}
        if field.default is not attrs.NOTHING and not attrs.has(types_of[field.name]):
            described["default"] = written_default(field, types_of[field.name])
        properties[name] = described
    required = [name for name, field in fields.items() if field.default is attrs.NOTHING]
    schema: dict[str, Any] = {
        "type": "object" if required else ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    if cls is ConnectionConfig:
        return {"anyOf": [{"type": "string", "pattern": r"^.+\..+->.+\..+$"}, schema]}
    return schema


def written_default(field: attrs.Attribute[Any], hint: Any) -> Any:
    """A default as it would stand in the file."""
    default = field.default
    if isinstance(default, tuple):
        return list(cast("tuple[Any, ...]", default))
    if isinstance(default, Mapping):
        return dict(cast("Mapping[str, Any]", default))
    kinds = [kind_of(part) for part in (hint, *get_args(hint))]
    if any(isinstance(kind, Size) for kind in kinds) and default is not None:
        return size_text(default)
    if any(isinstance(kind, Duration) for kind in kinds) and default is not None:
        return duration_text(default)
    return default
