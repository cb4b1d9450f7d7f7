"""docs/cli.md says what the program says, and the commands in the documentation are commands."""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from reflow_supervisor.cli import cli

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))
PROGRAM = "reflow-supervise"


def in_pages() -> list[str]:
    """The commands in code of docs/cli.md and docs/tutorial.md."""
    found: list[str] = []
    for page in ("cli.md", "tutorial.md"):
        for line in (ROOT / "docs" / page).read_text().splitlines():
            for part in line.removeprefix("    ").removeprefix("$ ").split(" | "):
                if part.startswith(f"{PROGRAM} ") and "[OPTIONS]" not in part:
                    found.append(part.partition(" #")[0].partition(" > ")[0])
    return found


def all_commands() -> dict[str, click.Command]:
    """By their names, also those below others: "dead-letters list"."""
    found = dict(cli.commands)
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": below for inner, below in command.commands.items()}
    return found


def test_the_page_is_what_the_program_says() -> None:
    """If this fails: `python scripts/cli_reference.py > docs/cli.md`."""
    assert SCRIPT["reference"]() == (ROOT / "docs" / "cli.md").read_text()


def test_every_command_and_every_option_is_on_the_page() -> None:
    page = SCRIPT["reference"]()
    for name, command in all_commands().items():
        assert f"## `{name}`" in page
        for param in command.params:
            assert all(opt in page for opt in param.opts if opt.startswith("-"))


def test_there_are_examples_of_nothing_that_is_not_there() -> None:
    assert set(SCRIPT["EXAMPLES"]) <= set(all_commands())


def test_options_that_come_later_are_shown() -> None:
    @click.command(help="Does *it*.\n\nTwice.")
    @click.argument("what")
    @click.option("--often", type=click.IntRange(1, 5), default=2, show_default=True, help="How | often.")
    @click.option("--kind", type=click.Choice(["a", "b"]), multiple=True, required=True)
    def do(what: str, often: int, kind: tuple[str, ...]) -> None: ...

    text = SCRIPT["section"](do, click.Context(do, info_name=f"{PROGRAM} do"))
    assert "reflow-supervise do [OPTIONS] WHAT" in text
    assert "Does \\*it\\*.\n\nTwice.\n" in text
    assert "How \\| often." in text
    assert "default: 2" in text
    assert "1<=x<=5" in text.replace("\\", "")
    assert "`--kind [a\\|b]`" in text
    assert "required" in text
    assert "May be given several times." in text
    assert "--help" not in text


@pytest.mark.parametrize("line", in_pages())
def test_commands_in_the_documentation_are_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    context = cli.make_context(PROGRAM, list(words), resilient_parsing=words[0].startswith("-"))
    if words[0].startswith("-"):
        return
    group: click.Group = cli
    while True:
        name, command, words = group.resolve_command(context, words)
        assert command is not None
        context = command.make_context(name, list(words), parent=context)
        if not isinstance(command, click.Group):
            break
        group = command
    assert context.params is not None


@pytest.mark.slow
def test_the_shell_completes_commands_and_values() -> None:
    def completed(words: str) -> set[str]:
        environment = {
            **os.environ,
            "_REFLOW_SUPERVISE_COMPLETE": "bash_complete",
            "COMP_WORDS": f"{PROGRAM} {words}",
            "COMP_CWORD": str(len(words.split(" "))),
        }
        command = [sys.executable, "-m", "reflow_supervisor"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)
        return {line.removeprefix("plain,") for line in done.stdout.splitlines()}

    assert completed("ch") == {"check"}
    assert completed("run --on-bad-input ") == {"stop", "skip"}
    assert "--json" in completed("check --")
