"""Files of a workspace, opened such that nothing leads out of it and nothing blocks.

Every directory on the way is opened for itself and without following links, so a path that is changed while it is
walked cannot lead elsewhere. A link to a file counts where its target is inside the workspace; a link to a
directory is never followed. Only regular files are read, up to a limit. This module decides how files are reached;
which of them matter, and what a problem with one means, its users decide.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import attrs

from reflow_supervisor.actors.display import is_showable

MAX_ENTRIES = 200_000
"""Directory entries that one walk looks at: a workspace is no whole disk."""
_MAX_DIRECTORIES_DEEP = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO without a writer would block its reader; O_NONBLOCK keeps even its opening from waiting.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Unusable(Exception):
    """A file that is there and cannot be used. The message completes "this file …".

    `outside`: a link leads out of the workspace. `hint`: what to do.
    """

    def __init__(self, message: str, *, hint: str = "", outside: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.outside = outside


@attrs.frozen
class Found:
    """A file of a walk. `origin` is where its content is: `relative` itself, or what that links to. Both are
    relative to the root, with forward slashes."""

    relative: str
    origin: str


class Tree:
    """A workspace's directory, held open. Use as a context manager.

    Raises:
        OSError: there is no such directory.
    """

    def __init__(self, root: Path) -> None:
        self._real_root = Path(os.path.realpath(root))
        self._fd = os.open(self._real_root, _DIRECTORY)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, relative: str, limit: int) -> bytes:
        """The content of a regular file, no link, of at most `limit` bytes.

        Raises:
            Unusable: it is something else, larger, or may not be read.
            FileNotFoundError: it is not there (any more).
        """
        directory, _, name = relative.rpartition("/")
        with self._directory(directory) as parent:
            try:
                descriptor = os.open(name, _FILE, dir_fd=parent)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise _unopened(error) from None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular()
            data = file.read(limit + 1) if status.st_size <= limit else b""
            if status.st_size > limit or len(data) > limit:
                raise Unusable(f"is larger than {limit} bytes", hint="make it smaller, or exclude it")
        return data

    def walk(
        self, directory: str, descend: Callable[[str], bool], report: Callable[[str, Unusable], None]
    ) -> Iterator[str]:
        """The files (links included) below a directory, in a fixed order, as paths relative to the root.

        Args:
            directory: where to begin; "" for the root.
            descend: whether to go into the directory of that path.
            report: is told about directories that are left out, and why.
        """
        entries = 0
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            try:
                children = self._children(current)
            except FileNotFoundError:
                continue  # vanished meanwhile
            except Unusable as error:
                report(current, error)
                continue
            entries += len(children)
            if entries > MAX_ENTRIES:
                message = f"and what comes after it is left out: there are more than {MAX_ENTRIES} files before"
                report(current, Unusable(message, hint="exclude directories"))
                return
            directories: list[str] = []
            for name, is_directory in children:
                path = f"{current}/{name}" if current else name
                if not is_directory:
                    yield path
                elif descend(path):
                    if path.count("/") >= _MAX_DIRECTORIES_DEEP:
                        report(path, Unusable(f"is deeper than {_MAX_DIRECTORIES_DEEP} directories", hint="exclude it"))
                    else:
                        directories.append(path)
            waiting += reversed(directories)

    def origin(self, relative: str) -> str:
        """Where the content of a file is that may be a link.

        Raises:
            Unusable: outside of the workspace, or at a directory; or the file has a name that cannot be shown.
            FileNotFoundError: nowhere, as with the locks that some editors leave beside a file.
        """
        if not is_showable(relative):
            raise Unusable("has a name that cannot be shown", hint="rename it")
        path = self._real_root / relative
        if not path.is_symlink():
            return relative
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(self._real_root):
            raise Unusable("is a link out of the workspace", hint="copy what it links to here", outside=True)
        if not target.exists():
            raise FileNotFoundError(relative)
        if target.is_dir():
            raise Unusable("is a link to a directory", hint="links to directories are not followed")
        return target.relative_to(self._real_root).as_posix()

    def size(self, relative: str) -> int:
        """The size of a regular file, no link.

        Raises:
            Unusable: it is something else.
            FileNotFoundError: it is not there (any more).
        """
        directory, _, name = relative.rpartition("/")
        with self._directory(directory) as parent:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular()
        return status.st_size

    def _children(self, directory: str) -> list[tuple[str, bool]]:
        with self._directory(directory) as descriptor, os.scandir(descriptor) as entries:
            return sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not (entry.is_symlink() and _leads_to_directory(entry))
            )

    @contextlib.contextmanager
    def _directory(self, relative: str) -> Generator[int]:
        descriptor = os.dup(self._fd)
        try:
            for name in relative.split("/") if relative else []:
                inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unopened(error) from None
        finally:
            os.close(descriptor)


def _leads_to_directory(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a circle of links, or a target that may not be seen
        return False


def _unopened(error: OSError) -> Unusable:
    return Unusable(f"cannot be opened: {os.strerror(error.errno or 0)}", hint="see its permissions")


def _not_regular() -> Unusable:
    return Unusable("is no regular file", hint="put a file there, or exclude it")
