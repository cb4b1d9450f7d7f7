"""The wheel, built once and installed once, into an environment that every user of the machine can read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import interpreters

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "weather"
ORDINARY = 54321
"""A user id that no account has and that owns nothing."""

_UNREACHABLE = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError")


def as_user(uid: int | None) -> dict[str, Any]:
    """Arguments of subprocess.run; None is whoever runs the tests."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


@cache
def runs_for(uid: int | None, interpreter: Path) -> bool:
    """Tried, not concluded from modes: an interpreter also needs its library."""
    command = [str(interpreter), "-I", "-c", "import ctypes, json, ssl, venv"]
    try:
        return subprocess.run(command, cwd="/", capture_output=True, timeout=30, **as_user(uid)).returncode == 0
    except PermissionError:
        return False


@cache
def interpreter() -> Path:
    """Of our version: one that an ordinary user can run too, where there is one; else ours."""
    ours = Path(sys.executable).resolve()
    if os.geteuid() != 0:
        return ours
    candidates = (ours, Path(f"/usr/bin/python3.{sys.version_info.minor}"))
    return next((path for path in candidates if path.exists() and runs_for(ORDINARY, path)), ours)


def environment(home: Path, **others: str) -> dict[str, str]:
    """No variable of the tests' own shell, PYTHONPATH above all, but PATH, for Node.js."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **others}


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    # Not pytest's own directory: neither sandboxes nor another user may enter that.
    path = Path(tempfile.mkdtemp(prefix="install-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def wheel(place: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "dist"), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, umask=0o022)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "dist").iterdir()
    return built


@attrs.frozen
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@attrs.frozen
class Installed:
    """An environment with nothing in it but the wheel and what it depends on."""

    prefix: Path
    has_node: bool
    """Whether it was installed with the extra `node`, because the machine has no Node.js of its own."""

    def program(self, name: str) -> str:
        return str(self.prefix / "bin" / name)

    def run(self, *command: str, cwd: Path, uid: int | None = None, variables: Mapping[str, str] | None = None) -> Done:
        env = environment(cwd, **(variables or {}))
        done = subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **as_user(uid),
        )
        return Done(done.returncode, done.stdout, done.stderr)


def needs_node_extra() -> bool:
    try:
        return interpreters.node().executable.is_relative_to(sys.prefix)
    except EnvironmentError_:
        return True


@pytest.fixture(scope="session")
def installed(place: Path, wheel: Path) -> Installed:
    prefix, extra = place / "venv", needs_node_extra()
    make = [str(interpreter()), "-m", "venv", "--without-pip", str(prefix)]
    subprocess.run(make, check=True, capture_output=True, timeout=60, umask=0o022)
    target = f"{wheel}[node]" if extra else str(wheel)
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin" / "python"), "install", "--quiet", target]
    done = subprocess.run(pip, cwd=place, capture_output=True, text=True, timeout=300, umask=0o022)
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        pytest.skip("what the wheel depends on cannot be installed: no package registry can be reached")
    assert done.returncode == 0, done.stderr
    return Installed(prefix, extra)


ROWS = [
    {
        "date": f"2024/{1 + i // 28:02}/{1 + i % 28:02}",
        "precipitation": "" if i % 17 == 5 else f"{i % 7}.5",
        "temp_max": str(10 + i % 13),
        "temp_min": str(i % 9),
        "wind": "3.1",
        "weather": "rain",
    }
    for i in range(12 * 28)
]


@pytest.fixture
def workspace(place: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The weather example, two Python actors and a JavaScript one between them, with rows for it in in.jsonl."""
    path = place / f"workspace-{request.node.name}"
    shutil.copytree(EXAMPLE, path, ignore=shutil.ignore_patterns(".reflow", "__pycache__"))
    path.chmod(0o755)
    (path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    yield path
    shutil.rmtree(path)


RUN: Sequence[str] = ("run", "--headless", "--feed", "rows=in.jsonl", "--collect", "result=out.jsonl")


@pytest.fixture(scope="session")
def expected(place: Path) -> list[Any]:
    """What the checkout makes of the same rows."""
    path = place / "checkout"
    shutil.copytree(EXAMPLE, path, ignore=shutil.ignore_patterns(".reflow", "__pycache__"))
    (path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = [sys.executable, "-m", "reflow_supervisor", *RUN]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return rows(path)


def rows(workspace: Path) -> list[Any]:
    return [json.loads(line) for line in (workspace / "out.jsonl").read_text().splitlines()]
