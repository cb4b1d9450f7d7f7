"""The look that the UI comes with. Any other theme of Textual's can be chosen in the command palette."""

from __future__ import annotations

from textual.theme import Theme

REFLOW = Theme(
    name="reflow",
    primary="#4cc2c4",
    secondary="#6f8fa8",
    accent="#7aa2f7",
    success="#7fd08a",
    warning="#e5b567",
    error="#f0717b",
    foreground="#d5dde5",
    background="#0f151b",
    surface="#141c24",
    panel="#1d2833",
    dark=True,
    variables={
        "border": "#33424f",
        "border-blurred": "#2a3742",
        "block-cursor-background": "#2b4a57",
        "block-cursor-foreground": "#f2f6f9",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#1d2a34",
        "block-cursor-blurred-foreground": "#d5dde5",
        "footer-key-foreground": "#4cc2c4",
        "footer-background": "#141c24",
    },
)
