"""Which columns fit into how many characters."""

from __future__ import annotations

import pytest
from reflow_tui.widgets.actor_table import MAX_NAME, MIN_ERROR, fields_for


def keys(width: int, names: int = 10, components: int = 10) -> list[str]:
    return [field.column.key for field in fields_for(width, names, components)]


def test_a_wide_terminal_shows_everything() -> None:
    assert keys(140) == [
        "id",
        "component",
        "runtime",
        "state",
        "in",
        "out",
        "mailbox",
        "in_flight",
        "cpu",
        "memory",
        "restarts",
        "last_error",
    ]


def test_at_80_what_matters_stays() -> None:
    shown = keys(78)
    assert {"id", "state", "in", "out", "mailbox", "restarts", "last_error"} <= set(shown)
    assert "component" not in shown


@pytest.mark.parametrize("width", range(40, 200, 7))
def test_the_last_column_takes_what_is_left(width: int) -> None:
    fields = fields_for(width, 10, 10)
    used = sum(field.column.width + 2 for field in fields)
    assert used == width or fields[-1].column.width == MIN_ERROR


def test_long_names_are_bounded() -> None:
    assert fields_for(300, 500, 500)[0].column.width == MAX_NAME
