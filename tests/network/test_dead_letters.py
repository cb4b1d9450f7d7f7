"""What is decided about letters: their ids, what of them waits and counts, how they look, who can have them again."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.network import dead_letters
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.dead_letters import (
    DeadLetters,
    as_kept,
    letter_id,
    obstacle,
    preview,
    replay_of,
    shown,
)
from reflow_supervisor.network.inbox import Activation, DeadLetter, Inbox, Replay
from reflow_supervisor.state.letters import Port, decode, encode, ports_of

NO = Failure(type="ValueError", message="no", traceback="tb", file="a.py", line=3, column=1)
COMPONENT = Component("A", Runtime.PYTHON, (PortDecl("in", "integer"), PortDecl("scale")), source_hash="ab")


def message(value: object, type: str = values.ANY) -> msgspec.Raw:
    return values.encode(type, value)


def buried(number: int = 1, *, replay: Replay | None = None, value: object = 7) -> DeadLetter:
    activation = Activation(number, {"in": message(value)}, failures=3, first_failed=50.0, replay=replay)
    return DeadLetter("a", activation, NO, 100.0, component=COMPONENT)


class TestBookkeeping:
    def test_a_letter_waits_until_it_is_kept_and_is_left_behind_until_it_is_gone(self) -> None:
        letters = DeadLetters("run", bounded=True)
        first, second = buried(1), buried(2)
        ids = [letters.bury(first), letters.bury(second)]
        assert (list(letters), len(letters), letters.oldest, letters.left) == ([first, second], 2, first, set(ids))
        letters.kept(first)
        assert (list(letters), letters.left, letters.waits(ids[0])) == ([second], set(ids), False)
        letters.given_up(second)
        assert (len(letters), letters.lost, letters.oldest, letters.left_behind) == (0, 1, None, 2)
        letters.gone(ids[0])
        assert letters.left_behind == 1

    def test_a_replay_that_fails_is_the_same_letter_and_no_longer_at_work(self) -> None:
        letters = DeadLetters("run", bounded=True)
        letters.replaying.add("x1")
        again = buried(9, replay=Replay("x1", 3, 1, datetime(2024, 1, 1, tzinfo=UTC)))
        assert letters.bury(again) == "x1"
        assert letters.replaying == {"x1"}
        letters.kept(again)
        assert (letters.replaying, letters.left) == (set(), {"x1"})

    def test_it_is_full_by_number_or_by_bytes_where_somebody_takes_them_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dead_letters, "MOST_WAITING", 2)
        monkeypatch.setattr(dead_letters, "MOST_WAITING_BYTES", 1000)
        letters, nobodys = DeadLetters("run", bounded=True), DeadLetters()
        large = buried(1, value="x" * 1000)
        for some in (letters, nobodys):
            some.bury(large)
        assert (letters.full, nobodys.full) == (True, False)
        letters.kept(large)
        letters.bury(buried(2))
        assert not letters.full
        letters.bury(buried(3))
        assert letters.full

    def test_ids_are_short_and_always_the_same(self) -> None:
        assert letter_id("run", "a", 1) == letter_id("run", "a", 1)
        ids = {letter_id(run, node, n) for run in ("r", "r2") for node in ("a", "b") for n in range(500)}
        assert len(ids) == 2000
        assert all(len(id) == 10 and id.isalnum() and id == id.lower() for id in ids)


class TestDocument:
    def test_it_says_what_was_given_up_where_and_why(self) -> None:
        letter = as_kept(buried(4), "run")
        assert (letter.id, letter.node, letter.component, letter.source) == (letter_id("run", "a", 4), "a", "A", "ab")
        assert (letter.run, letter.activation, letter.attempts, letter.burials) == ("run", 4, 3, 1)
        assert (letter.first.timestamp(), letter.last.timestamp()) == (50.0, 100.0)
        assert (letter.cause.type, letter.cause.traceback, letter.cause.line) == ("ValueError", "tb", 3)
        assert ports_of(letter) == {"in": Port("any", "integer")}

    def test_over_replays_attempts_add_up_and_the_first_one_stays(self) -> None:
        first = datetime(2024, 1, 1, tzinfo=UTC)
        letter = as_kept(buried(9, replay=Replay("x1", 6, 2, first)), "run2")
        assert (letter.id, letter.attempts, letter.burials, letter.first) == ("x1", 9, 3, first)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        )
    )
    def test_what_comes_back_is_what_was_given_up_bit_by_bit(self, value: object) -> None:
        raw = message(value)
        letter = DeadLetter("a", Activation(1, {"in": raw}), NO)
        inputs, replay = replay_of(decode(encode(as_kept(letter, "run"))))
        assert {port: bytes(again) for port, again in inputs.items()} == {"in": bytes(raw)}
        assert replay.letter == letter_id("run", "a", 1)


class TestTexts:
    def test_a_preview_is_short_whatever_came_in(self) -> None:
        inputs = {
            "a": message({"x": [1]}),
            "b": message("y" * 500),
            "c": message("z" * 70_000),
            "d": message(None, "flow"),
        }
        text = preview(Activation(1, {**inputs, "e": msgspec.Raw(b"\xc1")}), 200)
        size = memoryview(inputs["c"]).nbytes
        y = f'"{"y" * 198}…'
        assert text == f'a={{"x":[1]}}, b={y}, c=({size} bytes), d=null, e=(1 bytes that are no message)'

    def test_what_is_no_number_in_json_is_shown_all_the_same(self) -> None:
        assert shown(message([float("nan"), b"\x00"])) == '[NaN,"AA=="]'


class TestAgain:
    def test_what_fits_fits(self) -> None:
        assert obstacle("a", COMPONENT, ["in"], {"in": Port("integer", "integer"), "scale": Port("float")}) == ""

    def test_what_did_not_fit_before_is_as_good_as_it_was(self) -> None:
        assert obstacle("a", COMPONENT, (), {"in": Port("string", "integer")}) == ""

    @pytest.mark.parametrize(
        ("component", "awaited", "ports", "why"),
        [
            (None, (), {"in": Port("integer")}, "the network has no node 'a' any more"),
            (COMPONENT, (), {"old": Port("integer")}, "A has no inport 'old' any more"),
            (
                COMPONENT,
                (),
                {"in": Port("string", "string")},
                "inport 'in' of A is integer now, and the letter has string for it",
            ),
            (
                COMPONENT,
                ("in", "scale"),
                {"in": Port("integer")},
                "A awaits scale too now, and the letter has no message for it",
            ),
        ],
    )
    def test_why_not(
        self, component: Component | None, awaited: tuple[str, ...], ports: dict[str, Port], why: str
    ) -> None:
        assert obstacle("a", component, awaited, ports) == why

    def test_a_component_that_declares_no_ports_takes_any(self) -> None:
        assert obstacle("a", Component("A", Runtime.PYTHON, open_ports=True), (), {"x": Port("any")}) == ""

    def test_replays_come_before_what_was_sent_in_their_order_each_as_an_activation_of_its_own(self) -> None:
        inbox = Inbox("a", ("in",), sticky={"scale": message(3)}, max_attempts=2)
        first = datetime(2024, 1, 1, tzinfo=UTC)
        inbox.offer("in", message(1))
        old = {"in": message(10), "scale": message(1)}
        for n, initial in ((1, ["scale"]), (2, [])):
            inbox.replay(old, initial, Replay(f"x{n}", 3, 1, first))
        assert (inbox.waiting, inbox.replays, inbox.idle) == (3, 2, False)
        taken = [activation for _ in range(3) if (activation := inbox.take()) is not None]
        plain = [{p: values.decode(raw)[1] for p, raw in a.inputs.items()} for a in taken]
        # An initial value is that of now; what was none is what it was.
        assert plain == [{"in": 10, "scale": 3}, {"in": 10, "scale": 1}, {"in": 1, "scale": 3}]
        assert [a.replay and a.replay.letter for a in taken] == ["x1", "x2", None]
        assert [(a.id, a.attempt, a.failures) for a in taken] == [(1, 1, 0), (2, 1, 0), (3, 1, 0)]
        assert inbox.failed(taken[0], NO) is None, "it has all its attempts again"
        assert inbox.take() is taken[0]
        letter = inbox.failed(taken[0], NO)
        assert letter is not None
        assert letter.activation.replay is not None
        assert [a.id for _ in range(2) if (a := inbox.take()) is not None] == [2, 3]
        assert inbox.last_chance(taken[2]) is False
