from __future__ import annotations

from pathlib import Path

import pytest

from reflow_supervisor.errors import EnvironmentError_
from reflow_supervisor.sandbox import interpreters


def fake_node(directory: Path, version: str, executable: str = "/opt/node/bin/node") -> None:
    directory.mkdir(exist_ok=True)
    path = directory / "node"
    path.write_text(f"#!/bin/sh\necho {executable}\necho {version}\n")
    path.chmod(0o755)


def test_the_machines_node_by_its_own_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_node(tmp_path, "22.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreters.node() == interpreters.Interpreter(Path("/opt/node/bin/node"), "22.1.0")


def test_too_old_falls_back_to_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_node(tmp_path / "machine", "18.19.0")
    fake_node(tmp_path / "wheel", "24.0.0", "/wheel/node")
    monkeypatch.setenv("PATH", str(tmp_path / "machine"))
    monkeypatch.setattr(interpreters, "_node_of_wheel", lambda: str(tmp_path / "wheel/node"))
    assert interpreters.node().executable == Path("/wheel/node")


def test_none_says_what_was_seen_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_node(tmp_path, "18.19.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(interpreters, "_node_of_wheel", lambda: None)
    with pytest.raises(EnvironmentError_, match=r"18\.19\.0.*pip install") as caught:
        interpreters.node()
    assert str(tmp_path / "node") in str(caught.value)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho nonsense\n", "not a program"])
def test_a_broken_node_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "node").write_text(text)
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(interpreters, "_node_of_wheel", lambda: None)
    with pytest.raises(EnvironmentError_, match="does not run"):
        interpreters.node()
