"""Path patterns of a workspace, over paths relative to its root with forward slashes.

`*` and `?` stay within a name, `**` as a whole name stands for any number of directories, none included, and
`[...]` is a set of characters. Unlike in a shell, names that begin with a dot are names like any other. This
module decides what matches; which files are looked at is decided in `files`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


class BadPattern(ValueError):
    """A pattern that could match nothing below the root; the message says why."""


def normalise(pattern: str) -> str:
    """
    Raises:
        BadPattern: it leads out of the workspace, or is no path at all.
    """
    segments = [segment for segment in pattern.split("/") if segment not in {"", "."}]
    if pattern.startswith(("/", "~")):
        raise BadPattern("must be relative to the workspace root")
    if ".." in segments:
        raise BadPattern("must not lead out of the workspace with ..")
    if not segments:
        raise BadPattern("is empty")
    return "/".join(segments)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a path as a whole matches one of the patterns.

    Raises:
        BadPattern: as for `normalise`.
    """
    alternatives = [_translate(normalise(pattern)) for pattern in patterns]
    if not alternatives:
        return lambda path: False
    try:
        expression = re.compile("|".join(f"(?:{alternative})" for alternative in alternatives))
    except re.error as error:
        raise BadPattern(f"is no pattern: {error.msg}") from None
    return lambda path: expression.fullmatch(path) is not None


def excluder(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a file or directory is left out: a pattern without a slash names it anywhere, as in .gitignore.

    Raises:
        BadPattern: as for `normalise`.
    """
    normalised = [normalise(pattern) for pattern in patterns]
    return matcher(pattern if "/" in pattern else f"**/{pattern}" for pattern in normalised)


def _translate(pattern: str) -> str:
    segments = pattern.split("/")
    parts: list[str] = []
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "**":
            # Runs of ** mean what one means; several in a row would make matching take exponential time.
            if index and segments[index - 1] == "**":
                continue
            parts.append(".*" if all(rest == "**" for rest in segments[index:]) else "(?:.+/)?")
        else:
            parts.append(_translate_name(segment) + ("" if last else "/"))
    return "".join(parts)


def _translate_name(segment: str) -> str:
    parts = re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", segment)
    translated: list[str] = []
    for part in parts:
        if part.startswith("*"):
            translated.append("[^/]*")
        elif part == "?":
            translated.append("[^/]")
        elif part.startswith("[") and part.endswith("]"):
            negated = part[1] == "!"
            characters = re.escape(part[1:-1].removeprefix("!")).replace(r"\-", "-")
            translated.append(f"[{'^/' if negated else ''}{characters}]")
        else:
            translated.append(re.escape(part))
    return "".join(translated)
