"""Numbers in few characters, and untrusted text without what could harm a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow_tui import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1234, "1.2k"),
        (9_949, "9.9k"),
        (9_960, "10k"),
        (999_499, "999k"),
        (999_900, "1M"),
        (6_026_101, "6M"),
        (5e12, "5T"),
        (5e16, "50000T"),
    ],
)
def test_count(value: float, shown: str) -> None:
    assert text.count(value) == shown


@given(st.integers(0, 10**15 - 10**12))
def test_count_takes_five_characters_at_most(value: int) -> None:
    assert len(text.count(value)) <= 5


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.0, "0"), (0.04, "0.0"), (3.14159, "3.1"), (9.96, "10"), (1500.0, "1.5k")]
)
def test_rate(value: float | None, shown: str) -> None:
    assert text.rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (512, "512B"), (1023, "1K"), (41 * 1024**2, "41M"), (1024**3, "1.0G"), (300 * 1024**3, "300G")],
)
def test_size(value: int | None, shown: str) -> None:
    assert text.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0s"), (8.9, "8s"), (187, "3m 07s"), (7500, "2h 05m"), (4 * 86400 + 3 * 3600, "4d 03h")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_percent_and_clock() -> None:
    assert text.percent(None) == "–"
    assert text.percent(0.876) == "88%"
    assert text.clock(1e300) == "--:--:--"
    assert len(text.clock(0)) == 8


def test_a_line_is_one_line_and_harmless() -> None:
    assert text.line("a\nb\tc\r") == "a b c"
    assert "\x1b" not in text.line("\x1b[2J\x1b]0;title\x07")
    assert text.line("ab‮dc") == "ab\N{REPLACEMENT CHARACTER}dc"
    assert text.line("x" * 50, 10) == "x" * 10 + "…"
    assert text.line("café ☕ 日本") == "café ☕ 日本"


def test_a_block_keeps_its_lines() -> None:
    assert text.block("a\r\n\tb\n") == "a\n    b\n"
    assert text.block("a\x9b31m") == "a\N{REPLACEMENT CHARACTER}31m"
    assert len(text.block("x" * 100, 10)) == 10


@given(st.text())
def test_no_text_gets_a_control_character_through(untrusted: str) -> None:
    assert all(c == "\n" or ord(c) >= 32 for c in text.block(untrusted))
    assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in text.line(untrusted))
