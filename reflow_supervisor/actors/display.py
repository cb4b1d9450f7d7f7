"""What of a script or a file name may be shown: nothing that moves a terminal's cursor, and only whole characters.

Used for text that ends up in problems, and for names, which end up everywhere.
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_showable(text: str) -> bool:
    """Whether text can be shown on one line, and sent as UTF-8, as it is."""
    return _HIDDEN.search(text) is None


def shown(text: str) -> str:
    """Text for people, with what cannot be shown written as escapes."""
    return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], text)
