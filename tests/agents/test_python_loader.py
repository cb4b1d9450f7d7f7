from __future__ import annotations

import asyncio
import dataclasses
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from reflow.agent.loader import MODULE_NAME, LoadedActor, Loader, LoadError, awaitable, find_actor
from reflow.wire.messages import Load


@pytest.fixture(autouse=True)
def _interpreter_as_before() -> Iterator[None]:
    """An agent loads one script in its life; here there are many in one process."""
    path, hooks, modules = list(sys.path), list(sys.path_hooks), set(sys.modules)
    yield
    sys.path[:], sys.path_hooks[:] = path, hooks
    sys.path_importer_cache.clear()
    for name in set(sys.modules) - modules:
        if name == MODULE_NAME or name.startswith("helper"):
            del sys.modules[name]


class Workspace:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.loader = Loader(root)

    def write(self, file: str, source: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    def load(self, source: str, export: str = "", component: str = "C", file: str = "actors/a.actor.py") -> LoadedActor:
        self.write(file, source)
        return self.loader.load(Load(node="n", component=component, file=file, source=source, export=export))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_await_takes_plain_values(workspace: Workspace) -> None:
    loaded = workspace.load(
        "async def other():\n"
        "    return 2\n"
        "async def run(x):\n"
        "    return [await x, await other(), await (await other() + 1), await None, [await v for v in (1, other())]]\n",
        "run",
    )
    assert loaded.asynchronous
    assert asyncio.run(loaded.call(5)) == [5, 2, 3, None, [1, 2]]


def test_awaitables_of_every_kind_are_left_alone() -> None:
    import types

    @types.coroutine
    def generator_based() -> Any:
        return 7
        yield

    class Custom:
        def __await__(self) -> Any:
            return 8
            yield

    async def native() -> int:
        return 9

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(6)
        return [await awaitable(x) for x in (5, future, generator_based(), Custom(), native(), StopIteration, (1, 2))]

    assert asyncio.run(main()) == [5, 6, 7, 8, 9, StopIteration, (1, 2)]


def test_tracebacks_have_the_scripts_lines_and_columns(workspace: Workspace) -> None:
    loaded = workspace.load("async def run(x):\n    y = 1\n    return await x.missing\n", "run")
    try:
        asyncio.run(loaded.call(5))
    except AttributeError as e:
        frame = traceback.extract_tb(e.__traceback__)[-1]
    else:
        raise AssertionError("it did not fail")
    assert (frame.filename, frame.lineno, frame.line, frame.colno) == (
        "actors/a.actor.py",
        3,
        "return await x.missing",
        17,
    )


def test_helper_modules_beside_the_file_come_before_those_at_the_top(workspace: Workspace) -> None:
    workspace.write("helper_a.py", "where = 'top'\n")
    workspace.write("actors/helper_a.py", "where = 'beside'\nasync def plain():\n    return await 5\n")
    workspace.write("helper_b/__init__.py", "from .inner import value\n")
    workspace.write("helper_b/inner.py", "value = 1 / 0\n")
    loaded = workspace.load(
        "import helper_a\nasync def run(c):\n    return helper_a.where, await helper_a.plain()\n", "run"
    )
    assert asyncio.run(loaded.call(None)) == ("beside", 5)
    with pytest.raises(ZeroDivisionError) as raised:
        workspace.load("import helper_b\n", "run")
    places = [(f.filename, f.line) for f in traceback.extract_tb(raised.value.__traceback__)]
    assert places[-1] == ("helper_b/inner.py", "value = 1 / 0")
    assert {"actors/a.actor.py", "helper_b/__init__.py", "helper_b/inner.py"} <= workspace.loader.files
    assert not list(workspace.root.rglob("*.pyc"))


def test_the_script_is_no_main_program_and_can_be_found_by_name(workspace: Workspace) -> None:
    loaded = workspace.load(
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Row:\n    n: int\n"
        "if __name__ == '__main__':\n    raise SystemExit\n"
        "def run(c):\n    return Row(1), __file__\n",
        "run",
    )
    row, file = loaded.call(None)
    assert dataclasses.asdict(row) == {"n": 1}
    assert file == str(workspace.root / "actors/a.actor.py")


def test_what_loading_raises_comes_out(workspace: Workspace) -> None:
    with pytest.raises(SyntaxError) as raised:
        workspace.load("def run(c:\n    pass\n")
    assert (raised.value.filename, raised.value.lineno) == ("actors/a.actor.py", 1)
    with pytest.raises(ZeroDivisionError):
        workspace.load("1 / 0\n")


def module_of(source: str) -> ModuleType:
    module = ModuleType(MODULE_NAME)
    exec("from reflow import actor\n" + source, module.__dict__)
    return module


@pytest.mark.parametrize(
    ("source", "export", "component", "result"),
    [
        ("@actor(name='A')\ndef a(c): return 1\n@actor(name='B')\ndef b(c): return 2", "b", "B", 2),
        ("@actor(name='A')\ndef a(c): return 1\n@actor(name='B')\ndef b(c): return 2", "", "B", 2),
        ("@actor\ndef a(c): return 1\ndef run(c): return 2", "", "C", 1),
        ("def helper(c): return 1\ndef process(c): return 2", "", "C", 2),
        ("def main(c): return 1\ndef other(c): return 2", "", "C", 1),
        ("from os.path import join\ndef _private(c): pass\ndef anything(c): return 1", "", "C", 1),
        ("@actor(name='K')\nclass K:\n  def run(self, c): return 1", "K", "K", 1),
        ("class K:\n  def process(self, c): return 1", "K", "K", 1),
        ("class K:\n  def __call__(self, c): return 1", "K", "K", 1),
        ("def actor(f):\n  f.__actor_metadata__ = True\n  return f\n@actor\ndef run(c): return 1", "", "C", 1),
    ],
)
def test_which_object_is_the_actor(source: str, export: str, component: str, result: int) -> None:
    assert find_actor(module_of(source), export, component).call(None) == result


@pytest.mark.parametrize(
    ("source", "export", "says"),
    [
        ("x = 1", "", "defines no function"),
        ("def a(c): pass\ndef b(c): pass", "", "which function is the actor.*a, b"),
        ("def a(c): pass", "missing", "no 'missing'"),
        ("value = 5", "value", "the actor is a int"),
        ("class K: pass", "K", r"class K has no method run\(self, context\)"),
    ],
)
def test_no_actor(source: str, export: str, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        find_actor(module_of(source), export, "C")


def test_what_the_script_declares() -> None:
    declared = find_actor(
        module_of("@actor(name='X' + 'Y', inports=['a'], await_all_inports=True)\nasync def run(c): ..."), "run", "C"
    )
    assert (declared.declared.name, declared.declared.inports, declared.declared.outports) == ("XY", ["a"], None)
    assert declared.declared.await_all_inports
    assert declared.asynchronous
    bare = find_actor(
        module_of("__actor_metadata__ = {'component': 'M', 'outports': ['o']}\ndef process(c): ..."), "", "C"
    )
    assert (bare.declared.name, bare.declared.inports, bare.declared.outports) == ("M", None, ["o"])
    kept = find_actor(
        module_of("class K:\n  inports = ['i']\n  outports = ('o',)\n  async def run(self, c): ..."), "K", "C"
    )
    assert (kept.declared.name, kept.declared.inports, kept.declared.outports) == ("K", ["i"], ["o"])
    assert kept.asynchronous
