"""Whether a graph makes sense for the components that there are, before anything is started.

Finds every problem at once and starts nothing. Problems of one kind are looked for by one function each; `check` puts
them together. Takes time linear in the size of the graph, whatever the graph: it may come from a stranger.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from reflow_supervisor.config import Endpoint
from reflow_supervisor.errors import Problem, Severity
from reflow_supervisor.network.component import Component, PortDecl
from reflow_supervisor.network.config_schema import apply_schema
from reflow_supervisor.network.graph import Graph, Node, Origin
from reflow_supervisor.network.liveness import Deadlock, Needs, find_deadlocks
from reflow_supervisor.network.ports import ANY, PortKind, PortType, accepts, compatible, parse_port_type
from reflow_supervisor.network.resolve import Lookup, with_declared_ports


def check(graph: Graph, lookup: Lookup, suggestions: Iterable[str] = ()) -> list[Problem]:
    """Everything that is wrong or odd about a graph; what was odd about its file comes first.

    Args:
        lookup: finds a component by name.
        suggestions: the names of all components, to find what a misspelled one may have meant.
    """
    checker = _Checker(with_declared_ports(graph, lookup), functools.cache(lookup), tuple(suggestions))
    return [
        *graph.warnings,
        *checker.components(),
        *checker.edges(),
        *checker.initial_values(),
        *checker.exposed_ports(),
        *checker.groups(),
        *checker.configurations(),
        *checker.inputs(),
        *checker.deadlocks(),
    ]


@attrs.define
class _Suggester:
    """Finds the nearest known name. That takes time, so only the first few misspellings get an answer, and none where
    there are too many names to compare with: a graph with 10 000 errors must not take minutes."""

    left: int = 50

    def __call__(self, name: str, known: Sequence[str]) -> str:
        if not self.left or len(known) > 2000:
            return ""
        self.left -= 1
        close = difflib.get_close_matches(name, known, n=1)
        return f"did you mean `{close[0]}`?" if close else ""


class _Checker:
    def __init__(self, graph: Graph, lookup: Lookup, suggestions: tuple[str, ...]) -> None:
        self._graph = graph
        self._lookup = lookup
        self._suggestions = suggestions
        self._suggest = _Suggester()
        self._node_ids = tuple(graph.nodes)
        self._ports: dict[tuple[str, bool], dict[str, PortDecl]] = {}
        # node → inport → the nodes that feed it; and the inports that something else feeds.
        self._feeders: dict[str, dict[str, list[str]]] = {}
        for edge in graph.edges:
            self._feeders.setdefault(edge.to_node, {}).setdefault(edge.to_port, []).append(edge.from_node)
        self._given = {*graph.initial, *graph.inports.values()}

    def _component(self, node: str) -> Component | None:
        found = self._graph.nodes.get(node)
        return self._lookup(found.component) if found else None

    def _declared(self, component: Component, port: str, *, inport: bool) -> PortDecl | None:
        ports = self._ports.get((component.name, inport))
        if ports is None:
            declared = component.inports if inport else component.outports
            ports = self._ports[component.name, inport] = {p.name: p for p in declared}
        return ports.get(port)

    def _used_components(self) -> Iterator[Component]:
        for name in dict.fromkeys(node.component for node in self._graph.nodes.values()):
            if component := self._lookup(name):
                yield component

    # What the graph names

    def components(self) -> Iterator[Problem]:
        for node in self._graph.nodes.values():
            if self._lookup(node.component) is None:
                hint = self._suggest(node.component, self._suggestions)
                if not hint and self._suggestions and len(self._suggestions) <= 20:
                    hint = f"there are {', '.join(sorted(self._suggestions))}"
                message = f"there is no component `{node.component}`"
                yield node.origin.problem("unknown-component", message, ("component",), hint=hint)
        for component in self._used_components():
            for port in (*component.inports, *component.outports):
                try:
                    parse_port_type(port.type)
                except ValueError as error:
                    message = f"the type of port `{port.name}` of `{component.name}`: {error}"
                    yield Problem("invalid-port-type", message, component.location)
            for form in component.old_forms:
                message = f"`{component.name}` uses an older form: {form}"
                yield Problem("old-form", message, component.location, severity=Severity.WARNING)

    def edges(self) -> Iterator[Problem]:
        seen: set[tuple[Endpoint, Endpoint]] = set()
        for edge in self._graph.edges:
            wrong = [
                *self._missing(edge.source, edge.origin, inport=False),
                *self._missing(edge.target, edge.origin, inport=True),
            ]
            if wrong:
                yield from wrong
                continue
            if (edge.source, edge.target) in seen:
                message = f"`{edge}` is there twice: each message will arrive twice"
                yield edge.origin.problem("duplicate-edge", message, severity=Severity.WARNING)
            seen.add((edge.source, edge.target))
            source, target = self._type(edge.source, inport=False), self._type(edge.target, inport=True)
            if not compatible(source, target):
                message = f"`{edge.source}` sends {source}, `{edge.target}` takes {target}"
                yield edge.origin.problem("port-types", message)

    def initial_values(self) -> Iterator[Problem]:
        for port, value in self._graph.initial.items():
            origin = self._graph.origin("initial", port)
            wrong = list(self._missing(port, origin, inport=True))
            yield from wrong
            if wrong:
                continue
            wanted = self._type(port, inport=True)
            given = _message_type(value)
            if given and wanted.kind not in _NOT_IN_JSON and not accepts(wanted, given):
                yield origin.problem("port-types", f"the value is of type {given}, `{port}` takes {wanted}")

    def exposed_ports(self) -> Iterator[Problem]:
        for name, port in self._graph.inports.items():
            yield from self._missing(port, self._graph.origin("inports", name), inport=True)
        for name, port in self._graph.outports.items():
            yield from self._missing(port, self._graph.origin("outports", name), inport=False)

    def groups(self) -> Iterator[Problem]:
        for id, nodes in self._graph.groups.items():
            unknown = [node for node in nodes if node not in self._graph.nodes]
            if unknown:
                message = f"the group `{id}` names {_listed(unknown)}, which the graph does not have"
                yield Problem("unknown-node", message, severity=Severity.WARNING)

    def _missing(self, port: Endpoint, origin: Origin, *, inport: bool) -> Iterator[Problem]:
        """The node or the port is not there. Nothing is said about ports of unknown components."""
        if port.node not in self._graph.nodes:
            hint = self._suggest(port.node, self._node_ids)
            yield origin.problem("unknown-node", f"there is no node `{port.node}`", hint=hint)
            return
        component = self._component(port.node)
        if component is None or _takes_any(component, inport=inport):
            return
        if self._declared(component, port.port, inport=inport):
            return
        declared = [p.name for p in (component.inports if inport else component.outports)]
        kind = "inport" if inport else "outport"
        has = f"it has {_listed(declared)}" if declared else "it has none"
        message = f"`{port.node}` ({component.name}) has no {kind} `{port.port}`; {has}"
        yield origin.problem("unknown-port", message, hint=self._suggest(port.port, declared))

    def _type(self, port: Endpoint, *, inport: bool) -> PortType:
        component = self._component(port.node)
        declared = self._declared(component, port.port, inport=inport) if component else None
        try:
            return parse_port_type(declared.type) if declared else ANY
        except ValueError:
            return ANY  # reported with the component

    # What the nodes get

    def configurations(self) -> Iterator[Problem]:
        blamed: set[str] = set()
        for node in self._graph.nodes.values():
            component = self._lookup(node.component)
            if component is None or component.config_schema is None:
                continue
            _, violations = apply_schema(component.config_schema, node.config)
            for violation in violations:
                if not violation.in_schema:
                    path = (*node.config_path, *violation.path)
                    yield node.origin.problem("invalid-config", violation.message, path, hint=violation.hint)
                elif component.name not in blamed:
                    blamed.add(component.name)
                    where = f" at `{'.'.join(map(str, violation.path))}`" if violation.path else ""
                    message = f"config_schema of `{component.name}`{where}: {violation.message}"
                    yield Problem("config-schema", message, component.location, severity=Severity.WARNING)

    def inputs(self) -> Iterator[Problem]:
        for node in self._graph.nodes.values():
            if component := self._lookup(node.component):
                yield from self._inputs_of(node, component)

    def _inputs_of(self, node: Node, component: Component) -> Iterator[Problem]:
        hint = "connect it, expose it, or give it an initial value"
        unfed = [port for port in component.inports if not self._is_fed(Endpoint(node.id, port.name))]
        wanted = [p for p in unfed if (p.required or component.await_all_inports) and p.default is None]
        for port in wanted:
            if component.await_all_inports:
                why = f"`{node.id}` awaits all of its inports, and nothing feeds `{port.name}`: it can never run"
            else:
                why = f"nothing feeds `{port.name}`, which `{component.name}` requires"
            yield node.origin.problem("unconnected-inport", why, hint=hint)
        if component.inports and len(unfed) == len(component.inports) and not wanted:
            message = f"nothing feeds `{node.id}`: it will never run"
            yield node.origin.problem("unfed-node", message, hint=hint, severity=Severity.WARNING)

    def _is_fed(self, port: Endpoint) -> bool:
        return port in self._given or port.port in self._feeders.get(port.node, {})

    # What can never run

    def deadlocks(self) -> Iterator[Problem]:
        needs = {id: self._needs(node) for id, node in self._graph.nodes.items()}
        for deadlock in find_deadlocks(needs):
            yield self._deadlock(deadlock)

    def _needs(self, node: Node) -> Needs:
        component = self._lookup(node.component)
        if component is None:
            return Needs({}, every=False)
        every = component.await_all_inports
        fed = self._feeders.get(node.id, {})
        waits = {port: by for port, by in fed.items() if not self._is_settled(node.id, port, by, component)}
        if not every and len(waits) < len(fed):
            waits = {}
        return Needs(waits, every)

    def _is_settled(self, node: str, port: str, feeders: Sequence[str], component: Component) -> bool:
        """An inport that need not wait for the network: it has a value, gets one from outside, or is fed by a node
        that does not exist, which is reported as that."""
        if Endpoint(node, port) in self._given or any(feeder not in self._graph.nodes for feeder in feeders):
            return True
        declared = self._declared(component, port, inport=True)
        return component.await_all_inports and declared is not None and declared.default is not None

    def _deadlock(self, deadlock: Deadlock) -> Problem:
        around = list(deadlock.cycle)
        cycle = " -> ".join(around if len(around) <= 10 else [*around[:5], "…", *around[-4:]])
        if not deadlock.waiting:
            node = self._graph.nodes[around[0]]
            message = f"nothing starts the cycle {cycle}: it will never run"
            hint = "feed it from outside, or give one of its inports an initial value"
            return node.origin.problem("cycle-without-start", message, hint=hint, severity=Severity.WARNING)
        id, ports = next(iter(deadlock.waiting.items()))
        fed = _listed([f"{id}.{port}" for port in ports])
        others = [other for other in deadlock.waiting if other != id]
        also = f"; so do {_listed(others)}" if others else ""
        message = f"`{id}` awaits all of its inports, and only its own cycle feeds {fed}: {cycle}{also}"
        hint = f"give {fed} an initial value, or feed it from outside the cycle"
        return self._graph.nodes[id].origin.problem("never-runs", message, hint=hint)


_NOT_IN_JSON = (PortKind.FLOW, PortKind.EVENT, PortKind.BYTES, PortKind.ENCODED, PortKind.ERROR)
"""A plain value stands for something of these types, which JSON cannot write."""


def _message_type(value: Any) -> str | None:
    """The type of message that a plain JSON value becomes; None for null, which is nothing in particular."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "float"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return None


def _takes_any(component: Component, *, inport: bool) -> bool:
    """Older scripts declare no ports at all, and any may be wired."""
    return component.open_ports and not (inport and component.inports)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
