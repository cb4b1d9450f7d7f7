import time

import pytest

from reflow_supervisor.config import parse_config
from reflow_supervisor.documents import parse_yaml
from reflow_supervisor.errors import Location, Severity
from reflow_supervisor.network.check import check
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.graph import Edge, Graph, Node, graph_from_document, load_graph


def component(name, inports="", outports="", **more):
    """Ports as `name` or `name:type`, `!` behind those that are required."""

    def ports(text):
        for word in text.split():
            port, _, port_type = word.removesuffix("!").partition(":")
            yield PortDecl(port, port_type or "any", required=word.endswith("!"))

    return Component(name, Runtime.PYTHON, tuple(ports(inports)), tuple(ports(outports)), **more)


COMPONENTS = {
    c.name: c
    for c in (
        component("Source", "", "out:integer text:string list:array(integer)"),
        component("Sink", "in"),
        component("Pass", "in", "out"),
        component("Count", "in:integer opt:option(float)", "out:integer"),
        component("Floats", "in:array(float)"),
        component("Join", "a b", "out", await_all_inports=True),
        component("Needy", "in config!", "out"),
        component("Old", open_ports=True),
        component("Bare", old_forms=("a decorator without arguments",)),
        component("OldIn", "in", open_ports=True),
        component(
            "Configured",
            "in",
            config_schema={"properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]},
        ),
        component("BadSchema", "in", config_schema={"properties": {"n": {"type": "int"}}}),
        component("BadType", "in:int", location=Location("bad.actor.py", 3, 1)),
        Component(
            "Defaulted",
            Runtime.PYTHON,
            (PortDecl("a"), PortDecl("b", required=True, default=0)),
            (PortDecl("out"),),
            await_all_inports=True,
        ),
    )
}


def check_graph(graph):
    return check(graph, COMPONENTS.get, COMPONENTS)


def network(processes, *connections, **more):
    """A network as reflow.yaml has it: `a: Source, b: Sink` and connections."""
    lines = ["network:", "  processes:"]
    lines += [f"    {p.split(':')[0].strip()}: {{component: {p.split(':')[1].strip()}}}" for p in processes.split(",")]
    lines += ["  connections:", *(f"    - {c}" for c in connections)] if connections else []
    lines += [f"  {key}: {value}" for key, value in more.items()]
    return check_graph(load_graph(parse_config("\n".join(lines) + "\n")))


def codes(problems):
    return [p.code for p in problems]


def only(problems):
    (problem,) = problems
    return problem


class TestSound:
    @pytest.mark.parametrize(
        ("processes", "connections", "more"),
        [
            ("s: Source, k: Sink", ["s.out -> k.in"], {}),
            ("s: Source, c: Count", ["s.out -> c.in"], {}),
            ("s: Source, f: Floats", ["s.list -> f.in"], {}),
            ("k: Sink", [], {"initial": "{k.in: 1}"}),
            ("k: Sink", [], {"inports": "{x: k.in}"}),
            ("s: Source, j: Join", ["s.out -> j.a", "s.out -> j.b"], {}),
            ("s: Source, j: Join", ["s.out -> j.a"], {"initial": "{j.b: 1}"}),
            ("s: Source, d: Defaulted", ["s.out -> d.a"], {}),
            ("s: Source, o: Old, k: Sink", ["s.out -> o.anything", "o.whatever -> k.in"], {}),
            ("s: Source, n: Needy", ["s.out -> n.in"], {"initial": "{n.config: {}}"}),
            ("s: Source, p: Pass, q: Pass", ["s.out -> p.in", "p.out -> q.in", "q.out -> p.in"], {}),
            ("s: Source, j: Join, p: Pass", ["s.out -> j.a", "j.out -> p.in", "p.out -> j.b"],
             {"initial": "{j.b: 0}"}),
            ("s: Source, d: Defaulted", ["s.out -> d.a", "d.out -> d.b"], {}),
        ],
    )  # fmt: skip
    def test_nothing_is_said(self, processes, connections, more):
        assert network(processes, *connections, **more) == []

    def test_older_forms_are_named_once(self):
        problem = only(network("a: Bare, b: Bare"))
        assert (problem.code, problem.severity) == ("old-form", Severity.WARNING)
        assert problem.message == "`Bare` uses an older form: a decorator without arguments"

    def test_nothing_at_all(self):
        assert check_graph(Graph()) == []


class TestNames:
    def test_an_unknown_component(self):
        problem = only(network("s: Sauce"))
        assert str(problem) == (
            "reflow.yaml:3:20: error: network.processes.s.component: there is no component `Sauce` "
            "(did you mean `Source`?)"
        )

    def test_an_unknown_component_that_looks_like_nothing(self):
        assert only(network("s: Xyzzy")).hint.startswith("there are BadSchema, BadType, Bare")

    def test_nothing_is_said_about_ports_of_unknown_components(self):
        assert codes(network("s: Nope, k: Sink", "s.foo -> k.in", "k.x -> s.bar")) == [
            "unknown-component",
            "unknown-port",
        ]

    def test_an_unknown_node(self):
        problem = network("reader: Source, k: Sink", "raeder.out -> k.in")[0]
        assert (problem.code, problem.message) == ("unknown-node", "there is no node `raeder`")
        assert problem.hint == "did you mean `reader`?"
        assert (problem.path, problem.location.line) == ("network.connections[0]", 6)

    def test_an_unknown_inport(self):
        problem = network("s: Source, c: Count", "s.out -> c.int")[0]
        assert (problem.code, problem.hint) == ("unknown-port", "did you mean `in`?")
        assert problem.message == "`c` (Count) has no inport `int`; it has `in`, `opt`"

    def test_an_unknown_outport(self):
        problem = network("k: Sink, l: Sink", "k.out -> l.in", initial="{k.in: 1}")[0]
        assert problem.message == "`k` (Sink) has no outport `out`; it has none"

    def test_both_ends_of_an_edge(self):
        found = network("s: Source, k: Sink", "s.x -> k.y", initial="{k.in: 1}")
        assert codes(found) == ["unknown-port", "unknown-port"]

    def test_older_scripts_take_any_outport_and_their_own_inports(self):
        found = network("s: Source, o: OldIn, k: Sink", "s.out -> o.in", "o.zzz -> k.in", "s.out -> o.nope")
        assert [p.message for p in found] == ["`o` (OldIn) has no inport `nope`; it has `in`"]

    def test_initial_values(self):
        found = network("k: Sink", initial="{k.in: 1, k.x: 1, z.in: 1}")
        assert [(p.code, p.path) for p in found] == [
            ("unknown-port", 'network.initial["k.x"]'),
            ("unknown-node", 'network.initial["z.in"]'),
        ]

    def test_exposed_ports(self):
        found = network("p: Pass", inports="{x: p.in, y: p.out}", outports="{x: p.out, y: z.out}")
        assert [(p.code, p.path) for p in found] == [
            ("unknown-port", "network.inports.y"),
            ("unknown-node", "network.outports.y"),
        ]

    def test_case_does_not_matter_where_the_graph_says_so(self):
        text = """
caseSensitive: {case}
processes: {{s: {{id: s, component: Source}}, k: {{id: k, component: Sink}}}}
connections: [{{from: {{nodeId: s, portId: OUT, portName: OUT}}, to: {{nodeId: k, portId: In, portName: In}}}}]
"""
        exact = check_graph(graph_from_document(parse_yaml(text.format(case="true"), "g.yaml")))
        assert codes(exact) == ["unknown-port", "unknown-port", "unfed-node"]
        assert check_graph(graph_from_document(parse_yaml(text.format(case="false"), "g.yaml"))) == []

    def test_what_was_odd_about_the_file_comes_first(self):
        graph = graph_from_document(parse_yaml("caseSensitive: true\nprocesses: {s: {component: Nope}}", "g.yaml"))
        assert codes(check_graph(graph)) == ["process-without-id", "unknown-component"]

    def test_groups_of_nodes_that_are_not_there(self):
        graph = Graph(nodes={"s": Node("s", "Source")}, groups={"g": ("s", "x")})
        problem = only(check_graph(graph))
        assert (problem.code, problem.severity) == ("unknown-node", Severity.WARNING)


class TestTypes:
    def test_ports_that_do_not_fit(self):
        problem = only(network("s: Source, c: Count", "s.text -> c.in"))
        assert (problem.code, problem.message) == ("port-types", "`s.text` sends string, `c.in` takes integer")

    @pytest.mark.parametrize(
        ("value", "port", "fits"),
        [
            ("1", "c.in", True),
            ("x", "c.in", False),
            ("1.5", "c.in", False),
            ("true", "c.in", False),
            ("null", "c.in", True),
            ("1", "c.opt", True),
            ("[1]", "c.opt", False),
            ("{}", "c.opt", False),
        ],
    )
    def test_initial_values(self, value, port, fits):
        found = network("s: Source, c: Count", "s.out -> c.in", initial=f"{{{port}: {value}}}")
        assert codes(found) == ([] if fits else ["port-types"])

    def test_a_type_that_does_not_exist_is_the_scripts_fault(self):
        found = network("s: Source, b: BadType, c: BadType", "s.out -> b.in", "s.text -> c.in")
        problem = only(found)
        assert problem.code == "invalid-port-type"
        assert problem.location == Location("bad.actor.py", 3, 1)


class TestEdges:
    def test_an_edge_that_is_there_twice(self):
        problem = only(network("s: Source, k: Sink", "s.out -> k.in", "s.out -> k.in"))
        assert (problem.code, problem.severity) == ("duplicate-edge", Severity.WARNING)
        assert problem.location.line == 7

    def test_fan_out_and_fan_in_are_no_duplicates(self):
        found = network("s: Source, k: Sink, l: Sink", "s.out -> k.in", "s.out -> l.in", "s.text -> k.in")
        assert found == []


class TestConfiguration:
    def check(self, config):
        text = f"network:\n  processes:\n    c: {{component: Configured, config: {config}}}\n  initial: {{c.in: 1}}\n"
        return check_graph(load_graph(parse_config(text)))

    def test_what_fits(self):
        assert self.check("{n: 1}") == []

    def test_what_does_not(self):
        problem = only(self.check("{n: 0}"))
        assert (problem.code, problem.path) == ("invalid-config", "network.processes.c.config.n")
        assert problem.location == Location("reflow.yaml", 3, 44)
        assert problem.message == "0 is less than the minimum, 1"

    def test_what_is_missing(self):
        assert only(self.check("{}")).message == "the key `n` is missing"

    def test_in_a_graph_file_it_is_the_metadata(self):
        text = (
            "caseSensitive: true\nprocesses: {c: {id: c, component: Configured, metadata: {n: x}}}\n"
            "connections: [{to: {nodeId: c, portId: in, portName: in}, data: 1}]\n"
        )
        problem = only(check_graph(graph_from_document(parse_yaml(text, "g.yaml"))))
        assert problem.path == "processes.c.metadata.n"
        assert problem.location.line == 2

    def test_a_schema_that_makes_no_sense_is_reported_once(self):
        config = "{component: BadSchema, config: {n: 1}}"
        text = f"network:\n  processes: {{a: {config}, b: {config}}}\n  initial: {{a.in: 1, b.in: 1}}\n"
        problem = only(check_graph(load_graph(parse_config(text))))
        assert (problem.code, problem.severity) == ("config-schema", Severity.WARNING)
        assert "config_schema of `BadSchema` at `n`" in problem.message


class TestInputs:
    def test_a_node_that_nobody_feeds(self):
        problem = only(network("k: Sink"))
        assert (problem.code, problem.severity) == ("unfed-node", Severity.WARNING)

    def test_a_required_inport(self):
        problem = only(network("s: Source, n: Needy", "s.out -> n.in"))
        assert (problem.code, problem.severity) == ("unconnected-inport", Severity.ERROR)
        assert problem.message == "nothing feeds `config`, which `Needy` requires"

    def test_an_awaited_inport(self):
        problem = only(network("s: Source, j: Join", "s.out -> j.a"))
        assert (problem.code, problem.severity) == ("unconnected-inport", Severity.ERROR)
        assert problem.message == "`j` awaits all of its inports, and nothing feeds `b`: it can never run"

    def test_all_awaited_inports(self):
        assert codes(network("j: Join")) == ["unconnected-inport", "unconnected-inport"]


class TestDeadlocks:
    def test_a_node_that_awaits_its_own_cycle(self):
        found = network(
            "s: Source, j: Join, p: Pass, k: Sink", "s.out -> j.a", "j.out -> p.in", "p.out -> j.b", "p.out -> k.in"
        )
        problem = only(found)
        assert (problem.code, problem.severity) == ("never-runs", Severity.ERROR)
        assert problem.message == "`j` awaits all of its inports, and only its own cycle feeds `j.b`: j -> p -> j"
        assert problem.hint == "give `j.b` an initial value, or feed it from outside the cycle"
        assert problem.path == "network.processes.j"

    @pytest.mark.parametrize("more", [{"initial": "{j.b: 0}"}, {"inports": "{x: j.b}"}])
    def test_a_value_or_an_exposed_port_resolves_it(self, more):
        assert network("s: Source, j: Join", "s.out -> j.a", "j.out -> j.b", **more) == []

    def test_another_feeder_resolves_it(self):
        found = network("s: Source, j: Join", "s.out -> j.a", "j.out -> j.b", "s.text -> j.b")
        assert found == []

    def test_two_that_await_each_other(self):
        found = network("s: Source, j: Join, k: Join", "s.out -> j.a", "s.out -> k.a", "j.out -> k.b", "k.out -> j.b")
        assert only(found).message.endswith("j -> k -> j; so do `k`")

    def test_a_cycle_that_nothing_starts(self):
        problem = only(network("p: Pass, q: Pass", "p.out -> q.in", "q.out -> p.in"))
        assert (problem.code, problem.severity) == ("cycle-without-start", Severity.WARNING)
        assert "p -> q -> p" in problem.message

    def test_a_mistake_elsewhere_is_not_a_deadlock_too(self):
        found = network("s: Source, j: Join", "s.out -> j.a", "typo.out -> j.b", "j.out -> j.b")
        assert codes(found) == ["unknown-node"]


class TestScale:
    N = 10_000

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("component", "target", "expected"),
        [
            ("Pass", lambda i: f"n{i + 1}", ["unknown-node", "unfed-node"]),
            ("Pass", lambda i: f"n{(i + 1) % 10_000}", ["cycle-without-start"]),
            ("Pass", lambda i: f"n{i ^ 1}", ["cycle-without-start"] * 5000),
            ("Typo", lambda i: f"m{i}", ["unknown-component"] * 10_000 + ["unknown-node"] * 10_000),
        ],
        ids=["chain", "ring", "pairs", "all wrong"],
    )
    def test_ten_thousand_nodes(self, component, target, expected):
        graph = Graph(
            nodes={f"n{i}": Node(f"n{i}", component) for i in range(self.N)},
            edges=tuple(Edge(f"n{i}", "out", target(i), "in") for i in range(self.N)),
        )
        start = time.perf_counter()
        found = check_graph(graph)
        assert time.perf_counter() - start < 5
        assert codes(found) == expected
