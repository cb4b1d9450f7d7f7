from __future__ import annotations

import linecache
from typing import Any

import pytest
from reflow.agent.failure import MAX_TRACEBACK, describe

FILE = "actors/script.actor.py"


def raised_by(source: str, **names: Any) -> BaseException:
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    try:
        exec(compile(source, FILE, "exec"), names)
    except BaseException as e:
        return e
    raise AssertionError("it raised nothing")


def test_only_the_scripts_frames_are_told() -> None:
    error = raised_by("import json\ndef f():\n    json.loads('{')\nf()\n")
    failure = describe(error, {FILE})
    assert failure.type == "JSONDecodeError"
    assert (failure.file, failure.line, failure.column) == (FILE, 3, 5)
    assert f'File "{FILE}", line 4' in failure.traceback
    assert "json.loads('{')" in failure.traceback
    assert "decoder.py" not in failure.traceback
    assert "test_python_failure" not in failure.traceback


def test_causes_are_told_and_trimmed_too() -> None:
    source = "import json\ntry:\n    json.loads('{')\nexcept ValueError as e:\n    raise KeyError('k') from e\n"
    failure = describe(raised_by(source), {FILE})
    assert "direct cause" in failure.traceback
    assert "json.loads" in failure.traceback
    assert "decoder.py" not in failure.traceback
    assert (failure.message, failure.line) == ("'k'", 5)


def test_groups() -> None:
    failure = describe(raised_by("raise ExceptionGroup('both', [ValueError('a'), KeyError('b')])\n"), {FILE})
    assert failure.type == "ExceptionGroup"
    assert "ValueError: a" in failure.traceback
    assert "KeyError: 'b'" in failure.traceback


def test_a_syntax_error_has_its_place() -> None:
    failure = describe(raised_by("x = 1\ndef f(:\n"), {FILE})
    assert (failure.type, failure.file, failure.line, failure.column) == ("SyntaxError", FILE, 2, 7)


def test_an_exit_is_explained() -> None:
    assert "exit code 3" in describe(raised_by("raise SystemExit(3)\n"), {FILE}).message


@pytest.mark.parametrize(
    "source",
    [
        "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E\n",
        "class E(Exception):\n    def __str__(self):\n        return 5\nraise E\n",
        "class E(Exception):\n    @property\n    def __notes__(self):\n        raise ValueError\nraise E\n",
        "raise ValueError('\\ud800')\n",
        "def f():\n    f()\nf()\n",
        "e = ValueError('own cause')\ne.__cause__ = e\nraise e\n",
    ],
)
def test_hostile_exceptions_are_described_too(source: str) -> None:
    failure = describe(raised_by(source), {FILE})
    assert failure.type
    assert failure.traceback
    assert failure.traceback.encode()
    assert failure.message.encode() or failure.type == "E"


def test_texts_are_bounded() -> None:
    failure = describe(raised_by("raise ValueError('é' * 50_000)\n"), {FILE})
    assert len(failure.traceback.encode()) <= MAX_TRACEBACK
    assert len(failure.message.encode()) <= 4096
    assert failure.traceback.startswith("Traceback")


def test_an_error_that_no_script_raised_has_no_place() -> None:
    failure = describe(ValueError("from elsewhere"), {FILE})
    assert (failure.file, failure.line, failure.column) == (None, None, None)
    assert failure.traceback == "ValueError: from elsewhere\n"
