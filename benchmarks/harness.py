"""What every benchmark shares: a figure with its spread, its aim and its peers; the command line; the machine.

It decides how numbers are summarised and shown. It times nothing itself and asserts nothing about time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.backend import FindingLevel
from reflow_supervisor.sandbox.doctor import findings
from reflow_supervisor.state.redis_binary import find_server

Better = Literal["less", "more"]

UNITS: Mapping[str, Better] = {"ms": "less", "µs": "less", "ns": "less", "MB": "less", "B": "less", "/s": "more"}


@attrs.frozen
class Figure:
    """One line of a table.

    Args:
        what: what was measured, in words.
        unit: one of UNITS, which says whether less or more is better.
        values: one per repetition; shown as their median, and from the least to the greatest.
        aim: the budget, in the same unit.
        beside: the `what` of the peer that this is compared with; shown as a ratio of medians.
        peer: another way of doing it, not this project.
        group, column: where many ways are compared on many things: which table it is in, of that unit, and in which
            column; `what` is the row.
    """

    what: str
    unit: str
    values: tuple[float, ...] = attrs.field(converter=tuple[float, ...])
    aim: float | None = None
    beside: str | None = None
    peer: bool = False
    group: str = ""
    column: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.median <= self.aim if UNITS[self.unit] == "less" else self.median >= self.aim


Measure = Callable[[float], Sequence[Figure]]
"""Takes the scale: 1 is the whole benchmark, less takes fewer repetitions and smaller counts."""


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least two values, by linear interpolation."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def scaled(count: int, scale: float, *, least: int = 1) -> int:
    return max(least, round(count * scale))


def interleaved(subjects: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Each subject once, then each again, so that what disturbs the machine for a while disturbs all of them."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repetitions):
        for name, measure in subjects.items():
            found[name].append(measure())
    return found


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 1000:
        digits = 3 - len(str(int(value)))
        return f"{round(value, digits):,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def tables(figures: Iterable[Figure]) -> str:
    """Markdown tables: one of the figures that are in no group, then one for each group."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.group, []).append(figure)
    return "\n".join(matrix(found) if group else table(found) for group, found in groups.items())


def matrix(figures: Sequence[Figure]) -> str:
    """A Markdown table of medians, one group's."""
    columns = list(dict.fromkeys((f.column, f.peer) for f in figures))
    cells = {(f.what, f.column): number(f.median) for f in figures}
    named = [f"*{column}*" if peer else column for column, peer in columns]
    lines = [f"| {figures[0].group} ({figures[0].unit}) | {' | '.join(named)} |", f"|---|{'--:|' * len(columns)}"]
    lines += [
        f"| {row} | {' | '.join(cells.get((row, column), '') for column, _ in columns)} |"
        for row in dict.fromkeys(f.what for f in figures)
    ]
    return "\n".join(lines) + "\n"


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table. The ratio says how many times the peer's figure ours is."""
    figures = list(figures)
    medians = {figure.what: figure.median for figure in figures}
    lines = ["| | median | least – most | aim | beside a peer |", "|---|--:|--:|--:|---|"]
    for f in figures:
        spread = f"{number(min(f.values))} – {number(max(f.values))}" if len(f.values) > 1 else ""
        aim = "" if f.aim is None else f"{number(f.aim)} {f.unit}{'' if f.met else ', **missed**'}"
        ratio = f"{number(f.median / medians[f.beside])} × {f.beside}" if f.beside else ""
        what = f"*{f.what}*" if f.peer else f.what
        lines.append(f"| {what} | {number(f.median)} {f.unit} | {spread} | {aim} | {ratio} |")
    return "\n".join(lines) + "\n"


def main(doc: str | None, measure: Measure, arguments: Sequence[str] | None = None) -> None:
    """The command line of one benchmark."""
    title, _, rest = (doc or "").partition("\n")
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: quicker and rougher")
    parser.add_argument("--json", action="store_true", help="print the figures, with every repetition, as JSON")
    chosen = parser.parse_args(arguments)
    figures = measure(chosen.scale)
    if chosen.json:
        json.dump({"title": title, "text": rest.strip(), "figures": [attrs.asdict(f) for f in figures]}, sys.stdout)
        print()
    else:
        print(f"{title}\n\n{tables(figures)}", end="")


def figures_of(answer: Mapping[str, Any]) -> list[Figure]:
    """The figures that `--json` printed."""
    return [Figure(**each) for each in answer["figures"]]


def _first(path: str, key: str) -> str:
    """The value of a `key : value` line, as in /proc."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def machine() -> list[str]:
    """What a reader has to know to compare: one line of text each."""
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) // 1024
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"{os.cpu_count()} cores, {_first('/proc/cpuinfo', 'model name')}, {memory} MB of memory",
        f"Linux {platform.release()}, Python {platform.python_version()}, Node.js {_node()}, {_redis()}",
        "run by root" if os.geteuid() == 0 else "run by an ordinary user",
        *(
            f"{found.what}: {found.detail if found.level is FindingLevel.OK else 'none'}"
            for found in findings()
            if found.what in ("boundary", "control groups")
        ),
        f"load average at the start: {load}",
    ]
    if "hypervisor" in _first("/proc/cpuinfo", "flags").split():
        lines[0] += ", a virtual machine"
    return lines


def _node() -> str:
    try:
        return interpreters.node().version
    except EnvironmentError_:
        return "missing"


def _redis() -> str:
    server = find_server()
    return f"{server.product} {server.version}"
