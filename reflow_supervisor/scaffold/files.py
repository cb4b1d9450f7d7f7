"""Writing new files: all of them or none, and never over one that is there.

What is in them is decided in `templates`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from reflow_supervisor.actors.display import shown
from reflow_supervisor.errors import EnvironmentError_, Location, Problem, UserError


def write_new(root: Path, files: Mapping[str, str]) -> Sequence[Path]:
    """Writes files, with the directories that they need.

    Args:
        root: where they go; made if it is not there.
        files: path relative to `root` → text.

    Returns:
        The files and directories that were made, each directory before what is in it: what `remove` takes.

    Raises:
        UserError: some of them are there already; lists which. Nothing was written.
        EnvironmentError_: they cannot be written. What was written was removed again.
    """
    there = [path for name in files if os.path.lexists(path := root / name)]
    if there:
        message = "is there already, and is not overwritten: nothing was written"
        raise UserError([Problem("exists", message, Location(shown(str(path)))) for path in there])
    made: list[Path] = []
    try:
        for name, text in files.items():
            path = root / name
            for directory in reversed(path.parents):
                if not directory.is_dir():
                    directory.mkdir()
                    made.append(directory)
            # "x" fails where somebody else has made the file since, also as a link.
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except BaseException as error:
        remove(made)
        if not isinstance(error, OSError):
            raise
        where = shown(str(error.filename or root))
        message = f"cannot be written: {error.strerror}; nothing was written"
        raise EnvironmentError_(Problem("unwritable", message, Location(where))) from None
    return made


def remove(made: Sequence[Path]) -> None:
    """Takes back what `write_new` made; a directory that has something else in it by now stays."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
