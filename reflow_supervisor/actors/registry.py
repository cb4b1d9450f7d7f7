"""The components that a network can be made of, by name: the scripts of the workspace and the built-in ones.

A registry is made once from one discovery and never changes; a reload makes a new one. It decides which component
a name means and what is said where there is none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

import attrs

from reflow_supervisor.actors.discovery import Discovery, duplicate
from reflow_supervisor.actors.javascript_syntax import TooComplex, transform
from reflow_supervisor.errors import DiscoveryError, Location, Problem
from reflow_supervisor.network.component import Component, Runtime


@attrs.frozen
class LoadedSource:
    """What an agent is given to load: the very bytes that were checked.

    `file` is the path relative to the workspace root. `code` is the text to compile, line for line the script's own
    (see `javascript_syntax.transform` for what differs). `sha256` is of `data`.
    """

    file: str
    data: bytes = attrs.field(repr=False)
    code: str = attrs.field(repr=False)
    sha256: str


class Registry:
    """Components by name.

    Args:
        discovery: the scripts.
        natives: the built-in components. A script that has the name of one is a problem, and does not count.
    """

    def __init__(self, discovery: Discovery, natives: Iterable[Component] = ()) -> None:
        self._discovery = discovery
        self._components = {component.name: component for component in natives}
        clashes: list[Problem] = []
        for component in discovery.components:
            first = self._components.setdefault(component.name, component)
            if first is not component:
                clashes.append(duplicate(component, first))
        self.problems = (*discovery.problems, *clashes)
        """Those of discovery, and names that clash with built-in ones."""

    def __iter__(self) -> Iterator[Component]:
        return iter(self._components.values())

    def __len__(self) -> int:
        return len(self._components)

    def __contains__(self, name: object) -> bool:
        return name in self._components

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._components)

    def get(self, name: str) -> Component | None:
        return self._components.get(name)

    def lookup(self, name: str) -> Component:
        """
        Raises:
            DiscoveryError: there is no such component; says which one may be meant.
        """
        component = self.get(name)
        if component is None:
            raise DiscoveryError(self.unknown(name))
        return component

    def suggest(self, name: str) -> str | None:
        """The name that comes nearest, if one comes near. Upper and lower case make no distance."""
        folded = {known.casefold(): known for known in sorted(self._components, reverse=True)}
        near = difflib.get_close_matches(name.casefold(), folded, n=1)
        return folded[near[0]] if near else None

    def unknown(self, name: str, location: Location | None = None, path: str = "") -> Problem:
        """What to say about a name that is no component's.

        Args:
            name: the name.
            location: where it is used.
            path: the key path there.
        """
        if name in self._discovery.broken:
            place = self._discovery.broken[name]
            message = f'the component "{name}" is declared at {place}, and its declaration has errors'
            hint = "mend them; `reflow-supervise check` lists them"
            return Problem("broken-component", message, location, path, hint)

        near = self.suggest(name)
        hint = f'did you mean "{near}"?' if near else "`reflow-supervise actors` lists those that there are"
        return Problem("unknown-component", f'there is no component "{name}"', location, path, hint)

    def source(self, component: Component) -> LoadedSource:
        """What to load for a component of a script.

        Raises:
            DiscoveryError: its text cannot be prepared for its runtime.
            KeyError: it is not one of this registry's scripts; a bug.
        """
        if component.location is None:
            raise KeyError(component.name)
        script = self._discovery.scripts[component.location.file]
        try:
            code = transform(script.text) if component.runtime is Runtime.JAVASCRIPT else script.text
        except TooComplex:
            raise DiscoveryError(Problem("too-complex", "takes too long to be parsed", component.location)) from None
        return LoadedSource(script.file, script.data, code, script.sha256)
