"""A run in one terminal, and the commands that speak to it in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from run.harness import Workspace, agents, command_line, descendants

pytestmark = pytest.mark.slow


def command(ws: Workspace, *args: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "reflow_supervisor", *args]
    done = subprocess.run(line, cwd=ws.path, capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    return done


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def running(ws: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A run that stays up, fed by its standard input."""
    ws.actor('return {"o": v}')
    with (ws.path / "reflow.yaml").open("a") as config:
        config.write("supervision: {groups: {front: {strategy: rest_for_one, nodes: [a]}}}\n")
    line = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", "--keep-running"]
    process = subprocess.Popen(
        [*line, "--feed", "v=-", "--collect", "o=-"],
        cwd=ws.path,
        text=True,
        bufsize=1,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        wait_for(lambda: command(ws, "status").returncode == 0, "the control endpoint")
        wait_for(lambda: state(ws) == "running", "the actor")
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def snapshot(ws: Workspace) -> dict[str, object]:
    answer = command(ws, "status", "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def state(ws: Workspace) -> str:
    return snapshot(ws)["actors"][0]["state"]  # type: ignore[index, call-overload]


def test_the_tree_and_the_life_of_one_actor(ws: Workspace, running: subprocess.Popen[str]) -> None:
    assert running.stdin
    assert running.stdout
    lines = command(ws, "tree").stdout.splitlines()
    assert [line.split()[-len(line.split()) :][0] for line in lines][:1] == [ws.path.name]
    names = [line.replace("│", " ").replace("├─", "").replace("└─", "").split()[0] for line in lines]
    assert names == [
        ws.path.name,
        "services",
        "control",
        "redis",
        "state",
        "dead-letters",
        "sandboxes",
        "network",
        "front",
        "a",
    ]
    assert "[rest_for_one, 0 of 5 restarts in 30 s]" in command(ws, "tree").stdout
    assert json.loads(command(ws, "tree", "--json").stdout)["children"][1]["id"] == "network"

    running.stdin.write("1\n")
    assert running.stdout.readline() == "1\n"

    assert command(ws, "pause", "a").returncode == 0
    running.stdin.write("2\n")
    wait_for(lambda: snapshot(ws)["actors"][0]["mailbox"] == 1, "the row in the mailbox")  # type: ignore[index]
    assert state(ws) == "paused"
    assert command(ws, "resume", "a").returncode == 0
    assert running.stdout.readline() == "2\n"

    (before,) = agents(running.pid)
    assert command(ws, "stop", "a").returncode == 0
    assert state(ws) == "stopped"
    assert before not in agents(running.pid)
    running.stdin.write("3\n")
    assert command(ws, "start", "a").returncode == 0
    assert running.stdout.readline() == "3\n"
    assert command(ws, "restart", "a").returncode == 0
    assert state(ws) == "running"
    running.stdin.write("4\n")
    assert running.stdout.readline() == "4\n"

    refused = command(ws, "start", "a")
    assert (refused.returncode, refused.stderr) == (2, "error: a is running\n")
    unknown = command(ws, "restart", "b")
    assert (unknown.returncode, unknown.stderr) == (2, "error: there is no actor 'b' (there are: a)\n")

    assert command(ws, "stop").returncode == 0
    assert running.wait(20) == 0
    nobody = command(ws, "tree")
    assert nobody.returncode == 2
    assert "no supervisor at .reflow/control.sock" in nobody.stderr


def test_a_second_run_in_the_same_workspace_is_refused(ws: Workspace, running: subprocess.Popen[str]) -> None:
    second = command(ws, "run", "--headless")
    assert second.returncode == 2
    assert f"process {running.pid} serves .reflow/control.sock already" in second.stderr
    assert state(ws) == "running"


def test_the_embedded_redis_is_started_again_when_it_dies(ws: Workspace, running: subprocess.Popen[str]) -> None:
    assert running.stdin
    assert running.stdout

    def server() -> int | None:
        return next((pid for pid in descendants(running.pid) if "redis-server" in command_line(pid)), None)

    first = server()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: server() not in (None, first), "another server")
    running.stdin.write("1\n")
    assert running.stdout.readline() == "1\n"
    command(ws, "stop")
    assert running.wait(20) == 0
