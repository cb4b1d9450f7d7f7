"""What a node of a network can be made of: the declaration of a component and of its ports.

This module holds facts, found statically in a script's source or given by native code. Which port types fit
each other is decided in `ports`, where components come from in `reflow_supervisor.actors`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from reflow_supervisor.errors import Location


class Runtime(enum.StrEnum):
    PYTHON = "python"
    JAVASCRIPT = "javascript"
    NATIVE = "native"
    """Trusted Trio code in the supervisor itself."""


@attrs.frozen
class PortDecl:
    """A declared port. `type` is a Reflow port type as written: "any", "integer", "array(float)", "option(string)"."""

    name: str
    type: str = "any"
    required: bool = False
    default: Any = None
    description: str = ""


@attrs.frozen
class Component:
    """One actor declaration.

    `open_ports` is true where the script declares no outports at all (older forms): any port may then be wired.
    `export` names the function or class in the source that the decorator stands on ("" for a bare
    `__actor_metadata__` whose `main`/`process` function the agent looks up). `memory` is in bytes, `timeout` in
    seconds.
    `old_forms` lists, in words, the older Reflow forms that the declaration uses; `check` reports them.
    """

    name: str
    runtime: Runtime
    inports: tuple[PortDecl, ...] = ()
    outports: tuple[PortDecl, ...] = ()
    open_ports: bool = False
    await_all_inports: bool = False
    version: str = "1.0.0"
    description: str = ""
    tags: tuple[str, ...] = ()
    category: str = ""
    config_schema: Mapping[str, Any] | None = None
    memory: int | None = None
    timeout: float | None = None
    state_backend: str = "redis"
    state_scope: str = "private"
    max_attempts: int | None = None
    export: str = ""
    path: Path | None = None
    location: Location | None = None
    source_hash: str = ""
    old_forms: tuple[str, ...] = ()

    def inport(self, name: str) -> PortDecl | None:
        return next((p for p in self.inports if p.name == name), None)

    def outport(self, name: str) -> PortDecl | None:
        return next((p for p in self.outports if p.name == name), None)
