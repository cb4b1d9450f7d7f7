"""The commands that start nothing: what is there, and what is wrong with it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import click

from reflow_supervisor import __version__
from reflow_supervisor.errors import ExitCode, Severity
from reflow_supervisor.sandbox.backend import FindingLevel
from reflow_supervisor.sandbox.doctor import findings
from reflow_supervisor.workspace import check_workspace, find_actors

from .shared import config_option, failed, json_option, load, print_json, print_problems


@click.command()
@config_option
@json_option
def actors(config_path: Path | None, as_json: bool) -> None:
    """List the actors that were found, and what is broken and why. Runs none of them.

    Exit code 2 where a script is broken.
    """
    config = load(config_path)
    found = find_actors(config)
    if as_json:
        print_json(found.to_json())
    else:
        width = max((len(c.name) for c in found.components), default=0)
        for c in found.components:
            ins = ", ".join(p.name for p in c.inports) or "-"
            outs = "any" if c.open_ports else ", ".join(p.name for p in c.outports) or "-"
            click.echo(f"{c.name:<{width}}  {c.runtime:<10}  {ins} -> {outs}  ({c.location})")
        if not found.components:
            click.echo(f"no actors found (patterns: {', '.join(config.workspace.script_patterns)})", err=True)
        print_problems(found.problems)
    if failed(found.problems):
        sys.exit(ExitCode.USAGE)


@click.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Check configuration, scripts and network without starting anything.

    Exit code 2 where something would keep the network from running; warnings alone give 0.
    """
    graph, problems = check_workspace(load(config_path))
    if as_json:
        print_json({"problems": [p.to_json() for p in problems]})
    else:
        print_problems(problems)
        errors = sum(p.severity is Severity.ERROR for p in problems)
        size = f"{len(graph.nodes)} nodes, {len(graph.edges)} connections"
        click.echo(f"{size}: {errors} errors, {len(problems) - errors} warnings")
    if failed(problems):
        sys.exit(ExitCode.USAGE)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say which boundary this machine gives, and how to get each piece that is missing.

    Exit code 2 where no sandbox can be started.
    """
    found = findings()
    if as_json:
        print_json([{"level": str(f.level), "what": f.what, "detail": f.detail, "fix": f.fix} for f in found])
    else:
        marks = {FindingLevel.OK: "ok     ", FindingLevel.WARNING: "warning", FindingLevel.MISSING: "MISSING"}
        for f in found:
            click.echo(f"{marks[f.level]}  {f.what}: {f.detail}" + (f"\n         {f.fix}" if f.fix else ""))
    if any(f.level is FindingLevel.MISSING for f in found):
        sys.exit(ExitCode.USAGE)


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version of this program and of the Python that runs it."""
    if as_json:
        print_json({"reflow_supervisor": __version__, "python": platform.python_version()})
    else:
        click.echo(f"reflow-supervisor {__version__} (Python {platform.python_version()})")
