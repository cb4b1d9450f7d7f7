"""What waits for one node, what it is working on, and what becomes of each attempt. Pure: no I/O, no clock.

It decides which messages make an activation, in which order activations are handed out, when one is tried again, and
when it has been tried often enough. How it is run is the instance's business, where its outputs go the router's.

Order is kept over failures: the activation that failed, and all that were handed out after it, are handed out
again in their old order, in a higher epoch, so that the agent skips what it still holds of the lower one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs
import msgspec
from reflow.wire.messages import Failure

from .component import Component
from .edge import Edge, Gate, Loop, OnFull


@attrs.frozen
class Replay:
    """The dead letter that an activation is the replay of, with what was counted of it before."""

    letter: str
    attempts: int
    burials: int
    first: datetime


@attrs.define(eq=False)
class Activation:
    """One call of the actor.

    `id` is unique in one node's run, over restarts. `attempt` counts hand-outs, `failures` those that it is blamed for,
    `sent` how many messages of `context.send` have been let through (a later attempt sends the same again).
    `first_failed`: when it was blamed first, in seconds since the epoch.
    """

    id: int
    inputs: Mapping[str, msgspec.Raw]
    attempt: int = 0
    failures: int = 0
    sent: int = 0
    suspect: bool = False
    """In flight with others when a sandbox died: handed out alone next time, so that the guilty one shows."""
    first_failed: float = 0.0
    replay: Replay | None = None


@attrs.frozen
class DeadLetter:
    """An activation that was given up, and the failure of its last attempt. `at`: seconds since the epoch; `initial`:
    the inports whose messages are initial values; `component`: what the node was made of."""

    node: str
    activation: Activation
    failure: Failure
    at: float = 0.0
    initial: Sequence[str] = ()
    component: Component | None = None


class Inbox:
    """The mailbox of one node, and its activations in flight.

    Args:
        ports: the inports that something is connected to.
        sticky: initial values, present in every activation.
        await_all: an activation takes one message from each of `ports`.
        capacity: messages that may wait at one inport before producers have to.
        window: activations in flight at once.
        start_once: begin with one activation of the sticky values alone.
    """

    def __init__(
        self,
        node: str,
        ports: tuple[str, ...],
        *,
        sticky: Mapping[str, msgspec.Raw] | None = None,
        await_all: bool = False,
        capacity: int = 1000,
        window: int = 64,
        max_attempts: int = 3,
        start_once: bool = False,
    ) -> None:
        self.node = node
        self.epoch = 1
        self.received = 0
        self._sticky = dict(sticky or {})
        self.capacity = capacity
        self.paused = False
        """Nothing is handed out, whatever waits."""
        self._window = window
        self._max_attempts = max_attempts
        self._ports = ports if await_all else ()
        self._gates = {port: Gate(capacity) for port in ports}
        self._edges = {port: Edge("", node, port, gate) for port, gate in self._gates.items()}
        self._arrived: deque[Edge] = deque()
        """Whose turn it is: an edge as often as it has messages."""
        self._by_port: dict[str, deque[Edge]] = {port: deque() for port in self._ports}
        self._waiting = 0
        self._again: deque[Activation] = deque()
        self._replays: deque[Activation] = deque()
        self._in_flight: dict[int, Activation] = {}
        self._next_id = 1
        if start_once:
            self._again.append(self._activation({}))

    def connect(
        self,
        port: str,
        source: str,
        *,
        capacity: int | None = None,
        on_full: OnFull = "block",
        loop: Loop | None = None,
        inside: bool = False,
    ) -> Edge:
        """A connection to an inport. `capacity`: of it alone, instead of sharing the inport's."""
        drops = on_full in ("drop_oldest", "drop_newest")
        gate = Gate(capacity or self.capacity) if capacity or drops else self._gates[port]
        return Edge(source, self.node, port, gate, on_full, loop, inside)

    def _activation(self, inputs: Mapping[str, msgspec.Raw]) -> Activation:
        activation = Activation(self._next_id, {**self._sticky, **inputs})
        self._next_id += 1
        return activation

    @property
    def waiting(self) -> int:
        return self._waiting + len(self._again) + len(self._replays)

    @property
    def replays(self) -> int:
        """Replays of dead letters that wait."""
        return len(self._replays)

    @property
    def awaited(self) -> Sequence[str]:
        """The inports that every activation takes a message from; none where one of any is enough."""
        return self._ports

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def oldest(self) -> tuple[int, int] | None:
        """Id and attempt of the activation that was handed out first of those in flight."""
        activation = next(iter(self._in_flight.values()), None)
        return None if activation is None else (activation.id, activation.attempt)

    @property
    def idle(self) -> bool:
        """Nothing is being worked on, and what waits (if anything) is not enough for an activation."""
        waiting = self._again or self._replays or self._arrived or self._ready()
        return not self._in_flight and not waiting

    def full(self, port: str) -> bool:
        return self._gates[port].full

    def offer(self, where: Edge | str, message: msgspec.Raw) -> None:
        """Takes a message in by a connection (or by an inport itself), or drops one, as the connection's `on_full`
        says; also over the capacity where that is to wait: producers ask first."""
        edge = where if isinstance(where, Edge) else self._edges[where]
        self.received += 1
        if edge.put(message):
            self._waiting += 1
            self._by_port.get(edge.port, self._arrived).append(edge)

    def replay(self, inputs: Mapping[str, msgspec.Raw], initial: Sequence[str], replay: Replay) -> None:
        """Takes the input set of a dead letter in, as an activation of its own, behind other replays and before what
        came by connections. Of what were initial values, those of now are meant, where there are some."""
        present = {port: self._sticky[port] for port in initial if port in self._sticky}
        activation = Activation(self._next_id, {**inputs, **present}, replay=replay)
        self._next_id += 1
        self._replays.append(activation)

    def _next(self, edges: deque[Edge]) -> tuple[str, msgspec.Raw]:
        edge = edges.popleft()
        self._waiting -= 1
        return edge.port, edge.take()

    def _ready(self) -> bool:
        return bool(self._ports) and all(self._by_port[port] for port in self._ports)

    def take(self) -> Activation | None:
        """The next activation to hand out, if there is one and the window has room."""
        if self.paused:
            return None
        # A suspect is handed out alone, so one that is in flight is the only one there.
        in_flight = next(iter(self._in_flight.values())) if len(self._in_flight) == 1 else None
        alone = (self._again and self._again[0].suspect) or (in_flight is not None and in_flight.suspect)
        if len(self._in_flight) >= (1 if alone else self._window):
            return None
        if self._again:
            activation = self._again.popleft()
        elif self._replays:
            activation = self._replays.popleft()
        elif self._arrived:
            activation = self._activation(dict([self._next(self._arrived)]))
        elif self._ready():
            activation = self._activation(dict(self._next(self._by_port[port]) for port in self._ports))
        else:
            return None
        activation.attempt += 1
        self._in_flight[activation.id] = activation
        return activation

    def is_in_flight(self, activation: Activation) -> bool:
        return self._in_flight.get(activation.id) is activation

    def current(self, id: int, attempt: int) -> Activation | None:
        """The activation in flight with that id and attempt; None where it is stale."""
        activation = self._in_flight.get(id)
        return activation if activation is not None and activation.attempt == attempt else None

    def done(self, activation: Activation) -> None:
        """It was committed, or its failure went to an `error` port."""
        del self._in_flight[activation.id]

    def last_chance(self, activation: Activation) -> bool:
        """Whether it is given up when it is blamed once more."""
        return activation.failures + 1 >= self._max_attempts

    def failed(self, activation: Activation, failure: Failure, at: float = 0.0) -> DeadLetter | None:
        """It failed at that time: it and what was handed out after it wait again, or it is given up."""
        self._hand_out_again()
        return self._blame(activation, failure, at)

    def skip(self, activation: Activation) -> None:
        """Its failure is dealt with (the `error` port took it): what was handed out after it waits again."""
        del self._in_flight[activation.id]
        self._hand_out_again()

    def guilty(self) -> Activation | None:
        """Who is to blame for the end of the sandbox: the only one in flight. Of several it could be any: a script that
        lets nothing else run also keeps the answers of those before it from leaving."""
        return next(iter(self._in_flight.values())) if len(self._in_flight) == 1 else None

    def lost(self, failure: Failure, at: float = 0.0) -> DeadLetter | None:
        """The sandbox is gone: everything in flight waits again. Where nobody can be blamed (see `guilty`), all are
        suspects, and go alone next time."""
        guilty = self.guilty()
        if guilty is None:
            for activation in self._in_flight.values():
                activation.suspect = True
        self._hand_out_again()
        return None if guilty is None else self._blame(guilty, failure, at)

    def give_back(self) -> None:
        """Whoever worked on it is gone, and nothing of it is to blame: everything in flight waits again."""
        self._hand_out_again()

    def take_again(self, activation: Activation) -> None:
        """Takes one that was given back before all others, also while paused."""
        self._again.remove(activation)
        activation.attempt += 1
        self._in_flight[activation.id] = activation

    def give_up(self, activation: Activation, failure: Failure, at: float = 0.0) -> DeadLetter:
        """It cannot be dealt with, however often it is tried."""
        del self._in_flight[activation.id]
        return self._count(activation, failure, at)

    def _hand_out_again(self) -> None:
        self._again.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        self.epoch += 1

    def _blame(self, activation: Activation, failure: Failure, at: float) -> DeadLetter | None:
        letter = self._count(activation, failure, at)
        if activation.failures < self._max_attempts:
            return None
        self._again.remove(activation)
        return letter

    def _count(self, activation: Activation, failure: Failure, at: float) -> DeadLetter:
        activation.failures += 1
        activation.first_failed = activation.first_failed or at
        initial = [port for port in activation.inputs if port in self._sticky]
        return DeadLetter(self.node, activation, failure, at, initial)
