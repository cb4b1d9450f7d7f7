"""The commands that run no script, each as a process of its own."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from reflow_supervisor import __version__

pytestmark = pytest.mark.slow

ACTOR = """from reflow import actor, Message

@actor(name="A", inports=["v"], outports=["o"])
async def a(context):
    return {"o": Message.integer(1)}
"""
CONFIG = "network:\n  processes: {a: {component: A}}\n  inports: {v: a.v}\n  outports: {o: a.o}\n"


def cli(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reflow_supervisor", *args]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=20, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "a.actor.py").write_text(ACTOR)
    (tmp_path / "reflow.yaml").write_text(CONFIG)
    return tmp_path


def test_actors_lists_what_is_found(workspace: Path) -> None:
    done = cli(workspace, "actors", "--json")
    assert done.returncode == 0, done.stderr
    assert '"A"' in done.stdout
    assert isinstance(json.loads(done.stdout), dict)
    assert "actors/a.actor.py:3:1" in cli(workspace, "actors").stdout


def test_actors_says_where_a_script_is_broken(workspace: Path) -> None:
    (workspace / "actors" / "b.actor.py").write_text("x = (\n")
    done = cli(workspace, "actors")
    assert done.returncode == 2
    assert "actors/b.actor.py:1:5" in done.stderr
    assert done.stdout.startswith("A ")
    assert cli(workspace, "actors", "--json").returncode == 2


def test_check_finds_nothing_in_a_sound_network(workspace: Path) -> None:
    done = cli(workspace, "check", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"problems": []}
    assert "1 nodes, 0 connections: 0 errors, 0 warnings" in cli(workspace, "check").stdout


def test_check_finds_a_component_that_does_not_exist(workspace: Path) -> None:
    (workspace / "reflow.yaml").write_text("network:\n  processes:\n    a: {component: Nobody}\n")
    done = cli(workspace, "check", "--json")
    assert done.returncode == 2
    [problem] = json.loads(done.stdout)["problems"]
    assert "Nobody" in problem["message"]
    assert "reflow.yaml:3:" in cli(workspace, "check").stderr


@pytest.mark.parametrize("command", ["actors", "check", "run"])
def test_a_broken_configuration_is_shown_with_its_place(workspace: Path, command: str) -> None:
    (workspace / "reflow.yaml").write_text("limits:\n  in_flight: many\n  nonsense: 1\n")
    done = cli(workspace, command)
    assert done.returncode == 2
    assert "reflow.yaml:2:14" in done.stderr
    assert "reflow.yaml:3:3" in done.stderr
    assert done.stdout == ""


def test_a_configuration_that_is_no_yaml(workspace: Path) -> None:
    (workspace / "reflow.yaml").write_text("limits: {\n")
    done = cli(workspace, "check")
    assert done.returncode == 2
    assert "reflow.yaml:2:1" in done.stderr


def test_a_named_configuration_must_exist(tmp_path: Path) -> None:
    done = cli(tmp_path, "check", "-c", "absent.yaml")
    assert done.returncode == 2
    assert "absent.yaml" in done.stderr


def test_doctor(tmp_path: Path) -> None:
    done = cli(tmp_path, "doctor", "--json")
    found = json.loads(done.stdout)
    assert all(set(f) == {"level", "what", "detail", "fix"} for f in found)
    missing = any(f["level"] == "missing" for f in found)
    assert done.returncode == (2 if missing else 0)


def test_version(tmp_path: Path) -> None:
    done = cli(tmp_path, "version", "--json")
    assert json.loads(done.stdout) == {"reflow_supervisor": __version__, "python": platform.python_version()}
    assert __version__ in cli(tmp_path, "version").stdout
    assert __version__ in cli(tmp_path, "--version").stdout


@pytest.mark.parametrize("args", [("fly",), ("version", "--nonsense"), ("run", "--on-bad-input", "cry")])
def test_wrong_usage(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = cli(tmp_path, *args)
    assert done.returncode == 2
    assert args[-1] in done.stderr
    assert done.stdout == ""
