"""Requests over a session whose connections are cut: each has one outcome, and it is what its peer answered."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reflow.wire.errors import FrameGapError
from reflow.wire.limits import WireLimits
from reflow.wire.replay import Arrival
from reflow.wire.session import NotificationReceived, Outcome, RequestReceived, Session
from wire.network import SMALL, STEPS, WANTED, Network
from wire.test_replay import generated

LIMITS = WireLimits(max_frame=4096, max_batch=3, batch_bytes=256)
LARGEST = 300
"""Bytes of a frame, at most: three messages of these."""


class Talker:
    """An end that asks, answers what it was asked, cancels and notifies, as its argument says."""

    def __init__(self) -> None:
        self.session = Session(LIMITS, window=SMALL)
        self.asked: list[int | str] = []
        self.outcomes: dict[int | str, str] = {}
        self.open: deque[RequestReceived] = deque()
        self.answers: dict[int | str, str] = {}
        """What it answered to the other's requests."""
        self.notes = 0
        self.heard: list[int] = []

    received = property(lambda self: self.session.received)
    acknowledged = property(lambda self: self.session.acknowledged)
    kept = property(lambda self: self.session._replay.kept)
    kept_bytes = property(lambda self: self.session._replay.kept_bytes)
    is_full = property(lambda self: self.session.queued > 0 and not self.session.has_room)

    def say(self, argument: int) -> None:
        match argument % 5:
            case 0 | 1:
                self.asked.append(self.session.request("m", {"x": "x" * (argument % 20)}))
            case 2 | 3 if self.open:
                self.answer("ok" if argument % 5 == 2 else "error")
            case 4 if self.asked:
                self.session.cancel(self.asked[argument % len(self.asked)])
            case _:
                self.notes += 1
                self.session.notify("n", {"n": self.notes})

    def answer(self, how: str) -> None:
        id = self.open.popleft().id
        assert id not in self.answers, "a request came twice"
        self.answers[id] = how
        if how == "ok":
            self.session.respond(id)
        else:
            self.session.fail(id, -1, "no")

    def send(self) -> tuple[int, int, Any] | None:
        frame = self.session.data_to_send()
        if frame is None:
            return None
        assert isinstance(frame, bytes)
        number, acknowledged, *_ = msgspec.msgpack.decode(frame)
        return number, acknowledged, frame

    def pack(self) -> None:
        self.session.pack()

    def take(self, frame: tuple[int, int, Any]) -> Arrival:
        before = self.session.received
        try:
            events = self.session.receive(frame[2])
        except FrameGapError:
            return Arrival.GAP
        for event in events:
            match event:
                case RequestReceived():
                    self.open.append(event)
                case Outcome(id):
                    assert id not in self.outcomes, "a second outcome"
                    self.outcomes[id] = "unknown" if event.unknown else "ok" if event.error is None else "error"
                case NotificationReceived(method, params):
                    if method == "n":
                        self.heard.append(params.plain()["n"])
        if self.session.received > before:
            return Arrival.NEW
        return Arrival.ACKNOWLEDGEMENT if frame[0] == 0 else Arrival.DUPLICATE

    def insist(self) -> None:
        self.session.acknowledge()

    def resume(self, received: int) -> None:
        self.session.resume(received)

    def lost(self) -> None:
        for outcome in self.session.lost():
            assert outcome.id not in self.outcomes, "a second outcome"
            assert outcome.unknown
            self.outcomes[outcome.id] = "unknown"


def talk(plan: list[int], *, expires: bool) -> Network:
    """Plays a plan. `expires`: the session ends with it, cut as it is; else everything that was asked is answered."""
    one, other = Talker(), Talker()
    network = Network((one, other))
    network.largest = 3 * LARGEST
    if expires:
        for number in plan:
            network.step(STEPS[number % len(STEPS)], number // len(STEPS))
            network.check()
    else:
        network.play(plan)
        while one.open or other.open:
            for end in (one, other):
                while end.open:
                    end.answer("ok")
            network.heal()
    for end in (one, other):
        end.lost()
    for end, peer in ((one, other), (other, one)):
        assert set(end.outcomes) == set(end.asked), "each request has an outcome"
        for id, outcome in end.outcomes.items():
            assert outcome == peer.answers.get(id) or (expires and outcome == "unknown")
        assert end.heard == list(range(1, (len(end.heard) if expires else peer.notes) + 1))
    return network


@given(st.lists(st.integers(0, len(STEPS) * 60 - 1), max_size=100), st.booleans())
@settings(max_examples=200, deadline=None)
def test_each_request_has_one_outcome(plan: list[int], expires: bool) -> None:
    assert talk(plan, expires=expires).ends[0].session.pending == 0


@pytest.mark.slow
def test_each_request_has_one_outcome_in_plans_in_which_everything_happens() -> None:
    rng, seen, outcomes = random.Random(3), Counter[str](), Counter[str]()
    for plan in generated(1500):
        network = talk(plan, expires=rng.random() < 0.3)
        seen += network.seen
        outcomes.update(outcome for end in network.ends for outcome in end.outcomes.values())
    assert {what: seen[what] for what in WANTED if seen[what] < 20} == {}
    assert min(outcomes[how] for how in ("ok", "error", "unknown")) > 100
