from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conformance.dialogue import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from reflow import ActorState, Message


def committed(state: ActorState) -> list[Any]:
    operations = state.operations()
    assert state.operations() == operations
    state.commit()
    return operations


class Supervisor:
    """A store behind an ActorState, as the supervisor keeps it, with a clock that is set by hand."""

    def __init__(self, content: dict[str, Any] | None = None, ttl_ms: int | None = None) -> None:
        self.store = Store(content or {})
        self.now = 1000.0
        self.fetched: list[str] = []
        self.ttl_ms = ttl_ms
        self.state = self.restarted()

    def restarted(self) -> ActorState:
        return ActorState(self._fetch, self.store.keys, ttl_ms=self.ttl_ms, clock=lambda: self.now)

    def _fetch(self, keys: Sequence[str]) -> dict[str, Any]:
        self.fetched += keys
        return self.store.fetch(keys)

    def commit(self) -> list[list[Any]]:
        operations = committed(self.state)
        for operation in operations:
            self.store.apply(operation)
        return operations


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor({"count": 5, "items": {"$list": [1, 2, 3]}, "json": [7]})


def test_a_key_is_fetched_once_and_not_when_it_is_written_first(supervisor: Supervisor) -> None:
    state = supervisor.state
    assert (state.get("count"), state.get("count"), state.get("none"), state.exists("none")) == (5, 5, None, False)
    state.set("new", 1)
    state.rollback()
    assert supervisor.fetched == ["count", "none"]
    assert state.get("new", "default") == "default"
    assert supervisor.fetched == ["count", "none", "new"]


def test_what_one_activation_did_to_a_key_is_one_operation(supervisor: Supervisor) -> None:
    state = supervisor.state
    for value in range(5):
        state.set("a", value)
    state.increment("count")
    state.increment("count", 10)
    state.set("gone", 1)
    state.delete("gone")
    assert committed(state) == [["set", "a", "4", None], ["set", "count", "16", None], ["delete", "gone"]]
    assert committed(state) == []


def test_deleting_what_never_was_is_no_operation(supervisor: Supervisor) -> None:
    state = supervisor.state
    assert not state.delete("none")
    assert not state.exists("fresh")
    state.set("fresh", 1)
    assert state.delete("fresh")
    assert committed(state) == []


def test_a_list_is_changed_by_what_changed(supervisor: Supervisor) -> None:
    state = supervisor.state
    assert state.pop("items") == 3
    assert state.pop("items", left=True) == 1
    assert state.push("items", "a", "b") == 3
    assert state.pop("items") == "b"
    assert state.get("items") == [2, "a"]
    assert supervisor.commit() == [["trim", "items", 1, 1], ["append", "items", ['"a"'], None]]
    assert supervisor.store.content()["items"] == {"$list": [2, "a"]}


def test_pops_from_the_left_reach_what_was_just_pushed(supervisor: Supervisor) -> None:
    state = supervisor.state
    state.extend("items", [4, 5])
    assert [state.pop("items", left=True) for _ in range(4)] == [1, 2, 3, 4]
    assert supervisor.commit() == [["trim", "items", 3, 0], ["append", "items", ["5"], None]]
    assert [state.pop("items", left=True), state.pop("items", "empty")] == [5, "empty"]
    assert not state.exists("items")
    assert supervisor.commit() == [["delete", "items"]]


def test_a_json_array_becomes_a_list(supervisor: Supervisor) -> None:
    state = supervisor.state
    assert state.push("json", {"k": None}) == 2
    assert supervisor.commit() == [["list", "json", ["7", '{"k":null}'], None]]
    state.set("empty", [])
    assert state.push("empty", 1) == 1
    assert state.pop("empty") == 1
    assert state.pop("empty") is None


def test_extending_by_nothing_changes_nothing(supervisor: Supervisor) -> None:
    assert supervisor.state.extend("items", []) == 3
    assert supervisor.state.extend("none", []) == 0
    assert committed(supervisor.state) == []


def test_rollback_restores_everything(supervisor: Supervisor) -> None:
    state = supervisor.state
    before = {"count": 5, "items": [1, 2, 3], "json": [7], "new": None}
    state.increment("count")
    state.pop("items")
    state.pop("items", left=True)
    state.push("items", 9, 10)
    state.expire("items", 1)
    state.push("json", 8)
    state.set("new", 1)
    state.delete("count")
    state.rollback()
    assert {key: state.get(key) for key in before} == before
    assert state.ttl("items") == -1
    assert committed(state) == []
    state.delete("items")
    state.push("items", "other")
    state.rollback()
    assert state.get("items") == [1, 2, 3]


