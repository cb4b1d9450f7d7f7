"""The picture for the documentation can be made, and shows what it is meant to."""

from __future__ import annotations

import asyncio
import html
from itertools import islice
from pathlib import Path

import pytest
from reflow_tui import sample, screenshot


@pytest.mark.slow
def test_it_saves_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "tui.svg"
    asyncio.run(screenshot.save(file, columns=120, rows=34, keys=["j"]))
    shown = html.unescape(file.read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert shown.startswith("<svg")
    for piece in ("weather", "● live", "seasonal-1", "88%", "ZeroDivisionError"):
        assert piece in shown


def test_the_sample_grows() -> None:
    first, second = islice(sample.snapshots(2.0), 2)
    assert second.uptime - first.uptime == 2.0
    assert second.totals.received > first.totals.received
    assert [actor.id for actor in second.actors] == [actor.id for actor in first.actors]
    stopped = [actor for actor in second.actors if actor.state != "running"]
    assert stopped == [actor for actor in first.actors if actor.state != "running"]
