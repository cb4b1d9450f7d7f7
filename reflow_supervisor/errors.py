"""What goes wrong, as types that every room shares.

A `UserError` is somebody's mistake or a machine's lack: it says what is wrong, where (file:line:column or key
path) and what to do, and is shown without a traceback. Anything else that escapes is a bug of this project.
This module decides how an error reads; which error it is, each room decides.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import attrs


class ExitCode(enum.IntEnum):
    """Exit codes of `reflow-supervise`; `run --help` shows them."""

    DONE = 0
    FAILED = 1
    """The run gave up, or left dead letters behind."""
    USAGE = 2
    """Wrong usage or configuration: nothing was started."""
    INTERRUPTED = 130


@attrs.frozen
class Location:
    """A place in a file. Lines and columns count from 1; 0 means that it is not known."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


@attrs.frozen
class Problem:
    """One finding about a file: what `check` and `actors` print, a line each, and `--json` gives as objects.

    `code` is a short stable name ("unknown-key", "syntax-error", "duplicate-name"); `path` the key path inside the
    file, where it has one; `hint` what to do about it.
    """

    code: str
    message: str
    location: Location | None = None
    path: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.severity}: {path}{self.message}{hint}"

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
            "file": self.location.file if self.location else None,
            "line": self.location.line if self.location else None,
            "column": self.location.column if self.location else None,
            "path": self.path,
            "hint": self.hint,
        }


class ReflowError(Exception):
    """Base of every error that this project raises on purpose."""


class UserError(ReflowError):
    """Shown to the user as its problems, one a line, and never with a traceback.

    Args:
        problems: what is wrong; at least one, or a plain message for a single problem without a place.
        hint: what to do, when `problems` is a plain message.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem] | Problem | str, *, hint: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem("error", problems, hint=hint)
        if isinstance(problems, Problem):
            problems = (problems,)
        if not problems:
            raise ValueError("a UserError needs at least one problem")
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class ConfigError(UserError):
    """reflow.yaml is not what it must be."""


class GraphError(UserError):
    """The network names what does not exist, or wires what does not fit."""


class DiscoveryError(UserError):
    """A script that the network needs is broken."""


class EnvironmentError_(UserError):
    """The machine lacks something that this run needs (Node.js, user namespaces, a Redis server, a writable
    directory, a free port)."""


class SandboxError(ReflowError):
    """A sandbox could not be started or used."""


class StateUnavailableError(ReflowError):
    """The state store did not answer; nothing is known to be lost, and the operation may be tried again."""
