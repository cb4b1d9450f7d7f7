"""What is in the files: those of a first workspace, and that of a new actor.

The texts are in `template_files`. This module decides how names become parts of them; whether a name may be an
actor's, it lets the readers of scripts decide.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import yaml

from reflow_supervisor.actors.discovery import read_script
from reflow_supervisor.actors.display import is_showable
from reflow_supervisor.actors.script import Script
from reflow_supervisor.errors import Problem, UserError
from reflow_supervisor.network.component import Runtime

RUN_WORKSPACE = "reflow-supervise run --headless --feed orders=sample.jsonl --collect totals=-"
"""What runs the first workspace, in its directory."""

_FILES = files("reflow_supervisor.scaffold") / "template_files"
# By name, because an installer leaves compiled files beside the scripts.
_WORKSPACE = {
    "reflow.yaml": "reflow.yaml",
    "actors/parse_order.actor.py": "actors/parse_order.actor.py",
    "actors/customer_totals.actor.js": "actors/customer_totals.actor.js",
    "sample.jsonl": "sample.jsonl",
    ".gitignore": "gitignore",
}
_SUFFIX = {Runtime.PYTHON: ".actor.py", Runtime.JAVASCRIPT: ".actor.js"}
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def workspace_files() -> Mapping[str, str]:
    """The files of a first workspace: path → text."""
    return {path: (_FILES / "workspace" / source).read_text("utf-8") for path, source in _WORKSPACE.items()}


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", _BETWEEN_WORDS.sub(" ", name).lower()) or ["actor"]


def file_name(name: str, runtime: Runtime) -> str:
    """As is usual in the language: `moving_average.actor.py`, `moving-average.actor.js`."""
    return ("_" if runtime is Runtime.PYTHON else "-").join(_words(name)) + _SUFFIX[runtime]


def actor_text(name: str, runtime: Runtime) -> str:
    """The script of a new actor.

    Raises:
        UserError: no actor may have that name.
    """
    # Escaped where it cannot be shown, so that the readers can say what is wrong with it.
    literal = json.dumps(name, ensure_ascii=not is_showable(name))
    template = (_FILES / f"new{_SUFFIX[runtime]}.txt").read_text("utf-8")
    text = string.Template(template).substitute(name=literal)
    file = file_name(name, runtime)
    problems = read_script(Script(Path(file), file, b"", text, "")).problems
    if problems:
        raise UserError([Problem(p.code, p.message, path="NAME") for p in problems])
    return text


def network_text(name: str) -> str:
    """What goes under `network` in reflow.yaml so that an actor made by `actor_text` takes part."""
    node = "_".join(_words(name))
    process = yaml.safe_dump({"processes": {node: {"component": name}}}, allow_unicode=True, width=1000)
    return f"{process}connections:\n  - NODE.PORT -> {node}.item\n  - {node}.result -> NODE.PORT\n"
