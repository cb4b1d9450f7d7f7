"""Where messages go: from a node's outport to the inboxes and collectors that it leads to.

It decides what is delivered where, whether there is room, and when a finite run is over. Nothing here waits; `changed`
lets others wait until something did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import attrs
import msgspec
import trio

from reflow_supervisor.errors import Problem

from .dead_letters import DeadLetters
from .edge import Edge, Loop
from .graph import Graph
from .inbox import Inbox
from .liveness import strong_components

_NOTHING: Mapping[str, int] = MappingProxyType({})

Collector = Callable[[msgspec.Raw], None]


@attrs.frozen
class _Target:
    inbox: Inbox
    edge: Edge


class Router:
    """The edges of one network.

    Args:
        inboxes: every node's.
        collectors: what takes the messages of an exposed outport, by its name.
        dead_letters: where what is given up goes.
    """

    def __init__(
        self,
        graph: Graph,
        inboxes: Mapping[str, Inbox],
        collectors: Mapping[str, Collector] | None = None,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self.inboxes = inboxes
        self.unrouted: Counter[tuple[str, str]] = Counter()
        self.dead_letters = DeadLetters() if dead_letters is None else dead_letters
        self.changed = trio.Event()
        self.draining = trio.Event()
        """Set when no new input is to come in: sources stop."""
        self.bad_input: Problem | None = None
        """Why a source stopped the run."""
        self._sources: set[str] = set()
        self._targets: defaultdict[tuple[str, str], list[_Target]] = defaultdict(list)
        self._collectors: defaultdict[tuple[str, str], list[Collector]] = defaultdict(list)
        loops = _loops(graph, inboxes)
        for edge in graph.edges:
            inbox, loop = inboxes[edge.to_node], loops.get(edge.to_node)
            state = inbox.connect(
                edge.to_port,
                str(edge.source),
                capacity=edge.capacity,
                on_full=edge.on_full,
                loop=loop,
                inside=loop is not None and edge.from_node in loop.nodes,
            )
            self._targets[edge.from_node, edge.from_port].append(_Target(inbox, state))
        self.edges = tuple(target.edge for targets in self._targets.values() for target in targets)
        self.inports = {
            name: inboxes[end.node].connect(end.port, name, loop=loops.get(end.node))
            for name, end in graph.inports.items()
        }
        """What an exposed inport is fed by."""
        for name, end in graph.outports.items():
            if collectors and name in collectors:
                self._collectors[end.node, end.port].append(collectors[name])

    def has_room(self, node: str, ports: Iterable[str], planned: Mapping[str, int] = _NOTHING) -> bool:
        """Whether no connection of those outports makes its producer wait, with so many messages on each outport
        still to be placed before."""
        return not any(
            target.edge.blocks_behind(planned.get(port, 0))
            for port in ports
            for target in self._targets.get((node, port), ())
        )

    def refusal(self, node: str, ports: Iterable[str], planned: Mapping[str, int] = _NOTHING) -> str:
        """Why messages on those outports are refused, so that the activation fails; "" where they are not."""
        reasons = (
            target.edge.refusal_behind(planned.get(port, 0))
            for port in ports
            for target in self._targets.get((node, port), ())
        )
        return next(filter(None, reasons), "")

    def promise(self, node: str, ports: Iterable[str], change: int = 1) -> None:
        """Keeps places for messages on those outports, so that no other producer takes them meanwhile; -1 gives them
        back."""
        for port in ports:
            for target in self._targets.get((node, port), ()):
                target.edge.promise(change)

    def place(self, node: str, port: str, message: msgspec.Raw) -> None:
        targets, collectors = self._targets.get((node, port), ()), self._collectors.get((node, port), ())
        for target in targets:
            target.inbox.offer(target.edge, message)
        for collect in collectors:
            collect(message)
        if not targets and not collectors:
            self.unrouted[node, port] += 1

    def bump(self) -> None:
        """Wakes whoever waits for a change."""
        self.changed.set()
        self.changed = trio.Event()

    def opened(self, source: str) -> None:
        """A node that makes messages of its own has more to come."""
        self._sources.add(source)

    def closed(self, source: str) -> None:
        """It has no more."""
        self._sources.discard(source)
        self.bump()

    def drain(self) -> None:
        """No new input: sources stop."""
        self.draining.set()

    def refuse(self, problem: Problem) -> None:
        """A source has read what it cannot take: no new input; what came before is finished. The first one counts."""
        self.bad_input = self.bad_input or problem
        self.drain()
        self.bump()

    @property
    def idle(self) -> bool:
        return not self._sources and all(inbox.idle for inbox in self.inboxes.values())


def _loops(graph: Graph, inboxes: Mapping[str, Inbox]) -> dict[str, Loop]:
    """Each node that is part of a circle → the loop, which all of its nodes share."""
    successors: dict[str, list[str]] = {node: [] for node in inboxes}
    for edge in graph.edges:
        successors[edge.from_node].append(edge.to_node)
    loops: dict[str, Loop] = {}
    for nodes in strong_components(successors):
        if len(nodes) > 1 or nodes[0] in successors[nodes[0]]:
            loop = Loop(max(inboxes[node].capacity for node in nodes), nodes=frozenset(nodes))
            loops.update(dict.fromkeys(nodes, loop))
    return loops
