from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reflow_supervisor import resources
from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import runtime_tree
from reflow_supervisor.sandbox.runtime_tree import RuntimeTrees, default_cache


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A JavaScript agent of our own to change."""
    source = tmp_path / "agent"
    (source / "node_modules" / "ws").mkdir(parents=True)
    (source / "node_modules" / ".bin").mkdir()
    (source / "agent.js").write_text("one")
    (source / "node_modules/ws/index.js").write_text("ws")
    (source / "node_modules/.bin/tool").write_text("tool")
    monkeypatch.setattr(resources, "javascript_agent", lambda: source)
    return source


@pytest.fixture
def trees(tmp_path: Path) -> RuntimeTrees:
    (tmp_path / "cache").mkdir()
    return RuntimeTrees(tmp_path / "cache")


def test_made_once_and_again_when_a_source_changes(agent: Path, trees: RuntimeTrees) -> None:
    first = trees.agent("javascript")
    assert (first / "javascript/agent.js").read_text() == "one"
    assert (first / "javascript/node_modules/ws/index.js").exists()
    assert not (first / "javascript/node_modules/.bin").exists()
    assert trees.agent("javascript") == first
    os.utime(agent / "agent.js", (1, 1))
    assert trees.agent("javascript") == first, "only the content counts"
    (agent / "agent.js").write_text("two")
    second = trees.agent("javascript")
    assert second != first
    assert (second / "javascript/agent.js").read_text() == "two"
    assert (first / "javascript/agent.js").read_text() == "one", "a sandbox that runs keeps what it started with"
    trees.close()


def test_concurrent_builders_get_the_same_tree(agent: Path, tmp_path: Path, trees: RuntimeTrees) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(RuntimeTrees(trees.cache).agent("javascript"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in trees.cache.iterdir()] == [found[0].name]


@pytest.mark.slow
def test_python_tree_runs_by_itself_and_others_can_read_but_not_write(cache: Path) -> None:
    trees = RuntimeTrees(cache)
    root, agent = trees.runtime("python"), trees.agent("python")
    started = time.perf_counter()
    assert (trees.runtime("python"), trees.agent("python")) == (root, agent)
    assert time.perf_counter() - started < 1
    trees.close()
    modes = {}
    for top in (root, agent):
        for directory, names, files in os.walk(top):
            for name in (*names, *files):
                path = Path(directory, name)
                found = path.lstat()
                if not stat.S_ISLNK(found.st_mode):
                    modes[path] = found.st_mode
    assert [path for path, mode in modes.items() if mode & 0o022 or not mode & 0o004] == []
    assert [path for path, mode in modes.items() if stat.S_ISDIR(mode) and not mode & 0o001] == []
    assert not list(root.rglob("site-packages"))
    assert {path.name for path in (agent / "python").iterdir()} >= {"reflow", "msgspec", "wsproto", "h11"}
    assert list((agent / "python/msgspec/__pycache__").glob("*.pyc")), "compiled ahead"
    for name in ("agent", "dev", "proc", "run/reflow", "tmp"):
        assert list((root / name).iterdir()) == []
    (linker,) = (root / "usr/lib").glob("ld-*")
    code = "import ssl, sys; print(sys.prefix)"
    python = [linker, "--library-path", root / "usr/lib", root / "usr/bin/python3", "-I", "-S", "-c", code]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{root}/usr\n"), done.stderr


def test_bwrap_is_found_by_everybody(cache: Path) -> None:
    trees = RuntimeTrees(cache)
    bwrap = trees.bwrap()
    assert bwrap.is_relative_to(cache)
    assert "bubblewrap 0." in subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=True).stdout
    trees.close()


def test_old_trees_are_removed_when_nobody_uses_them(agent: Path, trees: RuntimeTrees) -> None:
    used, unused = trees.cache / "node-used", trees.cache / "node-unused"
    abandoned, fresh = trees.cache / ".build-abandoned", trees.cache / ".build-fresh"
    for path in (used, unused, abandoned, fresh):
        path.mkdir()
        (path / "file").write_text("")
    for path in (used, unused, abandoned):
        os.utime(path, (1, 1))
    holder = RuntimeTrees(trees.cache)
    assert holder._hold(used)
    os.utime(used, (1, 1))
    trees.agent("javascript")
    assert used.exists()
    assert fresh.exists()
    assert not unused.exists()
    assert not abandoned.exists()
    holder.close()
    trees.close()


def test_linked_where_safe_else_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    for mode, linked in ((0o644, True), (0o600, False), (0o666, False)):
        source.chmod(mode)
        target = tmp_path / f"target-{mode:o}"
        runtime_tree._link(source, target)
        assert target.samefile(source) is linked
        assert stat.S_IMODE(target.stat().st_mode) == 0o644
        assert target.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_cache_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = tmp_path / "fallback"
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    assert default_cache(fallback) == fallback
    assert stat.S_IMODE(fallback.stat().st_mode) == 0o755


def test_an_unwritable_cache_is_a_users_problem(agent: Path) -> None:
    with pytest.raises(EnvironmentError_, match="writable"):
        RuntimeTrees(Path("/proc/self/cache")).agent("javascript")


def test_resources() -> None:
    assert (resources.javascript_agent() / "package.json").is_file()
    assert (resources.package_directory("reflow") / "__init__.py").is_file()
    with pytest.raises(EnvironmentError_, match="not installed"):
        resources.package_directory("no_such_package_here")


def test_python_is_the_one_that_runs() -> None:
    found = runtime_tree.interpreters.python()
    assert not found.executable.is_symlink()
    assert found.version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
