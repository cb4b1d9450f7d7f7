import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.network.ports import (
    ANY,
    MAX_DEPTH,
    PortKind,
    PortType,
    accepts,
    compatible,
    parse_port_type,
    port_type_text,
)

TAGS = [
    "flow",
    "event",
    "boolean",
    "integer",
    "float",
    "string",
    "bytes",
    "object",
    "array",
    "any",
    "option",
    "error",
    "stream",
]

leaves = st.sampled_from([PortType(kind) for kind in PortKind if kind not in (PortKind.ARRAY, PortKind.OPTION)])
names = st.builds(lambda name: PortType(PortKind.OBJECT, name=name), st.sampled_from(["User", "a.B", "x y"]))
port_types = st.recursive(
    leaves | names,
    lambda inner: st.builds(PortType, st.sampled_from([PortKind.ARRAY, PortKind.OPTION]), inner),
    max_leaves=5,
)


@given(port_types)
def test_types_are_read_as_they_are_written(port_type):
    assert parse_port_type(str(port_type)) == port_type


@given(port_types, port_types)
def test_any_and_stream_go_with_everything(one, other):
    assert compatible(one, one)
    assert compatible(ANY, one)
    assert compatible(one, ANY)
    stream = PortType(PortKind.STREAM)
    assert compatible(stream, one)
    assert compatible(one, stream)
    assert compatible(PortType(PortKind.OPTION, one), other) == compatible(one, other)
    assert compatible(one, PortType(PortKind.OPTION, other)) == compatible(one, other)


@pytest.mark.parametrize(
    ("text", "port_type"),
    [
        (" Integer ", PortType(PortKind.INTEGER)),
        ("Array( Float )", PortType(PortKind.ARRAY, PortType(PortKind.FLOAT))),
        ("array", PortType(PortKind.ARRAY, ANY)),
        ("array()", PortType(PortKind.ARRAY, ANY)),
        ("option(array(object(User)))",
         PortType(PortKind.OPTION, PortType(PortKind.ARRAY, PortType(PortKind.OBJECT, name="User")))),
        ("object", PortType(PortKind.OBJECT)),
    ],
)  # fmt: skip
def test_reading(text, port_type):
    assert parse_port_type(text) == port_type


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int", "'int' is not a type of port; the types are any, flow"),
        ("", "is not a type of port"),
        ("array(int)", "'int' is not a type"),
        ("integer(5)", "integer takes nothing in parentheses"),
        ("array(float", "is not a type"),
        ("x" * 10_000, r"\.\.\.' is not a type"),
        ("array(" * (MAX_DEPTH + 1) + "any" + ")" * (MAX_DEPTH + 1), "nested more than 16 deep"),
    ],
)
def test_what_is_no_type(text, message):
    with pytest.raises(ValueError, match=message):
        parse_port_type(text)


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("integer", "float", True),
        ("float", "integer", False),
        ("string", "integer", False),
        ("array(integer)", "array(float)", True),
        ("array(float)", "array(integer)", False),
        ("array", "array(string)", True),
        ("array(integer)", "integer", False),
        ("option(integer)", "float", True),
        ("integer", "option(integer)", True),
        ("option(string)", "integer", False),
        ("array(option(integer))", "array(float)", True),
        ("object(User)", "object(User)", True),
        ("object(User)", "object(Order)", False),
        ("object(User)", "object", True),
        ("object", "object(User)", True),
        ("event", "flow", False),
        ("encoded", "encoded", True),
        ("bytes", "encoded", False),
        ("error", "any", True),
        ("error", "string", False),
    ],
)
def test_compatibility(source, target, fits):
    assert compatible(parse_port_type(source), parse_port_type(target)) is fits


@pytest.mark.parametrize(
    ("port_type", "also"),
    [
        ("any", set(TAGS)),
        ("stream", set(TAGS)),
        ("integer", {"integer"}),
        ("float", {"float", "integer"}),
        ("string", {"string"}),
        ("boolean", {"boolean"}),
        ("flow", {"flow"}),
        ("event", {"event"}),
        ("bytes", {"bytes"}),
        ("encoded", {"bytes"}),
        ("error", {"error"}),
        ("object(User)", {"object"}),
        ("array(integer)", {"array"}),
        ("option(float)", {"float", "integer"}),
        ("option(any)", set(TAGS)),
    ],
)
def test_which_messages_a_port_takes(port_type, also):
    taken = {tag for tag in TAGS if accepts(parse_port_type(port_type), tag)}
    assert taken == also | {"any", "option", "stream"}


@pytest.mark.parametrize(
    ("port_type", "elements", "passes"),
    [
        ("array", ("float", 1), True),
        ("array", ("integer", 3), True),
        ("array(any)", ("float", 1), True),
        ("array(integer)", ("integer", 1), True),
        ("array(integer)", ("float", 1), False),
        ("array(float)", ("float", 1), True),
        ("array(float)", ("integer", 1), True),
        ("array(float)", ("float", 2), True),
        ("array(array(float))", ("float", 2), True),
        ("array(array(float))", ("float", 3), True),
        ("array(array(float))", ("float", 1), False),
        ("array(array(integer))", ("float", 2), False),
        ("array(array)", ("float", 1), False),
        ("array(option(float))", ("integer", 1), True),
        ("option(array(option(array(integer))))", ("integer", 2), True),
        ("array(string)", ("integer", 1), False),
        ("array(object(User))", ("integer", 1), False),
        ("array(bytes)", ("integer", 1), False),
        ("any", ("float", 2), True),
        ("stream", ("float", 2), True),
        ("option", ("float", 1), True),
        ("float", ("float", 1), False),
        ("bytes", ("integer", 1), False),
        ("object", ("float", 1), False),
    ],
)
def test_a_typed_array_fits_by_its_elements_too(port_type, elements, passes):
    assert accepts(parse_port_type(port_type), "array", elements) is passes


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("integer", "integer"),
        ({"type": "any"}, "any"),
        ({"type": "array", "value": {"type": "option", "value": {"type": "object", "value": "User"}}},
         "array(option(object(User)))"),
        ({"type": "array", "value": "float"}, "array(float)"),
    ],
)  # fmt: skip
def test_types_in_graph_files(declared, text):
    assert port_type_text(declared) == text


@pytest.mark.parametrize("declared", [None, 3, [], {}, {"type": 3}, {"type": "array", "value": 7}])
def test_what_is_no_type_in_a_graph_file(declared):
    with pytest.raises(ValueError, match="neither"):
        port_type_text(declared)


def test_a_deep_type_in_a_graph_file():
    declared = "any"
    for _ in range(60):
        declared = {"type": "array", "value": declared}
    with pytest.raises(ValueError, match=r"neither|deep"):
        parse_port_type(port_type_text(declared))
