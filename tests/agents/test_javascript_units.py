"""The JavaScript agent's own tests, which Node.js runs: one file of them for each module."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parents[2] / "sandbox_agents" / "javascript"
FILES = sorted((AGENT / "test").glob("*.test.js"))


def test_every_module_without_io_has_tests() -> None:
    modules = {path.stem for path in (AGENT / "lib").glob("*.js")}
    tested = {path.name.removesuffix(".test.js") for path in FILES}
    # The link, its thread and the agent are tested as a process (test_javascript_agent, tests/conformance); the rest
    # of these are parts of what is tested under the name of a larger one.
    assert modules - tested == {"actor", "connection", "errors", "link", "link_worker", "place", "reflow"}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file(path: Path) -> None:
    run = subprocess.run(
        ["node", "--test", str(path)], cwd=AGENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\n# pass 0" not in run.stdout
