"""Connections: who is full, what is dropped, and what that means for whoever sends."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflow.wire import values

from reflow_supervisor.config import Endpoint
from reflow_supervisor.network.edge import LOOP_BOUND, OnFull
from reflow_supervisor.network.graph import Edge as GraphEdge
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.router import Router


def message(n: int) -> msgspec.Raw:
    return values.from_plain(n)


def taken(inbox: Inbox) -> list[int]:
    found: list[int] = []
    while (activation := inbox.take()) is not None:
        found += [values.decode(raw)[1] for raw in activation.inputs.values()]
        inbox.done(activation)
    return found


def test_connections_to_one_inport_share_its_room() -> None:
    inbox = Inbox("n", ("in",), capacity=2)
    a, b = inbox.connect("in", "a.o"), inbox.connect("in", "b.o")
    inbox.offer(a, message(1))
    assert not b.blocks
    inbox.offer(b, message(2))
    assert a.blocks
    assert b.blocks
    assert (a.queued, b.queued, inbox.waiting) == (1, 1, 2)
    assert taken(inbox) == [1, 2]
    assert not a.blocks


def test_a_capacity_of_its_own_is_its_own() -> None:
    inbox = Inbox("n", ("in",), capacity=1)
    a, b = inbox.connect("in", "a.o", capacity=2), inbox.connect("in", "b.o")
    inbox.offer(b, message(0))
    assert not a.blocks
    inbox.offer(a, message(1))
    inbox.offer(a, message(2))
    assert a.blocks
    assert taken(inbox) == [0, 1, 2]


@pytest.mark.parametrize(("on_full", "left"), [("drop_oldest", [3, 4]), ("drop_newest", [1, 2])])
def test_one_too_many_is_dropped_and_counted(on_full: OnFull, left: list[int]) -> None:
    inbox = Inbox("n", ("in",))
    edge = inbox.connect("in", "a.o", capacity=2, on_full=on_full)
    for n in (1, 2, 3, 4):
        assert not edge.blocks
        assert edge.refusal == ""
        inbox.offer(edge, message(n))
    assert (edge.dropped, edge.queued, inbox.waiting) == (2, 2, 2)
    assert edge.delivered == (4 if on_full == "drop_oldest" else 2)
    assert taken(inbox) == left
    assert inbox.idle


def test_fail_refuses_and_says_which_connection() -> None:
    inbox = Inbox("n", ("in",))
    edge = inbox.connect("in", "a.o", capacity=1, on_full="fail")
    inbox.offer(edge, message(1))
    assert not edge.blocks
    assert edge.refusal == "a.o -> n.in is full: 1 messages wait, and on_full is `fail`"


def test_a_promised_place_is_taken_for_other_producers_and_dropping_connections_have_none() -> None:
    inbox = Inbox("n", ("in",), capacity=2)
    block, fail = inbox.connect("in", "a"), inbox.connect("in", "b", on_full="fail")
    drop = inbox.connect("in", "c", on_full="drop_newest", capacity=1)
    block.promise(1)
    assert not block.blocks
    fail.promise(1)
    assert block.blocks
    assert fail.refusal
    for edge in (block, fail):
        edge.promise(-1)
    assert not block.blocks
    drop.promise(1)
    inbox.offer(drop, message(1))
    assert drop.dropped == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60),
    st.booleans(),
)
def test_every_message_is_delivered_in_order_or_counted_as_dropped(plan: list[tuple[str, bool]], every: bool) -> None:
    """Four connections with four policies, to one inport or to two that are awaited together: whatever is sent and
    taken when, each connection's messages come out in order, and what does not come out was dropped."""
    inbox = Inbox("n", ("in", "too"), capacity=3, await_all=every)
    policies: dict[str, OnFull] = {"a": "block", "b": "drop_oldest", "c": "drop_newest", "d": "fail"}
    edges = {
        name: inbox.connect("in" if name in "ab" else "too", name, capacity=2, on_full=on_full)
        for name, on_full in policies.items()
    }
    sent: dict[str, list[int]] = {name: [] for name in edges}
    got: list[int] = []
    for number, (name, take) in enumerate(plan):
        edge = edges[name]
        if not edge.blocks and not edge.refusal:
            inbox.offer(edge, message(number))
            sent[name].append(number)
        if take and (activation := inbox.take()) is not None:
            got += [values.decode(raw)[1] for raw in activation.inputs.values()]
            inbox.done(activation)
        assert inbox.waiting == sum(e.queued for e in edges.values())
        assert all(e.queued <= 2 for e in edges.values())
    got += taken(inbox)
    for name, edge in edges.items():
        mine = [n for n in got if n in sent[name]]
        assert mine == sorted(mine)
        assert len(sent[name]) == len(mine) + edge.dropped + edge.queued
    if not every:
        assert [n for n in got if n in sent["a"]] == sent["a"]
        assert inbox.idle


class TestLoops:
    """a -> b -> a, fed from outside; and a node behind it."""

    def router(self, capacity: int) -> Router:
        graph = Graph(
            edges=(
                GraphEdge("a", "o", "b", "in"),
                GraphEdge("b", "back", "a", "again"),
                GraphEdge("b", "out", "c", "in"),
                GraphEdge("d", "o", "d", "in"),
            ),
            inports={"x": Endpoint("a", "in")},
        )
        ports = {"a": ("in", "again"), "b": ("in",), "c": ("in",), "d": ("in",)}
        inboxes = {node: Inbox(node, names, capacity=capacity) for node, names in ports.items()}
        return Router(graph, inboxes)

    def test_what_circles_never_waits_and_what_comes_in_does(self) -> None:
        router = self.router(capacity=2)
        for n in range(5):
            assert router.has_room("a", ["o"])
            router.place("a", "o", message(n))
        assert router.inports["x"].blocks  # nothing waits at `a`, and the loop is full
        assert taken(router.inboxes["b"]) == [0, 1, 2, 3, 4]
        assert not router.inports["x"].blocks

    def test_what_leaves_a_loop_waits(self) -> None:
        router = self.router(capacity=2)
        router.place("b", "out", message(1))
        router.place("b", "out", message(2))
        assert not router.has_room("b", ["back", "out"])
        assert router.has_room("b", ["back"])

    def test_a_node_that_feeds_itself_is_a_loop(self) -> None:
        router = self.router(capacity=1)
        router.place("d", "o", message(1))
        assert router.has_room("d", ["o"])

    def test_a_loop_that_makes_more_than_it_takes_fails(self) -> None:
        router = self.router(capacity=1)
        for n in range(LOOP_BOUND):
            assert router.refusal("b", ["back"]) == ""
            router.place("b", "back", message(n))
        assert router.refusal("b", ["back"]) == (
            f"the loop of a, b makes more messages than it takes: {LOOP_BOUND} wait in it"
        )
        assert router.refusal("b", ["out"]) == ""

    def test_any_plan_of_a_loop_ends(self) -> None:
        """Messages that go around three times each, more of them than fit: the loop is never stuck."""
        router, left = self.router(capacity=3), list(range(50))
        done: list[int] = []
        while len(done) < 50:
            progress = False
            if left and not router.inports["x"].blocks:
                router.inboxes["a"].offer(router.inports["x"], message(left.pop(0) * 10))
                progress = True
            for node, port in (("a", "o"), ("b", "back")):
                inbox = router.inboxes[node]
                for value in taken(inbox):
                    progress = True
                    if node == "b" and value % 10 == 2:
                        done.append(value // 10)
                    else:
                        router.place(node, port, message(value + (node == "b")))
            assert progress, "it stands still"
        assert sorted(done) == list(range(50))
