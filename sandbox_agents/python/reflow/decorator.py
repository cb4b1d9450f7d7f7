"""`@actor`: marks a function or class as an actor and notes what it declares.

It accepts every form that Reflow scripts use. It decides nothing about the network: the supervisor reads the same
declaration from the source, without running it, and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")

METADATA: Final = "__actor_metadata__"

_SNAKE: Final = {
    "awaitAllInports": "await_all_inports",
    "configSchema": "config_schema",
    "stateBackend": "state_backend",
    "stateScope": "state_scope",
    "component": "name",
}
"""Spellings of older scripts."""


@overload
def actor(target: Callable[..., T], /) -> Callable[..., T]: ...


@overload
def actor(target: str | Mapping[str, Any] | None = None, /, **declaration: Any) -> Callable[[T], T]: ...


def actor(target: Any = None, /, **declaration: Any) -> Any:
    """Declares an actor: `@actor`, `@actor(name=…, inports=[…], outports=[…])`, `@actor("Name", …)` or `@actor({…})`.

    Args (all optional, as keywords or as members of the dict):
        name: the component's name; the function's by default.
        inports, outports: port names, or declarations with type, required, default and description.
        await_all_inports: call the actor only when each inport has a message.
        version, description, tags, category, config_schema, memory, timeout, state, state_backend: see the docs.

    Returns:
        The same function or class, marked.
    """
    if isinstance(target, Mapping):
        declaration = {**target, **declaration}  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(target, str):
        declaration = {"name": target, **declaration}
    elif callable(target):
        return _mark(target, declaration)
    elif target is not None:
        raise TypeError(f"@actor takes keywords, a dict or a name, not a {type(target).__name__}")

    def mark(function: Any) -> Any:
        return _mark(function, declaration)

    return mark


def _mark(target: Any, declaration: Mapping[str, Any]) -> Any:
    if not callable(target):
        raise TypeError(f"@actor stands before a function or a class, not before a {type(target).__name__}")
    metadata = normalize(declaration)
    metadata.setdefault("description", (target.__doc__ or "").strip())
    setattr(target, METADATA, metadata)
    return target


def normalize(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """The declaration in today's spelling, ports as lists of names (None where nothing is declared)."""
    metadata = {_SNAKE.get(key, key): value for key, value in declaration.items() if value is not None}
    for side in ("inports", "outports"):
        if side in metadata:
            metadata[side] = port_names(metadata[side], side)
    return metadata


def port_names(ports: Any, side: str) -> list[str]:
    """The names in a list of names or declarations, or in a map from names to declarations."""
    if isinstance(ports, str):
        return [ports]
    names: list[str] = []
    for port in ports:
        name: Any = port.get("name") if isinstance(port, Mapping) else port  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(port, tuple) and port:
            name = port[0]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str) or not name:
            raise TypeError(f"{side}: a port is a name or a dict with a 'name', not {port!r}")
        names.append(name)
    return names
