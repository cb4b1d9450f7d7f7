"""The demo's results, recomputed without this project and compared row by row."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def recomputed(path: Path) -> list[dict[str, object]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    window: list[float] = []
    n, mean, m2 = 0, 0.0, 0.0
    expected: list[dict[str, object]] = []
    for row in rows:
        high = float(row["temp_max"])
        window = [*window, high][-30:]
        total = 0.0
        for value in window:  # left to right, as the window adds; sum() compensates from Python 3.12 on
            total += value
        window_mean = total / len(window)
        deviation = high - window_mean
        z = (deviation - mean) / math.sqrt(m2 / (n - 1)) if n >= 30 and m2 > 0 else 0.0
        n += 1  # noqa: SIM113 - counted as the detector counts, which divides by n - 1 before
        delta = deviation - mean
        mean += delta / n
        m2 += delta * (deviation - mean)
        expected.append(
            {
                "date": row["date"].replace("/", "-"),
                "temp_max": high,
                "temp_min": float(row["temp_min"]),
                "precipitation": float(row["precipitation"]),
                "wind": float(row["wind"]),
                "repaired": [],
                "window_days": len(window),
                "window_mean": window_mean,
                "deviation": deviation,
                "z": z,
                "anomaly": abs(z) > 3,
            }
        )
    return expected


@pytest.mark.slow
def test_the_demo_survives_the_kill_and_every_row_is_right(tmp_path: Path) -> None:
    pytest.importorskip("vega_datasets", reason="the demo extra is not installed")
    where = "from vega_datasets import data; print(data.seattle_weather.filepath)"
    source = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    # A copy, so that the state of a demo that was run by hand is not touched.
    example = tmp_path / "weather"
    shutil.copytree(ROOT / "examples" / "weather", example, ignore=shutil.ignore_patterns(".reflow"))
    done = subprocess.run(
        [sys.executable, str(example / "demo.py")], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was killed with SIGKILL" in done.stdout
    assert "1 restarts" in done.stderr
    got = [json.loads(line) for line in (tmp_path / "results" / "weather.jsonl").read_text().splitlines()]
    assert got == recomputed(Path(source))
    assert len(got) == 1461
    assert (tmp_path / "results" / "weather.svg").stat().st_size > 10_000
