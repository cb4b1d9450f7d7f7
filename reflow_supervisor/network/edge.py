"""One connection of a network at work: the messages that wait on it, how many may, and what happens to one too many.

Pure bookkeeping. It decides whether a connection is full and what `on_full` then means; which message is taken next is
the inbox's decision, who waits for room the producer's.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import attrs
import msgspec

OnFull = Literal["block", "drop_oldest", "drop_newest", "fail"]

LOOP_BOUND = 100
"""How many times its capacity a loop may hold before what goes on inside it fails: it makes more than it takes."""


@attrs.define(eq=False)
class Gate:
    """How many messages may wait, over all the connections that share it, and how many do. `promised`: places for
    messages that are decided, and come when the state store has answered."""

    capacity: int
    waiting: int = 0
    promised: int = 0

    @property
    def full(self) -> bool:
        return not self.takes(0)

    def takes(self, planned: int) -> bool:
        """Whether there is room for a message behind so many others that are still to come."""
        return self.waiting + self.promised + planned < self.capacity


@attrs.define(eq=False)
class Loop(Gate):
    """Nodes that feed each other in a circle. See docs/decisions/0004-loops.md."""

    nodes: frozenset[str] = frozenset()

    @property
    def amplifies(self) -> bool:
        return self.waiting >= LOOP_BOUND * self.capacity


@attrs.define(eq=False)
class Edge:
    """
    Args:
        source: "node.port", or the name of what else writes to it.
        node: the node that it leads to, and `port` its inport.
        gate: those of one inport share one; a connection with a capacity of its own, and one that drops, has its own.
        loop: that of the node it leads to.
        inside: its producer is part of that loop too.
    """

    source: str
    node: str
    port: str
    gate: Gate
    on_full: OnFull = "block"
    loop: Loop | None = None
    inside: bool = False
    delivered: int = 0
    """Messages that were let in, also those that were dropped later."""
    dropped: int = 0
    _queue: deque[msgspec.Raw] = attrs.field(factory=deque[msgspec.Raw], init=False)

    @property
    def target(self) -> str:
        return f"{self.node}.{self.port}"

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        return self.gate.full

    @property
    def blocks(self) -> bool:
        """Whether a producer has to wait."""
        return self.blocks_behind(0)

    def blocks_behind(self, planned: int) -> bool:
        """Whether a producer has to wait that has so many messages still to place. Never inside a loop, where it could
        be waiting for itself; so what leads into a loop waits while the whole loop is full."""
        if self.inside or self.on_full != "block":
            return False
        return not self.gate.takes(planned) or (self.loop is not None and not self.loop.takes(planned))

    @property
    def refusal(self) -> str:
        """Why a message is not taken, and its producer's activation fails; "" where it is."""
        return self.refusal_behind(0)

    def refusal_behind(self, planned: int) -> str:
        if self.on_full == "fail" and not self.gate.takes(planned):
            return f"{self} is full: {self.gate.capacity} messages wait, and on_full is `fail`"
        if self.inside and self.loop is not None and self.loop.amplifies:
            nodes = ", ".join(sorted(self.loop.nodes)[:10])
            return f"the loop of {nodes} makes more messages than it takes: {self.loop.waiting} wait in it"
        return ""

    def promise(self, change: int) -> None:
        """Keeps a place for a message that was found to have room, or gives it back. A connection that drops has room
        for everything, and no use for places."""
        if self.on_full in ("block", "fail"):
            self.gate.promised += change
            if self.loop is not None:
                self.loop.promised += change

    def put(self, message: msgspec.Raw) -> bool:
        """Lets a message in, or drops one. Whether one more waits now than before."""
        if self.gate.full and self.on_full == "drop_newest":
            self.dropped += 1
            return False
        self.delivered += 1
        self._queue.append(message)
        if self.gate.full and self.on_full == "drop_oldest":
            self._queue.popleft()
            self.dropped += 1
            return False
        self._count(1)
        return True

    def take(self) -> msgspec.Raw:
        """The oldest one."""
        self._count(-1)
        return self._queue.popleft()

    def _count(self, change: int) -> None:
        self.gate.waiting += change
        if self.loop is not None:
            self.loop.waiting += change

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"