def test_what_get_gives_is_a_copy(supervisor: Supervisor) -> None:
    state = supervisor.state
    given_in = {"x": [1]}
    state.set("a", given_in)
    given_in["x"].append(2)
    got = state.get("a")
    got["x"].append(3)
    assert state.get("a") == {"x": [1]}
    state.get("items").append(4)
    assert state.get("items") == [1, 2, 3]


def test_counters_are_whole_numbers_of_64_bits(supervisor: Supervisor) -> None:
    state = supervisor.state
    assert (state.increment("n"), state.decrement("n", 3), state.increment("count", 2**53)) == (1, -2, 5 + 2**53)
    state.set("text", "5")
    state.set("big", 2**63 - 1)
    for key in ("text", "items"):
        with pytest.raises(TypeError, match="not a whole number"):
            state.increment(key)
    with pytest.raises(ValueError, match="64 bits"):
        state.increment("big")
    for amount in (1.5, True, "1"):
        with pytest.raises(TypeError, match="whole number"):
            state.increment("n", amount)  # type: ignore[arg-type]
    assert (state.get("n"), state.get("big")) == (-2, 2**63 - 1)


def test_a_value_that_is_no_list_cannot_be_pushed_to(supervisor: Supervisor) -> None:
    for call in (supervisor.state.push, supervisor.state.pop):
        with pytest.raises(TypeError, match="holds a int, not a list"):
            call("count", 1)
    assert committed(supervisor.state) == []


def test_expiry_is_honoured_locally() -> None:
    supervisor = Supervisor({"short": {"$value": 1, "$ttl": 1500}, "stays": 2})
    state = supervisor.state
    assert (state.ttl("short"), state.ttl("stays"), state.ttl("none")) == (2, -1, -2)
    supervisor.now += 1.4
    assert state.exists("short")
    supervisor.now += 0.2
    assert (state.get("short", "gone"), state.keys("short")) == ("gone", [])
    assert state.push("short", 1) == 1  # exact, since the store may still have the old one
    assert committed(state) == [["list", "short", ["1"], None]]


def test_expire_and_writes() -> None:
    supervisor = Supervisor(ttl_ms=60_000)
    state = supervisor.state
    state.set("a", 1)
    state.set("b", 1, ttl=5)
    assert (state.ttl("a"), state.ttl("b")) == (60, 5)
    assert state.expire("a", 0.25)
    assert not state.expire("none", 1)
    assert committed(state) == [["set", "a", "1", None], ["expire", "a", 250], ["set", "b", "1", 5000]]
    assert state.increment("a") == 2  # a write sets the time to live anew
    assert state.ttl("a") == 60
    assert state.expire("b", None)
    assert state.ttl("b") == -1
    assert committed(state) == [["set", "a", "2", None], ["expire", "b", None]]
    state.push("l", 1)
    state.commit()
    supervisor.now += 30
    state.pop("l")
    state.push("l", 2)
    assert state.ttl("l") == 60


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "5", True])
def test_a_time_to_live_is_a_positive_number(seconds: Any) -> None:
    state = Supervisor({"a": 1}).state
    with pytest.raises((TypeError, ValueError), match="time to live"):
        state.expire("a", seconds)
    with pytest.raises((TypeError, ValueError), match="time to live"):
        state.set("a", 2, ttl=seconds)
    assert state.get("a") == 1


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*", ["a.b", "a]", "ab", "a*b", "user:1", "user:2"]),
        ("a?", ["a]", "ab"]),
        ("a.b", ["a.b"]),
        ("a\\*b", ["a*b"]),
        ("user:[12]", ["user:1", "user:2"]),
        ("user:[^1]", ["user:2"]),
        ("user:[9-2]", ["user:2"]),
        ("a[\\]]", ["a]"]),
        ("a[b", ["ab"]),
        ("a[]", []),
        ("a[^]", ["a]", "ab"]),
    ],
)
def test_patterns_are_those_of_redis(pattern: str, matching: list[str]) -> None:
    state = ActorState(lambda keys: {}, lambda pattern: [])
    for key in ("a.b", "a]", "ab", "a*b", "user:1", "user:2"):
        state.set(key, 1)
    assert state.keys(pattern) == sorted(matching)


def test_keys_overlays_what_is_known_here(supervisor: Supervisor) -> None:
    state = supervisor.state
    state.delete("count")
    state.set("new", 1)
    assert state.keys() == ["items", "json", "new"]
    assert state.keys("n*") == ["new"]


@pytest.mark.parametrize("key", ["", "k" * 513, "é" * 257, "a\nb", "\x7f", "\ud800"])
def test_bad_keys(key: str) -> None:
    state = Supervisor().state
    for call in (lambda: state.get(key), lambda: state.set(key, 1), lambda: state.push(key, 1), lambda: state.ttl(key)):
        with pytest.raises(ValueError, match="state key"):
            call()
    assert committed(state) == []


