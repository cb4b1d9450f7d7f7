"""Glob patterns over state keys, as Redis has them: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before a
literal.

Patterns come from scripts, so matching must not blow up: everything between two stars is matched as one
atomic group, which tries each place once and never comes back to it. Unlike in Redis, `?` is a character, not
a byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def matcher(pattern: str) -> Callable[[str], bool]:
    """A predicate that tells whether a key matches the whole pattern."""
    chunks = [""]
    place = 0
    while place < len(pattern):
        char = pattern[place]
        place += 1
        if char == "*":
            if chunks[-1] or len(chunks) == 1:
                chunks.append("")
        elif char == "?":
            chunks[-1] += "."
        elif char == "[":
            text, place = _character_class(pattern, place)
            chunks[-1] += text
        else:
            if char == "\\" and place < len(pattern):
                char = pattern[place]
                place += 1
            chunks[-1] += re.escape(char)
    first, *rest = chunks
    if rest:
        # The leftmost match of each middle chunk leaves the most for what follows, so it need not be
        # reconsidered.
        middle = "".join(f"(?>.*?{chunk})" for chunk in rest[:-1])
        first = f"{first}{middle}.*{rest[-1]}"
    compiled = re.compile(first, re.DOTALL)
    return lambda key: compiled.fullmatch(key) is not None


def _character_class(pattern: str, place: int) -> tuple[str, int]:
    """The regular expression of the class that starts at `place` (behind its bracket), and the place behind
    it. An unclosed class reaches to the end of the pattern, as in Redis."""
    negated = pattern.startswith("^", place)
    place += negated
    members = ""
    while place < len(pattern) and pattern[place] != "]":
        if pattern[place] == "\\" and place + 1 < len(pattern):
            members += re.escape(pattern[place + 1])
            place += 2
        elif pattern.startswith("-", place + 1) and place + 2 < len(pattern):
            low, high = sorted((pattern[place], pattern[place + 2]))
            members += f"{re.escape(low)}-{re.escape(high)}"
            place += 3
        else:
            members += re.escape(pattern[place])
            place += 1
    place += 1
    if not members:
        return ("." if negated else "(?!)"), place
    return f"[{'^' if negated else ''}{members}]", place
