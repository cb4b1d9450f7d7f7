from __future__ import annotations

import hashlib
from pathlib import Path

from reflow_supervisor.actors.script import Script, decode
from reflow_supervisor.errors import Location, Problem


def test_a_byte_order_mark_is_no_part_of_the_text():
    data = b"\xef\xbb\xbfx = 1\n"
    script = decode(Path("/w/a"), "a", data)
    assert isinstance(script, Script)
    assert (script.text, script.data, script.sha256) == ("x = 1\n", data, hashlib.sha256(data).hexdigest())


def test_what_is_not_utf_8_says_where():
    problem = decode(Path("/w/a"), "a", "é = 1\né".encode() + b"\xff")
    assert isinstance(problem, Problem)
    assert (problem.code, problem.location) == ("undecodable", Location("a", 2, 2))
    assert "0xff" in problem.message


def test_a_binary_file():
    problem = decode(Path("/w/a"), "a", b"x\n\0")
    assert isinstance(problem, Problem)
    assert (problem.code, problem.location) == ("undecodable", Location("a", 2))
