"""The command line: reads arguments, calls the rooms, prints what they say, and chooses the exit code.

It decides how things are shown, and nothing else. Results go to stdout, everything else to stderr. A user's
mistake is shown as its problems, one a line, with exit code 2, and never as a traceback.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import trio

from reflow_supervisor import __version__
from reflow_supervisor.actors.discovery import Discovery, discover
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.config import Config, load_config
from reflow_supervisor.errors import ExitCode, Problem, Severity, UserError
from reflow_supervisor.network.check import check as check_graph
from reflow_supervisor.network.graph import load_graph
from reflow_supervisor.sandbox.backend import FindingLevel
from reflow_supervisor.sandbox.doctor import findings
from reflow_supervisor.workspace import Run, open_collect, open_feed, prepare

CONFIG_NAME = "reflow.yaml"

_config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help=f"The workspace's configuration. Default: ./{CONFIG_NAME}; without one, defaults hold.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _load(config_path: Path | None) -> Config:
    return load_config(config_path or Path(CONFIG_NAME), must_exist=config_path is not None)


def _discover(config: Config) -> Discovery:
    workspace = config.workspace
    if not workspace.discover_scripts:
        return discover(config.directory, patterns=())
    return discover(config.directory, workspace.script_patterns, workspace.exclude)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


def _failed(problems: Sequence[Problem]) -> bool:
    return any(p.severity is Severity.ERROR for p in problems)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reflow-supervise")
def cli() -> None:
    """Run untrusted Python and JavaScript actors as one supervised dataflow, each in its own sandbox."""


@cli.command()
@_config_option
@_json_option
def actors(config_path: Path | None, as_json: bool) -> None:
    """List the actors that were found, and what is broken and why. Runs none of them.

    Exit code 2 where a script is broken.
    """
    config = _load(config_path)
    found = _discover(config)
    if as_json:
        _print_json(found.to_json())
    else:
        width = max((len(c.name) for c in found.components), default=0)
        for c in found.components:
            ins = ", ".join(p.name for p in c.inports) or "-"
            outs = "any" if c.open_ports else ", ".join(p.name for p in c.outports) or "-"
            click.echo(f"{c.name:<{width}}  {c.runtime:<10}  {ins} -> {outs}  ({c.location})")
        if not found.components:
            click.echo(f"no actors found (patterns: {', '.join(config.workspace.script_patterns)})", err=True)
        _print_problems(found.problems)
    if _failed(found.problems):
        sys.exit(ExitCode.USAGE)


@cli.command()
@_config_option
@_json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Check configuration, scripts and network without starting anything.

    Exit code 2 where something would keep the network from running; warnings alone give 0.
    """
    config = _load(config_path)
    registry = Registry(_discover(config))
    graph = load_graph(config)
    problems = [*registry.problems, *check_graph(graph, registry.get, registry.names)]
    if as_json:
        _print_json({"problems": [p.to_json() for p in problems]})
    else:
        _print_problems(problems)
        errors = sum(p.severity is Severity.ERROR for p in problems)
        size = f"{len(graph.nodes)} nodes, {len(graph.edges)} connections"
        click.echo(f"{size}: {errors} errors, {len(problems) - errors} warnings")
    if _failed(problems):
        sys.exit(ExitCode.USAGE)


@cli.command()
@_config_option
@click.option("--headless", is_flag=True, help="No screen. The only way to run so far.")
@click.option(
    "--feed", "feeds", multiple=True, metavar="PORT=FILE", help="JSON lines for an exposed inport; - is stdin."
)
@click.option("--collect", "collects", multiple=True, metavar="PORT=FILE", help="JSON lines of an exposed outport.")
@click.option("--on-bad-input", type=click.Choice(["stop", "skip"]), default="stop", show_default=True)
def run(
    config_path: Path | None, headless: bool, feeds: Sequence[str], collects: Sequence[str], on_bad_input: str
) -> None:
    """Run the network until its feeds are done and nothing is left to do.

    Exit codes: 0 done, 1 gave up or left dead letters, 2 wrong usage or configuration, 130 interrupted.
    """
    prepared = prepare(_load(config_path))
    sinks = [open_collect(text) for text in collects]
    this = Run(prepared, [open_feed(text) for text in feeds], sinks, on_bad_input=on_bad_input, report=_report)
    try:
        outcome = trio.run(this.run)
    except* KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except* UserError as e:
        first = next(_users(e))
        _print_problems(first.problems)
        sys.exit(first.exit_code)
    finally:
        for sink in sinks:
            sink.file.close()
    collected = ", ".join(f"{n} from {port}" for port, n in outcome.collected.items()) or "nothing collected"
    click.echo(
        f"{outcome.fed} fed, {collected}; {outcome.restarts} restarts, {outcome.dead_letters} dead letters", err=True
    )
    sys.exit(outcome.code)


def _users(group: BaseExceptionGroup[UserError]) -> Iterator[UserError]:
    for e in group.exceptions:
        if isinstance(e, UserError):
            yield e
        else:
            yield from _users(e)


def _report(level: str, node: str, text: str) -> None:
    """A log line. Control characters of a script must not reach the terminal."""
    neutral = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    click.echo(f"{level:<7} {node + ': ' if node else ''}{neutral}", err=True)


@cli.command()
@_json_option
def doctor(as_json: bool) -> None:
    """Say which boundary this machine gives, and how to get each piece that is missing.

    Exit code 2 where no sandbox can be started.
    """
    found = findings()
    if as_json:
        _print_json([{"level": str(f.level), "what": f.what, "detail": f.detail, "fix": f.fix} for f in found])
    else:
        marks = {FindingLevel.OK: "ok     ", FindingLevel.WARNING: "warning", FindingLevel.MISSING: "MISSING"}
        for f in found:
            click.echo(f"{marks[f.level]}  {f.what}: {f.detail}" + (f"\n         {f.fix}" if f.fix else ""))
    if any(f.level is FindingLevel.MISSING for f in found):
        sys.exit(ExitCode.USAGE)


@cli.command()
@_json_option
def version(as_json: bool) -> None:
    """Print the version of this program and of the Python that runs it."""
    if as_json:
        _print_json({"reflow_supervisor": __version__, "python": platform.python_version()})
    else:
        click.echo(f"reflow-supervisor {__version__} (Python {platform.python_version()})")


def main() -> None:
    """The entry point of `reflow-supervise`."""
    try:
        cli.main(prog_name="reflow-supervise", standalone_mode=False)
    except UserError as e:
        _print_problems(e.problems)
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.INTERRUPTED)
