"""Where messages go: from a node's outport to the inboxes and collectors that it leads to.

It decides what is delivered where, whether there is room, and when a finite run is over. Nothing here waits; `changed`
lets others wait until something did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

import attrs
import msgspec
import trio

from .graph import Graph
from .inbox import DeadLetter, Inbox

Collector = Callable[[msgspec.Raw], None]


@attrs.frozen
class _Target:
    inbox: Inbox
    port: str


class Router:
    """The edges of one network.

    Args:
        inboxes: every node's.
        collectors: what takes the messages of an exposed outport, by its name.
    """

    def __init__(self, graph: Graph, inboxes: Mapping[str, Inbox], collectors: Mapping[str, Collector]) -> None:
        self.inboxes = inboxes
        self.unrouted: Counter[tuple[str, str]] = Counter()
        self.dead_letters: list[DeadLetter] = []
        self.changed = trio.Event()
        self._targets: defaultdict[tuple[str, str], list[_Target]] = defaultdict(list)
        self._collectors: defaultdict[tuple[str, str], list[Collector]] = defaultdict(list)
        for edge in graph.edges:
            target = _Target(inboxes[edge.to_node], edge.to_port)
            self._targets[edge.from_node, edge.from_port].append(target)
        for name, end in graph.outports.items():
            if name in collectors:
                self._collectors[end.node, end.port].append(collectors[name])

    def has_room(self, node: str, ports: Iterable[str]) -> bool:
        """Whether every inbox that those outports lead to takes a message. A node's own inbox always does: waiting
        for oneself would be for ever."""
        return not any(
            target.inbox.full(target.port)
            for port in ports
            for target in self._targets.get((node, port), ())
            if target.inbox.node != node
        )

    def place(self, node: str, port: str, message: msgspec.Raw) -> None:
        targets, collectors = self._targets.get((node, port), ()), self._collectors.get((node, port), ())
        for target in targets:
            target.inbox.offer(target.port, message)
        for collect in collectors:
            collect(message)
        if not targets and not collectors:
            self.unrouted[node, port] += 1

    def bump(self) -> None:
        """Wakes whoever waits for a change."""
        self.changed.set()
        self.changed = trio.Event()

    @property
    def idle(self) -> bool:
        return all(inbox.idle for inbox in self.inboxes.values())
