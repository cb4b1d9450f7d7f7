"""A graph in the words of its components: ports spelled as they are declared, configurations with their defaults.

Whatever cannot be resolved stays as it is, for `check` to complain about; a graph that passes `check` is run as this
module returns it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from reflow_supervisor.config import Endpoint
from reflow_supervisor.network.component import Component, PortDecl
from reflow_supervisor.network.config_schema import apply_schema
from reflow_supervisor.network.graph import Graph, Node, Origin, Section

Lookup = Callable[[str], Component | None]
"""Finds a component by name."""


def resolve(graph: Graph, lookup: Lookup) -> Graph:
    """The same graph, ready to run."""
    find = functools.cache(lookup)
    return _with_defaults(with_declared_ports(graph, find), find)


def with_declared_ports(graph: Graph, lookup: Lookup) -> Graph:
    """The same graph, with ports spelled as they are declared, where case does not matter in it."""
    if graph.case_sensitive:
        return graph

    @functools.cache
    def spellings(component: str, *, inport: bool) -> Mapping[str, str]:
        found = lookup(component)
        return _spellings((found.inports if inport else found.outports) if found else ())

    def port(end: Endpoint, *, inport: bool) -> Endpoint:
        node = graph.nodes.get(end.node)
        if node is None:
            return end
        known = spellings(node.component, inport=inport)
        return Endpoint(end.node, known.get(end.port.casefold(), end.port))

    edges = tuple(
        attrs.evolve(edge, from_port=port(edge.source, inport=False).port, to_port=port(edge.target, inport=True).port)
        for edge in graph.edges
    )
    initial = {port(end, inport=True): value for end, value in graph.initial.items()}
    origins: dict[tuple[Section, Endpoint | str], Origin] = {
        (section, port(what, inport=True) if isinstance(what, Endpoint) else what): origin
        for (section, what), origin in graph.origins.items()
    }
    return attrs.evolve(
        graph,
        edges=edges,
        initial=initial,
        inports={name: port(end, inport=True) for name, end in graph.inports.items()},
        outports={name: port(end, inport=False) for name, end in graph.outports.items()},
        case_sensitive=True,
        origins=MappingProxyType(origins),
    )


def _with_defaults(graph: Graph, find: Lookup) -> Graph:
    nodes: dict[str, Node] = {}
    for id, node in graph.nodes.items():
        component = find(node.component)
        if component is not None and component.config_schema is not None:
            config, _ = apply_schema(component.config_schema, node.config)
            node = attrs.evolve(node, config=config) if config != node.config else node
        nodes[id] = node
    return attrs.evolve(graph, nodes=nodes)


def _spellings(ports: tuple[PortDecl, ...]) -> Mapping[str, str]:
    """Port names without case → as declared. Names that differ in case only are left out: they must be exact."""
    groups: dict[str, set[str]] = {}
    for port in ports:
        groups.setdefault(port.name.casefold(), set()).add(port.name)
    return {folded: names.pop() for folded, names in groups.items() if len(names) == 1}
