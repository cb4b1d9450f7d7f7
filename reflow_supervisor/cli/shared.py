"""What the commands have in common: options, and how problems and results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from reflow_supervisor.config import Config, load_config
from reflow_supervisor.errors import Problem, Severity

CONFIG_NAME = "reflow.yaml"

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help=f"The workspace's configuration. Default: ./{CONFIG_NAME}; without one, defaults hold.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load(config_path: Path | None) -> Config:
    return load_config(config_path or Path(CONFIG_NAME), must_exist=config_path is not None)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def failed(problems: Sequence[Problem]) -> bool:
    return any(p.severity is Severity.ERROR for p in problems)
