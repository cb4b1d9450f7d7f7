"""The commands about dead letters: of a running workspace over its control endpoint, of any other in its store."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import click
import msgspec
import trio

from reflow_supervisor.config import Config
from reflow_supervisor.control import endpoint
from reflow_supervisor.control.client import ControlError, Disconnected, open_client
from reflow_supervisor.control.protocol import DeadLetter, DeadLetters, LettersDone, ShownLetter
from reflow_supervisor.errors import EnvironmentError_, ExitCode, UserError
from reflow_supervisor.workspace import control_path, open_shelf

from .shared import config_option, json_option, load, print_json

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a question may take: an embedded server may have to be started for it."""


class Letters(Protocol):
    """What a run's control endpoint and a shelf have in common."""

    async def dead_letters(self, limit: int = 100, node: str = "") -> DeadLetters: ...

    async def dead_letter(self, letter_id: str) -> ShownLetter: ...

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone: ...

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone: ...


def ask(config: Config, question: Callable[[Letters], Awaitable[T]]) -> tuple[T, bool]:
    """The answer, and whether a run gave it.

    Raises:
        UserError: there is none, or it refuses.
    """
    path = control_path(config)

    async def main() -> tuple[T, bool]:
        with trio.fail_after(PATIENCE):
            if await _is_served(path):
                async with open_client(path) as client:
                    return await question(client), True
            # What the question raises, and what keeps the shelf from being opened, are told apart here.
            answers: list[T] = []
            refusal: ControlError | None = None
            async with open_shelf(config) as shelf:
                try:
                    answers.append(await question(shelf))
                except ControlError as e:
                    refusal = e
            if refusal is not None:
                raise refusal
            return answers[0], False

    try:
        return trio.run(main)
    except Disconnected as e:
        raise EnvironmentError_(str(e)) from None
    except ControlError as e:
        raise UserError(e.message) from None
    except trio.TooSlowError:
        raise EnvironmentError_(f"no answer within {PATIENCE:g} s") from None


async def _is_served(path: Path) -> bool:
    try:
        stream = await endpoint.connect(path)
    except Disconnected:
        return False
    await stream.aclose()
    return True


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and drop what was given up: inputs that failed every attempt.

    Where the workspace runs, its supervisor is asked; otherwise its store, which is started for the command.
    """


node_option = click.option("--node", default="", metavar="NODE", help="Only those of this node.")


@dead_letters.command("list")
@config_option
@node_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_(config_path: Path | None, node: str, limit: int, as_json: bool) -> None:
    """Print dead letters, the newest first."""
    found, _ = ask(load(config_path), lambda letters: letters.dead_letters(limit, node))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    if not found.letters:
        click.echo("no dead letters", err=True)
        return
    rows = [("ID", "LAST", "NODE", "ATTEMPTS", "STATE", "ERROR", "INPUT")]
    rows += [_row(letter) for letter in found.letters]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        click.echo("  ".join(cells).rstrip())
    if found.total > len(found.letters):
        click.echo(f"{found.total - len(found.letters)} more; --limit shows more, --node those of one node", err=True)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    error = f"{letter.error.type}: {letter.error.message}"
    cells = (letter.id, _time(letter.at), letter.actor, str(letter.attempts), letter.state, error, letter.preview)
    return tuple(_plain(cell, 60) for cell in cells)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str, length: int) -> str:
    """Untrusted text on one line."""
    line = "".join(c if c.isprintable() else "?" for c in text.replace("\n", " "))
    return line if len(line) <= length else line[: length - 1] + "…"


@dead_letters.command()
@config_option
@click.argument("letter_id", metavar="ID")
@json_option
def show(config_path: Path | None, letter_id: str, as_json: bool) -> None:
    """Print all of one dead letter: its failure with the traceback, and its input.

    --json prints the document as it is kept, with the exact input (base64 of MessagePack).
    """
    found, _ = ask(load(config_path), lambda letters: letters.dead_letter(letter_id))
    letter, cause = found.letter, found.letter.cause
    if as_json:
        print_json(msgspec.to_builtins(letter) | {"complete": found.complete})
        return
    where = "" if cause.file is None else f" ({_plain(cause.file, 500)}{f':{cause.line}' if cause.line else ''})"
    click.echo(_plain(f"{letter.id}: given up by {letter.node} ({letter.component}), run {letter.run}", 500))
    again = "" if letter.burials == 1 else f", given up {letter.burials} times"
    click.echo(f"attempts  {letter.attempts}{again}")
    click.echo(f"first     {_time(letter.first.timestamp())}")
    click.echo(f"last      {_time(letter.last.timestamp())}")
    if letter.source:
        click.echo(f"script    sha256 {_plain(letter.source, 64)}")
    click.echo(f"failure   {_plain(f'{cause.type}: {cause.message}', 2000)}{where}")
    for line in cause.traceback.splitlines():
        click.echo(f"          {_plain(line, 500)}")
    for port, message in letter.inputs.items():
        note = ", initial value" if port in letter.initial else ""
        click.echo(f"input     {_plain(port, 100)}: {message.type}, {message.size} bytes{note}")
        click.echo(f"          {_plain(message.shown, 2000)}")


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--all", "every", is_flag=True, help="All of them; with --node those of one node.")(command)
    command = node_option(command)
    command = click.argument("ids", nargs=-1, metavar="[ID]...")(command)
    return config_option(json_option(command))


def _wanted(ids: Sequence[str], every: bool, node: str) -> Sequence[str] | None:
    if every == bool(ids):
        raise click.UsageError("name dead letters by their ids, or say --all")
    if node and not every:
        raise click.UsageError("--node goes with --all")
    return None if every else ids


@dead_letters.command()
@_selection
def replay(config_path: Path | None, ids: Sequence[str], every: bool, node: str, as_json: bool) -> None:
    """Give dead letters to their nodes again, in this order.

    In a running workspace at once; otherwise they are marked, and the next run takes them up when it begins. Each
    leaves the store when its replay is committed; one that fails again stays, under the same id. Exit code 2 where one
    cannot be replayed; the others are.
    """
    wanted = _wanted(ids, every, node)
    done, live = ask(load(config_path), lambda letters: letters.replay_dead_letters(wanted, node))
    _say(done, as_json, "is being replayed" if live else "will be replayed when the next run begins")


@dead_letters.command()
@_selection
def drop(config_path: Path | None, ids: Sequence[str], every: bool, node: str, as_json: bool) -> None:
    """Delete dead letters for good.

    Exit code 2 where one cannot be deleted (it is being replayed, or there is none of that id); the others are.
    """
    wanted = _wanted(ids, every, node)
    done, _ = ask(load(config_path), lambda letters: letters.drop_dead_letters(wanted, node))
    _say(done, as_json, "was dropped")


def _say(done: LettersDone, as_json: bool, what: str) -> None:
    if as_json:
        print_json(msgspec.to_builtins(done))
    else:
        for id in done.done:
            click.echo(f"{id} {what}")
        if not done.done and not done.refused:
            click.echo("no dead letters", err=True)
    for id, why in done.refused.items():
        click.echo(f"error: {_plain(id, 64)}: {_plain(why, 500)}", err=True)
    if done.refused:
        sys.exit(ExitCode.USAGE)
