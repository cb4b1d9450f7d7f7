"""How the agent ends when its link cannot be opened. What follows an opened link is in specs/conformance."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def agent(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reflow.agent"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(directory: Path) -> dict[str, str]:
    return {"REFLOW_LINK": f"{directory}/link", "REFLOW_TOKEN": "secret-token", "REFLOW_WORKSPACE": str(directory)}


def test_started_by_hand() -> None:
    process = agent({})
    _, said = process.communicate(timeout=20)
    assert process.returncode == 72
    assert said == (
        "reflow agent: REFLOW_LINK, REFLOW_TOKEN, REFLOW_WORKSPACE not set; a supervisor starts this program\n"
    )


def test_nobody_listens(tmp_path: Path) -> None:
    process = agent(environment(tmp_path))
    _, said = process.communicate(timeout=20)
    assert process.returncode == 70
    assert said.startswith("reflow agent: the link could not be opened")
    assert "secret-token" not in said


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 72, "refused: HTTP 401"),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", 72, "refused: HTTP 409"),
        (b"", 70, "hung up"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 71, "broke the protocol"),
    ],
)
def test_another_answer_than_a_link(tmp_path: Path, answer: bytes, code: int, says: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/link")
        server.listen(1)
        process = agent(environment(tmp_path))
        connection, _ = server.accept()
        with connection:
            request = connection.recv(4096)
            connection.sendall(answer)
        _, said = process.communicate(timeout=20)
    assert b"GET /agent HTTP/1.1" in request
    assert b"Authorization: Bearer secret-token" in request
    assert b"Sec-WebSocket-Protocol: reflow.v1" in request
    assert process.returncode == code
    assert says in said
    assert "Traceback" not in said
