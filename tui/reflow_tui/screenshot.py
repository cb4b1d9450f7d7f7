"""`python -m reflow_tui.screenshot FILE.svg`: a picture of the UI for the documentation, made without a supervisor."""

from __future__ import annotations

import argparse
import asyncio
import threading
from itertools import islice
from pathlib import Path

from reflow_tui import link, sample
from reflow_tui.app import ReflowApp


class SampleLink:
    """A link that is always up and shows the sample workspace, at once and then no more."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def run(self, emit: link.Emit) -> None:
        emit(link.Connected())
        for snapshot in islice(sample.snapshots(), 4):
            emit(link.Arrived(snapshot))
        self._ended.wait()

    def send(self, command: link.Command) -> None:
        """Nobody is there to obey."""

    def end(self) -> None:
        self._ended.set()


async def save(path: Path, *, columns: int, rows: int, keys: list[str]) -> None:
    app = ReflowApp(SampleLink(), clock=lambda: 0.0)
    async with app.run_test(size=(columns, rows)) as pilot:
        await pilot.pause(0.6)
        await pilot.press(*keys)
        await pilot.pause(0.4)
        app.save_screenshot(path.name, str(path.parent))


def main() -> None:
    parser = argparse.ArgumentParser(prog="reflow_tui.screenshot", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", default="120x34", help="columns x rows (default: %(default)s)")
    parser.add_argument("--keys", default="", help="keys to press first, with commas between them")
    arguments = parser.parse_args()
    columns, _, rows = arguments.size.partition("x")
    keys = [key for key in arguments.keys.split(",") if key]
    asyncio.run(save(arguments.file, columns=int(columns), rows=int(rows), keys=keys))


if __name__ == "__main__":
    main()
