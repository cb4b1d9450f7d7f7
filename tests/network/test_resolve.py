from reflow_supervisor.config import Endpoint
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.graph import Edge, Graph, Node
from reflow_supervisor.network.resolve import resolve

A = Component(
    "A",
    Runtime.PYTHON,
    inports=(PortDecl("Input"), PortDecl("X"), PortDecl("x"), PortDecl("l", default=[1])),
    outports=(PortDecl("Output"),),
    config_schema={"properties": {"n": {"type": "integer", "default": 3}}},
)
LOOKUP = {"A": A}.get


def graph(**parts):
    return Graph(
        nodes={"a": Node("a", "A", {"m": 1}), "b": Node("b", "A"), "u": Node("u", "Unknown", {"k": 1})}, **parts
    )


def test_defaults_reach_the_nodes():
    nodes = resolve(graph(), LOOKUP).nodes
    assert {id: node.config for id, node in nodes.items()} == {"a": {"m": 1, "n": 3}, "b": {"n": 3}, "u": {"k": 1}}


def test_ports_are_spelled_as_declared_where_case_does_not_matter():
    given = graph(
        edges=(Edge("a", "OUTPUT", "b", "input"), Edge("a", "output", "u", "In"), Edge("zzz", "Out", "b", "nope")),
        initial={Endpoint("a", "INPUT"): 1},
        inports={"In": Endpoint("a", "input")},
        outports={"Out": Endpoint("a", "output")},
        case_sensitive=False,
    )
    resolved = resolve(given, LOOKUP)
    assert [str(edge) for edge in resolved.edges] == ["a.Output -> b.Input", "a.Output -> u.In", "zzz.Out -> b.nope"]
    assert resolved.initial == {Endpoint("a", "Input"): 1}
    assert resolved.inports == {"In": Endpoint("a", "Input")}
    assert resolved.outports == {"Out": Endpoint("a", "Output")}
    assert resolved.case_sensitive


def test_ports_that_differ_in_case_only_must_be_exact():
    given = graph(edges=(Edge("a", "Output", "b", "x"), Edge("a", "Output", "b", "X")), case_sensitive=False)
    assert [edge.to_port for edge in resolve(given, LOOKUP).edges] == ["x", "X"]


def test_case_is_left_alone_where_it_matters():
    given = graph(edges=(Edge("a", "output", "b", "input"),))
    assert resolve(given, LOOKUP).edges == given.edges
