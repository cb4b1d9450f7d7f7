"""A workspace on disk, and the real command run in it: what went in, what came out, and which processes there were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

SEED = Path(__file__).parents[2] / "examples" / "seed" / "actors"
PRELOAD = "workspace: {sandbox: {preload_count: 0}}\n"
IN_PORT, OUT_PORT = "  inports: {v: a.v}\n", "  outports: {o: a.o}\n"
ONE_NODE = PRELOAD + "network:\n  processes: {a: {component: A}}\n" + IN_PORT + OUT_PORT
FEED_ONE, COLLECT_ONE = ("--feed", "v=in.jsonl"), ("--collect", "o=out.jsonl")


@attrs.frozen
class Result:
    code: int
    stderr: str
    seen: set[tuple[int, str]]
    """(pid, start time) of every process that was seen below the command."""


def stat(pid: int) -> tuple[int, str, str] | None:
    """(parent, state, start time)"""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), fields[0], fields[19]


def descendants(root: int) -> dict[int, str]:
    """Pid and start time of every process below `root`."""
    stats = {int(p.name): s for p in Path("/proc").iterdir() if p.name.isdigit() and (s := stat(int(p.name)))}
    found: dict[int, str] = {}
    level = {root}
    while level := {pid for pid, s in stats.items() if s[0] in level and pid not in found}:
        found.update({pid: stats[pid][2] for pid in level})
    return found


def command_line(pid: int) -> str:
    """Its arguments, a space between; "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def name_of(pid: int) -> str:
    """What `ps -o comm` shows of it; "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def agents(root: int) -> list[int]:
    """The agents themselves, without the programs that started them."""
    found: list[int] = []
    for pid in descendants(root):
        try:
            args = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        started = b"python" in Path(os.fsdecode(args[0])).name.encode() and b"reflow.agent" in b" ".join(args)
        if started or name_of(pid) == "reflow-agent":
            found.append(pid)
    return found


def alive(seen: set[tuple[int, str]]) -> list[int]:
    return [pid for pid, started in seen if (s := stat(pid)) and s[2] == started and s[1] != "Z"]


class Workspace:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        path.write_text(text)

    def actor(self, body: str, *, options: str = "", top: str = "") -> None:
        """The actor A, inport v, outport o, and a network of nothing else; `body` sees `context` and `v`."""
        lines = "\n".join("    " + line for line in body.splitlines())
        self.write(
            "actors/a.actor.py",
            f"from reflow import actor, Message\n{top}\n"
            f'@actor(name="A", inports=["v"], outports=["o"]{options})\n'
            f'async def a(context):\n    v = context.get_payload().get("v").unwrap()\n{lines}\n',
        )
        self.write("reflow.yaml", ONE_NODE)

    def feed(self, rows: Any, name: str = "in.jsonl") -> None:
        self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def rows(self, name: str = "out.jsonl") -> list[Any]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]

    def run(
        self, *args: str, timeout: float = 40, meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None
    ) -> Result:
        command = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", *(args or FEED_ONE + COLLECT_ONE)]
        seen: set[tuple[int, str]] = set()
        deadline = time.monotonic() + timeout
        with (
            (self.path / "stderr").open("wb") as stderr,
            subprocess.Popen(command, cwd=self.path, stderr=stderr, stdin=subprocess.DEVNULL) as process,
        ):
            try:
                while process.poll() is None:
                    assert time.monotonic() < deadline, (self.path / "stderr").read_text()[-2000:]
                    seen.update(descendants(process.pid).items())
                    if meanwhile is not None:
                        meanwhile(process)
                    time.sleep(0.03)
            finally:
                process.kill()
        until = time.monotonic() + 3
        while alive(seen) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(seen), "processes were left behind"
        return Result(process.returncode, (self.path / "stderr").read_text(errors="replace"), seen)
