"""The commands that speak to a running workspace, over its control endpoint."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
import trio

from reflow_supervisor.control.client import Client, ControlError, Disconnected, open_client
from reflow_supervisor.control.protocol import TreeNode
from reflow_supervisor.errors import EnvironmentError_, UserError
from reflow_supervisor.workspace import control_path

from . import screen
from .shared import config_option, json_option, load, print_json

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds until a supervisor that does not answer counts as stuck."""


def ask(config_path: Path | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """What the workspace's running supervisor answers.

    Raises:
        UserError: none is running, or it refuses.
    """
    path = control_path(load(config_path))

    async def main() -> T:
        with trio.fail_after(_PATIENCE):
            async with open_client(path) as client:
                return await question(client)

    try:
        return trio.run(main)
    except Disconnected as e:
        raise EnvironmentError_(str(e), hint="`reflow-supervise run` starts one") from None
    except ControlError as e:
        raise UserError(e.message) from None
    except trio.TooSlowError:
        raise EnvironmentError_(f"the supervisor at {path} did not answer within {_PATIENCE:g} s") from None


def describe(node: TreeNode, *, now_and_next: bool = True) -> str:
    """One line of the tree."""
    parts = [node.id]
    if node.strategy is not None:
        parts.append(f"[{node.strategy}, {node.restarts_in_window} of {node.intensity} restarts in {node.period:g} s]")
    parts.append(node.state)
    if node.strategy is None and node.restarts_in_window:
        times = "restart" if node.restarts_in_window == 1 else "restarts"
        parts.append(f"({node.restarts_in_window} {times})")
    if now_and_next and node.next_retry_in is not None:
        parts.append(f"next try in {max(0.0, node.next_retry_in):.1f} s")
    return "  ".join(parts)


def draw(node: TreeNode, indent: str = "", *, last: bool = True, top: bool = True) -> list[str]:
    """The tree as lines."""
    lines = [describe(node) if top else f"{indent}{'└─ ' if last else '├─ '}{describe(node)}"]
    below = "" if top else indent + ("   " if last else "│  ")
    for number, child in enumerate(node.children, 1):
        lines += draw(child, below, last=number == len(node.children), top=False)
    return lines


@click.command()
@config_option
@json_option
def tree(config_path: Path | None, as_json: bool) -> None:
    """Print the supervision tree of the running workspace."""
    snapshot = ask(config_path, lambda client: client.snapshot())
    if snapshot.tree is None:
        raise EnvironmentError_("the workspace is still starting", hint="try again in a moment")
    if as_json:
        print_json(msgspec.to_builtins(snapshot.tree))
    else:
        click.echo("\n".join(draw(snapshot.tree)))


@click.command()
@config_option
@json_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Print the actors of the running workspace: state, messages, restarts, last error."""
    snapshot = ask(config_path, lambda client: client.snapshot())
    if as_json:
        print_json(msgspec.to_builtins(snapshot))
        return
    rows = [("ACTOR", "STATE", "IN", "OUT", "FAILED", "WAITING", "RESTARTS", "LAST ERROR")]
    rows += [
        (
            a.id,
            a.state,
            str(a.received),
            str(a.emitted),
            str(a.failed),
            str(a.mailbox),
            str(a.restarts),
            f"{a.last_error.type}: {a.last_error.message}"[:60] if a.last_error else "-",
        )
        for a in snapshot.actors
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    click.echo(f"{snapshot.workspace}: {snapshot.state}, {snapshot.boundary}, up {snapshot.uptime:.0f} s")
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("".join(c if c.isprintable() else "?" for c in line).rstrip())
    for edge in snapshot.edges:
        if edge.dropped:
            click.echo(f"{edge.source} -> {edge.target}: {edge.dropped} dropped, {edge.delivered} delivered")


@click.command()
@config_option
def attach(config_path: Path | None) -> None:
    """Show the screen of the running workspace. Leaving it (q) leaves the workspace as it is."""
    path = control_path(load(config_path))
    if not screen.possible():
        raise UserError("attach needs a terminal", hint="`reflow-supervise status` needs none")

    async def main() -> int:
        codes: list[int] = []
        await screen.show(path, codes.append, quit_stops=False)
        return codes[0]

    sys.exit(trio.run(main))


def _command(name: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @config_option
    @click.argument("actor")
    def command(config_path: Path | None, actor: str) -> None:
        ask(config_path, lambda client: client.call(f"actor.{name}", id=actor))

    return command


restart = _command("restart", "Stop ACTOR, whatever it is doing, and start it anew. What it held is done again.")
start = _command("start", "Start ACTOR, which was stopped.")
pause = _command("pause", "Give ACTOR no more messages: they wait in its mailbox, and it stays up.")
resume = _command("resume", "Let ACTOR, which was paused, go on.")


@click.command()
@config_option
@click.argument("actor", required=False)
@click.option("--now", is_flag=True, help="With no ACTOR: end the workspace without draining.")
def stop(config_path: Path | None, actor: str | None, now: bool) -> None:
    """Stop ACTOR; messages wait in its mailbox. With no ACTOR, drain the workspace and end it."""
    if actor is not None:
        if now:
            raise click.UsageError("--now is for the whole workspace")
        ask(config_path, lambda client: client.call("actor.stop", id=actor))
    else:
        ask(config_path, lambda client: client.call("kill" if now else "stop"))
