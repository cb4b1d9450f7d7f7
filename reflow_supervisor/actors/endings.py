"""Why an incarnation of a script actor is over, as the reasons that its supervisor shows.

This module decides how such a reason reads, in one line: a traceback is for the log. What follows from it, the
supervisor decides.
"""

from __future__ import annotations

import attrs
from reflow.wire.messages import Failure

from reflow_supervisor.rpc.link import LinkEnd
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit
from reflow_supervisor.supervision import ChildExit, Exited, ExitReason, Killed, OutOfMemory

_LINE = 200


def one_line(text: str) -> str:
    """A text of anybody's on one line of bounded length."""
    line = " ".join(text[: 4 * _LINE].split())
    return line if len(line) <= _LINE and len(text) <= 4 * _LINE else f"{line[: _LINE - 1]}…"


@attrs.frozen
class LoadFailed(ExitReason):
    """The script raised while it was loaded: `error` is its exception on one line, `where` the file with the line
    where that is known."""

    error: str
    where: str

    def __str__(self) -> str:
        return f"could not be loaded: {self.error} ({self.where})"


@attrs.frozen
class LinkDown(ExitReason):
    """Its sandbox may be there still, but cannot be talked to: the agent broke the protocol, hangs, or is gone."""

    end: LinkEnd

    def __str__(self) -> str:
        return str(self.end)


class LoadFailedError(ChildExit):
    """The script could not be loaded.

    Args:
        failure: what the agent says about it.
        file: the script.
    """

    def __init__(self, failure: Failure, file: str) -> None:
        where = f"{failure.file or file}:{failure.line}" if failure.line else file
        super().__init__(LoadFailed(one_line(f"{failure.type}: {failure.message}"), one_line(where)))
        self.failure = failure


def reason_for(gone: SandboxExit, limits: Limits) -> ExitReason:
    match gone.kind:
        case ExitKind.OUT_OF_MEMORY:
            return OutOfMemory(limits.memory)
        case ExitKind.EXITED:
            return Exited(gone.code or 0, gone.detail)
        case _:
            return Killed(gone.signal or 9, gone.detail)
