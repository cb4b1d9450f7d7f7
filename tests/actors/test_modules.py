"""What goes into a sandbox along with a script."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow_supervisor.actors import modules as module
from reflow_supervisor.actors.discovery import discover
from reflow_supervisor.actors.files import Tree
from reflow_supervisor.actors.modules import ModuleFinder, ModuleSet, materialise
from reflow_supervisor.actors.registry import LoadedSource, Registry
from reflow_supervisor.errors import DiscoveryError, Severity

SEED = Path(__file__).parents[2] / "examples" / "seed"
PYTHON = "@actor(name='P', outports=[])\ndef f(c): ...\n"
JAVASCRIPT = "@actor({name: 'J', outports: []})\nfunction f(c) {}\n"


def workspace(root: Path, *paths: str) -> Registry:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text({".actor.py": PYTHON, ".actor.js": JAVASCRIPT}.get("".join(file.suffixes), f"# {path}\n"))
    return Registry(discover(root))


def chosen(root: Path, name: str, *include: str, registry: Registry | None = None) -> list[str]:
    modules = ModuleFinder(root, include).find((registry or Registry(discover(root))).lookup(name))
    assert modules.problems == (), [str(problem) for problem in modules.problems]
    return [found.relative for found in modules.files]


def test_the_quick_start_script_takes_its_helper_along():
    assert chosen(SEED, "DataProcessor") == ["actors/transforms.py"]
    assert chosen(SEED, "StreamAggregator") == []


def test_modules_and_packages_beside_a_python_script(tmp_path: Path):
    registry = workspace(
        tmp_path,
        "actors/p.actor.py",
        "actors/helper.py",
        "actors/package/__init__.py",
        "actors/package/deep/__init__.py",
        "actors/package/deep/inner.py",
        "actors/package/data.txt",
        "actors/package/scripts/plain.py",
        "actors/plain/not_a_package.py",
        "actors/helper.js",
        "actors/notes.txt",
        "top.py",
    )
    assert chosen(tmp_path, "P", registry=registry) == [
        "actors/helper.py",
        "actors/package/__init__.py",
        "actors/package/deep/__init__.py",
        "actors/package/deep/inner.py",
    ]


def test_files_beside_a_javascript_script(tmp_path: Path):
    registry = workspace(
        tmp_path, "j.actor.js", "util.js", "old.cjs", "new.mjs", "data.json", "lib/inner.js", "helper.py", "p.actor.py"
    )
    assert chosen(tmp_path, "J", registry=registry) == ["data.json", "new.mjs", "old.cjs", "util.js"]


def test_other_actors_stay_behind(tmp_path: Path):
    workspace(tmp_path, "p.actor.py", "j.actor.js")
    (tmp_path / "other.actor.py").write_text(PYTHON.replace("'P'", "'Q'"))
    assert chosen(tmp_path, "P") == []
    assert chosen(tmp_path, "J") == []


def test_included_files(tmp_path: Path):
    registry = workspace(
        tmp_path,
        "actors/p.actor.py",
        "actors/helper.py",
        "lib/a.py",
        "lib/deep/b.txt",
        "data/x.csv",
        "data/y.bin",
        "node_modules/left/index.js",
        ".git/config",
        "top.py",
    )
    assert chosen(tmp_path, "P", "lib", "./data/*.csv", "top.py", registry=registry) == [
        "actors/helper.py",
        "data/x.csv",
        "lib/a.py",
        "lib/deep/b.txt",
        "top.py",
    ]
    assert chosen(tmp_path, "P", "**", registry=registry)[-1] == "top.py"
    assert "node_modules/left/index.js" not in chosen(tmp_path, "P", "**", registry=registry)
    assert "node_modules/left/index.js" in chosen(tmp_path, "P", "node_modules/left/**", registry=registry)


def test_patterns_that_match_nothing_or_cannot_be_used(tmp_path: Path):
    registry = workspace(tmp_path, "p.actor.py")
    modules = ModuleFinder(tmp_path, ["/etc/passwd", "../*", "nothing/*"]).find(registry.lookup("P"))
    assert modules.files == ()
    assert [(problem.code, problem.path, problem.severity) for problem in modules.problems] == [
        ("bad-pattern", "workspace.sandbox.include[0]", Severity.ERROR),
        ("bad-pattern", "workspace.sandbox.include[1]", Severity.ERROR),
        ("no-match", "workspace.sandbox.include[2]", Severity.WARNING),
    ]


def test_links(tmp_path: Path):
    root = tmp_path / "root"
    registry = workspace(root, "actors/p.actor.py", "shared/real.py")
    (tmp_path / "secret.py").write_text("SECRET = 1")
    (root / "actors/linked.py").symlink_to("../shared/real.py")
    (root / "actors/escape.py").symlink_to("../../secret.py")
    (root / "actors/outside").symlink_to(tmp_path)
    os.mkfifo(root / "actors/fifo.py")
    modules = ModuleFinder(root).find(registry.lookup("P"))
    assert [(found.relative, found.origin) for found in modules.files] == [("actors/linked.py", "shared/real.py")]
    assert [problem.location and problem.location.file for problem in modules.problems] == [
        "actors/escape.py",
        "actors/fifo.py",
    ]
    target = tmp_path / "target"
    target.mkdir()
    materialise(modules, registry.source(registry.lookup("P")), target)
    assert not (target / "actors/linked.py").is_symlink()
    assert (target / "actors/linked.py").read_text() == "# shared/real.py\n"


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 2), ("MAX_TOTAL", 30)])
def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int):
    monkeypatch.setattr(module, limit, value)
    registry = workspace(tmp_path, "p.actor.py", *(f"helper{number}.py" for number in range(5)))
    (problem,) = ModuleFinder(tmp_path).find(registry.lookup("P")).problems
    assert (problem.code, problem.severity) == ("too-many-files", Severity.ERROR)
    assert f"more than {value}" in problem.message
    assert problem.location is not None
    assert problem.location.file == "p.actor.py"


def test_each_directory_is_walked_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    registry = workspace(tmp_path, "a/p.actor.py", "a/helper.py", "a/j.actor.js", "a/helper.js", "lib/data.txt")
    (tmp_path / "a/q.actor.py").write_text(PYTHON.replace("'P'", "'Q'"))
    registry = Registry(discover(tmp_path))
    walked: list[str] = []
    walk = Tree.walk

    def counting(self: Tree, directory: str, *arguments: Any) -> Iterator[str]:
        walked.append(directory)
        return walk(self, directory, *arguments)

    monkeypatch.setattr(Tree, "walk", counting)
    finder = ModuleFinder(tmp_path, ["lib"])
    sets = {name: [finder.find(registry.lookup(name)) for _ in range(100)] for name in "PQJ"}
    assert sorted(walked) == ["", "a", "a"], "the workspace for the patterns, and its directory for each runtime"
    assert all(found is sets[name][0] for name in "PQJ" for found in sets[name])
    assert [found.relative for found in sets["P"][0].files] == ["a/helper.py", "lib/data.txt"]
    assert sets["P"][0].files == sets["Q"][0].files
    assert [found.relative for found in sets["J"][0].files] == ["a/helper.js", "lib/data.txt"]


def test_a_script_that_is_included_by_a_pattern_does_not_go_along_with_itself(tmp_path: Path):
    registry = workspace(tmp_path, "a/p.actor.py", "a/j.actor.js")
    finder = ModuleFinder(tmp_path, ["a"])
    assert [found.relative for found in finder.find(registry.lookup("P")).files] == ["a/j.actor.js"]
    assert [found.relative for found in finder.find(registry.lookup("J")).files] == ["a/p.actor.py"]


def test_a_copy_can_be_read_by_everybody_and_written_by_nobody(tmp_path: Path):
    root, target = tmp_path / "root", tmp_path / "target"
    target.mkdir()
    registry = workspace(root, "actors/p.actor.py", "actors/package/__init__.py")
    (root / "actors/package/__init__.py").chmod(0o600)
    component = registry.lookup("P")
    mask = os.umask(0o077)
    try:
        materialise(ModuleFinder(root).find(component), registry.source(component), target)
    finally:
        os.umask(mask)
    assert (target / "actors/p.actor.py").read_text() == PYTHON
    modes = {path.relative_to(target).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*")}
    assert modes == {
        "actors": 0o755,
        "actors/p.actor.py": 0o444,
        "actors/package": 0o755,
        "actors/package/__init__.py": 0o444,
    }


def test_a_file_that_is_gone_or_has_become_a_link_when_it_is_copied(tmp_path: Path):
    root = tmp_path / "root"
    registry = workspace(root, "p.actor.py", "helper.py", "sub/x.py")
    component = registry.lookup("P")
    modules = ModuleFinder(root, ["sub"]).find(component)
    (root / "sub/x.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path)
    (tmp_path / "x.py").write_text("SECRET = 1")
    for number, message in enumerate(("sub/x.py", "helper.py")):
        target = tmp_path / f"target{number}"
        target.mkdir()
        with pytest.raises(DiscoveryError, match=message):
            materialise(modules, registry.source(component), target)
        assert "SECRET" not in "".join(path.read_text() for path in target.rglob("*.py"))
        (root / "helper.py").unlink(missing_ok=True)


def test_nothing_is_written_over(tmp_path: Path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "a.py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        materialise(ModuleSet(tmp_path), LoadedSource("a.py", b"x", "x", ""), target)
    assert not (tmp_path / "elsewhere").exists()
