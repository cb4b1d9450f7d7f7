import json
import time
from pathlib import Path

import pytest

from reflow_supervisor.config import Endpoint, parse_config
from reflow_supervisor.documents import parse_json, parse_yaml
from reflow_supervisor.errors import GraphError, Location, Severity
from reflow_supervisor.network.graph import Overrides, graph_from_document, load_graph, load_graph_file


def point(node, port):
    return {"nodeId": node, "portId": port, "portName": port, "portType": {"type": "any"}}


def document(**parts):
    """A graph file without oddities, apart from what a test gives it."""
    return {
        "caseSensitive": True,
        "properties": {"name": "test"},
        "processes": {"a": {"id": "a", "component": "A", "metadata": None}, "b": {"id": "b", "component": "B"}},
        "connections": [{"from": point("a", "out"), "to": point("b", "in"), "metadata": {}}],
        "inports": {},
        "outports": {},
        "groups": [],
        **parts,
    }


def read(data):
    return graph_from_document(parse_json(json.dumps(data), "x.graph.json"))


def without(data, *keys):
    return {key: value for key, value in data.items() if key not in keys}


def refused(data):
    with pytest.raises(GraphError) as caught:
        read(data)
    return [(p.code, p.path) for p in caught.value.problems if p.severity is Severity.ERROR]


class TestFromConfig:
    TEXT = """\
workspace: {name: shop}
network:
  processes:
    a: {component: A, config: {x: 1}, timeout: 5, max_attempts: 2, restart: transient, mailbox_capacity: 7}
    b: {component: B}
  connections:
    - a.out -> b.in
    - {from: b.out, to: a.in, on_full: drop_newest, capacity: 3}
  initial: {a.seed: {k: [1]}}
  inports: {start: a.go}
  outports: {end: b.out}
"""

    def test_everything_arrives(self):
        graph = load_graph(parse_config(self.TEXT))
        assert graph.name == "shop"
        assert graph.nodes["a"].config == {"x": 1}
        assert graph.nodes["a"].overrides == Overrides(5.0, 2, "transient", 7)
        assert graph.nodes["b"].overrides == Overrides()
        first, second = graph.edges
        assert str(first) == "a.out -> b.in"
        assert (first.on_full, first.capacity) == ("block", None)
        assert (second.source, second.target) == (Endpoint("b", "out"), Endpoint("a", "in"))
        assert (second.on_full, second.capacity) == ("drop_newest", 3)
        assert graph.initial == {Endpoint("a", "seed"): {"k": [1]}}
        assert (graph.inports, graph.outports) == ({"start": Endpoint("a", "go")}, {"end": Endpoint("b", "out")})
        assert graph.case_sensitive
        assert graph.warnings == ()

    def test_everything_has_its_place(self):
        graph = load_graph(parse_config(self.TEXT))
        assert graph.nodes["b"].location == Location("reflow.yaml", 5, 8)
        assert [edge.location.line for edge in graph.edges] == [7, 8]
        assert graph.origin("initial", Endpoint("a", "seed")).location == Location("reflow.yaml", 9, 21)
        assert graph.origin("inports", "start").location.line == 10
        assert graph.origin("outports", "end").location.line == 11

    def test_the_workspace_is_named_after_its_directory(self, tmp_path):
        assert load_graph(parse_config("", str(tmp_path / "reflow.yaml"))).name == tmp_path.name

    def test_a_graph_file_is_found_beside_the_configuration(self, tmp_path):
        (tmp_path / "nets").mkdir()
        (tmp_path / "nets" / "x.graph.json").write_text(json.dumps(document()))
        config = parse_config("network: {graph: nets/x.graph.json}", str(tmp_path / "reflow.yaml"))
        assert load_graph(config).nodes.keys() == {"a", "b"}

    def test_a_graph_file_that_is_missing(self, tmp_path):
        config = parse_config("network: {graph: x.graph.json}", str(tmp_path / "reflow.yaml"))
        with pytest.raises(GraphError, match="No such file"):
            load_graph(config)


