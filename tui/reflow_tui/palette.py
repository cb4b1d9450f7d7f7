"""Colours by meaning, taken from whatever theme is active; and for each state a symbol, since colour alone says
nothing on many terminals and to many people."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from rich.style import Style

SYMBOLS: Mapping[str, str] = {
    "starting": "◌",
    "running": "●",
    "backoff": "↻",
    "paused": "‖",
    "stopped": "■",
    "failed": "✖",
    "draining": "▽",
}
UNKNOWN_SYMBOL = "?"

_MEANING: Mapping[str, str] = {
    "starting": "accent",
    "running": "success",
    "backoff": "warning",
    "paused": "accent",
    "stopped": "muted",
    "failed": "error",
    "draining": "warning",
}


@attrs.frozen
class Palette:
    success: Style
    warning: Style
    error: Style
    accent: Style
    muted: Style
    strong: Style

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Palette:
        """From the CSS variables of the active theme."""
        return cls(
            success=Style(color=variables["success"]),
            warning=Style(color=variables["warning"]),
            error=Style(color=variables["error"], bold=True),
            accent=Style(color=variables["accent"]),
            muted=Style(dim=True),
            strong=Style(bold=True),
        )

    def for_state(self, state: str) -> Style:
        return getattr(self, _MEANING.get(state, "warning"))


def state_label(state: str) -> str:
    return f"{SYMBOLS.get(state, UNKNOWN_SYMBOL)} {state}"
