"""docs/configuration.md, made from the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import attrs

from reflow_supervisor.config.loading import hints, key_fields, kind_of
from reflow_supervisor.config.model import Config, ConnectionConfig, GroupConfig, ProcessConfig
from reflow_supervisor.config.schema import written_default
from reflow_supervisor.config.values import Cores, Duration, EndpointKind, Size

_INTRODUCTION = """\
# Configuration: reflow.yaml

<!-- Made by `python -m reflow_supervisor.config reference` from reflow_supervisor/config/model.py. -->

A workspace is a directory with a `reflow.yaml`. Every key may be left out, and so may the file: everything has
a default. A key that is not known is an error, and so is one that is there twice; `reflow-supervise check`
reports everything that is wrong at once, with line, column and key path.

The file is YAML 1.2: only `true` and `false` are booleans (`no`, `on` and `off` are text). Tags and merge keys
(`<<`) are not read. `specs/reflow.schema.json` is its JSON Schema, for completion in editors.

How values are written:

- **sizes**: bytes, or with a unit: `512MB`, `1GiB`. Units are powers of 1024 with and without the `i`.
- **durations**: seconds, or with a unit: `500ms`, `30s`, `5m`, `1h`, `1d`.
- **cores**: `0.5`, or `500m`: half of one.
- **ports of nodes**: `node.port`. The last dot counts.

## Example

```yaml
workspace:
  script_patterns: ["actors/**/*.actor.py", "actors/**/*.actor.js"]
  sandbox:
    memory_limit: 512MB
    cpu_limit: 0.5
  redis:
    url: redis://localhost:6379
    ttl: 1h

supervision: {strategy: one_for_one, intensity: 5, period: 30s}

network:
  processes:
    reader: {component: FileReader, config: {path: data.csv}}
    totals: {component: Totals, timeout: 10s, max_attempts: 5}
  connections:
    - reader.line -> totals.line
    - {from: totals.sum, to: reader.feedback, on_full: drop_oldest, capacity: 10}
  initial:
    totals.start: 0
```
"""


_EXPLAINED = (Size, Duration, Cores, EndpointKind)


def reference() -> str:
    """What docs/configuration.md holds."""
    parts = [_INTRODUCTION]
    parts += _sections(Config, "")
    group = (
        "A supervisor of its own for some of the nodes. What it does not say holds as in the supervisor above it, "
        "and when it gives up, that one acts as on the failure of a node."
    )
    parts.append(_section("supervision.groups.*", group, GroupConfig))
    parts.append(_section("network.processes.*", "One node of the network.", ProcessConfig))
    connection = "One connection. `a.out -> b.in` is the same as `{from: a.out, to: b.in}`."
    parts.append(_section("network.connections[]", connection, ConnectionConfig))
    return "\n".join(parts)


def _sections(cls: type[Any], path: str) -> Iterator[str]:
    for name, field in key_fields(cls).items():
        hint = hints(cls)[field.name]
        if attrs.has(hint):
            yield _section(f"{path}{name}", field.metadata["doc"], hint)
            yield from _sections(hint, f"{path}{name}.")


def _section(path: str, doc: str, cls: type[Any]) -> str:
    lines = [f"## `{path}`", "", doc, "", "| key | value | default | |", "|---|---|---|---|"]
    for name, field in key_fields(cls).items():
        hint = hints(cls)[field.name]
        if attrs.has(hint):
            lines.append(f"| `{name}` | a mapping | | See [`{path}.{name}`](#{_anchor(f'{path}.{name}')}). |")
        else:
            cells = (f"`{name}`", _accepted(hint), _default(field, hint), field.metadata["doc"])
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _anchor(path: str) -> str:
    return path.replace(".", "")


def _accepted(hint: Any) -> str:
    if kind := kind_of(hint):
        # How these are written is said once, in the introduction.
        return str(kind).partition(" (")[0] if isinstance(kind, _EXPLAINED) else str(kind)
    args = get_args(hint)
    origin = get_origin(hint)
    if hint is bool:
        return "true or false"
    if hint is Any:
        return "anything"
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in args)
    if origin is tuple:
        return "a list" if attrs.has(args[0]) else f"a list, each {_accepted(args[0])}"
    if origin is Mapping:
        return "a mapping"
    return " or ".join(_accepted(arg) if arg is not type(None) else "null" for arg in args)


def _default(field: attrs.Attribute[Any], hint: Any) -> str:
    if field.default is attrs.NOTHING:
        return "must be given"
    default = written_default(field, hint)
    if isinstance(default, str):
        return f"`{default}`"
    return f"`{json.dumps(default)}`"