class TestGraphFiles:
    def test_a_file_without_oddities(self):
        graph = read(document())
        assert graph.name == "test"
        assert {id: node.component for id, node in graph.nodes.items()} == {"a": "A", "b": "B"}
        assert [str(edge) for edge in graph.edges] == ["a.out -> b.in"]
        assert graph.case_sensitive
        assert graph.warnings == ()

    def test_yaml(self, tmp_path):
        path = tmp_path / "pipe.graph.yaml"
        path.write_text("caseSensitive: true\nprocesses:\n  a: {id: a, component: A}\n")
        graph = load_graph_file(path)
        assert (graph.name, list(graph.nodes)) == ("pipe", ["a"])
        assert graph.nodes["a"].location == Location(str(path), 3, 6)

    def test_metadata_is_the_configuration(self):
        graph = read(
            document(
                processes={
                    "a": {"id": "a", "component": "A", "metadata": {"prefix": ">", "x": 10}},
                    "b": {"id": "b", "component": "B", "metadata": {"x": 20}, "config": {"prefix": "<"}},
                }
            )
        )
        assert graph.nodes["a"].config == graph.nodes["a"].metadata == {"prefix": ">", "x": 10}
        assert (graph.nodes["b"].config, graph.nodes["b"].metadata) == ({"prefix": "<"}, {"x": 20})

    @pytest.mark.parametrize(
        "source", [{}, None, {"nodeId": "", "portId": ""}, {"nodeId": "", "portName": "", "portType": {"type": "any"}}]
    )
    def test_a_connection_from_nowhere_is_an_initial_value(self, source):
        connections = [{"from": source, "to": point("a", "in"), "data": 0}]
        graph = read(document(connections=connections))
        assert graph.edges == ()
        assert graph.initial == {Endpoint("a", "in"): 0}
        assert graph.origin("initial", Endpoint("a", "in")).path == ("connections", 0)
        assert graph.warnings == ()

    def test_exposed_ports_and_groups(self):
        parts = {
            "inports": {"start": {**point("a", "go"), "expose": True}},
            "outports": {"end": point("b", "out")},
            "groups": [{"id": "g", "nodes": ["a", "b"]}],
        }
        graph = read(document(**parts))
        assert (graph.inports, graph.outports) == ({"start": Endpoint("a", "go")}, {"end": Endpoint("b", "out")})
        assert graph.groups == {"g": ("a", "b")}
        assert graph.warnings == ()

    @pytest.mark.slow
    def test_ten_thousand_nodes_load_quickly(self):
        nodes = {f"n{i}": {"id": f"n{i}", "component": "C", "metadata": {"x": i}} for i in range(10_000)}
        edges = [{"from": point(f"n{i}", "out"), "to": point(f"n{i + 1}", "in")} for i in range(9_999)]
        data = document(processes=nodes, connections=edges)
        start = time.perf_counter()
        graph = read(data)
        assert time.perf_counter() - start < 5
        assert (len(graph.nodes), len(graph.edges)) == (10_000, 9_999)


