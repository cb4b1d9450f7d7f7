import json
from pathlib import Path

import pytest
import yaml

from reflow_supervisor.config import json_schema, parse_config
from reflow_supervisor.config.__main__ import main
from reflow_supervisor.config.reference import reference
from reflow_supervisor.errors import ConfigError

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
FILES = [("schema", "specs/reflow.schema.json"), ("reference", "docs/configuration.md")]


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(("what", "file"), FILES)
def test_the_files_are_what_the_model_says(what, file, capsys):
    """If this fails: `python -m reflow_supervisor.config schema > specs/reflow.schema.json`, and the same with
    `reference > docs/configuration.md`."""
    assert main([what]) == 0
    assert capsys.readouterr().out == (ROOT / file).read_text()


def test_wrong_usage(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


GOOD = [
    "workspace:\n",
    "workspace: {sandbox: {memory_limit: 512MB, cpu_limit: 500m, idle_timeout: null}}",
    "workspace: {sandbox: {memory_limit: 536870912, cpu_limit: 2}, redis: {url: redis://localhost:6379, ttl: 3600}}",
    "workspace: {script_patterns: ['**/*.py'], websocket: {port: 8080, max_connections: 100, ping_interval: 30}}",
    "supervision: {strategy: one_for_all, period: 1m, backoff: {initial: 100ms}}",
    "network: {graph: x.graph.json}",
    "network: {processes: {a: {component: A, config: {x: [1]}, timeout: 5}}, connections: [a.b -> c.d]}",
    "network: {connections: [{from: a.b, to: c.d, on_full: fail}], initial: {a.b: null}, inports: {x: a.b}}",
]
BAD = [
    "redis: {}",
    "workspace: {foo: 1}",
    "workspace: {sandbox: {memory_limit: 5XB}}",
    "workspace: {sandbox: {preload_count: -1}}",
    "workspace: {sandbox: {backend: docker}}",
    "workspace: {redis: {url: 'http://x'}}",
    "workspace: {discover_scripts: 1}",
    "workspace: {script_patterns: [/abs]}",
    "limits: {activation_timeout: soon}",
    "network: {processes: {a: {}}}",
    "network: {processes: {a: {component: A, restart: always}}}",
    "network: {connections: [a.b]}",
    "network: {connections: [{from: a.b}]}",
    "network: {inports: {x: a}}",
    "network: {initial: {x: 1}}",
    "[]",
]


@pytest.mark.parametrize("text", GOOD)
def test_schema_and_loader_both_accept(text, validator):
    parse_config(text)
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("text", BAD)
def test_schema_and_loader_both_refuse(text, validator):
    with pytest.raises(ConfigError):
        parse_config(text)
    assert list(validator.iter_errors(yaml.safe_load(text)))


def test_the_published_example_is_valid(validator):
    text = """
workspace:
  discover_scripts: true
  script_patterns: ["**/*.actor.py", "**/*.actor.js"]
  sandbox:
    {python_image: "python:3.11", javascript_image: "node:20", preload_count: 5, max_pool_size: 20,
     memory_limit: "512MB", cpu_limit: 0.5}
  redis: {url: "redis://localhost:6379", namespace: "reflow", ttl: 3600}
  websocket: {port: 8080, max_connections: 100, ping_interval: 30}
"""
    validator.validate(yaml.safe_load(text))


def test_every_default_in_the_schema_is_accepted_as_it_is_written():
    def defaults(schema, path):
        schema = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for name, inner in schema.get("properties", {}).items():
            if "default" in inner:
                yield (*path, name), inner["default"]
            yield from defaults(inner, (*path, name))

    found = list(defaults(json_schema(), ()))
    assert len(found) > 40
    for path, default in found:
        document = default
        for key in reversed(path):
            document = {key: document}
        parse_config(json.dumps(document))


def test_the_example_in_the_reference_is_valid(validator):
    example = reference().split("```yaml\n")[1].split("```")[0]
    parse_config(example)
    validator.validate(yaml.safe_load(example))
