"""Frames that outlive their connection: each comes once and in order, whatever the network does, in both languages."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reflow.wire.errors import ProtocolViolationError
from reflow.wire.replay import Arrival, Replay, Window
from wire.network import STEPS, WANTED, Network, play

JAVASCRIPT = Path(__file__).resolve().parents[2] / "sandbox_agents" / "javascript" / "test" / "network.js"
PLANS = 3000
TALK = ("say", "send", "take")
"""Steps without which nothing happens."""

WINDOW = Window(max_frames=3, max_bytes=100, ack_frames=2, ack_bytes=50)


def sent(replay: Replay[str]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    while replay.has_next:
        found.append(replay.next())
    return found


def keeping(*frames: str) -> Replay[str]:
    replay = Replay[str](WINDOW)
    for frame in frames:
        replay.keep(frame, 10)
    return replay


# -- one end -----------------------------------------------------------------------------------------------------


def test_frames_are_numbered_from_one_and_kept_until_they_are_acknowledged() -> None:
    replay = keeping("a", "b")
    assert replay.following == 3
    assert sent(replay) == [(1, "a"), (2, "b")]
    assert (replay.kept, replay.kept_bytes, replay.sent, replay.acknowledged) == (2, 20, 2, 0)
    assert replay.arrived(0, 1, 0) is Arrival.ACKNOWLEDGEMENT
    assert (replay.kept, replay.kept_bytes, replay.acknowledged) == (1, 10, 1)
    replay.keep("c", 10)
    assert sent(replay) == [(3, "c")]


def test_the_next_frame_is_new_and_any_other_is_not() -> None:
    replay = keeping()
    assert replay.arrived(1, 0, 5) is Arrival.NEW
    assert replay.arrived(1, 0, 5) is Arrival.DUPLICATE
    assert replay.arrived(3, 0, 5) is Arrival.GAP
    assert replay.received == 1
    assert replay.arrived(2, 0, 5) is Arrival.NEW
    assert replay.received == 2


def test_when_the_window_is_full_nothing_new_leaves_until_something_is_acknowledged() -> None:
    replay = keeping("a", "b", "c")
    assert not replay.has_room
    sent(replay)
    replay.arrived(0, 1, 0)
    assert replay.has_room
    replay.keep("large", 1000)  # it leaves although it is larger than the window
    assert not replay.has_room
    sent(replay)
    replay.arrived(0, 4, 0)
    assert (replay.has_room, replay.kept_bytes) == (True, 0)


@pytest.mark.parametrize("size", [1, 25])
def test_an_acknowledgement_goes_with_a_frame_or_alone_when_it_is_due(size: int) -> None:
    replay = keeping()
    assert not replay.owes
    replay.arrived(1, 0, size)
    assert (replay.owes, replay.is_due) == (True, False)
    replay.arrived(2, 0, size)
    assert replay.is_due
    replay.keep("a", 10)
    sent(replay)
    assert (replay.owes, replay.is_due) == (False, False)


def test_much_is_acknowledged_soon_and_little_when_it_has_waited() -> None:
    replay = keeping()
    replay.arrived(1, 0, 50)
    assert replay.is_due
    replay.told()
    replay.arrived(2, 0, 1)
    assert not replay.is_due
    replay.insist()
    assert replay.is_due
    replay.told()
    replay.insist()
    assert not replay.is_due


def test_an_acknowledgement_of_what_was_never_sent_is_a_violation() -> None:
    replay = keeping("a", "b")
    replay.next()
    with pytest.raises(ProtocolViolationError, match="frame 2 is acknowledged, and only 1 were sent"):
        replay.arrived(0, 2, 0)


def test_an_older_acknowledgement_says_nothing() -> None:
    replay = keeping("a", "b")
    sent(replay)
    replay.arrived(0, 2, 0)
    assert replay.arrived(1, 1, 5) is Arrival.NEW
    assert (replay.acknowledged, replay.kept) == (2, 0)


# -- another connection ------------------------------------------------------------------------------------------


def test_what_the_peer_has_not_is_sent_again_and_what_it_has_is_not() -> None:
    replay = keeping("a", "b", "c")
    sent(replay)
    replay.resume(1)
    assert (replay.acknowledged, replay.kept) == (1, 2)
    assert sent(replay) == [(2, "b"), (3, "c")]
    replay.resume(1)
    assert replay.next() == (2, "b")
    # It was on its way all along: not sent again, once that is known.
    replay.arrived(0, 3, 0)
    assert sent(replay) == []


def test_what_was_said_while_there_was_no_connection_goes_with_the_next() -> None:
    replay = keeping("a")
    sent(replay)
    replay.keep("b", 10)
    replay.resume(0)
    assert sent(replay) == [(1, "a"), (2, "b")]


def test_both_have_told_what_they_received_when_they_resume() -> None:
    replay = keeping()
    replay.arrived(1, 0, 5)
    replay.resume(0)
    assert not replay.owes


@pytest.mark.parametrize(
    ("received", "says"),
    [
        (3, "the peer says that it has frame 3, and only 2 were sent"),
        (0, "the peer says that it has 0 frames, after it had acknowledged 1"),
    ],
)
def test_a_peer_cannot_have_what_was_not_sent_nor_lose_what_it_acknowledged(received: int, says: str) -> None:
    replay = keeping("a", "b", "c")
    replay.next()
    replay.next()
    replay.arrived(0, 1, 0)
    with pytest.raises(ProtocolViolationError, match=says):
        replay.resume(received)


def test_a_session_that_is_over_keeps_nothing() -> None:
    replay = keeping("a", "b")
    replay.next()
    replay.clear()
    assert (replay.kept, replay.kept_bytes, replay.has_next, replay.has_room) == (0, 0, False, True)


# -- any network -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, len(STEPS) * 60 - 1), max_size=120))
@settings(max_examples=300, deadline=None)
@example([])
def test_every_frame_comes_once_and_in_order_whatever_the_network_does(plan: list[int]) -> None:
    assert play(plan).up == [True, True]


def generated(count: int) -> list[list[int]]:
    """Plans that differ in what they are made of: one is full of cuts, another has none and repeats frames."""
    rng = random.Random(20)
    plans: list[list[int]] = []
    for _ in range(count):
        weights = [rng.choice((1, 3, 9)) if step.startswith(TALK) else rng.choice((0, 0, 1, 3)) for step in STEPS]
        steps = rng.choices(range(len(STEPS)), weights, k=rng.randrange(120))
        plans.append([step + len(STEPS) * rng.randrange(60) for step in steps])
    return plans


def difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    at = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    return "" if at is None and len(ours) == len(theirs) else f"at {at}: {ours[at or 0 :][:3]} {theirs[at or 0 :][:3]}"


@pytest.mark.slow
def test_both_languages_do_the_same_and_everything_that_may_happen_does() -> None:
    plans = generated(PLANS)
    networks: list[Network] = [play(plan) for plan in plans]
    seen = sum((network.seen for network in networks), Counter[str]())
    assert {what: seen[what] for what in WANTED if seen[what] < 20} == {}
    run = subprocess.run(
        ["node", str(JAVASCRIPT)], input=json.dumps(plans), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    for plan, network, theirs in zip(plans, networks, json.loads(run.stdout), strict=True):
        assert difference(network.trace, theirs) == "", plan
