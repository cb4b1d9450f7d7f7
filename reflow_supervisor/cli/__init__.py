"""The command line: reads arguments, calls the rooms, prints what they say, and chooses the exit code.

It decides how things are shown, and nothing else. Results go to stdout, everything else to stderr. A user's
mistake is shown as its problems, one a line, with exit code 2, and never as a traceback.
"""

from __future__ import annotations

import sys

import click

from reflow_supervisor import __version__
from reflow_supervisor.errors import ExitCode, UserError
from reflow_supervisor.scaffold.commands import init, new_actor

from . import look, operate
from .letters import dead_letters
from .run import run
from .shared import print_problems


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reflow-supervise")
def cli() -> None:
    """Run untrusted Python and JavaScript actors as one supervised dataflow, each in its own sandbox."""


for command in (
    init,
    new_actor,
    look.check,
    look.actors,
    run,
    operate.attach,
    operate.status,
    operate.tree,
    operate.restart,
    operate.stop,
    operate.start,
    operate.pause,
    operate.resume,
    dead_letters,
    look.doctor,
    look.version,
):
    cli.add_command(command)


def main() -> None:
    """The entry point of `reflow-supervise`."""
    try:
        cli.main(prog_name="reflow-supervise", standalone_mode=False)
    except UserError as e:
        print_problems(e.problems)
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.INTERRUPTED)
