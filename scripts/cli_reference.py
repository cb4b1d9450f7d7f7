"""Prints docs/cli.md: every command of reflow-supervise with its options, as click knows them.

python scripts/cli_reference.py > docs/cli.md

Written here are only the examples and what each exit code means; tests/test_cli_reference.py parses the examples
with click, and compares the page with what this prints.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from reflow_supervisor.cli import cli
from reflow_supervisor.errors import ExitCode

PROGRAM = "reflow-supervise"

EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the run gave up, or left dead letters behind",
    ExitCode.USAGE: "wrong usage, configuration, script or network, or something that this machine lacks; nothing ran, "
    "or it was stopped by its input or because its results could not be written",
    ExitCode.INTERRUPTED: "interrupted, or told to stop before it was done",
}

EXAMPLES = {
    "actors": [
        ("what there is in this directory", "actors"),
        ("the same for programs", "actors --json -c shop/reflow.yaml"),
    ],
    "check": [("before a commit, or in continuous integration", "check -c shop/reflow.yaml")],
    "doctor": [("what keeps sandboxes from starting here", "doctor")],
    "init": [("a workspace in a new directory", "init shop"), ("in this one", "init")],
    "new-actor": [
        ("writes actors/moving_average.actor.py", "new-actor MovingAverage --python"),
        ("writes more/moving-average.actor.js", "new-actor MovingAverage --javascript --directory more"),
    ],
    "run": [
        ("from a file to the screen", "run --headless --feed orders=sample.jsonl --collect totals=-"),
        ("from standard input, without lines that are no JSON", "run --headless --feed orders=- --on-bad-input skip"),
        (
            "two outports to two files",
            "run --headless --feed orders=sample.jsonl --collect totals=totals.jsonl --collect rejected=rejected.jsonl",
        ),
    ],
    "attach": [("the screen of a run that has none", "attach")],
    "status": [("what every actor is doing", "status"), ("all there is to know, for programs", "status --json")],
    "tree": [("who supervises whom", "tree")],
    "restart": [("", "restart window")],
    "pause": [("", "pause window")],
    "resume": [("", "resume window")],
    "start": [("", "start window")],
    "stop": [
        ("one actor", "stop window"),
        ("the workspace, drained", "stop"),
        ("the workspace, at once", "stop --now"),
    ],
    "dead-letters list": [
        ("what failed last, and why", "dead-letters list"),
        ("of one node, for programs", "dead-letters list --node window --limit 1000 --json"),
    ],
    "dead-letters show": [("with the traceback and the input", "dead-letters show k3f2ax7q4m")],
    "dead-letters replay": [
        ("two of them, in this order", "dead-letters replay k3f2ax7q4m zq5b2lmc3o"),
        ("all of one node, when its script is mended", "dead-letters replay --all --node window"),
    ],
    "dead-letters drop": [("one", "dead-letters drop k3f2ax7q4m"), ("all of them", "dead-letters drop --all")],
    "version": [("", "version --json")],
}

HEAD = f"""\
# Commands

<!-- Made by `python scripts/cli_reference.py` from the program itself. -->

Results go to stdout, everything else to stderr. What is wrong is said as `file:line:column: error: ...`, a line
for each problem. Every command has `-h` and `--help`, which say what this page says.

| exit code | |
|---|---|
{"".join(f"| {code.value} | {EXIT_CODES[code]} |{chr(10)}" for code in ExitCode)}
The shell completes commands and options after this line in `~/.bashrc`, `~/.zshrc` or
`~/.config/fish/completions/{PROGRAM}.fish`:

| shell | |
|---|---|
| bash 4.4 or newer | `eval "$(_REFLOW_SUPERVISE_COMPLETE=bash_source {PROGRAM})"` |
| zsh | `eval "$(_REFLOW_SUPERVISE_COMPLETE=zsh_source {PROGRAM})"` |
| fish | `_REFLOW_SUPERVISE_COMPLETE=fish_source {PROGRAM} \\| source` |
"""


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command and all below it, without hidden ones."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from commands(inner, click.Context(inner, context, info_name=name))


def escaped(text: str) -> str:
    """Markdown that shows the text."""
    return "".join(f"\\{c}" if c in "\\`*_<>|[]" else c for c in " ".join(text.split()))


def option_row(option: click.Parameter, context: click.Context) -> str | None:
    record = option.get_help_record(context)
    if record is None or not isinstance(option, click.Option) or "--help" in option.opts:
        return None
    names, text = record
    several = " May be given several times." if option.multiple else ""
    return f"| `{names.replace('|', chr(92) + '|')}` | {escaped(text)}{several} |\n"


def section(command: click.Command, context: click.Context) -> str:
    path = context.command_path.removeprefix(PROGRAM).strip()
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    title = f"## `{path}`\n\n" if path else ""
    parts = [f"{title}    {usage}\n"]
    paragraphs = inspect.cleandoc(command.help or "").partition("\f")[0].replace("\b\n", "").split("\n\n")
    parts += [f"{escaped(p)}\n" for p in paragraphs]
    rows = [row for p in command.get_params(context) if (row := option_row(p, context))]
    if rows:
        parts.append("| option | |\n|---|---|\n" + "".join(rows))
    examples = [f"{f'# {why}{chr(10)}' if why else ''}{PROGRAM} {line}\n" for why, line in EXAMPLES.get(path, [])]
    if examples:
        parts.append(f"```sh\n{''.join(examples)}```\n")
    return "\n".join(parts)


def reference() -> str:
    """The page."""
    root = click.Context(cli, info_name=PROGRAM)
    return "\n".join([HEAD, *(section(*each) for each in commands(cli, root))])


if __name__ == "__main__":
    print(reference(), end="")
