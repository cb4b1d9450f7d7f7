"""What waits for one node, what it is working on, and what becomes of each attempt. Pure: no I/O, no clock.

It decides which messages make an activation, in which order activations are handed out, when one is tried again, and
when it has been tried often enough. How it is run is the instance's business, where its outputs go the router's.

Order is kept over failures: the activation that failed, and all that were handed out after it, are handed out
again in their old order, in a higher epoch, so that the agent skips what it still holds of the lower one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs
import msgspec
from reflow.wire.messages import Failure

from .edge import Edge, Gate, Loop, OnFull


@attrs.define(eq=False)
class Activation:
    """One call of the actor.

    `id` is unique in one node's run, over restarts. `attempt` counts hand-outs, `failures` those that it is blamed for,
    `sent` how many messages of `context.send` have been let through (a later attempt sends the same again).
    """

    id: int
    inputs: Mapping[str, msgspec.Raw]
    attempt: int = 0
    failures: int = 0
    sent: int = 0
    suspect: bool = False
    """In flight with others when a sandbox died: handed out alone next time, so that the guilty one shows."""


@attrs.frozen
class DeadLetter:
    """An activation that was given up, and the failure of its last attempt. `at`: seconds since the epoch."""

    node: str
    activation: Activation
    failure: Failure
    at: float = 0.0


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
        return self._waiting + len(self._again)

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
        return not self._in_flight and not self._again and not self._arrived and not self._ready()

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

    def failed(self, activation: Activation, failure: Failure) -> DeadLetter | None:
        """It failed: it and what was handed out after it wait again, or it is given up."""
        activation.failures += 1
        self._hand_out_again()
        return self._give_up(failure)

    def skip(self, activation: Activation) -> None:
        """Its failure is dealt with (the `error` port took it): what was handed out after it waits again."""
        del self._in_flight[activation.id]
        self._hand_out_again()

    def lost(self, failure: Failure) -> DeadLetter | None:
        """The sandbox is gone: everything in flight waits again. Alone in flight, an activation is blamed; several are
        suspects, and go alone next time."""
        if len(self._in_flight) == 1:
            next(iter(self._in_flight.values())).failures += 1
        else:
            for activation in self._in_flight.values():
                activation.suspect = True
        self._hand_out_again()
        return self._give_up(failure)

    def give_back(self) -> None:
        """Whoever worked on it is gone, and nothing of it is to blame: everything in flight waits again."""
        self._hand_out_again()

    def take_again(self, activation: Activation) -> None:
        """Takes one that was given back before all others, also while paused."""
        self._again.remove(activation)
        activation.attempt += 1
        self._in_flight[activation.id] = activation

    def give_up(self, activation: Activation, failure: Failure) -> DeadLetter:
        """It cannot be dealt with, however often it is tried."""
        activation.failures += 1
        del self._in_flight[activation.id]
        return DeadLetter(self.node, activation, failure)

    def _hand_out_again(self) -> None:
        self._again.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        self.epoch += 1

    def _give_up(self, failure: Failure) -> DeadLetter | None:
        if self._again and self._again[0].failures >= self._max_attempts:
            return DeadLetter(self.node, self._again.popleft(), failure)
        return None
