"""The command that runs a network: which face it shows (screen, progress, plain log lines), and how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
import trio

from reflow_supervisor.errors import UserError
from reflow_supervisor.telemetry.logs import Logs
from reflow_supervisor.telemetry.sinks import Sink, sink_for
from reflow_supervisor.workspace import (
    Collect,
    Feed,
    Outcome,
    Prepared,
    Run,
    control_path,
    make_data_dir,
    open_collect,
    open_feed,
    prepare,
)

from . import screen
from .progress import ProgressSink, draw
from .shared import config_option, load

MOST_ERRORS = 20

LOG_PATIENCE = 2.0
"""Seconds that whoever reads the log may take for its last lines."""


@click.command()
@config_option
@click.option("--headless", is_flag=True, help="No screen, also on a terminal: log lines and progress on stderr.")
@click.option(
    "--feed", "feeds", multiple=True, metavar="PORT=FILE", help="JSON lines for an exposed inport; - is stdin."
)
@click.option(
    "--collect", "collects", multiple=True, metavar="PORT=FILE", help="JSON lines of an exposed outport; - is stdout."
)
@click.option(
    "--on-bad-input",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What a fed line that is not JSON does: stop feeding, and end when what was fed is done; or skip that line.",
)
@click.option(
    "--until-idle/--keep-running",
    default=True,
    help="End when feeds and sources are done and nothing is left to do (the default); or only when told to.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def run(
    config_path: Path | None,
    headless: bool,
    feeds: Sequence[str],
    collects: Sequence[str],
    on_bad_input: str,
    until_idle: bool,
    log_format: str,
) -> None:
    """Run the network until its feeds are done and nothing is left to do.

    On a terminal it shows a screen, unless --headless. The first Ctrl-C drains, a second one stops at once.

    Exit codes: 0 done, 1 gave up or left dead letters, 2 wrong usage, configuration or input, 130 interrupted.
    """
    prepared = prepare(load(config_path))
    if not headless and not screen.possible():
        headless = True
    sources = [open_feed(text) for text in feeds]
    sinks = [open_collect(text) for text in collects]
    if not headless:
        _needs_the_terminal(prepared, sources, sinks)
    _one_reader(prepared, sources)
    form: Literal["text", "json"] = "json" if log_format == "json" else "text"
    try:
        with _log_to(prepared, headless, form) as sink:
            logs = Logs(
                sink, form=form, colour=headless and form == "text" and may_colour(), workspace=prepared.config.name
            )
            this = Run(
                prepared,
                sources,
                sinks,
                logs=logs,
                on_bad_input=on_bad_input,
                until_idle=until_idle,
                hold=not headless,
            )
            try:
                outcome = trio.run(_shown, this, control_path(prepared.config), sink, headless)
                if form == "json":
                    logs.report("info", "", "the run is over", _as_fields(outcome))
            finally:
                sink.finish(LOG_PATIENCE)
    finally:
        for end in (*sources, *sinks):
            end.close()
    if form == "text" or not headless:
        if not headless:
            for text in _errors(logs):
                click.echo(text, err=True)
        click.echo(_summary(outcome), err=True)
    sys.exit(outcome.code)


def _summary(outcome: Outcome) -> str:
    collected = ", ".join(f"{n} from {port}" for port, n in outcome.collected.items()) or "nothing collected"
    unkept = f" ({outcome.unkept} could not be kept: the log has them in full)" if outcome.unkept else ""
    return f"{outcome.fed} fed, {collected}; {outcome.restarts} restarts, {outcome.dead_letters} dead letters{unkept}"


def _errors(logs: Logs) -> list[str]:
    """What the run itself had to say while the screen was there, which is gone with it."""
    return [r.message for r in logs.records() if r.level == "error" and not r.source][-MOST_ERRORS:]


def _as_fields(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": int(outcome.code),
        "fed": outcome.fed,
        "collected": dict(outcome.collected),
        "restarts": outcome.restarts,
        "dead_letters": outcome.dead_letters,
        "unkept": outcome.unkept,
    }


def _one_reader(prepared: Prepared, feeds: Sequence[Feed]) -> None:
    """
    Raises:
        UserError: two of them would share standard input, each line to one.
    """
    readers = ["--feed PORT=-" for feed in feeds if feed.fd == 0]
    readers += [f"the node {id}" for id, node in prepared.graph.nodes.items() if node.component == "stdin"]
    if len(readers) > 1:
        raise UserError(f"{readers[0]} and {readers[1]} cannot both read standard input", hint="keep one of them")


def _needs_the_terminal(prepared: Prepared, feeds: Sequence[Feed], collects: Sequence[Collect]) -> None:
    """
    Raises:
        UserError: something else than the screen wants it.
    """
    components = {node.component for node in prepared.graph.nodes.values()}
    for reader, there in (("--feed PORT=-", any(f.fd == 0 for f in feeds)), ("`stdin`", "stdin" in components)):
        if there:
            raise UserError(f"{reader} and the screen cannot both read the terminal", hint="add --headless")
    for writer, there in (("--collect PORT=-", any(c.fd == 1 for c in collects)), ("`stdout`", "stdout" in components)):
        if there and sys.stdout.isatty():
            raise UserError(f"{writer} and the screen cannot both write to the terminal", hint="add --headless")


def may_colour() -> bool:
    """See https://no-color.org."""
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


@contextlib.contextmanager
def _log_to(prepared: Prepared, headless: bool, form: str) -> Generator[Sink]:
    """Where log lines go: stderr, or a file while the screen has the terminal."""
    if headless:
        sink = sink_for(sys.stderr)
        yield ProgressSink(sink) if form == "text" and sys.stderr.isatty() else sink
        return
    make_data_dir(prepared.config)
    with (prepared.config.data_dir / "run.log").open("w", encoding="utf-8") as file:
        yield sink_for(file)


async def _shown(run: Run, socket: Path, sink: Sink, headless: bool) -> Outcome:
    """The run, with its screen or its progress beside it."""
    outcome: Outcome | UserError
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        if not headless:

            def ended(code: int) -> None:
                if code:
                    run.note("warning", f"the screen ended with code {code}; going on without it")
                run.release()

            nursery.start_soon(screen.show, socket, ended)
        elif isinstance(sink, ProgressSink):
            nursery.start_soon(partial(draw, run, sink, colour=may_colour()))
        try:
            outcome = await run.run()
        except UserError as error:
            outcome = error  # a nursery would make it a group
        nursery.cancel_scope.cancel()
    if isinstance(outcome, UserError):
        raise outcome
    return outcome
