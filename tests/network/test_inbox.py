"""The decisions about one node's messages: order, redelivery, blame, and giving up."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.network.inbox import Activation, Inbox

FAILURE = Failure(type="ValueError", message="no")


def message(n: int) -> msgspec.Raw:
    return values.from_plain(n)


def number(activation: Activation, port: str = "in") -> int:
    return values.decode(activation.inputs[port])[1]


def fed(count: int, **settings: object) -> Inbox:
    inbox = Inbox("node", ("in",), **settings)  # type: ignore[arg-type]
    for n in range(count):
        inbox.offer("in", message(n))
    return inbox


def take_all(inbox: Inbox) -> list[Activation]:
    taken: list[Activation] = []
    while (activation := inbox.take()) is not None:
        taken.append(activation)
    return taken


def test_messages_are_handed_out_in_order_up_to_the_window() -> None:
    inbox = fed(10, window=4)
    assert [number(a) for a in take_all(inbox)] == [0, 1, 2, 3]
    assert inbox.in_flight == 4
    assert inbox.waiting == 6


def test_sticky_values_are_in_every_activation_and_start_none() -> None:
    inbox = Inbox("node", ("in",), sticky={"scale": message(3)})
    assert inbox.take() is None
    assert inbox.idle
    inbox.offer("in", message(1))
    inbox.offer("in", message(2))
    assert [(number(a), number(a, "scale")) for a in take_all(inbox)] == [(1, 3), (2, 3)]


def test_sticky_values_alone_start_an_unconnected_node_once() -> None:
    inbox = Inbox("node", (), sticky={"go": message(1)}, start_once=True)
    assert not inbox.idle
    [only] = take_all(inbox)
    inbox.done(only)
    assert inbox.idle
    assert inbox.take() is None


def test_await_all_takes_one_from_each_port_and_overwrites_nothing() -> None:
    inbox = Inbox("node", ("a", "b"), await_all=True)
    inbox.offer("a", message(1))
    inbox.offer("a", message(2))
    assert inbox.take() is None
    inbox.offer("b", message(10))
    inbox.offer("b", message(20))
    assert [(number(x, "a"), number(x, "b")) for x in take_all(inbox)] == [(1, 10), (2, 20)]


def test_after_a_failure_everything_behind_it_comes_again_in_order_and_in_a_higher_epoch() -> None:
    inbox = fed(5, window=3)
    first, second, third = take_all(inbox)
    inbox.done(first)
    assert inbox.failed(second, FAILURE) is None
    assert inbox.epoch == 2
    again = take_all(inbox)
    assert [number(a) for a in again] == [1, 2, 3]
    assert [a.attempt for a in again] == [2, 2, 1]
    assert again[1] is third


def test_a_stale_attempt_is_refused() -> None:
    inbox = fed(1)
    [activation] = take_all(inbox)
    inbox.failed(activation, FAILURE)
    [again] = take_all(inbox)
    assert inbox.current(again.id, 1) is None
    assert inbox.current(again.id, 2) is again


def test_poison_is_given_up_after_max_attempts_and_does_not_block_the_rest() -> None:
    inbox = fed(2, max_attempts=3)
    for attempt in (1, 2):
        poison = take_all(inbox)[0]
        assert poison.attempt == attempt
        assert inbox.failed(poison, FAILURE) is None
    letter = inbox.failed(take_all(inbox)[0], FAILURE)
    assert letter is not None
    assert number(letter.activation) == 0
    assert letter.failure is FAILURE
    assert [number(a) for a in take_all(inbox)] == [1]


def test_a_lost_sandbox_blames_nobody_of_several_and_hands_them_out_alone() -> None:
    inbox = fed(3)
    take_all(inbox)
    assert inbox.lost(FAILURE) is None
    alone = take_all(inbox)
    assert [number(a) for a in alone] == [0]
    assert alone[0].failures == 0
    assert inbox.lost(FAILURE) is None
    [again] = take_all(inbox)
    assert again.failures == 1


def test_a_message_that_kills_every_sandbox_is_given_up_and_its_neighbours_are_not() -> None:
    inbox = fed(3, max_attempts=2)
    buried: list[int] = []
    done: list[int] = []
    for _ in range(20):
        batch = take_all(inbox)
        if not batch:
            break
        if any(number(a) == 1 for a in batch):
            for a in batch[: [number(x) for x in batch].index(1)]:
                inbox.done(a)
                done.append(number(a))
            letter = inbox.lost(FAILURE)
            if letter:
                buried.append(number(letter.activation))
        else:
            for a in batch:
                inbox.done(a)
                done.append(number(a))
    assert (done, buried) == ([0, 2], [1])
    assert inbox.idle


def test_an_error_port_ends_the_failed_one_and_hands_out_the_rest_again() -> None:
    inbox = fed(3)
    first, *_ = take_all(inbox)
    inbox.skip(first)
    assert [number(a) for a in take_all(inbox)] == [1, 2]
    assert inbox.epoch == 2


def test_full_counts_what_waits_and_not_what_is_in_flight() -> None:
    inbox = fed(2, capacity=2)
    assert inbox.full("in")
    take_all(inbox)
    assert not inbox.full("in")


@given(
    st.integers(1, 30),
    st.integers(1, 8),
    st.lists(st.sampled_from(["commit", "fail", "lose"]), max_size=200),
)
def test_each_message_ends_exactly_once_and_in_order_whatever_fails(count: int, window: int, steps: list[str]) -> None:
    inbox = fed(count, window=window, max_attempts=3)
    committed: list[int] = []
    ended: list[int] = []
    flying: list[Activation] = []
    for step in [*steps, *["commit"] * (count * 3)]:
        flying += take_all(inbox)
        if not flying:
            break
        letter = None
        if step == "commit":
            activation = flying.pop(0)
            inbox.done(activation)
            committed.append(number(activation))
            ended.append(number(activation))
        else:
            letter = inbox.failed(flying[0], FAILURE) if step == "fail" else inbox.lost(FAILURE)
            flying = []
        if letter is not None:
            ended.append(number(letter.activation))
    assert ended == list(range(count))
    assert committed == sorted(committed)
    assert inbox.idle
