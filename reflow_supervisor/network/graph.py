"""The network as data: nodes, edges, initial values, exposed ports, each with its place in the file.

It is made from the `network:` of reflow.yaml, or from a graph file of Reflow's (`*.graph.json`, or the same in YAML).
Such files come in many dialects; everything that Reflow's own files contain is read, and each oddity is mentioned
once, as a warning. Whether the components and ports that the graph names exist, and fit, is decided in `check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import attrs

from reflow_supervisor.config import Config, Endpoint, NetworkConfig, OnFull, Restart
from reflow_supervisor.config.values import NAME_PATTERN
from reflow_supervisor.documents import Document, KeyPath, read_document
from reflow_supervisor.errors import GraphError, Location, Problem, Severity, UserError
from reflow_supervisor.network.ports import parse_port_type, port_type_text


@attrs.frozen(eq=False)
class Origin:
    """Where something was declared. The line is looked up when it is asked for."""

    document: Document = attrs.field(repr=False)
    path: KeyPath

    @property
    def location(self) -> Location:
        return self.document.locate(self.path)

    def problem(
        self, code: str, message: str, path: KeyPath = (), *, hint: str = "", severity: Severity = Severity.ERROR
    ) -> Problem:
        """A finding about it, or about what is at `path` inside it."""
        return self.document.problem(code, message, (*self.path, *path), hint=hint, severity=severity)


_NOWHERE = Origin(Document("<graph>", None), ())


@attrs.frozen
class Overrides:
    """What a node says instead of its component or the workspace; None: nothing."""

    timeout: float | None = None
    max_attempts: int | None = None
    restart: Restart | None = None
    mailbox_capacity: int | None = None


@attrs.frozen
class Node:
    """`config_path` is where its config stands below `origin`; `metadata` is the graph editor's business."""

    id: str
    component: str
    config: Mapping[str, Any] = MappingProxyType({})
    metadata: Mapping[str, Any] = MappingProxyType({})
    overrides: Overrides = Overrides()
    origin: Origin = attrs.field(default=_NOWHERE, eq=False, repr=False)
    config_path: KeyPath = attrs.field(default=("config",), eq=False, repr=False)

    @property
    def location(self) -> Location:
        return self.origin.location


@attrs.frozen
class Edge:
    """`capacity` is None where the node that is fed decides."""

    from_node: str
    from_port: str
    to_node: str
    to_port: str
    on_full: OnFull = "block"
    capacity: int | None = None
    origin: Origin = attrs.field(default=_NOWHERE, eq=False, repr=False)

    @property
    def source(self) -> Endpoint:
        return Endpoint(self.from_node, self.from_port)

    @property
    def target(self) -> Endpoint:
        return Endpoint(self.to_node, self.to_port)

    @property
    def location(self) -> Location:
        return self.origin.location

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


Section = Literal["initial", "inports", "outports"]


@attrs.frozen
class Graph:
    """A whole network.

    `initial`: inport → plain JSON value. `inports` and `outports`: exposed name → port of a node. `warnings`: what
    was odd about the file; `check` reports it along with everything else.
    """

    name: str = ""
    nodes: Mapping[str, Node] = MappingProxyType({})
    edges: tuple[Edge, ...] = ()
    initial: Mapping[Endpoint, Any] = MappingProxyType({})
    inports: Mapping[str, Endpoint] = MappingProxyType({})
    outports: Mapping[str, Endpoint] = MappingProxyType({})
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    case_sensitive: bool = True
    warnings: tuple[Problem, ...] = attrs.field(default=(), eq=False, repr=False)
    origins: Mapping[tuple[Section, Endpoint | str], Origin] = attrs.field(
        default=MappingProxyType({}), eq=False, repr=False
    )

    def origin(self, section: Section, what: Endpoint | str) -> Origin:
        """Where an initial value or an exposed port was declared."""
        return self.origins.get((section, what), _NOWHERE)


def load_graph(config: Config) -> Graph:
    """The network that a configuration describes, or the graph file that it names.

    Raises:
        GraphError: the graph file is not one.
    """
    if config.network.graph is not None:
        return load_graph_file(config.directory / config.network.graph)
    name = config.workspace.name or config.directory.absolute().name
    return graph_from_config(config.network, config.source, name)