class TestOddities:
    """What Reflow's own files contain: understood, and mentioned once."""

    def odd(self, data):
        graph = read(data)
        (warning,) = graph.warnings
        assert warning.severity is Severity.WARNING
        assert warning.location.line == 1
        return graph, warning

    def test_minimal_edges(self):
        minimal = {"from": {"nodeId": "a", "portId": "out"}, "to": {"nodeId": "b", "portId": "in"}}
        graph, warning = self.odd(document(connections=[minimal]))
        assert [str(edge) for edge in graph.edges] == ["a.out -> b.in"]
        assert (warning.code, warning.path) == ("only-portId", "connections[0].from")
        assert warning.message.endswith("(2 times in this file)")

    def test_an_empty_port_name_on_a_connection(self):
        source = {"nodeId": "a", "portId": "out", "portName": ""}
        graph, warning = self.odd(document(connections=[{"from": source, "to": point("b", "in")}]))
        assert graph.edges[0].from_port == "out"
        assert (warning.code, warning.path) == ("empty-portName", "connections[0].from")

    def test_an_empty_port_id_on_a_connection(self):
        source = {"nodeId": "a", "portId": "", "portName": "out"}
        graph, warning = self.odd(document(connections=[{"from": source, "to": point("b", "in")}]))
        assert graph.edges[0].from_port == "out"
        assert warning.code == "empty-portId"

    @pytest.mark.parametrize(
        ("exposed", "code"),
        [
            ({"nodeId": "a", "portId": "", "portName": "go"}, "empty-portId"),
            ({"nodeId": "a", "portId": "go", "portName": ""}, "empty-portName"),
            ({"nodeId": "a", "portId": "go"}, "empty-portName"),
            ({"nodeId": "a", "portName": "go"}, "only-portName"),
        ],
    )
    def test_half_an_exposed_port(self, exposed, code):
        graph, warning = self.odd(document(inports={"start": exposed}))
        assert graph.inports == {"start": Endpoint("a", "go")}
        assert (warning.code, warning.path) == (code, "inports.start")

    def test_two_names_for_one_port(self):
        source = {"nodeId": "a", "portId": "out", "portName": "Output"}
        graph, warning = self.odd(document(connections=[{"from": source, "to": point("b", "in")}]))
        assert (graph.edges[0].from_port, warning.code) == ("out", "port-differs")

    def test_a_process_without_id(self):
        graph, warning = self.odd(document(processes={"a": {"component": "A"}}, connections=[]))
        assert graph.nodes["a"].id == "a"
        assert (warning.code, warning.path) == ("process-without-id", "processes.a")

    def test_a_process_with_another_id(self):
        graph, warning = self.odd(document(processes={"a": {"id": "z", "component": "A"}}, connections=[]))
        assert (list(graph.nodes), warning.code) == (["a"], "process-id-differs")

    def test_no_word_on_case(self):
        graph, warning = self.odd(without(document(), "caseSensitive"))
        assert not graph.case_sensitive
        assert warning.code == "missing-case-sensitive"

    @pytest.mark.parametrize(
        "key", ["graph_dependencies", "external_connections", "provided_interfaces", "required_interfaces"]
    )
    def test_snake_case(self, key):
        _, warning = self.odd(document(**{key: []}))
        assert (warning.code, warning.path) == ("snake-case-key", key)

    def test_ties_to_other_graphs(self):
        _, warning = self.odd(document(externalConnections=[{"targetGraph": "x"}]))
        assert (warning.code, warning.path) == ("cross-graph", "externalConnections")

    def test_data_on_a_connection_between_nodes(self):
        connection = {"from": point("a", "out"), "to": point("b", "in"), "data": 1}
        graph, warning = self.odd(document(connections=[connection]))
        assert (len(graph.edges), graph.initial, warning.code) == (1, {}, "data-on-connection")

    def test_two_initial_values_for_one_port(self):
        connections = [{"to": point("a", "in"), "data": value} for value in (1, 2)]
        graph, warning = self.odd(document(connections=connections))
        assert (graph.initial, warning.code) == ({Endpoint("a", "in"): 2}, "duplicate-initial")

    def test_an_unknown_key(self):
        _, warning = self.odd(document(version=3))
        assert (warning.code, warning.path) == ("unknown-key", "version")

    def test_an_unknown_port_type(self):
        source = {**point("a", "out"), "portType": {"type": "quux"}}
        _, warning = self.odd(document(connections=[{"from": source, "to": point("b", "in")}]))
        assert (warning.code, warning.path) == ("invalid-port-type", "connections[0].from.portType")

    def test_a_group_without_nodes_or_id(self):
        graph, warning = self.odd(document(groups=[{"nodes": ["a"]}]))
        assert (graph.groups, warning.code) == ({}, "invalid-group")


