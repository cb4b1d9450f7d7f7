"""A script as it was read, once: the bytes that are checked are the bytes that are loaded.

This module decides what counts as the text of a script (UTF-8, no NUL). Where scripts are found and how their
files are opened is decided in `discovery`; what they declare, in `metadata_python` and `metadata_javascript`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs

from reflow_supervisor.errors import Location, Problem


@attrs.frozen
class Script:
    """One script file.

    `file` is its path relative to the workspace root, with forward slashes: how problems name it, and where it
    stands inside a sandbox. `text` is `data` decoded, without a byte order mark. `sha256` is of `data`.
    """

    path: Path
    file: str
    data: bytes = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sha256: str


def decode(path: Path, file: str, data: bytes) -> Script | Problem:
    """The script, or what keeps its bytes from being the text of one.

    Only UTF-8: an encoding that the file itself names (PEP 263) would have to be trusted before the file is.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig")) + 1
        return Problem(
            "undecodable",
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            Location(file, line, column),
            hint="save the file as UTF-8",
        )
    if (nul := text.find("\0")) >= 0:
        return Problem(
            "undecodable",
            "a NUL character: this is not a text file",
            Location(file, text.count("\n", 0, nul) + 1),
            hint="keep binary files out of the script patterns, or exclude this one",
        )
    return Script(path, file, data, text, hashlib.sha256(data).hexdigest())
