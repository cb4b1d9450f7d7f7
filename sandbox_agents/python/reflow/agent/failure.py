"""What is told about an exception in a script: its type, its text, and the script's own part of the traceback.

The frames of the agent, of the library and of the interpreter are left out: the reader wrote the script.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Final

from ..wire.messages import Failure

if TYPE_CHECKING:
    from traceback import TracebackException

MAX_TRACEBACK: Final = 16 * 1024
MAX_MESSAGE: Final = 4 * 1024


def describe(error: BaseException, files: Container[str]) -> Failure:
    """
    Args:
        error: what the script raised.
        files: names of the script's files, as its code objects have them.
    """
    # Imported late: `traceback` is only needed when something went wrong, and an agent's start is counted.
    import traceback

    try:
        told = traceback.TracebackException.from_exception(error, limit=-200, compact=True)
        _keep(told, files, 0)
        text = "".join(told.format())
    except Exception as e:  # a hostile __str__ or __cause__ must not break the agent
        told, text = None, f"({type(error).__name__} could not be described: {type(e).__name__})\n"
    file, line, column = _place(error, told)
    return Failure(
        type=type(error).__name__,
        message=_shorten(_text(error), MAX_MESSAGE),
        traceback=_shorten(text, MAX_TRACEBACK),
        file=file,
        line=line,
        column=column,
    )


def _keep(told: TracebackException, files: Container[str], depth: int) -> None:
    told.stack[:] = [frame for frame in told.stack if frame.filename in files]
    if depth > 20:
        told.__cause__ = told.__context__ = None
        return
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _keep(other, files, depth + 1)


def _place(error: BaseException, told: TracebackException | None) -> tuple[str | None, int | None, int | None]:
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno, error.offset
    if told is None or not told.stack:
        return None, None, None
    frame = told.stack[-1]
    column = getattr(frame, "colno", None)
    return frame.filename, frame.lineno, None if column is None else column + 1


def _text(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the script ended itself with exit code {error.code}; return from the actor instead"
    if isinstance(error, SyntaxError):
        return error.msg
    try:
        return str(error)
    except Exception:
        return "(its text could not be made)"


def _shorten(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, with the middle left out: the beginning and the end say most."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= limit:
        return data.decode()
    half = limit // 2 - 8
    return f"{data[:half].decode(errors='ignore')}\n  …\n{data[-half:].decode(errors='ignore')}"
