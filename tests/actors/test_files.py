"""That no path leads out of a tree, whatever is done to it meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflow_supervisor.actors import files as module
from reflow_supervisor.actors.files import Tree, Unusable


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("secret")
    with Tree(root) as tree:
        walk = tree.walk("", lambda path: True, lambda path, error: None)
        (root / "sub").rmdir()
        (root / "sub").symlink_to(outside)
        assert list(walk) == []
        with pytest.raises(Unusable, match="cannot be opened"):
            tree.read("sub/file", 100)
        with pytest.raises(Unusable, match="cannot be opened"):
            tree.size("sub/file")
        with pytest.raises(Unusable, match="cannot be opened"):
            tree.read("sub", 100)


def test_the_root_stays_the_one_that_was_opened(tmp_path: Path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("ours")
    with Tree(tmp_path / "root") as tree:
        (tmp_path / "root").rename(tmp_path / "moved")
        (tmp_path / "root").mkdir()
        (tmp_path / "root/file").write_text("theirs")
        assert tree.read("file", 100) == b"ours"


def test_a_limit(tmp_path: Path):
    (tmp_path / "file").write_text("12345")
    with Tree(tmp_path) as tree:
        assert tree.read("file", 5) == b"12345"
        assert tree.size("file") == 5
        with pytest.raises(Unusable, match="larger than 4 bytes"):
            tree.read("file", 4)


def test_what_grows_while_it_is_read(tmp_path: Path):
    # The size that /proc gives is 0, as of a file that grows after it was looked at.
    with Tree(Path("/proc/self")) as tree, pytest.raises(Unusable, match="larger than 10 bytes"):
        tree.read("status", 10)


def test_a_walk_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for name in "abcd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    reported: list[str] = []
    with Tree(tmp_path) as tree:
        found = list(tree.walk("", lambda path: True, lambda path, error: reported.append(f"{path or '.'} {error}")))
    assert found == []
    assert len(reported) == 1
    assert "more than 3 files" in reported[0]
