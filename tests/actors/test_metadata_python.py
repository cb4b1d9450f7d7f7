"""Every form in which a Python script declares an actor, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from reflow_supervisor.actors.declaration import Metadata
from reflow_supervisor.actors.metadata_python import read_python
from reflow_supervisor.actors.script import Script, decode
from reflow_supervisor.errors import Location, Problem, Severity
from reflow_supervisor.network.component import Component, PortDecl, Runtime

FILE = "actors/a.actor.py"
SEED = Path(__file__).parents[2] / "examples" / "seed" / "actors"


def read(source: str) -> Metadata:
    script = decode(Path("/w") / FILE, FILE, dedent(source).encode())
    assert isinstance(script, Script)
    return read_python(script)


def only(source: str) -> Component:
    metadata = read(source)
    assert metadata.problems == ()
    (component,) = metadata.components
    return component


def problem(source: str) -> Problem:
    metadata = read(source)
    assert len(metadata.problems) == 1, [str(each) for each in metadata.problems]
    return metadata.problems[0]


def test_the_quick_start_script():
    path = SEED / "process.actor.py"
    script = decode(path, "actors/process.actor.py", path.read_bytes())
    assert isinstance(script, Script)
    metadata = read_python(script)
    assert metadata.problems == ()
    assert metadata.components == (
        Component(
            "DataProcessor",
            Runtime.PYTHON,
            inports=(PortDecl("data"), PortDecl("config")),
            outports=(PortDecl("processed"), PortDecl("metrics")),
            description="Processes input data with configurable operations.",
            state_backend="redis",
            export="process_data",
            path=path,
            location=Location("actors/process.actor.py", 5, 1),
            source_hash=script.sha256,
        ),
    )


def test_every_field():
    component = only(
        '''
        from reflow import actor

        @actor(
            name="All",
            inports=["a", "b"],
            outports=["c"],
            state=make_state(),
            await_all_inports=True,
            version="2.1.0",
            description="Does it all.",
            tags=["x", "y"],
            category="test",
            config_schema={"type": "object", "properties": {"scale": {"type": "number", "minimum": -1.5}}},
            memory="256MB",
            timeout="90s",
            state_backend="memory",
            state_scope="shared",
            max_attempts=5,
        )
        def run_all(context):
            """Is not the description."""
        '''
    )
    assert component.name == "All"
    assert component.await_all_inports is True
    assert component.version == "2.1.0"
    assert component.description == "Does it all."
    assert component.tags == ("x", "y")
    assert component.category == "test"
    assert component.config_schema == {"type": "object", "properties": {"scale": {"type": "number", "minimum": -1.5}}}
    assert component.memory == 256 * 1024 * 1024
    assert component.timeout == 90.0
    assert (component.state_backend, component.state_scope, component.max_attempts) == ("memory", "shared", 5)
    assert component.export == "run_all"
    assert not component.open_ports
    assert component.old_forms == ()


@pytest.mark.parametrize(
    "written",
    [
        "import reflow\n@reflow.actor(name='N', outports=[])",
        "import reflow as r\n@r.actor(name='N', outports=[])",
        "from reflow import actor as node\n@node(name='N', outports=[])",
        "from reflow.api import actor\n@actor(name='N', outports=[])",
        "from reflow import *\n@actor(name='N', outports=[])",
        "try:\n    from reflow import actor as node\nexcept ImportError:\n    raise\n@node('N', outports=())",
        "@actor({'name': 'N', 'outports': []})",
        "META = {'name': 'N', 'outports': []}\n@actor(META)",
        "@actor(component='N', outports=[])",
    ],
)
def test_names_of_the_decorator_and_of_its_arguments(written: str):
    metadata = read(f"{written}\nasync def f(context): ...")
    (component,) = metadata.components
    assert component.name == "N"
    assert component.export == "f"
    assert component.outports == ()
    assert not component.open_ports


def test_another_modules_decorator_is_not_ours():
    assert problem("from dramatiq import actor\n@actor\ndef f(): ...").code == "no-actor"


def test_a_bare_decorator_takes_everything_from_the_function():
    component = only('@actor\nasync def shout(context):\n    """Shouts.\n\n    Loudly."""')
    assert (component.name, component.description) == ("shout", "Shouts.\n\nLoudly.")
    assert component.open_ports
    assert component.old_forms == ("@actor without arguments", "outports are not declared")


def test_a_class_under_a_decorator_gives_what_the_decorator_does_not():
    component = only(
        """
        @actor(name="K", inports=["x"])
        class Klass:
            inports = ["ignored"]
            outports = ["y"]
            retries = compute()
            config = {}
            def run(self, context): ...
        """
    )
    assert [port.name for port in component.inports] == ["x"]
    assert [port.name for port in component.outports] == ["y"]
    assert component.export == "Klass"


def test_a_class_without_a_decorator():
    component = only(
        '''
        class Old:
            """An older actor."""
            def __init__(self):
                self.inports = ["a"]
                self.outports: list = ["b"]
                self.config = load()
                self.state = {}
            def run(self, context): ...

        class Helper:
            def run(self): ...
        '''
    )
    assert (component.name, component.export, component.description) == ("Old", "Old", "An older actor.")
    assert component.old_forms == ("a class without @actor",)


@pytest.mark.parametrize(
    ("functions", "chosen"),
    [
        ("def run(c): ...\nasync def process(c): ...", "process"),
        ("def helper(c): ...\ndef main(c): ...", "main"),
        ("def _private(c): ...\ndef odd_name(c): ...", "odd_name"),
    ],
)
def test_module_metadata_speaks_of_the_conventional_or_the_only_function(functions: str, chosen: str):
    component = only(f"__actor_metadata__ = {{'inports': ['a'], 'outports': ['b']}}\n{functions}")
    assert (component.name, component.export) == (chosen, chosen)
    assert component.old_forms == ("__actor_metadata__",)


def test_module_metadata_without_a_function_it_could_speak_of():
    found = problem("__actor_metadata__ = {'name': 'X', 'outports': []}\ndef a(c): ...\ndef b(c): ...")
    assert (found.code, found.location) == ("no-function", Location(FILE, 1, 22))


def test_module_metadata_beside_a_decorator_has_no_effect():
    metadata = read("__actor_metadata__ = {'name': 'X'}\n@actor(name='Y', outports=[])\ndef f(c): ...")
    assert [component.name for component in metadata.components] == ["Y"]
    assert [(each.code, each.severity) for each in metadata.problems] == [("ignored", Severity.WARNING)]


def test_several_actors_in_one_file_stay_several():
    metadata = read(
        """
        @actor(name="One", outports=["a"])
        def one(c): ...
        if True:
            @actor(name="Two", outports=["b"])
            def two(c): ...
        """
    )
    assert [(component.name, component.export) for component in metadata.components] == [("One", "one"), ("Two", "two")]


def test_a_function_that_is_defined_twice_cannot_be_two_actors():
    found = problem("@actor(name='A', outports=[])\ndef f(c): ...\n@actor(name='B', outports=[])\ndef f(c): ...")
    assert (found.code, found.location) == ("duplicate-export", Location(FILE, 3, 1))


@pytest.mark.parametrize(
    "ports",
    [
        "['a', 'b']",
        "('a', 'b')",
        "[{'name': 'a'}, 'b']",
        "{'a': 'any', 'b': None}",
        "{'a': {'type': 'any'}, 'b': {}}",
    ],
)
def test_ports_in_every_form(ports: str):
    component = only(f"@actor(inports={ports}, outports=[])\ndef f(c): ...")
    assert component.inports == (PortDecl("a"), PortDecl("b"))


def test_a_rich_port():
    component = only(
        """
        @actor(outports="one", inports=[{"name": "n", "type": "array(integer)", "required": True, "default": [1, -2],
                                         "description": "Numbers."}])
        def f(c): ...
        """
    )
    assert component.inports == (PortDecl("n", "array(integer)", True, [1, -2], "Numbers."),)
    assert component.outports == (PortDecl("one"),)


def test_a_constant_that_is_assigned_once_is_as_good_as_its_literal():
    component = only(
        """
        PORTS = ["a"]
        NAME: str = "N"
        ALIAS = NAME
        @actor(name=ALIAS, inports=PORTS, outports=[NAME])
        def f(c): ...
        """
    )
    assert (component.name, component.inports, component.outports) == ("N", (PortDecl("a"),), (PortDecl("N"),))


@pytest.mark.parametrize(
    "made",
    [
        "PORTS = ['a']\nPORTS = ['b']",
        "PORTS = ['a']\nPORTS += ['b']",
        "from x import PORTS",
        "for PORTS in []: pass",
        "",
    ],
)
def test_what_has_a_value_only_when_it_runs(made: str):
    found = problem(f"{made}\n@actor(name='N', outports=[],\n  inports=PORTS)\ndef f(c): ...")
    assert (found.code, found.path) == ("not-literal", "inports")
    assert found.location == Location(FILE, made.count("\n") + 3, 11)
    assert "PORTS has a value only when it runs" in found.message
    assert "literal" in found.hint


def test_a_name_of_what_has_a_value_only_when_it_runs():
    found = problem("PORTS = make()\n@actor(name='N', outports=[], inports=PORTS)\ndef f(c): ...")
    assert (found.code, found.path, found.location) == ("not-literal", "inports", Location(FILE, 1, 9))


def test_constants_that_go_round_in_a_circle():
    found = problem("A = B\nB = A\n@actor(name=A, outports=[])\ndef f(c): ...")
    assert (found.code, found.path) == ("too-complex", "name")


def test_a_value_that_is_no_literal_says_where_and_what_to_write():
    found = problem('@actor(\n    name="ü", outports=[os.environ["X"]],\n)\ndef f(c): ...')
    assert found.location == Location(FILE, 2, 25)  # columns count characters, not bytes
    assert str(found).startswith("actors/a.actor.py:2:25: error: outports: metadata is read without running the script")


def test_keywords_from_elsewhere():
    assert problem("@actor(**COMMON, name='N', outports=[])\ndef f(c): ...").code == "not-literal"
    assert problem("@actor({**COMMON, 'name': 'N', 'outports': []})\ndef f(c): ...").code == "not-literal"
    assert problem("@actor('N', ['a'], outports=[])\ndef f(c): ...").code == "wrong-type"


@pytest.mark.parametrize(
    ("argument", "code", "path"),
    [
        ("name=3", "wrong-type", "name"),
        ("name='  '", "bad-name", "name"),
        ("name='a\\nb'", "bad-name", "name"),
        ("name='x' * 3", "not-literal", "name"),
        ("name='\\ud800'", "bad-value", "name"),
        ("inports=3", "wrong-type", "inports"),
        ("inports=['a', 3]", "wrong-type", "inports[1]"),
        ("inports=['a', 'a']", "duplicate-port", "inports[1]"),
        ("inports=[{'type': 'any'}]", "missing-key", "inports[0]"),
        ("inports=[{'name': 'a', 'typ': 'any'}]", "unknown-key", "inports[0].typ"),
        ("inports=[{'name': 'a', 'required': 'yes'}]", "wrong-type", "inports[0].required"),
        ("inports={'a': 'strnig'}", "bad-type", 'inports["a"]'),
        ("inports=[str(n) for n in range(3)]", "not-literal", "inports"),
        ("await_all_inports='yes'", "wrong-type", "await_all_inports"),
        ("version=1.0", "wrong-type", "version"),
        ("description='\\x1b[2J'", "bad-value", "description"),
        ("tags='a'", "wrong-type", "tags"),
        ("tags=['a', None]", "wrong-type", "tags[1]"),
        ("config_schema=[1]", "wrong-type", "config_schema"),
        ("config_schema={1: 2}", "wrong-type", "config_schema"),
        ("config_schema={'a': {'b': 2**64}}", "not-literal", "config_schema.a.b"),
        ("config_schema={'a': 99999999999999999999}", "bad-value", "config_schema.a"),
        ("memory='lots'", "bad-value", "memory"),
        ("memory=256", "bad-value", "memory"),
        ("memory=True", "bad-value", "memory"),
        ("timeout='soon'", "bad-value", "timeout"),
        ("timeout=0", "bad-value", "timeout"),
        ("state_backend='postgres'", "bad-value", "state_backend"),
        ("state_scope='global'", "bad-value", "state_scope"),
        ("max_attempts=0", "wrong-type", "max_attempts"),
    ],
)
def test_each_field_is_checked(argument: str, code: str, path: str):
    metadata = read(f"@actor(\n    outports=[],\n    {argument},\n)\ndef f(c): ...")
    (found,) = metadata.problems
    assert (found.code, found.path, found.severity) == (code, path, Severity.ERROR)
    assert found.location is not None
    assert (found.location.file, found.location.line) == (FILE, 3)
    assert metadata.components == ()
    assert list(metadata.broken.values()) == [Location(FILE, 1, 1)]


def test_all_mistakes_are_reported_at_once():
    metadata = read("@actor(name=1, version=2, inports=x)\ndef f(c): ...")
    assert {found.path for found in metadata.problems} == {"name", "version", "inports"}


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one():
    metadata = read("@actor(name='N', outports=[], descripton='x')\ndef f(c): ...")
    (found,) = metadata.problems
    assert (found.code, found.severity, found.hint) == ("unknown-key", Severity.WARNING, "did you mean description?")
    assert [component.name for component in metadata.components] == ["N"]


def test_javascripts_spelling_is_understood_and_pointed_out():
    metadata = read("@actor(name='N', outports=[], awaitAllInports=True)\ndef f(c): ...")
    assert metadata.components[0].await_all_inports is True
    assert [(found.code, found.hint) for found in metadata.problems] == [("spelling", "write await_all_inports")]


def test_a_key_given_twice():
    assert problem("@actor({'name': 'A', 'name': 'B', 'outports': []})\ndef f(c): ...").code == "duplicate-key"


def test_none_means_the_default():
    component = only("@actor(name=None, outports=[], memory=None, timeout=None)\ndef f(c): ...")
    assert (component.name, component.memory, component.timeout) == ("f", None, None)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [("def f(:\n  pass", 1, 7), ("x = 1\nreturn = 2", 2, 8), ("s = 'ü' + )", 1, 11), ("'open", 1, 1)],
)
def test_a_syntax_error_has_its_place(source: str, line: int, column: int):
    metadata = read(source)
    (found,) = metadata.problems
    assert (found.code, found.location) == ("syntax-error", Location(FILE, line, column))
    assert found.message


@pytest.mark.parametrize("source", ["(" * 5000, "-" * 100_000 + "1", "[" * 150 + "]" * 150 + "\nx = " + "a." * 60_000])
def test_a_file_nested_without_end_is_refused_and_nothing_worse(source: str):
    metadata = read(source)
    assert metadata.components == ()
    assert metadata.problems


def test_a_literal_nested_too_deeply():
    found = problem(f"@actor(name='N', outports=[], config_schema={{'a': {'[' * 40}{']' * 40}}})\ndef f(c): ...")
    assert (found.code, found.path) == ("too-complex", "config_schema.a")


def test_a_script_without_an_actor():
    found = problem("def outer():\n    @actor\n    def inner(c): ...")
    assert (found.code, found.severity) == ("no-actor", Severity.WARNING)


def test_a_warning_of_the_compiler_is_the_scripts_own_affair():
    assert only("P = '\\d'\n@actor(name='N', outports=[])\ndef f(c): ...").name == "N"


def test_old_calls_in_the_actor_itself():
    component = only(
        """
        @actor(name="N", outports=[])
        def f(context):
            context.set_state("k", context.get_state("k", 0) + 1)
            when = context.timestamp
            state = context.get_state()
            context.actor_id()
        """
    )
    assert component.old_forms == (
        "context.get_state(key, default)",
        "context.set_state(key, value)",
        "context.timestamp without ()",
    )
    assert only("@actor(name='M', outports=[])\ndef g(context):\n    return context.timestamp()").old_forms == ()


@pytest.mark.parametrize("name", ["it's", "'+__import__('os').system('x')+'", "${jndi}", "<b>&amp;</b>", "日本語 😀"])
def test_a_name_is_data(name: str):
    assert only(f"@actor(name={name!r}, inports=[{name!r}], outports=[])\ndef f(c): ...").name == name


def test_what_a_problem_quotes_cannot_move_the_cursor():
    found = read("@actor({'\\x1b[2J': 1, 'outports': []})\ndef f(c): ...").problems
    assert [problem.path for problem in found] == ["\\x1b[2J"]
