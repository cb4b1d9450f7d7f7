"""The workspace of the repository's own reflow.yaml: the two actors of examples/seed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run.harness import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(ws: Workspace) -> Workspace:
    """A copy, so that what runs leave behind is not left in the checkout."""
    shutil.copy(ROOT / "reflow.yaml", ws.path)
    shutil.copytree(ROOT / "examples" / "seed", ws.path / "examples" / "seed")
    return ws


@pytest.mark.slow
def test_it_checks(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "reflow_supervisor", "check", "--json"]
    done = subprocess.run(command, cwd=workspace.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["problems"] == []


@pytest.mark.slow
def test_both_actors_run(workspace: Workspace) -> None:
    workspace.write("numbers.jsonl", "4\n8\n")
    workspace.write("data.jsonl", "[1, 2]\n")
    files = ("--feed", "stream=numbers.jsonl", "--feed", "data=data.jsonl")
    result = workspace.run(*files, "--collect", "average=average.jsonl", "--collect", "processed=processed.jsonl")
    assert result.code == 0, result.stderr
    assert workspace.rows("average.jsonl") == [4, 6]
    assert workspace.rows("processed.jsonl") == [[2, 4]]
