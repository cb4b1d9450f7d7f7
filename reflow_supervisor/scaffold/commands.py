"""The commands `init` and `new-actor`: what is checked before anything is written, and what is said afterwards."""

from __future__ import annotations

import os
import shlex
import textwrap
from pathlib import Path

import click

from reflow_supervisor.actors.discovery import Discovery, discover
from reflow_supervisor.actors.display import shown
from reflow_supervisor.config import Config, load_config
from reflow_supervisor.errors import Location, Problem, UserError
from reflow_supervisor.network.component import Runtime
from reflow_supervisor.scaffold.files import remove, write_new
from reflow_supervisor.scaffold.templates import (
    RUN_WORKSPACE,
    actor_text,
    file_name,
    network_text,
    workspace_files,
)

CONFIG_NAME = "reflow.yaml"


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def init(directory: Path) -> None:
    """Write a small workspace that runs: two actors, wired together, and some orders to feed them.

    DIRECTORY is made if it is not there; without one, the workspace is the current directory. No file is ever
    overwritten: exit code 2 where one of them is there already, and nothing is written then.
    """
    files = workspace_files()
    write_new(directory, files)
    for name in files:
        click.echo(f"wrote {shown(str(directory / name))}")
    click.echo("\nNow run it:\n")
    if directory != Path():
        click.echo(f"  cd {shlex.quote(str(directory))}")
    click.echo(f"  {RUN_WORKSPACE}")


@click.command("new-actor")
@click.argument("name")
@click.option("--python", "python", is_flag=True, help="Write it in Python.")
@click.option("--javascript", "javascript", is_flag=True, help="Write it in JavaScript.")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Where the script goes. Default: actors/ of the workspace if there is one, else the workspace itself.",
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help=f"The workspace's configuration. Default: ./{CONFIG_NAME}; without one, defaults hold.",
)
def new_actor(name: str, python: bool, javascript: bool, directory: Path | None, config_path: Path | None) -> None:
    """Write the script of an actor called NAME, and say how to wire it in.

    One of --python and --javascript must be given. Exit code 2, and nothing written, where the workspace has an
    actor of that name, where there is such a file, or where the workspace would not find it.
    """
    if python == javascript:
        raise click.UsageError("Give one of --python and --javascript.", click.get_current_context())
    runtime = Runtime.PYTHON if python else Runtime.JAVASCRIPT
    config = load_config(config_path or Path(CONFIG_NAME), must_exist=config_path is not None)
    text = actor_text(name, runtime)
    _refuse_duplicate(name, _discover(config))

    if directory is None:
        actors = config.directory / "actors"
        directory = actors if actors.is_dir() else config.directory
    file = file_name(name, runtime)
    relative = _relative(directory, config) / file
    made = write_new(directory, {file: text})
    # Whether the workspace finds the script is for discovery to say.
    if name not in {c.name for c in _discover(config).components if c.path == config.directory / relative}:
        remove(made)
        raise UserError(_not_found(relative, config))

    click.echo(f"wrote {shown(str(directory / file))}\n")
    if config.network.graph is not None:
        click.echo(f"The network is in {shown(config.network.graph)}: add a process whose component is {name} there.")
        return
    click.echo(f"Wire it in under `network:` in {shown(config.source.file)}, with nodes and ports of yours:\n")
    click.echo(textwrap.indent(network_text(name), "  "), nl=False)


def _discover(config: Config) -> Discovery:
    workspace = config.workspace
    patterns = workspace.script_patterns if workspace.discover_scripts else ()
    return discover(config.directory, patterns, workspace.exclude)


def _refuse_duplicate(name: str, found: Discovery) -> None:
    place = found.broken.get(name) or next((c.location for c in found.components if c.name == name), None)
    if place is not None:
        message = f'an actor named "{name}" is declared here already'
        raise UserError(Problem("duplicate-name", message, place, hint="choose another name"))


def _relative(directory: Path, config: Config) -> Path:
    """A directory's path in the workspace."""
    root, real = os.path.realpath(config.directory), os.path.realpath(directory)
    if not Path(real).is_relative_to(root):
        message = f"is outside of the workspace {shown(root)}"
        hint = "choose a directory below it, or name the workspace with --config"
        raise UserError(Problem("outside", message, Location(shown(str(directory))), hint=hint))
    return Path(real).relative_to(root)


def _not_found(relative: Path, config: Config) -> Problem:
    workspace = config.workspace
    if not workspace.discover_scripts:
        message, hint = "would not be found: workspace.discover_scripts is false", "set it to true"
    else:
        patterns, excluded = ", ".join(workspace.script_patterns), ", ".join(workspace.exclude)
        message = f"would not be found: scripts are {patterns}, without {excluded or 'any exception'}"
        hint = "choose another --directory, or change workspace.script_patterns"
    return Problem("not-found", f"{message}; nothing was written", Location(shown(relative.as_posix())), hint=hint)