def test_keys_are_text() -> None:
    state = Supervisor().state
    for key in (1, b"k", None, ["a"]):
        with pytest.raises(TypeError, match="a state key is a str"):
            state.get(key)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a state key is a str"):
            state.set(key, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "state['k']: a set cannot be kept"),
        ({"items": [1, object()]}, "state['k'].items[1]: a object cannot be kept"),
        ([[2**64]], "state['k'][0][0]: an integer must fit 64 bits"),
        (2**63, "state['k']: an integer must fit 64 bits"),
        ([float("nan")], "state['k'][0]: nan is not a JSON number"),
        (b"raw", "state['k']: a bytes cannot be kept in state; use base64 text"),
        ({1: 2}, "state['k']: object keys must be strings, not int (1)"),
        ("\ud800", "state['k']: a text holds half of a surrogate pair"),
    ],
)
def test_values_that_are_no_json(value: Any, says: str) -> None:
    state = Supervisor().state
    with pytest.raises((TypeError, ValueError)) as raised:
        state.set("k", value)
    assert str(raised.value).startswith(says)
    assert committed(state) == []


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested"):
        Supervisor().state.set("k", value)


def test_messages_and_numpy_scalars_are_kept_as_values() -> None:
    state = Supervisor().state
    state.set("m", {"n": Message.integer(1), "mean": np.float64(0.5), "t": (1, 2)})
    assert state.get("m") == {"n": 1, "mean": 0.5, "t": [1, 2]}


def test_a_failed_fetch_leaves_nothing_behind() -> None:
    answers: list[Any] = [RuntimeError("away"), {"k": ["value", "1", None]}]

    def fetch(keys: Sequence[str]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    state = ActorState(fetch, lambda pattern: [])
    with pytest.raises(RuntimeError, match="away"):
        state.increment("k")
    assert state.increment("k") == 2


keys = st.sampled_from(["a", "b", "c"])
calls = st.one_of(
    st.tuples(st.just("set"), keys, st.sampled_from([0, 5, "text", [], [1, 2], {"x": 1}])),
    st.tuples(st.sampled_from(["delete", "increment", "pop", "get", "exists"]), keys),
    st.tuples(st.just("popleft"), keys),
    st.tuples(st.just("extend"), keys, st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.sampled_from(["commit", "rollback", "restart"])),
)


class Model:
    """The plainest possible state: a dict, copied at every commit."""

    def __init__(self) -> None:
        self.committed: dict[str, Any] = {}
        self.now: dict[str, Any] = {}

    def call(self, name: str, key: str, *arguments: Any) -> Any:
        value = self.now.get(key)
        match name:
            case "set":
                self.now[key] = arguments[0]
            case "delete":
                return self.now.pop(key, _ABSENT) is not _ABSENT
            case "get":
                return list(value) if isinstance(value, list) else value
            case "exists":
                return key in self.now
            case "increment":
                if not isinstance(value, int) and key in self.now:
                    raise TypeError
                self.now[key] = (value or 0) + 1
                return self.now[key]
            case _:
                if not isinstance(value, list) and key in self.now:
                    raise TypeError
                items = list(value or [])
                if name == "extend":
                    if arguments[0]:
                        self.now[key] = items + arguments[0]
                    return len(items) + len(arguments[0])
                if not items:
                    return None
                taken = items.pop(0 if name == "popleft" else -1)
                self.now[key] = items
                if not items:
                    del self.now[key]
                return taken
        return None


_ABSENT = object()


@settings(max_examples=300, deadline=None)
@given(st.lists(calls, max_size=40))
def test_any_sequence_of_calls_has_the_effect_of_a_plain_dict(sequence: list[tuple[Any, ...]]) -> None:
    supervisor, model = Supervisor(), Model()
    for name, *arguments in sequence:
        if name == "rollback":
            supervisor.state.rollback()
            model.now = dict(model.committed)
        elif name in ("commit", "restart"):
            supervisor.commit()
            model.committed = dict(model.now)
            stored = supervisor.store.content()
            assert {k: v["$list"] if isinstance(v, dict) and "$list" in v else v for k, v in stored.items()} == (
                model.committed
            )
            if name == "restart":
                supervisor.state = supervisor.restarted()
        else:
            assert outcome(state_call(supervisor.state), name, *arguments) == outcome(model.call, name, *arguments)


def state_call(state: ActorState) -> Any:
    def call(name: str, *arguments: Any) -> Any:
        if name == "popleft":
            return state.pop(*arguments, left=True)
        return getattr(state, name)(*arguments)

    return call


def outcome(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except TypeError:
        return TypeError