def graph_from_config(network: NetworkConfig, source: Document | None = None, name: str = "") -> Graph:
    """The graph of a `network:` section. `source` is the file that it stands in, for places."""
    document = source or _NOWHERE.document

    def origin(*path: str | int) -> Origin:
        return Origin(document, ("network", *path))

    nodes = {
        id: Node(
            id,
            process.component,
            process.config,
            overrides=Overrides(process.timeout, process.max_attempts, process.restart, process.mailbox_capacity),
            origin=origin("processes", id),
        )
        for id, process in network.processes.items()
    }
    edges = tuple(
        Edge(
            connection.source.node,
            connection.source.port,
            connection.target.node,
            connection.target.port,
            connection.on_full,
            connection.capacity,
            origin("connections", index),
        )
        for index, connection in enumerate(network.connections)
    )
    origins: dict[tuple[Section, Endpoint | str], Origin] = {
        **{("initial", port): origin("initial", str(port)) for port in network.initial},
        **{("inports", exposed): origin("inports", exposed) for exposed in network.inports},
        **{("outports", exposed): origin("outports", exposed) for exposed in network.outports},
    }
    return Graph(
        name, nodes, edges, network.initial, network.inports, network.outports, origins=MappingProxyType(origins)
    )


def load_graph_file(path: Path) -> Graph:
    """Reads a graph file of Reflow's.

    Raises:
        GraphError: all that is wrong with it.
    """
    try:
        document = read_document(path)
    except UserError as error:
        raise GraphError(error.problems) from None
    return graph_from_document(document)


def graph_from_document(document: Document) -> Graph:
    """Reads the content of a graph file.

    Raises:
        GraphError: all that is wrong with it.
    """
    return _GraphReader(document).read()


_CROSS_GRAPH_KEYS = {
    "graphDependencies": "graph_dependencies",
    "externalConnections": "external_connections",
    "providedInterfaces": "provided_interfaces",
    "requiredInterfaces": "required_interfaces",
}
"""What ties graphs to each other, in the two spellings that there are."""

_KEYS = frozenset(
    {"caseSensitive", "properties", "inports", "outports", "groups", "processes", "connections"}
    | _CROSS_GRAPH_KEYS.keys()
    | set(_CROSS_GRAPH_KEYS.values())
)

_MAX_ERRORS = 200
"""As many as anybody reads; a hostile file can have a million."""


@attrs.define
class _Oddity:
    """Something unusual that is understood, and that is mentioned once, however often it is there."""

    message: str
    path: KeyPath
    count: int = 1


@attrs.frozen
class _Point:
    """One end of a connection, as a graph file has it. An empty `node`: nowhere."""

    node: str
    port: str


