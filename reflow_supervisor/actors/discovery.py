"""Finding the actors of a workspace, in one process and without running any of them.

This module decides which files are scripts and what follows from a file that cannot be used. How files are reached
is decided in `files`, what a script declares in `metadata_python` and `metadata_javascript`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from reflow_supervisor.actors.declaration import Metadata
from reflow_supervisor.actors.display import shown
from reflow_supervisor.actors.files import Tree, Unusable
from reflow_supervisor.actors.globs import BadPattern, excluder, matcher
from reflow_supervisor.actors.metadata_javascript import read_javascript
from reflow_supervisor.actors.metadata_python import read_python
from reflow_supervisor.actors.script import Script, decode
from reflow_supervisor.errors import Location, Problem, Severity
from reflow_supervisor.network.component import Component, PortDecl

DEFAULT_PATTERNS: Sequence[str] = ("**/*.actor.py", "**/*.actor.js")
DEFAULT_EXCLUDE: Sequence[str] = (".reflow", ".venv", "node_modules", ".git", "__pycache__")
MAX_SCRIPT = 1024 * 1024
MAX_SCRIPTS = 10_000

_READERS: Mapping[str, Callable[[Script], Metadata]] = {
    ".py": read_python,
    ".js": read_javascript,
    ".cjs": read_javascript,
    ".mjs": read_javascript,
}


@attrs.frozen
class Discovery:
    """What a workspace has. `files` are the scripts that were read, in order; `scripts` the content of those that
    declare an actor, by their path relative to the root; `broken` the names of actors whose declaration cannot be
    used, and where it stands."""

    root: Path
    components: tuple[Component, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    scripts: Mapping[str, Script] = attrs.field(factory=dict[str, Script], repr=False)
    broken: Mapping[str, Location] = attrs.field(factory=dict[str, Location])

    def to_json(self) -> dict[str, Any]:
        """What `actors --json` prints."""
        return {
            "actors": [_component_json(component) for component in self.components],
            "problems": [problem.to_json() for problem in self.problems],
        }


def discover(
    root: Path, patterns: Iterable[str] = DEFAULT_PATTERNS, exclude: Iterable[str] = DEFAULT_EXCLUDE
) -> Discovery:
    """Reads every script below `root` that matches, and what it declares.

    Args:
        root: the workspace.
        patterns: which files are scripts; see `globs`.
        exclude: what to leave out, besides `DEFAULT_EXCLUDE`.
    """
    finder = _Finder(root)
    try:
        wanted = matcher(finder.checked(patterns, "workspace.script_patterns"))
        left_out = excluder([*DEFAULT_EXCLUDE, *finder.checked(exclude, "workspace.exclude")])
        with Tree(root) as tree:
            for path in finder.find(tree, wanted, left_out):
                finder.read(tree, *path)
    except OSError as error:
        finder.report("unreadable", f"the workspace cannot be read: {error.strerror}", ".")
    return finder.result()


def read_script(script: Script) -> Metadata:
    """What one script declares, by the language that its name tells."""
    reader = _READERS.get(PurePosixPath(script.file).suffix)
    if reader is not None:
        return reader(script)
    problem = Problem(
        "unknown-language",
        "is neither a Python nor a JavaScript file",
        Location(script.file),
        hint=f"scripts are named {', '.join('*' + suffix for suffix in _READERS)}; narrow the script patterns",
        severity=Severity.WARNING,
    )
    return Metadata(problems=(problem,))


class _Finder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._components: dict[str, Component] = {}
        self._problems: list[Problem] = []
        self._files: list[str] = []
        self._scripts: dict[str, Script] = {}
        self._broken: dict[str, Location] = {}

    def report(
        self, code: str, message: str, file: str, hint: str = "", severity: Severity = Severity.ERROR, path: str = ""
    ) -> None:
        self._problems.append(Problem(code, message, Location(shown(file)) if file else None, path, hint, severity))

    def checked(self, patterns: Iterable[str], key: str) -> list[str]:
        """The patterns that can be used; for each other one a problem."""
        good: list[str] = []
        for index, pattern in enumerate(patterns):
            try:
                matcher([pattern])
                good.append(pattern)
            except BadPattern as error:
                self.report("bad-pattern", f'"{shown(pattern)}" {error}', "", path=f"{key}[{index}]")
        return good

    def find(self, tree: Tree, wanted: Callable[[str], bool], left_out: Callable[[str], bool]) -> list[tuple[str, str]]:
        """The scripts as pairs of path and origin, a link only where its target is none of them itself."""
        scripts: list[tuple[str, str]] = []
        links: list[tuple[str, str]] = []
        for path in tree.walk("", lambda directory: not left_out(directory), self._left_out):
            if not wanted(path) or left_out(path):
                continue
            with contextlib.suppress(FileNotFoundError):
                try:
                    origin = tree.origin(path)
                except Unusable as error:
                    self._unusable(path, error)
                    continue
                (scripts if origin == path else links).append((path, origin))
        own = {path for path, _ in scripts}
        scripts += [link for link in links if link[1] not in own]
        if len(scripts) > MAX_SCRIPTS:
            message = f"{len(scripts)} files match; only the first {MAX_SCRIPTS} are read"
            self.report("too-many-files", message, "", "narrow the script patterns", path="workspace.script_patterns")
        return sorted(scripts)[:MAX_SCRIPTS]

    def read(self, tree: Tree, path: str, origin: str) -> None:
        try:
            data = tree.read(origin, MAX_SCRIPT)
        except FileNotFoundError:
            return  # vanished since it was found: as if it had never been there
        except Unusable as error:
            self._unusable(path, error)
            return
        self._files.append(path)
        script = decode(self._root / path, path, data)
        if isinstance(script, Problem):
            self._problems.append(script)
            return
        metadata = read_script(script)
        self._problems += metadata.problems
        self._broken |= metadata.broken
        for component in metadata.components:
            first = self._components.setdefault(component.name, component)
            if first is component:
                self._scripts[path] = script
            else:
                self._problems.append(duplicate(component, first))

    def result(self) -> Discovery:
        broken = {name: place for name, place in self._broken.items() if name and name not in self._components}
        return Discovery(
            self._root,
            tuple(self._components.values()),
            tuple(self._problems),
            tuple(self._files),
            self._scripts,
            broken,
        )

    def _left_out(self, directory: str, error: Unusable) -> None:
        # Not every directory of a workspace need be ours: a database's may well be locked.
        self.report("unreadable", str(error), directory or ".", error.hint, Severity.WARNING)

    def _unusable(self, path: str, error: Unusable) -> None:
        severity = Severity.WARNING if error.outside else Severity.ERROR
        self.report("outside" if error.outside else "unreadable", str(error), path, error.hint, severity)


def duplicate(component: Component, first: Component) -> Problem:
    """The error of a second component of one name."""
    where = f"is already declared at {first.location}" if first.location else "is built in"
    return Problem(
        "duplicate-name",
        f'an actor named "{component.name}" {where}',
        component.location,
        "name",
        hint="give one of them another name",
    )


def _component_json(component: Component) -> dict[str, Any]:
    location = component.location
    return {
        "name": component.name,
        "runtime": str(component.runtime),
        "file": location.file if location else None,
        "line": location.line if location else None,
        "inports": [_port_json(port) for port in component.inports],
        "outports": [_port_json(port) for port in component.outports],
        "open_ports": component.open_ports,
        "await_all_inports": component.await_all_inports,
        "version": component.version,
        "description": component.description,
        "tags": list(component.tags),
        "category": component.category,
        "config_schema": component.config_schema,
        "memory": component.memory,
        "timeout": component.timeout,
        "state_backend": component.state_backend,
        "state_scope": component.state_scope,
        "max_attempts": component.max_attempts,
        "export": component.export,
        "source_hash": component.source_hash,
        "old_forms": list(component.old_forms),
    }


def _port_json(port: PortDecl) -> dict[str, Any]:
    return attrs.asdict(port)
