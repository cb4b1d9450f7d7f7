"""The installed distribution does what the checkout does, away from it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from install.conftest import ROOT, RUN, Installed, rows

pytestmark = pytest.mark.slow

WHERE = (
    "import json, sys, reflow, reflow_supervisor.cli, reflow_tui.app as tui;"
    "print(json.dumps([sys.path, *(m.__file__ for m in (reflow, reflow_supervisor, tui))]))"
)


def test_nothing_of_the_checkout_is_imported(installed: Installed, workspace: Path) -> None:
    done = installed.run("python", "-I", "-c", WHERE, cwd=workspace)
    assert done.code == 0, done.stderr
    path, *modules = json.loads(done.stdout)
    assert [p for p in path if Path(p).is_relative_to(ROOT)] == []
    assert all(Path(module).is_relative_to(installed.prefix) for module in modules)


def test_three_names_for_one_program(installed: Installed, workspace: Path) -> None:
    said = [
        installed.run(*command, "version", "--json", cwd=workspace)
        for command in (["reflow-supervise"], ["reflow-supervisor"], ["python", "-m", "reflow_supervisor"])
    ]
    assert [done.code for done in said] == [0, 0, 0], said
    assert len({done.stdout for done in said}) == 1
    assert json.loads(said[0].stdout)["reflow_supervisor"]


def test_the_terminal_interface_starts_from_the_wheel(installed: Installed, workspace: Path) -> None:
    done = installed.run("python", "-m", "reflow_tui", "--help", cwd=workspace)
    assert done.code == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_check_finds_the_network_in_order(installed: Installed, workspace: Path) -> None:
    done = installed.run("reflow-supervise", "check", cwd=workspace)
    assert (done.code, done.stdout) == (0, "4 nodes, 3 connections: 0 errors, 0 warnings\n"), done.stderr


def test_a_broken_line_is_found_by_the_installed_javascript_parser(installed: Installed, workspace: Path) -> None:
    script = workspace / "actors" / "window.actor.js"
    script.write_text(script.read_text().replace("return {", "return {{"))
    done = installed.run("reflow-supervise", "check", cwd=workspace)
    assert "actors/window.actor.js:14:10: " in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_can_make_sandboxes(installed: Installed, workspace: Path) -> None:
    done = installed.run("reflow-supervise", "doctor", "--json", cwd=workspace)
    assert done.code == 0, done.text
    found = {line["what"]: line for line in json.loads(done.stdout)}
    assert found["boundary"]["level"] == "ok"
    assert found["python"]["detail"].startswith(".".join(map(str, sys.version_info[:2])))
    assert found["node"]["level"] == "ok"


def test_a_run_gives_the_rows_that_the_checkout_gives(
    installed: Installed, workspace: Path, expected: list[Any]
) -> None:
    done = installed.run("reflow-supervise", *RUN, cwd=workspace)
    assert done.code == 0, done.stderr
    assert len(expected) == 336
    assert rows(workspace) == expected


def test_a_users_mistake_is_no_traceback(installed: Installed, workspace: Path) -> None:
    (workspace / "in.jsonl").write_text('{"date": "2024/01/01", "temp_max": "1"}\nnot JSON\n')
    done = installed.run("reflow-supervise", *RUN, cwd=workspace)
    assert done.code == 2, done.stderr
    assert "in.jsonl:2: error: not a JSON value" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_node_it_is_said_how_to_get_it(installed: Installed, workspace: Path) -> None:
    if installed.has_node:
        pytest.skip("this machine has no Node.js but the one of the extra, which is always found")
    # What sandboxes are made with is there, and nothing else.
    ldd = shutil.which("ldd")
    assert ldd is not None
    (workspace / "bin").mkdir()
    (workspace / "bin" / "ldd").symlink_to(ldd)
    without = {"PATH": str(workspace / "bin")}
    done = installed.run("reflow-supervise", "doctor", "--json", cwd=workspace, variables=without)
    assert done.code == 0, done.text  # Python actors run without it
    (node,) = (line for line in json.loads(done.stdout) if line["what"] == "node")
    assert node["level"] == "warning"
    assert "pip install 'reflow-supervisor[node]'" in node["fix"]
    done = installed.run("reflow-supervise", *RUN, cwd=workspace, variables=without)
    assert done.code == 2, done.stderr
    assert "JavaScript actors need Node.js" in done.stderr
    assert "pip install 'reflow-supervisor[node]'" in done.stderr
    assert "Traceback" not in done.stderr
