"""Seattle's weather, 1461 days, through three sandboxed actors; half way one sandbox is killed with SIGKILL.

Run by `make demo`. Everything between the data set and the picture is done by `reflow-supervise run`.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
from vega_datasets import data

HERE = Path(__file__).resolve().parent
RESULTS = Path("results")


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def busiest_node(pid: int) -> int:
    """The JavaScript sandbox that has an actor in it: of those alive, the one that used the processor most."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    nodes = [p for p in descendants(pid) if Path(f"/proc/{p}/cmdline").read_bytes().startswith(b"/usr/bin/node\0")]
    return max(nodes, key=ticks)


def main() -> int:
    lines = Path(data.seattle_weather.filepath).read_text().splitlines(keepends=True)
    rows = list(csv.DictReader(lines))
    half = len(rows) // 2
    print(f"{len(rows)} days of Seattle's weather go through: CSV -> Python cleaner -> JavaScript window -> Python")
    print("detector -> JSON lines, each actor in its own sandbox.")
    shutil.rmtree(HERE / ".reflow", ignore_errors=True)  # a second demo starts anew

    command = [
        sys.executable,
        "-m",
        "reflow_supervisor",
        "run",
        "--headless",
        "--collect",
        "result=-",
    ]
    run = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert run.stdin
    assert run.stdout
    out: list[str] = []
    try:
        run.stdin.write("".join(lines[: half + 1]))  # with the line that names the columns
        run.stdin.flush()
        while len(out) < half - 100 and (line := run.stdout.readline()):
            out.append(line)
        victim = busiest_node(run.pid)
        os.kill(victim, signal.SIGKILL)
        print(f"After {len(out)} results, process {victim}, the sandbox of the moving window, was killed with SIGKILL,")
        print("with rows on their way through it.")
        run.stdin.write("".join(lines[half + 1 :]))
        run.stdin.close()
        out.extend(run.stdout)
        code = run.wait()
    finally:
        run.kill()
        run.wait()
        run.stdout.close()

    results = [json.loads(line) for line in out]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "weather.jsonl").write_text("".join(out))
    plot(results)
    dates = [row["date"] for row in results]
    want = [row["date"].replace("/", "-") for row in rows]
    lost, doubled = len(set(want) - set(dates)), len(dates) - len(set(dates))
    print(f"{len(results)} results: {lost} lost, {doubled} doubled, {'in' if dates == want else 'NOT in'} order.")
    print(f"{sum(row['anomaly'] for row in results)} days were unlike the weeks before them.")
    print(f"Rows: {RESULTS / 'weather.jsonl'}   Picture: {RESULTS / 'weather.svg'}")
    return 0 if code == 0 and dates == want else 1


def plot(results: list[dict[str, object]]) -> None:
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 4.5), layout="constrained")
    days = range(len(results))
    odd = [i for i in days if results[i]["anomaly"]]
    axes.plot(days, [r["temp_max"] for r in results], color="#9db7d5", linewidth=0.8, label="daily maximum")
    axes.plot(days, [r["window_mean"] for r in results], color="#1f4e79", label="mean of 30 days")
    axes.plot(odd, [results[i]["temp_max"] for i in odd], "o", color="#c1440e", markersize=5, label="anomaly")
    years = [i for i in days if str(results[i]["date"]).endswith("-01-01")]
    axes.set_xticks(years, [str(results[i]["date"])[:4] for i in years])
    axes.set_ylabel("°C")
    axes.set_title("Seattle: what the detector found")
    axes.legend(loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "weather.svg")


if __name__ == "__main__":
    sys.exit(main())
