"""What can be said about a run before anything starts: configuration, scripts, network, supervision groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from reflow_supervisor.actors.discovery import Discovery, discover
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.config import Config
from reflow_supervisor.config.model import GroupConfig
from reflow_supervisor.errors import GraphError, Problem, Severity
from reflow_supervisor.network.check import check
from reflow_supervisor.network.graph import Graph, load_graph
from reflow_supervisor.network.native import NATIVES, check_settings
from reflow_supervisor.network.resolve import resolve

from .fitness import findings, placed, too_few_sandboxes

NETWORK = "network"
"""The supervisor of all nodes."""

SERVICES = "services"
"""The supervisor of what the run itself needs."""


@attrs.frozen
class Prepared:
    """A network that can be run."""

    config: Config
    graph: Graph
    registry: Registry


def find_actors(config: Config) -> Discovery:
    """The scripts of the workspace. None of them is run."""
    workspace = config.workspace
    patterns = workspace.script_patterns if workspace.discover_scripts else ()
    return discover(config.directory, patterns, workspace.exclude)


def find_components(config: Config) -> Registry:
    """The scripts and the built-in components."""
    return Registry(find_actors(config), NATIVES)


def check_workspace(config: Config) -> tuple[Graph, list[Problem]]:
    """The network, and all that is wrong with it, with the scripts, and with the supervision groups.

    Raises:
        UserError: the network cannot be read at all.
    """
    registry = find_components(config)
    graph = load_graph(config)
    own = [placed(config, problem) for problem in registry.problems]
    return graph, [*own, *_problems(config, graph, registry)]


def prepare(config: Config) -> Prepared:
    """Reads and checks everything, and starts nothing.

    Raises:
        UserError: what keeps the network from running.
    """
    registry = find_components(config)
    graph = load_graph(config)
    errors = [p for p in _problems(config, graph, registry) if p.severity is Severity.ERROR]
    if errors:
        # A broken script explains why a component is missing; a broken one that nothing needs is no obstacle.
        missing = any(node.component not in registry for node in graph.nodes.values())
        broken = [p for p in registry.problems if p.severity is Severity.ERROR] if missing else []
        raise GraphError([*broken, *errors])
    if not graph.nodes:
        raise GraphError("the network has no nodes", hint="list some under network.processes in reflow.yaml")
    if problem := too_few_sandboxes(config, graph, registry):
        raise GraphError(problem)
    return Prepared(config, resolve(graph, registry.get), registry)


def _problems(config: Config, graph: Graph, registry: Registry) -> Iterator[Problem]:
    found = list(check(graph, registry.get, registry.names))
    yield from found
    if not any(p.severity is Severity.ERROR for p in found):
        resolved = resolve(graph, registry.get)
        for node in resolved.nodes.values():
            yield from check_settings(node, graph)
        yield from findings(config, resolved, registry)
    yield from _unknown_nodes(config, graph)


def _unknown_nodes(config: Config, graph: Graph) -> Iterator[Problem]:
    def walk(groups: Mapping[str, GroupConfig], path: tuple[str, ...]) -> Iterator[Problem]:
        for name, group in groups.items():
            for index, node in enumerate(group.nodes):
                if node not in graph.nodes:
                    where = (*path, name, "nodes", index)
                    hint = f"it has: {', '.join(list(graph.nodes)[:20]) or 'none'}"
                    yield config.source.problem("unknown-node", f"the network has no node {node!r}", where, hint=hint)
            yield from walk(group.groups, (*path, name, "groups"))

    yield from walk(config.supervision.groups, ("supervision", "groups"))
    yield from _group_names(config, graph)


def _group_names(config: Config, graph: Graph) -> Iterator[Problem]:
    """Events and commands know nodes and supervisors by their names alone."""
    taken = {NETWORK: "the supervisor of all nodes", SERVICES: "the supervisor of the run's own services"}

    def walk(groups: Mapping[str, GroupConfig], path: tuple[str, ...]) -> Iterator[Problem]:
        for name, group in groups.items():
            if name in graph.nodes:
                yield config.source.problem(
                    "contradiction", f"{name} is the name of a node and of a group", (*path, name), key=True
                )
            elif name in taken:
                message, hint = f"{name} is the name of {taken[name]} already", "give the group another name"
                yield config.source.problem("contradiction", message, (*path, name), key=True, hint=hint)
            taken[name] = "another group"
            yield from walk(group.groups, (*path, name, "groups"))

    yield from walk(config.supervision.groups, ("supervision", "groups"))
