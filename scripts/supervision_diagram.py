#!/usr/bin/env python3
"""Draws the life of a child, as the state machine's own table has it, into docs/supervision.md.

.venv/bin/python scripts/supervision_diagram.py          # writes the page
.venv/bin/python scripts/supervision_diagram.py --check  # ends with 1 if the page is not up to date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reflow_supervisor.supervision._lifecycle import TRANSITIONS
from reflow_supervisor.supervision._states import ChildState

PAGE = Path(__file__).resolve().parents[1] / "docs" / "supervision.md"
BEGIN = "<!-- diagram: written by scripts/supervision_diagram.py -->"
END = "<!-- end of diagram -->"


def diagram() -> str:
    """Mermaid; an arrow is a signal, and under it what the supervisor does."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {ChildState.STOPPED}"]
    for (before, signal), (after, effects) in TRANSITIONS.items():
        label = f"{signal}<br>({', '.join(effects)})" if effects else str(signal)
        lines.append(f"    {before} --> {after}: {label}")
    return "\n".join([*lines, "```"])


def with_diagram(page: str) -> str:
    """The page with the diagram of today between its two marks."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{head}{BEGIN}\n{diagram()}\n{END}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the page is not up to date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    updated = with_diagram(page)
    if check:
        return int(page != updated)
    PAGE.write_text(updated, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
