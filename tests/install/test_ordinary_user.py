"""A whole run by a user who owns a workspace and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from install.conftest import ORDINARY, RUN, Done, Installed, interpreter, rows, runs_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already"),
]


def give(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, ORDINARY, ORDINARY)


def as_ordinary(installed: Installed, workspace: Path, *command: str) -> Done:
    if not runs_for(ORDINARY, interpreter()):
        pytest.skip(f"an ordinary user cannot run {interpreter()}, nor is there a Python for all of that version")
    give(workspace)
    return installed.run(*command, cwd=workspace, uid=ORDINARY)


def test_doctor_can_make_sandboxes(installed: Installed, workspace: Path) -> None:
    done = as_ordinary(installed, workspace, "reflow-supervise", "doctor")
    assert done.code == 0, done.text
    assert "namespaces, by bubblewrap" in done.stdout
    assert f"uid {ORDINARY}" in done.stdout


def test_a_run_gives_the_rows_that_the_checkout_gives(
    installed: Installed, workspace: Path, expected: list[Any]
) -> None:
    done = as_ordinary(installed, workspace, "reflow-supervise", *RUN)
    assert done.code == 0, done.stderr
    assert rows(workspace) == expected
    owners = {path.stat().st_uid for path in workspace.rglob("*")}
    assert owners == {ORDINARY}
