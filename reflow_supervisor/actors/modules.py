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


def companions(component: Component, root: Path, include: Iterable[str] = ()) -> ModuleSet:
    """The files that go along with a component's script.

    Args:
        component: one that was discovered in `root`.
        root: the workspace.
        include: patterns of further files, relative to the root; the name of a directory means all that is in it.
    """
    if component.location is None:
        return ModuleSet(root)
    try:
        with Tree(root) as tree:
            chooser = _Chooser(tree, component.location.file, component.runtime)
            try:
                chooser.beside()
                chooser.include(include)
            except _TooMuch as error:
                chooser.problems.append(error.problem)
            return ModuleSet(root, chooser.files(), tuple(chooser.problems))
    except OSError as error:
        problem = Problem("unreadable", f"the workspace cannot be read: {error.strerror}", component.location)
        return ModuleSet(root, problems=(problem,))


class _TooMuch(Exception):
    def __init__(self, file: str, what: str) -> None:
        super().__init__(what)
        hint = "name fewer files in sandbox.include, or move the script away from what it does not need"
        self.problem = Problem("too-many-files", f"{what} would go into its sandbox", Location(file), hint=hint)


class _Chooser:
    def __init__(self, tree: Tree, script: str, runtime: Runtime) -> None:
        self._tree = tree
        self._script = script
        self._runtime = runtime
        self._chosen: dict[str, Found] = {}
        self._size = 0
        self.problems: list[Problem] = []

    def files(self) -> tuple[Found, ...]:
        return tuple(self._chosen[relative] for relative in sorted(self._chosen))

    def beside(self) -> None:
        directory = self._script.rpartition("/")[0]
        left_out = excluder(DEFAULT_EXCLUDE)
        suffixes = _SUFFIXES[self._runtime]

        def is_package(path: str) -> bool:
            if self._runtime is not Runtime.PYTHON or left_out(path):
                return False
            with contextlib.suppress(FileNotFoundError, Unusable):
                return self._tree.size(f"{path}/__init__.py") >= 0
            return False

        for path in self._tree.walk(directory, is_package, self._unusable):
            stem, dot, suffix = path.rpartition(".")
            if dot + suffix in suffixes and not stem.endswith(".actor"):
                self._choose(path)

    def include(self, patterns: Iterable[str]) -> None:
        good: dict[str, str] = {}  # normalised pattern → key path
        for index, pattern in enumerate(patterns):
            key = f"workspace.sandbox.include[{index}]"
            try:
                matcher([pattern])
                good[normalise(pattern)] = key
            except BadPattern as error:
                self.problems.append(Problem("bad-pattern", f'"{shown(pattern)}" {error}', path=key))
        if not good:
            return
        tests = {pattern: matcher([pattern, f"{pattern}/**"]) for pattern in good}
        # What a pattern names is meant, even where discovery would leave it out.
        named = {segment for pattern in good for segment in pattern.split("/")}
        left_out = excluder(name for name in DEFAULT_EXCLUDE if name not in named)
        used: set[str] = set()
        for path in self._tree.walk("", lambda directory: not left_out(directory), self._unusable):
            matching = [pattern for pattern, matches in tests.items() if matches(path)]
            used.update(matching)
            if matching:
                self._choose(path)
        for pattern in good.keys() - used:
            message = f'"{pattern}" matches no file'
            self.problems.append(Problem("no-match", message, path=good[pattern], severity=Severity.WARNING))

    def _choose(self, path: str) -> None:
        if path == self._script or path in self._chosen:
            return
        try:
            origin = self._tree.origin(path)
            size = self._tree.size(origin)
        except FileNotFoundError:
            return  # vanished, or a link to nothing
        except Unusable as error:
            self._unusable(path, error)
            return
        self._chosen[path] = Found(path, origin)
        self._size += size
        if len(self._chosen) > MAX_FILES:
            raise _TooMuch(self._script, f"more than {MAX_FILES} files")
        if self._size > MAX_TOTAL:
            raise _TooMuch(self._script, f"more than {MAX_TOTAL} bytes")

    def _unusable(self, path: str, error: Unusable) -> None:
        place = Location(shown(path) or ".")
        self.problems.append(Problem("unreadable", str(error), place, hint=error.hint, severity=Severity.WARNING))


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