class TestErrors:
    @pytest.mark.parametrize(
        ("parts", "code", "path"),
        [
            ({"processes": []}, "invalid-value", "processes"),
            ({"processes": {"a": 3}, "connections": []}, "invalid-value", "processes.a"),
            ({"processes": {"a": {"id": "a"}}}, "missing-key", "processes.a"),
            ({"processes": {"a": {"id": "a", "component": 7}}}, "invalid-name", "processes.a.component"),
            ({"processes": {"a\n": {"id": "a\n", "component": "A"}}}, "invalid-name", 'processes["a\\n"]'),
            ({"processes": {"x" * 129: {"component": "A"}}}, "invalid-name", f"processes.{'x' * 129}"),
            ({"processes": {"a": {"id": "a", "component": "A", "metadata": [1]}}},
             "invalid-value", "processes.a.metadata"),
            ({"connections": {}}, "invalid-value", "connections"),
            ({"connections": [7]}, "invalid-value", "connections[0]"),
            ({"connections": [{"from": "a.out", "to": point("b", "in")}]}, "invalid-value", "connections[0].from"),
            ({"connections": [{"from": point("a", "out")}]}, "incomplete-connection", "connections[0]"),
            ({"connections": [{"to": point("b", "in")}]}, "incomplete-connection", "connections[0]"),
            ({"connections": [{"from": {"nodeId": "a"}, "to": point("b", "in")}]},
             "incomplete-connection", "connections[0].from"),
            ({"connections": [{"from": point(7, "out"), "to": point("b", "in")}]},
             "invalid-name", "connections[0].from.nodeId"),
            ({"connections": [{"from": point("a", ["out"]), "to": point("b", "in")}]},
             "invalid-name", "connections[0].from.portId"),
            ({"inports": {"x": {"portName": "in"}}}, "invalid-name", "inports.x.nodeId"),
            ({"inports": {"x": {}}}, "incomplete-port", "inports.x"),
            ({"outports": {"x": None}}, "incomplete-port", "outports.x"),
            ({"caseSensitive": "no"}, "invalid-value", "caseSensitive"),
            ({"groups": 3}, "invalid-value", "groups"),
        ],
    )  # fmt: skip
    def test_what_makes_no_sense(self, parts, code, path):
        assert refused(document(**parts)) == [(code, path)]

    @pytest.mark.parametrize("data", [None, [], "x", 3])
    def test_not_a_mapping(self, data):
        assert refused(data) == [("invalid-value", "")]

    def test_all_at_once_with_places(self):
        text = 'processes: {a: {}, b: {component: ""}}\nconnections:\n  - 1\n  - {to: {nodeId: x}}\n'
        with pytest.raises(GraphError) as caught:
            graph_from_document(parse_yaml(text, "g.yaml"))
        errors = [p for p in caught.value.problems if p.severity is Severity.ERROR]
        assert [(p.location.line, p.location.column) for p in errors] == [(1, 16), (1, 35), (3, 5), (4, 10)]

    def test_a_million_mistakes_are_cut(self):
        errors = refused(document(connections=[0] * 1000))
        assert len(errors) == 201
        assert errors[-1] == ("more-problems", "")


def test_the_schema_accepts_what_the_reader_accepts():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parents[2] / "specs" / "graph.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document())
    minimal = {"from": {"nodeId": "a", "portId": "out"}, "to": {"nodeId": "b", "portId": "in"}}
    initial = {"from": {}, "to": point("a", "in"), "data": {"any": ["thing"]}}
    odd = document(
        processes={"a": {"component": "A"}},
        connections=[minimal, initial],
        inports={"x": {"nodeId": "a", "portId": "", "portName": "in"}},
        graph_dependencies=[{}],
        providedInterfaces={"x": {}},
    )
    validator.validate(odd)
    assert len(read(odd).warnings) > 3
    for bad in ({"processes": {"a": {}}}, {"processes": {"a\tb": {"component": "A"}}}, {"connections": [{}]}):
        assert not validator.is_valid(bad)
