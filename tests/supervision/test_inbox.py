"""What waits comes out in order of arrival, and is not looked at in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from supervision.world import spec

from reflow_supervisor.supervision._children import Child
from reflow_supervisor.supervision._inbox import Inbox


def child(name: str) -> Child:
    return Child(name, 0, spec(name))


def test_the_oldest_that_nothing_blocks_comes_first() -> None:
    a, inbox = child("a"), Inbox[str]()
    for item in ("a1", "b1", "a2", "b2"):
        inbox.add(item)
    blocked = {"a1": a, "a2": a}
    assert inbox.take(blocked.get) == "b1"
    inbox.unblock(a)
    blocked.clear()
    assert [inbox.take(blocked.get) for _ in range(4)] == ["a1", "a2", "b2", None]


def test_what_is_blocked_is_not_looked_at_again_before_that_is_gone() -> None:
    a, b, inbox = child("a"), child("b"), Inbox[int]()
    looked: list[int] = []

    def blocker(item: int) -> Child | None:
        looked.append(item)
        return a

    for item in range(100):
        inbox.add(item)
    for _ in range(50):
        assert inbox.take(blocker) is None
    assert len(looked) == 100
    inbox.unblock(b)
    assert inbox.take(blocker) is None
    assert len(looked) == 100
    inbox.unblock(a)
    assert inbox.take(blocker) is None
    assert len(looked) == 200


def test_clear_gives_back_everything_in_order() -> None:
    a, inbox = child("a"), Inbox[str]()
    inbox.add("blocked")
    assert inbox.take(lambda _: a) is None
    inbox.add("new")
    assert inbox.clear() == ["blocked", "new"]
    inbox.unblock(a)
    assert inbox.take(lambda _: None) is None


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "free", "block"]), st.integers(0, 3)), max_size=60))
def test_it_is_a_list_that_is_searched_from_the_front(steps: list[tuple[str, int]]) -> None:
    children = [child(str(number)) for number in range(4)]
    blocked: set[int] = set()
    inbox = Inbox[tuple[int, int]]()
    reference: list[tuple[int, int]] = []
    for step, (what, number) in enumerate(steps):
        match what:
            case "add":
                inbox.add((step, number))
                reference.append((step, number))
            case "block":
                blocked.add(number)
            case "free":
                blocked.discard(number)
                inbox.unblock(children[number])
            case _:
                expected = next((item for item in reference if item[1] not in blocked), None)
                taken = inbox.take(lambda item: children[item[1]] if item[1] in blocked else None)
                assert taken == expected
                if expected is not None:
                    reference.remove(expected)
