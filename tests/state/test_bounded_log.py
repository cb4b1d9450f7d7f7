from __future__ import annotations

from pathlib import Path

from reflow_supervisor.state.bounded_log import BoundedLog


def test_a_log_is_bounded_and_keeps_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    log = BoundedLog(path, limit=1000)
    for i in range(500):
        log.write(b"line %d\n" % i)
    assert path.stat().st_size < 1000
    assert (tmp_path / "server.log.1").stat().st_size < 1100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["server.log", "server.log.1"]
    assert log.last_lines[-2:] == ("line 498", "line 499")
    assert len(log.last_lines) == 12


def test_lines_are_put_together_and_cut_to_a_length(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log")
    for piece in (b"on", b"e\ntw", b"o\n", b"x" * 9000, b"x" * 9000, b"\n\xff\n"):
        log.write(piece)
    assert log.last_lines == ("one", "two", "x" * 500, "\ufffd")


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "absent" / "log")
    log.write(b"line\n")
    assert log.last_lines == ("line",)
