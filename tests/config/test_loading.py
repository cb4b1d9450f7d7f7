from textwrap import dedent

import attrs
import pytest

from reflow_supervisor.config import Config, Endpoint, load_config, parse_config
from reflow_supervisor.errors import ConfigError, ExitCode, Location

SEED = """\
# reflow.yaml
workspace:
  discover_scripts: true
  script_patterns:
    - "**/*.actor.py"
    - "**/*.actor.js"
  
  sandbox:
    python_image: "python:3.11"
    javascript_image: "node:20"
    preload_count: 5
    max_pool_size: 20
    memory_limit: "512MB"
    cpu_limit: 0.5
  
  redis:
    url: "redis://localhost:6379"
    namespace: "reflow"
    ttl: 3600
  
  websocket:
    port: 8080
    max_connections: 100
    ping_interval: 30
"""  # noqa: W293 - as it was published


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(dedent(text).lstrip("\n"))
    return list(caught.value.problems)


def only(text):
    (problem,) = problems_of(text)
    return problem


class TestDefaults:
    def test_without_a_file_everything_has_its_default(self, tmp_path):
        config = load_config(tmp_path / "reflow.yaml")
        assert config == Config()
        assert config.directory == tmp_path

    def test_a_file_that_was_asked_for_must_be_there(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            load_config(tmp_path / "other.yaml", must_exist=True)

    def test_a_link_to_nowhere_is_not_an_absent_file(self, tmp_path):
        (tmp_path / "reflow.yaml").symlink_to(tmp_path / "gone.yaml")
        with pytest.raises(ConfigError, match="No such file"):
            load_config(tmp_path / "reflow.yaml")

    @pytest.mark.parametrize("text", ["", "# nothing\n", "workspace:\n", "workspace: {sandbox: }\nnetwork:\n"])
    def test_an_empty_section_is_all_defaults(self, text):
        assert parse_config(text) == Config()

    def test_the_defaults_that_are_promised(self):
        config = Config()
        assert config.workspace.redis.url == "embedded"
        assert config.workspace.redis.ttl is None
        assert config.workspace.sandbox.minimum_isolation == "namespaces"
        assert config.workspace.sandbox.unsafe is False
        assert config.limits.mailbox_capacity == 1000
        assert config.limits.max_attempts == 3
        assert (config.limits.activation_timeout, config.limits.shutdown_timeout) == (30, 5)
        supervision = config.supervision
        assert (supervision.strategy, supervision.intensity, supervision.period) == ("one_for_one", 5, 30)
        assert attrs.astuple(supervision.backoff) == (0.1, 2, 30, 0.2, 60)


class TestReading:
    def test_the_published_example(self):
        config = parse_config(SEED)
        workspace = config.workspace
        assert workspace.script_patterns == ("**/*.actor.py", "**/*.actor.js")
        assert workspace.sandbox.memory_limit == 512 * 1024 * 1024
        assert workspace.sandbox.cpu_limit == 0.5
        assert (workspace.redis.url, workspace.redis.ttl) == ("redis://localhost:6379", 3600)
        assert (workspace.websocket.port, workspace.websocket.ping_interval) == (8080, 30)

    def test_a_file_on_disk(self, tmp_path):
        path = tmp_path / "reflow.yaml"
        path.write_text(SEED)
        config = load_config(path)
        assert config == parse_config(SEED)
        assert config.source.locate(("workspace", "redis", "ttl")) == Location(str(path), 19, 10)

    def test_a_network(self):
        network = parse_config("""
network:
  processes:
    reader: {component: Reader, config: {path: x.csv, deep: [1, {a: no}]}}
    1: {component: Sum, timeout: 500ms, max_attempts: 5, restart: transient, mailbox_capacity: 10}
  connections:
    - reader.line -> 1.in
    - {from: 1.out, to: reader.more, on_full: drop_oldest, capacity: 3}
  initial: {1.start: [0], reader.go: null}
  inports: {data: reader.data}
  outports: {sum: 1.out}
""").network
        assert network.processes["reader"].config == {"path": "x.csv", "deep": [1, {"a": "no"}]}
        one = network.processes["1"]
        assert (one.timeout, one.max_attempts, one.restart, one.mailbox_capacity) == (0.5, 5, "transient", 10)
        first, second = network.connections
        assert (first.source, first.target) == (Endpoint("reader", "line"), Endpoint("1", "in"))
        assert (first.on_full, first.capacity) == ("block", None)
        assert (second.source, second.on_full, second.capacity) == (Endpoint("1", "out"), "drop_oldest", 3)
        assert network.initial == {Endpoint("1", "start"): [0], Endpoint("reader", "go"): None}
        assert network.inports == {"data": Endpoint("reader", "data")}
        assert network.outports == {"sum": Endpoint("1", "out")}

    @pytest.mark.parametrize("ttl", ["0", "null", "0s"])
    def test_no_ttl_and_ttl_zero_are_the_same(self, ttl):
        assert parse_config(f"workspace: {{redis: {{ttl: {ttl}}}}}").workspace.redis.ttl is None

    def test_null_lifts_a_limit(self):
        sandbox = parse_config("workspace: {sandbox: {memory_limit: null, cpu_limit: ~}}").workspace.sandbox
        assert sandbox.memory_limit is sandbox.cpu_limit is None

    def test_the_redis_url_is_not_printed(self):
        config = parse_config("workspace: {redis: {url: 'redis://:hunter2@host'}}")
        assert config.workspace.redis.url == "redis://:hunter2@host"
        assert "hunter2" not in repr(config)


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "line", "column", "path", "message", "hint"),
        [
            (
                "workspace:\n  sandbox:\n    memry_limit: 1\n",
                *(3, 5, "workspace.sandbox.memry_limit"),
                *("`workspace.sandbox` has no key `memry_limit`", "did you mean `memory_limit`?"),
            ),
            (
                "redis: {url: embedded}\n",
                *(1, 1, "redis", "there is no key `redis`", "it belongs to workspace"),
            ),
            (
                "workspace: {limits: {}}\n",
                *(1, 13, "workspace.limits", "`workspace` has no key `limits`", "it belongs to the top of the file"),
            ),
            (
                "supervision: {zzz: 1}\n",
                *(1, 15, "supervision.zzz", "`supervision` has no key `zzz`"),
                "known keys: strategy, intensity, period, backoff, groups",
            ),
            (
                "workspace:\n  sandbox: {backend: bubble}\n",
                *(2, 22, "workspace.sandbox.backend"),
                *("'bubble' is not one of auto, bubblewrap, microsandbox, process", "did you mean `bubblewrap`?"),
            ),
            (
                "workspace: {discover_scripts: yes}\n",
                *(1, 31, "workspace.discover_scripts", "'yes' is not true or false", ""),
            ),
            (
                "workspace: {script_patterns: '**/*.py'}\n",
                *(1, 30, "workspace.script_patterns", "'**/*.py' is not a list", ""),
            ),
            (
                "workspace: {script_patterns: [/etc/*]}\n",
                *(1, 31, "workspace.script_patterns[0]"),
                *("'/etc/*' is not a glob pattern below the workspace", ""),
            ),
            ("workspace: 3\n", *(1, 12, "workspace", "3 is not a mapping", "")),
            ("- 1\n", *(1, 1, "", "a list is not a mapping", "")),
            (
                "network:\n  processes:\n    a: {config: {}}\n",
                *(3, 8, "network.processes.a", "the key `component` is missing"),
                "The actor: its name, or that of a native component.",
            ),
            (
                "network:\n  connections:\n    - a.out b.in\n",
                *(3, 7, "network.connections[0]", "'a.out b.in' is not a connection", 'write it as "a.out -> b.in"'),
            ),
            (
                "network:\n  connections: [{from: a.out, too: b.in}]\n",
                *(2, 17, "network.connections[0]", "the key `to` is missing", "The inport: `node.port`."),
            ),
            (
                "network: {initial: {x: 1}}\n",
                *(1, 24, "network.initial.x", "'x' is not a port of a node (node.port)", 'write it as "node.port"'),
            ),
            (
                "network: {processes: {'a\\tb': {component: A}, \"x\\ty\": {component: B}}}\n",
                *(1, 55, 'network.processes["x\\ty"]'),
                *("'x\\ty' is not a name (1 to 128 characters, no control characters)", ""),
            ),
            (
                "workspace: {sandbox: {preload_count: 30}}\n",
                *(1, 38, "workspace.sandbox.preload_count", "30 is more than max_pool_size, 20", ""),
            ),
            (
                "supervision: {backoff: {initial: 60}}\n",
                *(1, 34, "supervision.backoff.initial", "60 s is more than max, 30 s", ""),
            ),
            (
                "supervision: {groups: {a: {nodes: [x], groups: {b: {nodes: [x]}}}}}\n",
                *(1, 61, "supervision.groups.a.groups.b.nodes[0]", "x is in supervision.groups.a already", ""),
            ),
            (
                "supervision: {groups: {a: {nodes: [b], groups: {b: {nodes: [x]}}}}}\n",
                *(1, 36, "supervision.groups.a.nodes[0]"),
                *("b is the name of a node and of a group in supervision.groups.a", ""),
            ),
            (
                "supervision: {groups: {a: {}}}\n",
                *(1, 27, "supervision.groups.a", "supervision.groups.a has neither nodes nor groups", ""),
            ),
            (
                "supervision: {groups: {a: {nodes: [x], backoff: {initial: 60}}}}\n",
                *(1, 59, "supervision.groups.a.backoff.initial", "60 s is more than max, 30 s", ""),
            ),
            (
                "network:\n  graph: a.graph.json\n  processes: {a: {component: A}}\n",
                *(3, 3, "network.processes", "the network is both written here and taken from a graph file"),
                "remove either `graph` or `processes`",
            ),
        ],
    )
    def test_says_what_where_and_what_to_do(self, text, line, column, path, message, hint):
        problem = next(p for p in problems_of(text) if p.message == message)
        assert problem.location == Location("reflow.yaml", line, column)
        assert problem.path == path
        assert problem.hint == hint

    def test_all_at_once_in_the_order_of_the_file(self):
        found = problems_of(
            """
            supervision: {intensity: -1, foo: 1}
            workspace:
              sandbox: {cpu_limit: lots, preload_count: true}
              websocket: {port: 70000}
            network:
              processes:
                a: {component: 7, timeout: 0}
                b: {}
            """
        )
        assert [(p.location.line, p.path.rpartition(".")[2]) for p in found] == [
            (1, "intensity"),
            (1, "foo"),
            (3, "cpu_limit"),
            (3, "preload_count"),
            (4, "port"),
            (7, "component"),
            (7, "timeout"),
            (8, "b"),
        ]

    def test_a_syntax_error_is_a_configuration_error(self):
        problem = only("workspace:\n\tsandbox: {}\n")
        assert (problem.code, problem.location.line) == ("syntax-error", 2)

    def test_a_secret_is_in_no_problem(self):
        text = "workspace: {redis: {url: 'http://:hunter2@host'}}"
        assert "hunter2" not in str(only(text))

    def test_the_exit_code_is_that_of_wrong_usage(self):
        assert ConfigError("x").exit_code is ExitCode.USAGE

    def test_a_million_mistakes_are_cut(self):
        found = problems_of("workspace:\n" + "".join(f"  unknown{i}: 1\n" for i in range(1000)))
        assert len(found) == 201
        assert found[-1].message == "and 800 more problems"

    def test_a_long_unknown_key_is_not_compared_with_anything(self):
        assert "did you mean" not in only("workspace:\n  ? " + "x" * 5000 + "\n  : 1\n").hint
