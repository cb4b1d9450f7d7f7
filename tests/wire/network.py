"""A network between two ends of one session, that does to it what a plan says.

A plan is a list of numbers: each is one step (`STEPS`) with an argument. Two ends talk over a connection whose frames
the plan drops, delays, repeats and swaps, and which it cuts, noticed by both ends or by one, also while it is being
resumed. Then the network is healed, and everything must have come once and in order.

`sandbox_agents/javascript/test/network.js` is the same in JavaScript: it leaves the same trace of the same plan.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Protocol

import attrs
from reflow.wire.replay import Arrival, Replay, Window

STEPS = (
    "say 0", "say 1", "send 0", "send 1", "take 0", "take 1", "drop", "repeat", "swap", "cut", "cut 0", "cut 1",
    "connect", "insist 0", "insist 1", "pack",
)  # fmt: skip

SMALL = Window(max_frames=6, max_bytes=200, ack_frames=3, ack_bytes=60)
MAX_SIZE = 50
"""Bytes of a frame."""

WANTED = (
    "resumed with frames to send again at both ends",
    "resumed with nothing to send again",
    "frame sent again",
    "frame acknowledged by a resume",
    "acknowledgement lost",
    "duplicate",
    "gap",
    "hello lost",
    "welcome lost",
    "window full",
    "acknowledgement alone",
    "half open",
)
"""What must have happened in some plans, or they test nothing."""


class End(Protocol):
    """One side of the session. A frame is (number, acknowledged, what it carries)."""

    @property
    def received(self) -> int: ...
    @property
    def acknowledged(self) -> int: ...
    @property
    def kept(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...
    @property
    def is_full(self) -> bool:
        """Something waits for room."""
        ...

    def say(self, argument: int) -> None: ...
    def send(self) -> tuple[int, int, Any] | None: ...
    def pack(self) -> None: ...
    def take(self, frame: tuple[int, int, Any]) -> Arrival: ...
    def insist(self) -> None: ...
    def resume(self, received: int) -> None: ...


class Frames:
    """An end whose frames are one message each: a number, and a size."""

    def __init__(self, window: Window = SMALL) -> None:
        self.replay = Replay[tuple[int, int]](window)
        self.said = 0
        self.heard: list[int] = []
        self.waiting: deque[tuple[int, int]] = deque()

    received = property(lambda self: self.replay.received)
    acknowledged = property(lambda self: self.replay.acknowledged)
    kept = property(lambda self: self.replay.kept)
    kept_bytes = property(lambda self: self.replay.kept_bytes)
    is_full = property(lambda self: bool(self.waiting) and not self.replay.has_room)

    def say(self, argument: int) -> None:
        self.said += 1
        self.waiting.append((self.said, argument % MAX_SIZE + 1))

    def _keep(self) -> bool:
        if not self.waiting or not self.replay.has_room:
            return False
        message = self.waiting.popleft()
        self.replay.keep(message, message[1])
        return True

    def pack(self) -> None:
        while self._keep():
            pass

    def send(self) -> tuple[int, int, Any] | None:
        replay = self.replay
        acknowledged = replay.received
        if replay.has_next or self._keep():
            number, message = replay.next()
            return number, acknowledged, message
        if replay.is_due:
            replay.told()
            return 0, acknowledged, None
        return None

    def take(self, frame: tuple[int, int, Any]) -> Arrival:
        number, acknowledged, message = frame
        arrival = self.replay.arrived(number, acknowledged, 0 if message is None else message[1])
        if arrival is Arrival.NEW:
            self.heard.append(message[0])
        return arrival

    def insist(self) -> None:
        self.replay.insist()

    def resume(self, received: int) -> None:
        self.replay.resume(received)


@attrs.define
class Network:
    """The agent is end 0: it connects. `wires[n]` leads to end n."""

    ends: tuple[Any, Any]
    trace: list[str] = attrs.Factory(list[str])
    seen: Counter[str] = attrs.Factory(Counter[str])
    wires: tuple[deque[Any], deque[Any]] = attrs.Factory(lambda: (deque[Any](), deque[Any]()))
    up: list[bool] = attrs.Factory(lambda: [True, True])
    sent: list[int] = attrs.Factory(lambda: [0, 0])

    def play(self, plan: Sequence[int]) -> None:
        for number in plan:
            self.step(STEPS[number % len(STEPS)], number // len(STEPS))
            self.check()
        self.heal()

    def step(self, step: str, argument: int) -> None:
        what, _, which = step.partition(" ")
        n = int(which) if which else argument % 2
        match what:
            case "say":
                self.ends[n].say(argument)
            case "send":
                self.send(n)
            case "take":
                self.take(n)
            case "cut":
                self.cut(*((n,) if which else (0, 1)))
            case "connect":
                self.connect()
            case "insist":
                self.ends[n].insist()
            case "pack":
                self.ends[n].pack()
            case _:
                self.disturb(what, self.wires[n])

    def note(self, *what: object) -> None:
        self.trace.append(" ".join(map(str, what)))

    def send(self, n: int) -> bool:
        end = self.ends[n]
        if not self.up[n]:
            return False
        if end.is_full:
            self.seen["window full"] += 1
        frame = end.send()
        if frame is None:
            return False
        number, acknowledged, _ = frame
        self.note("send", n, number, acknowledged)
        self.seen["acknowledgement alone"] += number == 0
        self.seen["frame sent again"] += 0 < number <= self.sent[n]
        self.sent[n] = max(self.sent[n], number)
        self.wires[1 - n].append(frame)
        return True

    def take(self, n: int) -> bool:
        wire = self.wires[n]
        if not wire:
            return False
        frame = wire.popleft()
        if frame[0] == "hello":
            self.welcome(frame[1])
        elif frame[0] == "welcome":
            self.resumed(0, frame[1])
        elif self.up[n]:
            arrival = self.ends[n].take(frame)
            self.note("take", n, frame[0], frame[1], arrival.value)
            self.seen[arrival.value] += 1
            if arrival is Arrival.GAP:
                self.cut(n)
        return True

    def cut(self, *which: int) -> None:
        """Ends notice that the connection is gone."""
        for n in which:
            self.up[n] = False
            self.lose(self.wires[n])
        self.seen["half open"] += self.up[0] != self.up[1]
        self.note("cut", *self.up)

    def lose(self, wire: deque[Any]) -> None:
        for frame in wire:
            if frame[0] in ("hello", "welcome"):
                self.seen[f"{frame[0]} lost"] += 1
            else:
                self.seen["acknowledgement lost"] += 1
        wire.clear()

    def connect(self) -> None:
        if self.up[0]:
            return
        for wire in self.wires:
            self.lose(wire)
        self.wires[1].append(("hello", self.ends[0].received))
        self.note("hello", self.ends[0].received)

    def welcome(self, received: int) -> None:
        """The other end takes it up, in the place of a connection that it may still have."""
        self.lose(self.wires[0])
        self.resumed(1, received)
        self.wires[0].append(("welcome", self.ends[1].received))

    def resumed(self, n: int, received: int) -> None:
        end = self.ends[n]
        before = end.acknowledged
        end.resume(received)
        self.up[n] = True
        self.note("resumed", n, received, end.kept)
        self.seen["frame acknowledged by a resume"] += end.acknowledged > before
        if n == 0:
            kept = [end.kept for end in self.ends]
            self.seen["resumed with frames to send again at both ends"] += all(kept)
            self.seen["resumed with nothing to send again"] += not any(kept)

    def disturb(self, how: str, wire: deque[Any]) -> None:
        """What no connection does to its frames, and the ends must bear all the same."""
        frames = [frame for frame in wire if frame[0] not in ("hello", "welcome")]
        if len(frames) < (2 if how == "swap" else 1):
            return
        first = next(i for i, frame in enumerate(wire) if frame is frames[0])
        match how:
            case "drop":
                del wire[first]
                self.seen["acknowledgement lost"] += 1
            case "repeat":
                wire.insert(first, wire[first])
            case _:
                wire[first], wire[first + 1] = wire[first + 1], wire[first]
        self.note(how, first)

    def check(self) -> None:
        """What holds after every step."""
        for end, other in (self.ends, self.ends[::-1]):
            assert end.kept <= SMALL.max_frames
            assert end.kept_bytes < SMALL.max_bytes + self.largest
            assert end.acknowledged <= other.received

    largest: int = MAX_SIZE + 1

    def heal(self) -> None:
        """From here on nothing goes wrong: everything comes, and is acknowledged."""
        self.cut(0, 1)
        self.connect()
        for _ in range(1000):
            for end in self.ends:
                end.insist()
            moved = [move(n) for move in (self.take, self.send) for n in (0, 1)]
            self.check()
            if not any(moved) and all(end.kept == 0 for end in self.ends):
                return
        raise AssertionError("it does not come to rest")


def play(plan: Sequence[int]) -> Network:
    """A plan between two ends that say one message a frame."""
    network = Network((Frames(), Frames()))
    network.play(plan)
    for end, other in (network.ends, network.ends[::-1]):
        assert end.heard == list(range(1, other.said + 1)), "each message once, and in order"
    return network
