"""Which files go into a sandbox along with a script, and their copying there.

A Python script takes the modules (`*.py`) and packages (directories with `__init__.py`) beside it along, a
JavaScript script the `*.js`, `*.cjs`, `*.mjs` and `*.json` files beside it; other actors never. Whatever else a
script needs is named by patterns (`sandbox.include`). In the sandbox every file stands where it stands relative to
the workspace root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from reflow_supervisor.actors.discovery import DEFAULT_EXCLUDE
from reflow_supervisor.actors.display import shown
from reflow_supervisor.actors.files import Found, Tree, Unusable
from reflow_supervisor.actors.globs import BadPattern, excluder, matcher, normalise
from reflow_supervisor.actors.registry import LoadedSource
from reflow_supervisor.errors import DiscoveryError, Location, Problem, Severity
from reflow_supervisor.network.component import Component, Runtime

MAX_FILES = 2000
MAX_TOTAL = 64 * 1024 * 1024

_SUFFIXES: Mapping[Runtime, tuple[str, ...]] = {
    Runtime.PYTHON: (".py",),
    Runtime.JAVASCRIPT: (".js", ".cjs", ".mjs", ".json"),
}


@attrs.frozen
class ModuleSet:
    """The files that go along with a script, without the script itself."""

    root: Path
    files: tuple[Found, ...] = ()
    problems: tuple[Problem, ...] = ()


class ModuleFinder:
    """Finds what goes along with each script of a workspace, looking at every directory once.

    What it has found it finds again: a reload takes a new one.

    Args:
        root: the workspace.
        include: patterns of further files, relative to the root; the name of a directory means all that is in it.
    """

    def __init__(self, root: Path, include: Iterable[str] = ()) -> None:
        self._root = root
        self._include = tuple(include)
        self._included: _Files | None = None
        self._beside: dict[tuple[str, Runtime], _Files] = {}
        self._sets: dict[tuple[str, Runtime], ModuleSet] = {}

    def find(self, component: Component) -> ModuleSet:
        """The files that go along with the script of a component, one that was discovered in the workspace."""
        if component.location is None:
            return ModuleSet(self._root)
        key = component.location.file, component.runtime
        if key not in self._sets:
            self._sets[key] = self._find(component.location, component.runtime)
        return self._sets[key]

    def _find(self, location: Location, runtime: Runtime) -> ModuleSet:
        directory = location.file.rpartition("/")[0]
        try:
            with Tree(self._root) as tree:
                if self._included is None:
                    self._included = _included(tree, self._include)
                beside = self._beside.get((directory, runtime))
                if beside is None:
                    beside = self._beside[directory, runtime] = _beside(tree, directory, runtime)
        except OSError as error:
            problem = Problem("unreadable", f"the workspace cannot be read: {error.strerror}", location)
            return ModuleSet(self._root, problems=(problem,))
        chosen = {**beside.found, **self._included.found}
        chosen.pop(location.file, None)
        problems = dict.fromkeys((*beside.problems, *self._included.problems))
        too_much = _too_much(chosen, location.file)
        if too_much is not None:
            return ModuleSet(self._root, problems=(*problems, too_much))
        return ModuleSet(self._root, tuple(chosen[path][0] for path in sorted(chosen)), tuple(problems))


def _too_much(chosen: Mapping[str, tuple[Found, int]], script: str) -> Problem | None:
    if len(chosen) > MAX_FILES:
        what = f"more than {MAX_FILES} files"
    elif sum(size for _, size in chosen.values()) > MAX_TOTAL:
        what = f"more than {MAX_TOTAL} bytes"
    else:
        return None
    hint = "name fewer files in sandbox.include, or move the script away from what it does not need"
    return Problem("too-many-files", f"{what} would go into its sandbox", Location(script), hint=hint)


@attrs.define
class _Files:
    """Files with their sizes in bytes, by path, and what cannot be used. Of more than a sandbox may have, not all are
    there: two more than MAX_FILES, one of which may be the script, are enough to be refused."""

    found: dict[str, tuple[Found, int]] = attrs.Factory(dict[str, tuple[Found, int]])
    problems: list[Problem] = attrs.Factory(list[Problem])

    @property
    def enough(self) -> bool:
        return len(self.found) > MAX_FILES + 1

    def add(self, tree: Tree, path: str) -> None:
        try:
            origin = tree.origin(path)
            self.found[path] = Found(path, origin), tree.size(origin)
        except FileNotFoundError:
            pass  # vanished, or a link to nothing
        except Unusable as error:
            self.unusable(path, error)

    def unusable(self, path: str, error: Unusable) -> None:
        place = Location(shown(path) or ".")
        self.problems.append(Problem("unreadable", str(error), place, hint=error.hint, severity=Severity.WARNING))


def _beside(tree: Tree, directory: str, runtime: Runtime) -> _Files:
    files = _Files()
    left_out = excluder(DEFAULT_EXCLUDE)
    suffixes = _SUFFIXES[runtime]

    def is_package(path: str) -> bool:
        if runtime is not Runtime.PYTHON or left_out(path):
            return False
        with contextlib.suppress(FileNotFoundError, Unusable):
            return tree.size(f"{path}/__init__.py") >= 0
        return False

    for path in tree.walk(directory, is_package, files.unusable):
        stem, dot, suffix = path.rpartition(".")
        if dot + suffix in suffixes and not stem.endswith(".actor"):
            files.add(tree, path)
        if files.enough:
            break
    return files


def _included(tree: Tree, patterns: Iterable[str]) -> _Files:
    files = _Files()
    good: dict[str, str] = {}  # normalised pattern → key path
    for index, pattern in enumerate(patterns):
        key = f"workspace.sandbox.include[{index}]"
        try:
            matcher([pattern])
            good[normalise(pattern)] = key
        except BadPattern as error:
            files.problems.append(Problem("bad-pattern", f'"{shown(pattern)}" {error}', path=key))
    if not good:
        return files
    tests = {pattern: matcher([pattern, f"{pattern}/**"]) for pattern in good}
    # What a pattern names is meant, even where discovery would leave it out.
    named = {segment for pattern in good for segment in pattern.split("/")}
    left_out = excluder(name for name in DEFAULT_EXCLUDE if name not in named)
    used: set[str] = set()
    for path in tree.walk("", lambda directory: not left_out(directory), files.unusable):
        matching = [pattern for pattern, matches in tests.items() if matches(path)]
        used.update(matching)
        if matching:
            files.add(tree, path)
        if files.enough:
            return files
    for pattern in good.keys() - used:
        message = f'"{pattern}" matches no file'
        files.problems.append(Problem("no-match", message, path=good[pattern], severity=Severity.WARNING))
    return files


def materialise(modules: ModuleSet, source: LoadedSource, target: Path) -> None:
    """Copies a script and its files into an empty directory, readable by everybody and writable by nobody.

    Directories keep their owner's write permission, so that the owner can remove the whole.

    Args:
        modules: what goes along.
        source: the script; its bytes are taken from here, not from its file, which may have changed since.
        target: the directory, which must be there. It belongs to us: what is in it was not put there by a sandbox.

    Raises:
        DiscoveryError: a file cannot be read any more, or all of them together have become too large.
    """
    _write(target, source.file, source.data)
    left = MAX_TOTAL
    with Tree(modules.root) as tree:
        for found in modules.files:
            try:
                data = tree.read(found.origin, left)
            except FileNotFoundError:
                raise DiscoveryError(_changed(found, "is not there any more")) from None
            except Unusable as error:
                raise DiscoveryError(_changed(found, str(error))) from None
            left -= len(data)
            _write(target, found.relative, data)


def _changed(found: Found, message: str) -> Problem:
    return Problem("unreadable", message, Location(found.relative), hint="it was chosen to go into a sandbox")


def _write(target: Path, relative: str, data: bytes) -> None:
    directory = target
    for name in relative.split("/")[:-1]:
        directory = directory / name
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)  # whatever the umask says
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target / relative, flags, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o444)
        file.write(data)


def companions(component: Component, root: Path, include: Iterable[str] = ()) -> ModuleSet:
    return ModuleFinder(root, include).find(component)
