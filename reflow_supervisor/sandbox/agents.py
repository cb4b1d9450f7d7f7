"""What starts an agent, whichever backend it runs under: its command line or its code, and its whole environment."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from reflow_supervisor.sandbox.backend import Limits, SandboxRuntime

PROTOCOL_VERSION = "1"

PYTHON_BOOTSTRAP = (
    "import sys; sys.path[:0] = [{directory!r}]; from reflow.agent.__main__ import main; sys.exit(main())"
)
MEBIBYTE = 1024 * 1024


@attrs.frozen
class AgentPlace:
    """Where an agent is to run: paths as the agent itself sees them."""

    runtime: SandboxRuntime
    interpreter: str
    directory: str
    limits: Limits


@attrs.frozen
class ForkedAgent:
    """What starts an agent in a Python that is forked: the source of its main program, and of what is done once, ahead
    of all forks."""

    code: str
    prelude: str = ""


AgentCommand = Callable[[AgentPlace], list[str]]


def agent_command(place: AgentPlace) -> list[str]:
    """The command of the agents that come with this distribution."""
    if place.runtime == "python":
        # -I -S: nothing of the environment, no site-packages. -B: the trees are read-only. -u: a script's print
        # is seen when it happens.
        bootstrap = PYTHON_BOOTSTRAP.format(directory=place.directory)
        return [place.interpreter, "-I", "-S", "-B", "-u", "-c", bootstrap]
    command = [place.interpreter]
    if place.limits.memory is not None:
        # V8 sees the machine's memory, not the sandbox's, and would collect too late. The rest is for what is
        # outside of its heap: buffers, code, the agent's own.
        command.append(f"--max-old-space-size={max(1, place.limits.memory * 3 // 4 // MEBIBYTE)}")
    return [*command, f"{place.directory}/agent.js"]


FORKED_AGENT = ForkedAgent(
    code="from reflow.agent.__main__ import main; main()",
    # The agent, the event loop of asynchronous scripts, and what scripts import most.
    prelude=(
        "import asyncio, collections, dataclasses, datetime, json, math, re, time, typing; "
        "import reflow.agent.__main__; from reflow.agent.rehearsal import rehearse; rehearse()"
    ),
)
"""The agent that comes with this distribution, as a fork runs it."""


def environment(*, link: str, token: str, workspace: str, home: str, path: str) -> dict[str, str]:
    """All the variables that an agent has. A script can read them: nothing of the host belongs here."""
    return {
        "REFLOW_LINK": link,
        "REFLOW_TOKEN": token,
        "REFLOW_WORKSPACE": workspace,
        "REFLOW_PROTOCOL": PROTOCOL_VERSION,
        "PATH": path,
        "HOME": home,
        "LANG": "C.UTF-8",
    }
