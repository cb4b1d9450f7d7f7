"""Which nodes of a network can never run, because they wait for themselves.

A node that awaits all of its inports needs a message on every one before it runs the first time. If all that feeds
an inport can run only after the node itself has, that never happens. This module answers the question from the wiring
alone; that a node has nobody to feed it at all is a different finding, and such nodes count as able to run here.

Everything is iterative and linear in nodes and edges: networks have chains of 10 000.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import attrs


@attrs.frozen
class Needs:
    """What a node needs in order to run. `ports`: inport → the nodes that feed it.

    `every`: a message on each of these inports, or else on any one of them.
    """

    ports: Mapping[str, Sequence[str]]
    every: bool


@attrs.frozen
class Deadlock:
    """`waiting`: the nodes that await an inport which only their own cycle feeds, with these inports, in the order of
    the network; empty where nothing awaits, and nothing starts the cycle either. `cycle` leads from the first of them
    (or from any node) around to it again."""

    waiting: Mapping[str, tuple[str, ...]]
    cycle: tuple[str, ...]


def find_deadlocks(needs: Mapping[str, Needs]) -> list[Deadlock]:
    """The cycles that can never start. What hangs behind such a cycle is not listed: it is the cycle's doing."""
    stuck = needs.keys() - _able(needs)
    if not stuck:
        return []
    # Among nodes that cannot run, who waits for whom. Every one of them has somebody to wait for.
    feeders = {
        node: list(dict.fromkeys(f for ports in needs[node].ports.values() for f in ports if f in stuck))
        for node in needs
        if node in stuck
    }
    position = {node: index for index, node in enumerate(feeders)}
    deadlocks: list[Deadlock] = []
    for component in strong_components(feeders):
        members = set(component)
        if any(feeder not in members for node in component for feeder in feeders[node]):
            continue
        ordered = sorted(component, key=position.__getitem__)
        waiting = {
            node: tuple(port for port, fed_by in needs[node].ports.items() if all(f in stuck for f in fed_by))
            for node in ordered
            if needs[node].every
        }
        start = next(iter(waiting), ordered[0])
        deadlocks.append(Deadlock(waiting, _cycle(start, feeders, members)))
    return deadlocks


def _able(needs: Mapping[str, Needs]) -> set[str]:
    """The nodes that can run, given that those which need nothing can."""
    fed_ports: dict[str, list[tuple[str, str]]] = {}
    missing: dict[str, set[str]] = {}
    able: deque[str] = deque()
    for node, need in needs.items():
        missing[node] = set(need.ports)
        if not need.ports:
            able.append(node)
        for port, fed_by in need.ports.items():
            for feeder in dict.fromkeys(fed_by):
                fed_ports.setdefault(feeder, []).append((node, port))
    reached = set(able)
    while able:
        for node, port in fed_ports.get(able.popleft(), ()):
            missing[node].discard(port)
            if node not in reached and (not missing[node] or not needs[node].every):
                reached.add(node)
                able.append(node)
    return reached


def strong_components(successors: Mapping[str, Sequence[str]]) -> Iterable[list[str]]:
    """Tarjan's algorithm, with a stack of its own instead of recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for root in successors:
        if root in index:
            continue
        work = [(root, iter(successors[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, rest = work[-1]
            for successor in rest:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    path.append(successor)
                    on_path.add(successor)
                    work.append((successor, iter(successors[successor])))
                    break
                if successor in on_path:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component: list[str] = []
                    while not component or component[-1] != node:
                        component.append(path.pop())
                        on_path.discard(component[-1])
                    yield component


def _cycle(start: str, feeders: Mapping[str, Sequence[str]], members: set[str]) -> tuple[str, ...]:
    """The shortest way around from a node to itself, in the direction of the messages."""
    after: dict[str, str] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for feeder in feeders[node]:
            if feeder == start:
                around = [start, node]
                while around[-1] != start:
                    around.append(after[around[-1]])
                return tuple(around)
            if feeder in members and feeder not in after:
                after[feeder] = node
                queue.append(feeder)
    raise AssertionError("every node of a strong component lies on a cycle")
