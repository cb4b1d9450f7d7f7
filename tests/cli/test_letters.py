"""How dead letters are printed, and which exit codes the commands about them have. What answers is played."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result
from state.letter_samples import AT, make_letter

from reflow_supervisor.cli import letters as module
from reflow_supervisor.cli.letters import dead_letters
from reflow_supervisor.control.protocol import DeadLetter, DeadLetters, ErrorInfo, LettersDone, ShownLetter
from reflow_supervisor.state.letters import Cause


class Played:
    """What a run answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.live = True
        self.refused: dict[str, str] = {}
        self.listed = DeadLetters(total=0)
        self.shown = make_letter("x1")

    async def dead_letters(self, limit: int = 100, node: str = "") -> DeadLetters:
        self.asked.append(("list", limit, node))
        return self.listed

    async def dead_letter(self, letter_id: str) -> ShownLetter:
        return ShownLetter(letter=self.shown)

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        self.asked.append(("replay", ids, node))
        return LettersDone(done=tuple(id for id in ids or ("x1",) if id not in self.refused), refused=self.refused)

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        self.asked.append(("drop", ids, node))
        return LettersDone(done=tuple(ids or ()), refused=self.refused)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    it = Played()

    def ask(config: object, question: Callable[[Played], Awaitable[Any]]) -> tuple[Any, bool]:
        return trio.run(question, it), it.live

    monkeypatch.setattr(module, "ask", ask)
    return it


def command(*args: str) -> Result:
    return CliRunner().invoke(dead_letters, args)


def test_a_list_has_one_line_each_of_printable_characters(played: Played) -> None:
    error = ErrorInfo(type="ValueError", message="no\x1b[31m\nsecond " + "m" * 100, at=AT.timestamp())
    letter = DeadLetter(id="x1", at=AT.timestamp(), actor="a", port="v", attempts=3, error=error, preview="v=1")
    played.listed = DeadLetters(total=12, letters=(letter, letter))
    done = command("list", "--node", "a", "--limit", "2")
    assert (done.exit_code, played.asked) == (0, [("list", 2, "a")])
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["ID", "LAST", "NODE", "ATTEMPTS", "STATE", "ERROR", "INPUT"]
    assert len(lines) == 2
    assert lines[0].startswith("x1  20")
    assert "  a     3         dead   ValueError: no?[31m second mmm" in lines[0]
    assert lines[0].endswith("…  v=1")
    assert done.stderr.startswith("10 more; --limit shows more")


def test_a_list_for_programs_is_what_the_control_endpoint_gives(played: Played) -> None:
    error = ErrorInfo(type="E", message="no", at=1.0)
    played.listed = DeadLetters(
        total=1, letters=(DeadLetter(id="x1", at=1.0, actor="a", port="v", attempts=3, error=error),)
    )
    letters = json.loads(command("list", "--json").stdout)
    assert (letters["total"], letters["letters"][0]["id"], letters["letters"][0]["state"]) == (1, "x1", "dead")


def test_an_empty_list_is_said_to_be(played: Played) -> None:
    done = command("list")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no dead letters\n")


def test_one_letter_is_shown_whole(played: Played) -> None:
    played.shown = make_letter(
        "x1",
        burials=2,
        initial=["v"],
        cause=Cause(type="E", message="no\x07", traceback="one\ntwo\n", file="f.py", line=7),
    )
    text = command("show", "x1").stdout
    assert text.splitlines()[0] == "x1: given up by a (A), run run1"
    assert "attempts  3, given up 2 times\n" in text
    assert "failure   E: no? (f.py:7)\n          one\n          two\n" in text
    assert "input     v: integer, 9 bytes, initial value\n          1\n" in text
    document = json.loads(command("show", "x1", "--json").stdout)
    assert document["inputs"]["v"]["exact"] == "kqdpbnRlZ2VyAQ=="
    assert document["complete"] is True


@pytest.mark.parametrize(
    ("live", "text"), [(True, "is being replayed"), (False, "will be replayed when the next run begins")]
)
def test_what_is_replayed_is_said_and_when(played: Played, live: bool, text: str) -> None:
    played.live = live
    done = command("replay", "x1", "x2")
    assert (done.exit_code, done.stdout) == (0, f"x1 {text}\nx2 {text}\n")
    assert played.asked == [("replay", ("x1", "x2"), "")]


def test_what_is_refused_is_said_and_the_rest_is_done(played: Played) -> None:
    played.refused = {"x2": "it is gone"}
    done = command("replay", "x1", "x2")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "x1 is being replayed\n", "error: x2: it is gone\n")
    done = command("drop", "x1", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (2, {"done": ["x1"], "refused": {"x2": "it is gone"}})


def test_all_has_to_be_said(played: Played) -> None:
    assert command("drop", "--all", "--node", "b").exit_code == 0
    assert command("replay", "--all").exit_code == 0
    assert played.asked == [("drop", None, "b"), ("replay", None, "")]
    for args in (
        ["drop"],
        ["replay"],
        ["drop", "x1", "--all"],
        ["replay", "x1", "--node", "b"],
        ["drop", "--node", "b"],
    ):
        assert command(*args).exit_code == 2
    assert len(played.asked) == 2


def test_without_any_there_is_nothing_to_do(played: Played) -> None:
    done = command("drop", "--all")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no dead letters\n")
