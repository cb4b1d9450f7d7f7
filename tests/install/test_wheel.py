"""What is in the wheel: everything that runs, and nothing else."""

from __future__ import annotations

import email
import zipfile
from pathlib import Path

import pytest
from install.conftest import ROOT

pytestmark = pytest.mark.slow

AGENT = "reflow_supervisor/_agents/javascript"


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files(directory: Path, prefix: str) -> set[str]:
    found = (p for p in directory.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {f"{prefix}/{path.relative_to(directory).as_posix()}" for path in found}


def test_it_holds_the_packages_of_the_checkout_and_nothing_else(names: set[str]) -> None:
    expected = (
        files(ROOT / "reflow_supervisor", "reflow_supervisor")
        | files(ROOT / "tui" / "reflow_tui", "reflow_tui")
        | files(ROOT / "sandbox_agents" / "python" / "reflow", "reflow")
    )
    assert {name for name in names if not name.startswith(AGENT)} == expected


def test_it_holds_the_javascript_agent_with_its_packages_and_without_its_tests(names: set[str]) -> None:
    agent = files(ROOT / "sandbox_agents" / "javascript", AGENT)
    tests = {name for name in agent if name.startswith(f"{AGENT}/test/")}
    links = {name for name in agent if "/.bin/" in name}
    assert tests
    assert {name for name in names if name.startswith(AGENT)} == agent - tests - links
    assert {f"{AGENT}/agent.js", f"{AGENT}/node_modules/ws/index.js", f"{AGENT}/package.json"} <= names


def test_what_is_no_module_is_there_too(names: set[str]) -> None:
    assert {"reflow_supervisor/py.typed", "reflow/py.typed", "reflow_tui/reflow.tcss"} <= names


def test_one_wheel_for_every_machine(wheel: Path, names: set[str]) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names if Path(name).suffix in {".so", ".node", ".pyc"}]


def test_commands_license_and_extras_are_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        commands = archive.read(info["entry_points.txt"]).decode()
        metadata = email.message_from_bytes(archive.read(info["METADATA"]))
    for command in ("reflow-supervise", "reflow-supervisor"):
        assert f"{command} = reflow_supervisor.cli:main" in commands
    assert "licenses/LICENSE" in info
    assert metadata["Requires-Python"] == ">=3.11"
    assert "node" in metadata.get_all("Provides-Extra", [])
