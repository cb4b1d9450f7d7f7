"""`python -m reflow.agent`: started inside a sandbox, told by its environment where to connect."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import NoReturn

from ..wire.messages import AgentExit
from .interrupt import Interrupter
from .link import Link, LinkLostError
from .loader import Loader
from .runner import Runner

VERSION = "0.1.0"

SWITCH_INTERVAL = 0.0005
"""Seconds until a busy script hands over to the link's thread: so fast pings are answered and ready answers leave."""


def main() -> NoReturn:
    """Runs the agent; ends the process with one of `AgentExit`."""
    code = run(os.environ)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # Not sys.exit: threads or atexit handlers of a script must not keep a stopped sandbox alive.
    os._exit(code)


def run(environment: MutableMapping[str, str]) -> AgentExit:
    missing = [name for name in ("REFLOW_LINK", "REFLOW_TOKEN", "REFLOW_WORKSPACE") if name not in environment]
    if missing:
        print(f"reflow agent: {', '.join(missing)} not set; a supervisor starts this program", file=sys.stderr)
        return AgentExit.REFUSED
    path, token = environment["REFLOW_LINK"], environment["REFLOW_TOKEN"]
    # The script shares this process: it has no use for the token.
    environment.pop("REFLOW_TOKEN")
    sys.setswitchinterval(SWITCH_INTERVAL)
    for stream in (sys.stdout, sys.stderr):
        # Lines become log records as they are printed; what cannot be encoded must not break a script.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    # The first process of a sandbox has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, _terminated)
    interrupter = Interrupter()
    interrupter.install()
    link = Link(path, token, on_cancel=lambda id_: runner.cancel(id_))
    runner = Runner(link, Loader(Path(environment["REFLOW_WORKSPACE"])), interrupter)
    try:
        link.open(VERSION)
    except LinkLostError as e:
        print(f"reflow agent: {e}", file=sys.stderr)
        return e.exit_code
    link.start()
    runner.run()
    return AgentExit.DONE


def _terminated(signum: int, frame: object) -> NoReturn:
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