class _GraphReader:
    """Reads one graph file, and collects what is odd and what is wrong."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._oddities: dict[str, _Oddity] = {}
        self._errors: list[Problem] = []
        self._more_errors = 0
        self._origins: dict[tuple[Section, Endpoint | str], Origin] = {}

    def read(self) -> Graph:
        top = self._mapping(self._document.data, ())
        for key in top.keys() - _KEYS:
            self._odd("unknown-key", f"the key `{key}` is not known and not used", (key,))
        self._cross_graph(top)
        properties = self._mapping(top.get("properties"), ("properties",))
        nodes = dict(self._nodes(self._mapping(top.get("processes"), ("processes",))))
        edges, initial = self._connections(self._list(top.get("connections"), ("connections",)))
        graph = Graph(
            name=self._name(properties),
            nodes=nodes,
            edges=edges,
            initial=initial,
            inports=dict(self._exposed("inports", top)),
            outports=dict(self._exposed("outports", top)),
            groups=dict(self._groups(self._list(top.get("groups"), ("groups",)))),
            case_sensitive=self._case_sensitive(top),
            origins=self._origins,
        )
        warnings = tuple(self._warnings())
        if self._errors:
            if self._more_errors:
                self._errors.append(self._document.problem("more-problems", f"and {self._more_errors} more problems"))
            raise GraphError([*self._errors, *warnings])
        return attrs.evolve(graph, warnings=warnings)

    # What was found

    def _odd(self, code: str, message: str, path: KeyPath) -> None:
        if code in self._oddities:
            self._oddities[code].count += 1
        else:
            self._oddities[code] = _Oddity(message, path)

    def _wrong(self, code: str, message: str, path: KeyPath, hint: str = "") -> None:
        if len(self._errors) < _MAX_ERRORS:
            self._errors.append(self._document.problem(code, message, path, hint=hint))
        else:
            self._more_errors += 1

    def _warnings(self) -> Iterator[Problem]:
        for code, oddity in self._oddities.items():
            times = f" ({oddity.count} times in this file)" if oddity.count > 1 else ""
            yield self._document.problem(code, oddity.message + times, oddity.path, severity=Severity.WARNING)

    # Shapes

    def _mapping(self, value: Any, path: KeyPath) -> Mapping[str, Any]:
        """A mapping; an empty one where there is nothing, or something else, which is reported."""
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if value is not None or not path:
            self._wrong("invalid-value", "is not a mapping", path)
        return {}

    def _list(self, value: Any, path: KeyPath) -> list[Any]:
        if isinstance(value, list):
            return cast("list[Any]", value)
        if value is not None:
            self._wrong("invalid-value", "is not a list", path)
        return []

    def _is_name(self, value: Any, path: KeyPath, what: str) -> bool:
        if isinstance(value, str) and _NAME.fullmatch(value):
            return True
        message = f"is not {what} (1 to 128 characters, no control characters, no spaces around it)"
        self._wrong("invalid-name", message, path)
        return False

    # Parts of the file

    def _name(self, properties: Mapping[str, Any]) -> str:
        name = properties.get("name")
        if isinstance(name, str) and name:
            return name
        return Path(self._document.file).name.split(".")[0]

    def _case_sensitive(self, top: Mapping[str, Any]) -> bool:
        value = top.get("caseSensitive")
        if value is None:
            message = "`caseSensitive` is missing: ports are compared without case"
            self._odd("missing-case-sensitive", message, ())
        elif not isinstance(value, bool):
            self._wrong("invalid-value", "is not true or false", ("caseSensitive",))
        return value is True

    def _cross_graph(self, top: Mapping[str, Any]) -> None:
        for camel, snake in _CROSS_GRAPH_KEYS.items():
            if snake in top:
                self._odd("snake-case-key", f"`{snake}` is written `{camel}` elsewhere", (snake,))
            for key in (camel, snake):
                if top.get(key):
                    message = "graphs are run one at a time: what ties this one to others is not used"
                    self._odd("cross-graph", message, (key,))

    def _nodes(self, processes: Mapping[str, Any]) -> Iterator[tuple[str, Node]]:
        for id, value in processes.items():
            path: KeyPath = ("processes", id)
            process = self._mapping(value, path)
            if not process and value is not None and not isinstance(value, dict):
                continue  # reported as no mapping
            if not self._is_name(id, path, "an id"):
                continue
            own_id = process.get("id")
            if own_id is None:
                self._odd("process-without-id", "the process has no `id`: its key is taken", path)
            elif own_id != id:
                self._odd("process-id-differs", "`id` differs from the key, which is taken", (*path, "id"))
            if "component" not in process:
                self._wrong("missing-key", "the key `component` is missing", path, "name the actor")
                continue
            component = process["component"]
            if not self._is_name(component, (*path, "component"), "the name of a component"):
                continue
            metadata = self._mapping(process.get("metadata"), (*path, "metadata"))
            # Reflow hands a node's metadata to its actor as the configuration.
            key = "config" if process.get("config") is not None else "metadata"
            config = self._mapping(process.get("config"), (*path, "config")) if key == "config" else metadata
            yield id, Node(id, component, config, metadata, origin=Origin(self._document, path), config_path=(key,))

    def _connections(self, connections: list[Any]) -> tuple[tuple[Edge, ...], Mapping[Endpoint, Any]]:
        edges: list[Edge] = []
        initial: dict[Endpoint, Any] = {}
        for index, value in enumerate(connections):
            path: KeyPath = ("connections", index)
            if not isinstance(value, dict):
                self._wrong("invalid-value", "is not a mapping", path)
                continue
            connection = cast("dict[str, Any]", value)
            source = self._point(connection.get("from"), (*path, "from"))
            target = self._point(connection.get("to"), (*path, "to"))
            if source is None or target is None:
                continue
            data = connection.get("data")
            if not target.node:
                self._wrong("incomplete-connection", "the connection leads nowhere", path, "give `to` a `nodeId`")
            elif source.node:
                if data is not None:
                    message = "`data` on a connection between nodes is not used"
                    self._odd("data-on-connection", message, (*path, "data"))
                origin = Origin(self._document, path)
                edges.append(Edge(source.node, source.port, target.node, target.port, origin=origin))
            elif data is None:
                hint = "give `from` a `nodeId`, or the connection `data` for an initial value"
                self._wrong("incomplete-connection", "the connection comes from nowhere and has no data", path, hint)
            else:
                port = Endpoint(target.node, target.port)
                if port in initial:
                    message = "a second initial value for the same port: the later one is taken"
                    self._odd("duplicate-initial", message, path)
                initial[port] = data
                self._origins["initial", port] = Origin(self._document, path)
        return tuple(edges), initial

    def _point(self, value: Any, path: KeyPath) -> _Point | None:
        """One end of a connection; None where it is wrong, which is reported."""
        if value is None:
            return _Point("", "")
        if not isinstance(value, dict):
            self._wrong("invalid-value", "is not a mapping", path)
            return None
        fields = cast("dict[str, Any]", value)
        node = fields.get("nodeId") or ""
        if node == "":
            return _Point("", "")
        if not self._is_name(node, (*path, "nodeId"), "the id of a node"):
            return None
        port = self._port(fields, path, "portId", "portName")
        return None if port is None else _Point(node, port)

    def _port(self, fields: Mapping[str, Any], path: KeyPath, first: str, second: str) -> str | None:
        """The port that a connection or an exposed port means, which is in one of two keys, or in both."""
        port, other = fields.get(first), fields.get(second)
        if not port and not other:
            hint = f"give it a `{first}`"
            self._wrong("incomplete-connection", "the port is missing", path, hint)
            return None
        if not port:
            self._odd(
                f"empty-{first}", f"`{first}` is empty or missing, the port is in `{second}`, which is taken", path
            )
        elif other == "":
            self._odd(f"empty-{second}", f"`{second}` is empty, the port is in `{first}`, which is taken", path)
        elif other is None:
            message = f"only `nodeId` and `{first}` are given, which is enough"
            self._odd(f"only-{first}", message, path)
        elif port != other:
            self._odd("port-differs", f"`{first}` and `{second}` differ: `{first}` is taken", path)
        key = first if port else second
        self._port_type(fields, path)
        return fields[key] if self._is_name(fields[key], (*path, key), "the name of a port") else None

    def _port_type(self, fields: Mapping[str, Any], path: KeyPath) -> None:
        declared = fields.get("portType")
        if declared is None:
            return
        try:
            parse_port_type(port_type_text(declared))
        except ValueError as error:
            # The component's own declaration is what counts.
            self._odd("invalid-port-type", f"not used: {error}", (*path, "portType"))

    def _exposed(
        self, section: Literal["inports", "outports"], top: Mapping[str, Any]
    ) -> Iterator[tuple[str, Endpoint]]:
        for exposed, value in self._mapping(top.get(section), (section,)).items():
            path: KeyPath = (section, exposed)
            fields = self._mapping(value, path)
            if not fields:
                if isinstance(value, dict) or value is None:
                    self._wrong("incomplete-port", "does not say which port it exposes", path, "give it a `nodeId`")
                continue
            if not self._is_name(exposed, path, "the name of a port"):
                continue
            if not self._is_name(fields.get("nodeId"), (*path, "nodeId"), "the id of a node"):
                continue
            port = self._port(fields, path, "portName", "portId")
            if port is not None:
                self._origins[section, exposed] = Origin(self._document, path)
                yield exposed, Endpoint(fields["nodeId"], port)

    def _groups(self, groups: list[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for index, value in enumerate(groups):
            path: KeyPath = ("groups", index)
            group = self._mapping(value, path)
            id = group.get("id")
            nodes = self._list(group.get("nodes"), (*path, "nodes"))
            if not isinstance(id, str) or not all(isinstance(node, str) for node in nodes):
                self._odd("invalid-group", "a group needs an `id` and the ids of its `nodes`: not used", path)
                continue
            yield id, tuple(nodes)


_NAME = re.compile(NAME_PATTERN)
