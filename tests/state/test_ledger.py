from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.state.ledger import Pending, pending
from reflow_supervisor.state.store import StateCommit


def commits(*names: str) -> list[StateCommit]:
    """ "a1" is actor a's commit "1"."""
    return [StateCommit(name[0], name[1:], ()) for name in names]


def planned(todo: list[Pending]) -> list[tuple[str, str]]:
    return [(item.commit.actor + item.commit.commit_id, item.after) for item in todo]


def test_a_first_commit_follows_nothing_and_the_next_follows_it() -> None:
    assert planned(pending(commits("a1", "b1", "a2"), {})) == [("a1", ""), ("b1", ""), ("a2", "1")]


def test_a_marker_from_an_earlier_batch_is_what_the_first_follows() -> None:
    assert planned(pending(commits("a5", "a6"), {"a": "4"})) == [("a5", "4"), ("a6", "5")]


def test_the_marker_and_what_is_before_it_is_applied() -> None:
    assert planned(pending(commits("a1", "b1", "a2", "b2", "a3"), {"a": "2"})) == [
        ("b1", ""),
        ("b2", "1"),
        ("a3", "2"),
    ]


def test_nothing_is_left_of_a_batch_that_was_applied() -> None:
    assert pending(commits("a1", "b1"), {"a": "1", "b": "1"}) == []


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(0, 20))
def test_wherever_a_batch_was_cut_the_rest_of_it_is_left(actors: list[str], cut: int) -> None:
    batch = [StateCommit(actor, str(place), ()) for place, actor in enumerate(actors)]
    markers = {commit.actor: commit.commit_id for commit in batch[:cut]}
    assert [item.commit for item in pending(batch, markers)] == batch[cut:]
