from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reflow_supervisor.actors.discovery import discover
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.errors import DiscoveryError, Location
from reflow_supervisor.network.component import Component, Runtime

SEED = Path(__file__).parents[2] / "examples" / "seed"
STDIN = Component("stdin", Runtime.NATIVE)


@pytest.fixture
def registry() -> Registry:
    return Registry(discover(SEED), [STDIN])


def test_scripts_and_natives_sit_in_one_registry(registry: Registry):
    assert sorted(registry.names) == ["DataProcessor", "StreamAggregator", "stdin"]
    assert (len(registry), len(list(registry))) == (3, 3)
    assert "stdin" in registry
    assert registry.lookup("stdin") is STDIN
    assert registry.lookup("DataProcessor").runtime is Runtime.PYTHON
    assert registry.get("nothing") is None
    assert registry.problems == ()


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("DataProcesor", "DataProcessor"), ("dataprocessor", "DataProcessor"), ("STDIN", "stdin"), ("zzz", None)],
)
def test_a_near_miss(registry: Registry, name: str, suggestion: str | None):
    assert registry.suggest(name) == suggestion
    problem = registry.unknown(name, Location("reflow.yaml", 3, 5), "network.processes.a")
    assert problem.code == "unknown-component"
    assert str(problem).startswith("reflow.yaml:3:5: error: network.processes.a: there is no component")
    assert ("did you mean" in problem.hint) == (suggestion is not None)
    with pytest.raises(DiscoveryError, match="there is no component"):
        registry.lookup(name)


def test_a_component_whose_declaration_has_errors_is_not_called_unknown(tmp_path: Path):
    (tmp_path / "a.actor.py").write_text("@actor(name='A', outports=3)\ndef f(c): ...")
    problem = Registry(discover(tmp_path)).unknown("A")
    assert problem.code == "broken-component"
    assert "a.actor.py:1:1" in problem.message


def test_a_script_with_the_name_of_a_native(tmp_path: Path):
    (tmp_path / "a.actor.py").write_text("@actor(name='stdin', outports=[])\ndef f(c): ...")
    registry = Registry(discover(tmp_path), [STDIN])
    assert registry.lookup("stdin") is STDIN
    (problem,) = registry.problems
    assert (problem.code, problem.location) == ("duplicate-name", Location("a.actor.py", 1, 1))
    assert problem.message == 'an actor named "stdin" is built in'


def test_what_is_loaded_is_what_was_checked(tmp_path: Path):
    path = tmp_path / "x" / "a.actor.py"
    path.parent.mkdir()
    checked = "\ufeff@actor(name='A', outports=[])\ndef f(c): ...\n"
    path.write_text(checked)
    registry = Registry(discover(tmp_path))
    path.write_text("import os; os.abort()")
    source = registry.source(registry.lookup("A"))
    assert source.file == "x/a.actor.py"
    assert source.data == checked.encode()
    assert source.code == checked.removeprefix("\ufeff")
    assert source.sha256 == hashlib.sha256(source.data).hexdigest() == registry.lookup("A").source_hash


def test_javascript_is_loaded_rewritten(registry: Registry):
    source = registry.source(registry.lookup("StreamAggregator"))
    assert source.data == (SEED / "actors/aggregate.actor.js").read_bytes()
    assert ';__reflow_decorate__(actor({\n    name: "StreamAggregator",' in source.code
    assert source.code.count("\n") == source.data.count(b"\n")


def test_a_native_has_no_source(registry: Registry):
    with pytest.raises(KeyError):
        registry.source(STDIN)
