from __future__ import annotations

import os
from pathlib import Path

from reflow_supervisor.sandbox.claims import claim


def test_only_one_has_it_until_it_lets_go(tmp_path: Path) -> None:
    mine = claim(tmp_path)
    assert mine is not None
    assert claim(tmp_path) is None
    os.close(mine)
    again = claim(tmp_path)
    assert again is not None
    os.close(again)


def test_nothing_to_claim(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    assert claim(tmp_path / "missing") is None
    assert claim(tmp_path / "file") is None
    assert claim(tmp_path / "link") is None


def test_children_do_not_keep_it(tmp_path: Path) -> None:
    mine = claim(tmp_path)
    assert mine is not None
    assert not os.get_inheritable(mine)
    os.close(mine)
