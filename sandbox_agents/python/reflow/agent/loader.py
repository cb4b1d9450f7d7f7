"""Turns an actor script's source into a callable: compiles, runs the module, finds the actor in it.

Decides which object of a script is the actor, and from where helper modules come. `await X` works on plain values in
scripts and their helpers, since half of Reflow's documentation awaits what is not awaitable here
(`await state.get("k")`): each is compiled as `await __reflow_await__(X)`.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Any, Final, cast

import msgspec

from ..decorator import METADATA, normalize
from ..wire.messages import Load, LoadResult
from .interrupt import boundary

MODULE_NAME: Final = "__actor__"
"""Not `__main__`: what a script does when it is run by hand must not happen here."""

CONVENTIONAL_NAMES: Final = ("process", "main", "run")
METHOD_NAMES: Final = CONVENTIONAL_NAMES[::-1]
"""Of a class, the first that it has."""

_ATTRIBUTES: Final[dict[str, tuple[type, ...]]] = {
    "name": (str,),
    "inports": (str, list, tuple, dict),
    "outports": (str, list, tuple, dict),
    "awaitAllInports": (bool,),
    "await_all_inports": (bool,),
}
"""What a class may declare by attributes, and of which types: other things may have these names too."""

_AWAIT: Final = "__reflow_await__"


class LoadError(Exception):
    """The script has no actor that can be run; the text says why and what to do."""


class LoadedActor(msgspec.Struct, frozen=True):
    """`call` takes the context. It is a coroutine function where `asynchronous` is true."""

    call: Callable[[Any], Any]
    asynchronous: bool
    declared: LoadResult


class Loader:
    """
    Args:
        workspace: the directory with the script's file and its helper modules.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self.files: set[str] = set()
        """File names that belong to the script, as its code objects and its tracebacks have them."""

    @boundary
    def load(self, request: Load) -> LoadedActor:
        """
        Raises:
            LoadError: there is no actor in the script.
            BaseException: whatever compiling or running the script raised.
        """
        setattr(builtins, _AWAIT, awaitable)
        self._open_workspace(request.file)
        code = self.compile(request.source, request.file)
        module = ModuleType(MODULE_NAME)
        module.__file__ = str(self._workspace / request.file)
        # dataclasses, pickle and typing look a class's module up by its name.
        sys.modules[MODULE_NAME] = module
        exec(code, module.__dict__)
        return find_actor(module, request.export, request.component)

    def compile(self, source: str, file: str) -> CodeType:
        """Compiles with `await` made lenient; tracebacks find the source lines under `file`."""
        self.files.add(file)
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        tree = ast.parse(source, file)
        return compile(_LenientAwait().visit(tree), file, "exec", dont_inherit=True)

    def _open_workspace(self, file: str) -> None:
        """Imports look beside the script first, then at the workspace's top, then where they always do."""
        top = self._workspace
        beside = top / PurePosixPath(file).parent
        sys.path[:0] = list(dict.fromkeys((str(beside), str(top))))
        sys.path_hooks.insert(0, self._finder)
        sys.path_importer_cache.clear()

    def _finder(self, directory: str) -> importlib.machinery.FileFinder:
        if not Path(directory).is_relative_to(self._workspace):
            raise ImportError("not in the workspace")
        loader = type("WorkspaceLoader", (_WorkspaceLoader,), {"owner": self})
        suffixes = importlib.machinery.SOURCE_SUFFIXES
        return importlib.machinery.FileFinder(directory, (loader, suffixes))

    def relative(self, path: str) -> str:
        """How a file of the workspace is named to people."""
        return str(Path(path).relative_to(self._workspace))


class _WorkspaceLoader(importlib.machinery.SourceFileLoader):
    """Imports helper modules as the script itself is compiled."""

    owner: Loader

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        return self.owner.compile(importlib.util.decode_source(data), self.owner.relative(str(path)))

    def path_stats(self, path: Any) -> Any:
        # Without them no bytecode file is read or written: one that lies there was not compiled by us.
        raise OSError


class _LenientAwait(ast.NodeTransformer):
    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        value = node.value
        name = ast.copy_location(ast.Name(_AWAIT, ast.Load()), value)
        node.value = ast.copy_location(ast.Call(name, [value], []), value)
        return node


def awaitable(value: Any) -> Any:
    """What `await` gets: the value itself where it can be awaited, else something that gives it at once."""
    if inspect.isawaitable(value):
        return value
    return _Ready(value)


class _Ready(Awaitable[Any]):
    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._value
        yield  # what makes this a generator


def find_actor(module: ModuleType, export: str, component: str) -> LoadedActor:
    """The actor of a module: the named export, else the only marked object, else a conventional or the only function.

    Raises:
        LoadError: none is there, or several could be meant.
    """
    target = _find_target(module, export, component)
    metadata = _declared(target) or normalize(_declared(module))
    instance = target() if isinstance(target, type) else None
    if instance is not None:
        metadata = {**_attributes(instance), **metadata}
    call = _callable_of(target, instance)
    return LoadedActor(
        call=call,
        asynchronous=inspect.iscoroutinefunction(call),
        declared=LoadResult(
            name=metadata.get("name") or _own_name(target) or export or component,
            inports=metadata.get("inports"),
            outports=metadata.get("outports"),
            await_all_inports=bool(metadata.get("await_all_inports", False)),
        ),
    )


def _own_name(target: object) -> str:
    """What a function or a class is called; "" where it has no name."""
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else ""


def _declared(thing: object) -> dict[str, Any]:
    """What is declared on a function, a class or a module. Some older scripts mark with True: that declares nothing."""
    metadata = getattr(thing, METADATA, None)
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}


def _find_target(module: ModuleType, export: str, component: str) -> Any:
    names: dict[str, Any] = vars(module)
    if export:
        if export not in names:
            raise LoadError(f"the script has no {export!r} after it ran; is it defined under an `if`, or deleted?")
        return names[export]
    own = {
        name: value
        for name, value in names.items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == MODULE_NAME
    }
    marked = {name: value for name, value in own.items() if hasattr(value, METADATA)}
    for value in marked.values():
        if (_declared(value).get("name") or _own_name(value)) == component:
            return value
    if len(marked) == 1:
        return next(iter(marked.values()))
    for name in CONVENTIONAL_NAMES:
        if name in own:
            return own[name]
    functions = {name: value for name, value in own.items() if not isinstance(value, type)}
    if len(functions) == 1:
        return next(iter(functions.values()))
    if not functions:
        raise LoadError("the script defines no function: put @actor(…) before one")
    raise LoadError(f"which function is the actor? Put @actor(…) before one of {', '.join(sorted(functions))}")


def _attributes(instance: object) -> dict[str, Any]:
    """What a class declares by attributes, of its own or set by its constructor."""
    found = {name: getattr(instance, name, None) for name in _ATTRIBUTES}
    return normalize({name: value for name, value in found.items() if isinstance(value, _ATTRIBUTES[name])})


def _callable_of(target: Any, instance: Any) -> Callable[[Any], Any]:
    if instance is None:
        if not callable(target):
            raise LoadError(
                f"the actor is a {type(target).__name__}; it must be a function, or a class with run(context)"
            )
        return target
    for name in (*METHOD_NAMES, "__call__"):
        method = getattr(instance, name, None)
        if callable(method):
            return method
    raise LoadError(f"class {target.__name__} has no method run(self, context)")
