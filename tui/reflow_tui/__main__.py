"""`python -m reflow_tui SOCKET`: watch and steer the supervisor that serves its control endpoint there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reflow_tui.app import make_app


def main() -> int:
    parser = argparse.ArgumentParser(prog="reflow_tui", description=__doc__)
    parser.add_argument("socket", type=Path, metavar="SOCKET", help="the supervisor's control socket")
    parser.add_argument("--quit-stops", action="store_true", help="leaving drains the workspace and waits for its end")
    arguments = parser.parse_args()
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print("reflow_tui: error: this needs a terminal; without one, use --headless", file=sys.stderr)
        return 2
    app = make_app(arguments.socket, quit_stops=arguments.quit_stops)
    app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
