"""Runs all benchmarks, each in a process of its own, and writes their tables into docs/performance.md if asked to.

python -m benchmarks [--scale 0.2] [--write] [NAME ...]
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import figures_of, machine, tables
from reflow_supervisor import __version__

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

NAMES = (
    "round_trip",
    "throughput",
    "pipeline",
    "encoding",
    "start",
    "refill",
    "recovery",
    "memory",
    "state",
    "discovery",
    "supervision",
)


def run(name: str, scale: float) -> Mapping[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", "--scale", str(scale)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"benchmarks.{name} failed; what was measured before it is not written")
    return json.loads(done.stdout)


def commit() -> str:
    """Which version of the sources; empty outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def heading(scale: float, names: Sequence[str]) -> Iterator[str]:
    """Called before the first benchmark: the load average is then that of the others."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    command = ["python", "-m", "benchmarks", *(["--scale", f"{scale:g}"] if scale != 1 else []), *names]
    yield f"Measured on {today} by `{shlex.join(command)}`, version {__version__}, commit {commit() or 'unknown'}.\n"
    yield "".join(f"- {line}\n" for line in machine())


def section(answer: Mapping[str, Any]) -> str:
    return f"### {answer['title'].rstrip('.')}\n\n{answer['text']}\n\n{tables(figures_of(answer))}"


def replaced(page: str, measured: str) -> str:
    """The page with another measured region.

    Raises:
        ValueError: it has no such region.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN.strip()} with a {END.strip()} behind it")
    return f"{before}{begin}\n{measured}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: quicker and rougher")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(NAMES)):
        parser.error(f"no benchmark {', '.join(unknown)}")
    if chosen.write and chosen.names:
        parser.error("--write takes all benchmarks: one page, one run")
    parts = list(heading(chosen.scale, chosen.names))
    print("\n".join(parts), flush=True)
    start = time.monotonic()
    for name in chosen.names or NAMES:
        parts.append(section(run(name, chosen.scale)))
        print(parts[-1], flush=True)
    if chosen.write:
        PAGE.write_text(replaced(PAGE.read_text(), "\n".join(parts)))
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
