"""How values read on the screen: numbers in few characters, and untrusted text made harmless.

Names, messages and tracebacks come from scripts that nobody trusts. What reaches the terminal from them is printable
characters, and never markup.
"""

from __future__ import annotations

import time
import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories that move the cursor, turn the writing direction, or show nothing at all."""


def line(text: str, limit: int = 400) -> str:
    """One line of it: line ends become spaces, other characters that do not print a replacement character."""
    cut = text[: limit + 1]
    shown = "".join(" " if c in "\r\n\t" else _visible(c) for c in cut[:limit])
    return shown.rstrip() + ("…" if len(cut) > limit else "")


def block(text: str, limit: int = 64 * 1024) -> str:
    """All of its lines, tabs as four spaces."""
    return "".join(c if c == "\n" else _visible(c) for c in text[:limit].replace("\r\n", "\n").expandtabs(4))


def _visible(character: str) -> str:
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in _UNSEEN else character


def count(value: float) -> str:
    """At most five characters: 999, 1.2k, 34k, 5.6M."""
    if value < 1000:
        return str(int(value))
    for unit in "kMGT":
        value /= 1000
        # 9.96 would be written 10.0: the rounding decides about the digits.
        if value < 9.95:
            return f"{value:.1f}".removesuffix(".0") + unit
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}T"


def rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if 0 < value < 9.95 else count(round(value))


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}%"


def size(value: int | None) -> str:
    if value is None:
        return "–"
    number = float(value)
    for unit in ("B", "K", "M"):
        if number < 999.5:
            return f"{number:.0f}{unit}"
        number /= 1024
    return f"{number:.1f}G" if number < 99.95 else f"{number:.0f}G"


def duration(seconds: float) -> str:
    """In its two largest units: 8s, 3m 07s, 2h 05m, 4d 03h."""
    whole = max(0, int(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}h"
    if hours:
        return f"{hours}h {minute:02}m"
    return f"{minutes}m {second:02}s" if minutes else f"{second}s"


def clock(at: float) -> str:
    """The local time of day."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"
