"""Every form in which a JavaScript script declares an actor, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from reflow_supervisor.actors.declaration import Metadata
from reflow_supervisor.actors.metadata_javascript import read_javascript
from reflow_supervisor.actors.script import Script, decode
from reflow_supervisor.errors import Location, Problem, Severity
from reflow_supervisor.network.component import Component, PortDecl, Runtime

FILE = "actors/a.actor.js"
SEED = Path(__file__).parents[2] / "examples" / "seed" / "actors"


def read(source: str) -> Metadata:
    script = decode(Path("/w") / FILE, FILE, dedent(source).encode())
    assert isinstance(script, Script)
    return read_javascript(script)


def only(source: str) -> Component:
    metadata = read(source)
    assert metadata.problems == (), [str(problem) for problem in metadata.problems]
    (component,) = metadata.components
    return component


def problem(source: str) -> Problem:
    metadata = read(source)
    assert len(metadata.problems) == 1, [str(each) for each in metadata.problems]
    return metadata.problems[0]


def test_the_quick_start_script():
    path = SEED / "aggregate.actor.js"
    script = decode(path, "actors/aggregate.actor.js", path.read_bytes())
    assert isinstance(script, Script)
    metadata = read_javascript(script)
    assert metadata.problems == ()
    assert metadata.components == (
        Component(
            "StreamAggregator",
            Runtime.JAVASCRIPT,
            inports=(PortDecl("stream"), PortDecl("window")),
            outports=(PortDecl("aggregated"), PortDecl("stats")),
            state_backend="redis",
            export="aggregateStream",
            path=path,
            location=Location("actors/aggregate.actor.js", 3, 1),
            source_hash=script.sha256,
        ),
    )


def test_every_field():
    component = only(
        """
        const { actor } = require('reflow');
        /**
         * Is not the description.
         */
        @actor({
            name: "All", inports: ["a", 'b',], 'outports': [`c`],
            state: new State(),
            awaitAllInports: true,
            version: "2.1.0",
            description: "Does it all.",
            tags: ["x", "y"], // with a comment, and a brace }
            category: "test",
            configSchema: { type: "object", properties: { scale: { type: "number", minimum: -1.5, default: 0x10 } } },
            memory: 268_435_456,
            timeout: 1.5e3,
            stateBackend: "memory",
            stateScope: "shared",
            maxAttempts: 5,
        })
        async function runAll(context) {}
        """
    )
    assert [port.name for port in component.inports] == ["a", "b"]
    assert [port.name for port in component.outports] == ["c"]
    assert component.await_all_inports is True
    assert (component.version, component.description, component.category) == ("2.1.0", "Does it all.", "test")
    assert component.tags == ("x", "y")
    assert component.config_schema == {
        "type": "object",
        "properties": {"scale": {"type": "number", "minimum": -1.5, "default": 16}},
    }
    assert component.memory == 256 * 1024 * 1024
    assert component.timeout == 1500.0
    assert (component.state_backend, component.state_scope, component.max_attempts) == ("memory", "shared", 5)
    assert component.export == "runAll"
    assert component.old_forms == ()


META = "{name: 'N', outports: []}"


@pytest.mark.parametrize(
    ("source", "export"),
    [
        (f"@actor({META})\nfunction f(c) {{}}", "f"),
        (f"@actor({META}) async function f(c) {{}}", "f"),
        (f"@actor({META})\nasync function* f(c) {{}}", "f"),
        (f"@actor({META})\nclass K {{ run(c) {{}} }}", "K"),
        (f"@actor({META})\nconst f = async (c) => {{}};", "f"),
        (f"@actor({META})\nexport async function f(c) {{}}", "f"),
        (f"export @actor({META}) class K {{ run(c) {{}} }}", "K"),
        (f"@actor({META})\nexport default async function f(c) {{}}", "f"),
        (f"@actor({META})\nexport default async function (c) {{}}", "default"),
        (f"export default @actor({META}) class {{ run(c) {{}} }}", "default"),
        (f"@actor({META}) // a comment\n/* between */\n\nasync function\nf (c) {{}}", "f"),
        (f"#!/usr/bin/env node\n'use strict'\n@actor({META})\nfunction f() {{}}", "f"),
        (f"const x = 5\n@actor({META})\nfunction f() {{}}", "f"),
        (f"const reflow = require('reflow');\n@reflow.actor({META})\nfunction f() {{}}", "f"),
        (f"const {{ actor: node }} = require('reflow');\n@node({META})\nfunction f() {{}}", "f"),
        (f"import {{ actor as node }} from 'reflow';\n@node({META})\nfunction f() {{}}", "f"),
        (f"const META = {META};\n@actor(META)\nfunction f() {{}}", "f"),
        (f"const f = actor({META})(async function inner(c) {{}});", "f"),
        (f"const f = actor({META}, async (c) => {{}});", "f"),
        (f"async function g(c) {{}}\nmodule.exports = actor({META}, g);", ""),
        (f"exports.f = actor({META}, (c) => {{}});", "f"),
        (f"module.exports.f = actor({META})(function () {{}});", "f"),
        (f"module.exports = {{ f: actor({META}, function () {{}}) }};", "f"),
        (f"export default actor({META}, async function (c) {{}});", "default"),
        (f"export const f = actor({META}, async function (c) {{}});", "f"),
    ],
)
def test_where_a_declaration_may_stand(source: str, export: str):
    component = only(source)
    assert (component.name, component.outports, component.export) == ("N", (), export)


def test_a_name_alone():
    metadata = read("@actor('N')\nfunction f() {}")
    assert [component.name for component in metadata.components] == ["N"]


def test_a_bare_decorator_takes_everything_from_the_function():
    component = only("/**\n * Shouts,\n * loudly.\n *\n * More.\n * @param c\n */\n@actor\nfunction shout(context) {}")
    assert (component.name, component.description) == ("shout", "Shouts, loudly.")
    assert component.open_ports
    assert component.old_forms == ("@actor without arguments", "outports are not declared")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("const f = actor({outports: []}, async (c) => {});", "f"),
        ("const f = actor({outports: []})(async function inner(c) {});", "inner"),
        ("function g() {}\nmodule.exports = actor({outports: []}, g);", "g"),
    ],
)
def test_the_default_name_of_a_call(source: str, name: str):
    assert only(source).name == name


def test_a_function_without_a_name_needs_one_in_its_metadata():
    found = problem("@actor({outports: []})\nexport default async function (c) {}")
    assert (found.code, found.location) == ("missing-key", Location(FILE, 1, 1))


@pytest.mark.parametrize(
    "source",
    [
        "class Old { inports = ['a']; static outports = ['b']; helper = 3; run(context) {} }",
        "class Old {\n constructor() { super(); this.inports = ['a']; this.outports = ['b']; this.config = load(); }\n"
        " run(context) {} }",
        "module.exports = class Old { inports = ['a']; outports = ['b']; run(context) {} };",
        "exports.Old = class { inports = ['a']; outports = ['b']; run(context) {} };",
    ],
)
def test_a_class_without_a_decorator(source: str):
    component = only(source + "\nclass Helper { run() {} }")
    assert (component.name, component.export) == ("Old", "Old")
    assert [port.name for port in (*component.inports, *component.outports)] == ["a", "b"]
    assert component.old_forms == ("a class without @actor",)


def test_a_class_under_a_decorator_gives_what_the_decorator_does_not():
    component = only("@actor({name: 'K', inports: ['x']})\nclass C { inports = ['no']; outports = ['y']; run(c) {} }")
    assert [port.name for port in (*component.inports, *component.outports)] == ["x", "y"]
    assert component.export == "C"


@pytest.mark.parametrize(
    "metadata",
    [
        "const actorMetadata = {name: 'N', outports: []};",
        "exports.actorMetadata = {name: 'N', outports: []};",
        "module.exports.actorMetadata = {name: 'N', outports: []};",
        "actorMetadata = {name: 'N', outports: []};",
        "module.exports = { actorMetadata: {name: 'N', outports: []}, process };",
        "export const actorMetadata = {name: 'N', outports: []};",
    ],
)
def test_module_metadata(metadata: str):
    component = only(f"{metadata}\nfunction helper() {{}}\nasync function process(c) {{}}")
    assert (component.name, component.export) == ("N", "process")
    assert component.old_forms == ("actorMetadata",)


def test_module_metadata_without_a_function_it_could_speak_of():
    assert problem("const actorMetadata = {name: 'N', outports: []};").code == "no-function"
    assert only("exports.actorMetadata = {name: 'N', outports: []};\nexports.process = async (c) => {};").export == ""


def test_module_metadata_beside_a_decorator_has_no_effect():
    metadata = read("const actorMetadata = {name: 'X'};\n@actor({name: 'Y', outports: []})\nfunction f() {}")
    assert [component.name for component in metadata.components] == ["Y"]
    assert [(each.code, each.severity) for each in metadata.problems] == [("ignored", Severity.WARNING)]


def test_several_actors_in_one_file_stay_several():
    metadata = read(
        """
        @actor({name: 'One', outports: ['a']})
        async function one(c) {}

        @actor({name: 'Two', outports: ['b']})
        export async function two(c) {}

        module.exports.three = actor({name: 'Three', outports: []}, (c) => {});
        """
    )
    assert metadata.problems == ()
    assert [(c.name, c.export) for c in metadata.components] == [("One", "one"), ("Two", "two"), ("Three", "three")]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (
            r'"a\n\t\"\'\\ \x41\u00e9\u{1F600}\ud83d\ude00\
b"',
            "a\n\t\"'\\ Aé😀😀b",
        ),
        ("`line\nline`", "line\nline"),
        ("'\\101\\0'", "A\0"),
        ("1_000", 1000),
        ("0xff", 255),
        ("0b101", 5),
        ("0o17", 15),
        ("12n", 12),
        ("+1", 1),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("5.", 5),
        ("1e3", 1000),
        ("1e400", float("inf")),
        ("true", True),
        ("false", False),
        ("null", None),
        ("undefined", None),
        ("[1, [2,],]", [1, [2]]),
        ("({a: 1, 'b-c': 2, 3: 4})", {"a": 1, "b-c": 2, "3": 4}),
        ("CONSTANT", {"x": [1]}),
    ],
)
def test_literals(written: str, value: object):
    component = only(
        f"const CONSTANT = {{x: [ONE]}}, ONE = 1;\n"
        f"@actor({{name: 'N', outports: [], configSchema: {{value: {written}}}}})\nfunction f() {{}}"
    )
    assert component.config_schema is not None
    assert component.config_schema["value"] == value


def test_a_shorthand_property_is_a_constant():
    assert [
        p.name for p in only("const inports = ['a'];\n@actor({inports, outports: []})\nfunction f() {}").inports
    ] == ["a"]


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("inports: PORTS", "inports"),
        ("inports: ['a', ...MORE]", "inports"),
        ("inports: mutable", "inports"),
        ("version: `v${1}`", "version"),
        ("timeout: 30 * 1000", "timeout"),
        ("timeout: 010", "timeout"),
        ("timeout: -x", "timeout"),
        ("awaitAllInports: !0", "awaitAllInports"),
        ("configSchema: { check() {} }", "configSchema"),
        ("configSchema: { check: () => 1 }", "configSchema.check"),
        ("...COMMON", ""),
        ("[key]: 1", ""),
    ],
)
def test_what_has_a_value_only_when_it_runs(member: str, path: str):
    found = problem(f"let mutable = ['a'];\n@actor({{\n  name: 'ü', outports: [], {member}\n}})\nfunction f() {{}}")
    assert (found.code, found.path, found.severity) == ("not-literal", path, Severity.ERROR)
    assert found.location is not None
    assert found.location.line == 3
    assert found.location.column > 27


@pytest.mark.parametrize(
    ("member", "code", "path"),
    [
        ("name: 3", "wrong-type", "name"),
        ("name: '\\ud800'", "bad-value", "name"),
        ("name: '\\u{110000}'", "bad-value", "name"),
        ("inports: ['a', 3]", "wrong-type", "inports[1]"),
        ("inports: {a: {type: 'number'}}", "bad-type", 'inports["a"].type'),
        ("awaitAllInports: 'yes'", "wrong-type", "awaitAllInports"),
        ("memory: 'lots'", "bad-value", "memory"),
        ("timeout: 'soon'", "bad-value", "timeout"),
        ("stateBackend: 'postgres'", "bad-value", "stateBackend"),
        ("configSchema: {a: 99999999999999999999}", "bad-value", "configSchema.a"),
    ],
)
def test_each_field_is_checked(member: str, code: str, path: str):
    found = problem(f"@actor({{ outports: [],\n  {member} }})\nfunction f() {{}}")
    assert (found.code, found.path) == (code, path)
    assert found.location is not None
    assert found.location.line == 2


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one():
    found = problem("@actor({name: 'N', outports: [], statebackend: 'redis'})\nfunction f() {}")
    assert (found.code, found.severity, found.hint) == ("unknown-key", Severity.WARNING, "did you mean stateBackend?")


def test_pythons_spelling_is_understood_and_pointed_out():
    metadata = read("@actor({name: 'N', outports: [], state_backend: 'memory'})\nfunction f() {}")
    assert metadata.components[0].state_backend == "memory"
    assert [(found.code, found.hint) for found in metadata.problems] == [("spelling", "write stateBackend")]


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("function outer() {\n  @actor({name: 'N'})\n  async function inner() {}\n}", 2, 3),
        ("@actor({name: 'N', outports: []})\nimport 'x';", 1, 1),
        ("@actor({name: 'N', outports: []})\nconsole.log(1);", 1, 1),
        ("function f() {}\n@actor({name: 'N', outports: []})", 2, 1),
        ("@other({})\nfunction f() {}", 1, 1),
        ("const { actor } = require('other');\n@actor({})\nfunction f() {}", 2, 1),
        ("class K { @log run() {} }", 1, 11),
    ],
)
def test_decorators_that_nothing_can_be_made_of(source: str, line: int, column: int):
    found = problem(source)
    assert (found.code, found.location) == ("bad-decorator", Location(FILE, line, column))


def test_one_function_is_one_actor():
    metadata = read("@actor({name: 'A', outports: []})\n@actor({name: 'B', outports: []})\nfunction f() {}")
    assert [component.name for component in metadata.components] == ["A"]
    assert [(found.code, found.location) for found in metadata.problems] == [("bad-decorator", Location(FILE, 2, 1))]


def test_text_that_looks_like_a_decorator():
    found = problem("// @actor({name: 'N'})\nconst s = '@actor', t = `@actor({})`, r = /@actor/;\nfunction f() {}")
    assert found.code == "no-actor"


def test_a_syntax_error_where_an_actor_is_declared_is_nodes_to_judge():
    metadata = read("@actor({name: 'N', outports: []})\nfunction f() { const z = ; }\n")
    assert [component.name for component in metadata.components] == ["N"]
    (found,) = metadata.problems
    assert (found.code, found.severity, found.location) == ("syntax-error", Severity.WARNING, Location(FILE, 2, 24))


@pytest.mark.parametrize(
    "source",
    [
        "@actor({name: 'N', inports: [ )\nasync function f() {}",
        "function f( {}",
        "@actor({name: 'N', outports: []})\nfunction f() {}\n@actor({name: 'M', )\nfunction g() {}",
    ],
)
def test_a_syntax_error_that_hides_an_actor_is_an_error(source: str):
    found = problem(source)
    assert (found.code, found.severity) == ("syntax-error", Severity.ERROR)
    assert found.location is not None
    assert found.location.line in {1, 3}


@pytest.mark.parametrize(
    "source",
    ["(" * 20_000, "[" * 9000 + "]" * 9000, "`${" * 9000, "@actor(" * 9000, "@actor function f(){}\n" * 500],
    ids=lambda source: source[:8],
)
def test_a_file_nested_or_repeated_without_end(source: str):
    assert read(source).problems


def test_a_file_that_takes_too_long_to_parse_is_refused():
    ticks = iter(range(1_000_000))
    script = decode(Path("/w") / FILE, FILE, b"a<b " * 2000)
    assert isinstance(script, Script)
    metadata = read_javascript(script, clock=lambda: float(next(ticks)))
    assert [found.code for found in metadata.problems] == ["too-complex"]


def test_a_literal_nested_too_deeply():
    source = f"@actor({{name: 'N', outports: [], configSchema: {{a: {'[' * 40}{']' * 40}}}}})\nfunction f() {{}}"
    assert problem(source).code == "too-complex"


def test_old_calls_in_the_actor_itself():
    component = only(
        """
        @actor({name: 'N', outports: []})
        function f(context) {
            context.setState('k', context.getState('k', 0) + 1);
            const when = context.timestamp, state = context.getState(), id = context.actorId();
        }
        """
    )
    assert component.old_forms == (
        "context.getState(key, default)",
        "context.setState(key, value)",
        "context.timestamp without ()",
    )


@pytest.mark.parametrize("name", ["it's", "`${process.exit()}`", "</script>", "日本語 😀"])
def test_a_name_is_data(name: str):
    written = '"' + name.replace('"', '\\"') + '"'
    assert only(f"@actor({{name: {written}, inports: [{written}], outports: []}})\nfunction f() {{}}").name == name
