"""What reflow.yaml can say, and what holds where it says nothing.

Each class is a mapping in the file, each field a key, with its default and the sentence that
docs/configuration.md and the JSON Schema give about it. `loading` reads files into these classes; the schema
and the reference are made from them.
"""

# ruff: noqa: RUF009 - `key` and `section` make attrs fields, and are no defaults themselves.

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

import attrs

from reflow_supervisor.config.values import (
    NAME_PATTERN,
    Cores,
    Duration,
    Endpoint,
    EndpointKind,
    Integer,
    Number,
    Size,
    Text,
)
from reflow_supervisor.documents import Document

_MB = 1024 * 1024

Backend = Literal["auto", "bubblewrap", "microsandbox", "process"]
MinimumIsolation = Literal["none", "namespaces", "microvm"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
OnFull = Literal["block", "drop_oldest", "drop_newest", "fail"]

Name = Annotated[str, Text(NAME_PATTERN, "a name (1 to 128 characters, no control characters)")]
Glob = Annotated[str, Text(r"(?!/)[^\x00]{1,1024}", "a glob pattern below the workspace")]
Image = Annotated[str, Text(r"[\w.:/@-]{1,255}", "the name of an image")]
Port = Annotated[Endpoint, EndpointKind()]


def key(
    doc: str,
    default: Any = attrs.NOTHING,
    *,
    name: str | None = None,
    secret: bool = False,
    converter: Callable[[Any], Any] | None = None,
) -> Any:
    """A key of the file: what the reference says about it, and its default.

    Args:
        name: how the key is written, where Python has no such identifier.
        secret: may hold a password, so that it is not printed.
        converter: maps different ways to say one thing to one value.
    """
    metadata = {"doc": doc, "name": name}
    return cast("Any", attrs.field(default=default, metadata=metadata, repr=not secret, converter=converter))


def _none_if_zero(value: float | None) -> float | None:
    return value or None


def section(doc: str, cls: type[Any]) -> Any:
    """A key whose value is a mapping of its own, by default with all of its defaults."""
    return attrs.field(factory=cls, metadata={"doc": doc, "name": None})


@attrs.frozen(kw_only=True)
class SandboxConfig:
    backend: Backend = key(
        "What isolates the scripts. `auto` takes the strongest that works on this machine and is no weaker "
        "than `minimum_isolation`; `process` isolates nothing and needs `unsafe`.",
        "auto",
    )
    minimum_isolation: MinimumIsolation = key(
        "The weakest boundary that a run may start with: a virtual machine of its own (`microvm`), Linux "
        "namespaces with seccomp (`namespaces`), or none at all.",
        "namespaces",
    )
    unsafe: bool = key("Allows `backend: process`. Every screen and log line of such a run says so.", False)
    best_effort: bool = key(
        "Start although a limit below cannot be enforced on this machine; that is a warning then.",
        False,
    )
    python_image: Image = key("Image for Python scripts, with `backend: microsandbox`.", "python:3.11")
    javascript_image: Image = key("Image for JavaScript scripts, with `backend: microsandbox`.", "node:20")
    preload_count: Annotated[int, Integer(0, 1000)] = key(
        "Sandboxes of each needed runtime that stand by at least (no more than it has nodes); more do where they are "
        "asked for faster than they start. 0: none, ever.",
        5,
    )
    max_pool_size: Annotated[int, Integer(1, 10_000)] = key("Most sandboxes alive at a time, idle ones included.", 20)
    idle_timeout: Annotated[float, Duration(1)] | None = key(
        "How long a sandbox beyond `preload_count` stands by without being needed; null: for ever.", 300.0
    )
    start_timeout: Annotated[float, Duration(0.1, 3600)] = key(
        "How long a sandbox may take until its agent answers.", 30.0
    )
    memory_limit: Annotated[int, Size(16 * _MB)] | None = key("Memory of one sandbox; null: not limited.", 512 * _MB)
    cpu_limit: Annotated[float, Cores()] | None = key("Processor cores of one sandbox; null: not limited.", 0.5)
    pids_limit: Annotated[int, Integer(8, 100_000)] = key("Processes and threads in one sandbox.", 64)
    tmp_size: Annotated[int, Size(64 * 1024)] = key("Size of /tmp in one sandbox; it is held in memory.", 64 * _MB)
    open_files: Annotated[int, Integer(32, 1_000_000)] = key("Open files of one process in a sandbox.", 256)
    include: tuple[Glob, ...] = key(
        "Files that scripts may read next to their own source: patterns relative to the workspace.",
        (),
    )


@attrs.frozen(kw_only=True)
class RedisConfig:
    url: Annotated[
        str,
        Text(
            r"embedded|rediss?://\S+|unix://\S+",
            "a Redis URL (redis://, rediss://, unix://) or `embedded`",
            secret=True,
        ),
    ] = key(
        "Where state is kept. `embedded` starts a server of this workspace's own, its data in `.reflow/`.",
        "embedded",
        secret=True,
    )
    fsync: Literal["everysec", "always"] = key(
        "When the embedded server's file is on the disk: within a second, or before a commit is acknowledged. See "
        "docs/state.md for what each survives.",
        "everysec",
    )
    namespace: Annotated[str, Text(r"[\w.-]{1,64}", "a namespace (letters, digits, `_`, `.`, `-`)")] = key(
        "First part of every key: `{namespace}:{node}:{key}`.", "reflow"
    )
    ttl: Annotated[float, Duration()] | None = key(
        "How long state lives after it was last written; null or 0: for ever.",
        None,
        converter=_none_if_zero,
    )


@attrs.frozen(kw_only=True)
class WebSocketConfig:
    port: Annotated[int, Integer(0, 65535)] = key(
        "TCP port on the loopback interface for agents that reach the supervisor neither over a Unix socket "
        "nor over vsock. Nothing listens on it unless such a backend is in use. 0: any free port.",
        8080,
    )
    max_connections: Annotated[int, Integer(1, 100_000)] = key("Agents connected at a time.", 100)
    ping_interval: Annotated[float, Duration(0.1, 3600)] = key("How often an agent is asked for a sign of life.", 30.0)
    resume_window: Annotated[float, Duration(0, 3600)] = key(
        "How long an agent whose connection was cut has to come back, before its sandbox is replaced. Meanwhile its "
        "actor waits, and nothing is lost. 0: it is replaced at once.",
        10.0,
    )


@attrs.frozen(kw_only=True)
class WorkspaceConfig:
    name: Name | None = key("Name of the workspace; by default that of its directory.", None)
    data_dir: Annotated[str, Text(r"[^\x00]{1,4096}", "a path")] = key(
        "Where what a run keeps is: the embedded Redis' data, the control socket, logs. Relative to reflow.yaml.",
        ".reflow",
    )
    file_roots: tuple[Annotated[str, Text(r"[^\x00]{1,4096}", "a path")], ...] = key(
        "Directories outside of the workspace that the `file` component may read and write in, links followed.", ()
    )
    discover_scripts: bool = key("Look for actor scripts in the workspace.", True)
    script_patterns: tuple[Glob, ...] = key(
        "Which files are actor scripts, relative to the workspace.", ("**/*.actor.py", "**/*.actor.js")
    )
    exclude: tuple[Glob, ...] = key(
        "Paths that are not looked into.",
        ("**/.*/**", "**/node_modules/**", "**/__pycache__/**", "**/venv/**"),
    )
    sandbox: SandboxConfig = section("What scripts run in.", SandboxConfig)
    redis: RedisConfig = section("Where the state of actors is kept.", RedisConfig)
    websocket: WebSocketConfig = section("Links to agents.", WebSocketConfig)


@attrs.frozen(kw_only=True)
class LimitsConfig:
    max_message_size: Annotated[int, Size(1024, 2**31)] = key("Largest message that a script may send.", 64 * _MB)
    max_depth: Annotated[int, Integer(16, 1000)] = key(
        "Deepest nesting of a message with its envelope, which takes 6.", 64
    )
    log_rate: Annotated[int, Integer(1, 1_000_000)] = key(
        "Log lines that one sandbox may write in a second; further ones are counted and dropped.", 1000
    )
    mailbox_capacity: Annotated[int, Integer(1, 1_000_000)] = key(
        "Messages that wait at one inport before its producers have to.", 1000
    )
    in_flight: Annotated[int, Integer(1, 10_000)] = key(
        "Activations handed to one sandbox ahead of the commits of earlier ones.", 64
    )
    max_attempts: Annotated[int, Integer(1, 1000)] = key(
        "How often an input is tried before it becomes a dead letter.", 3
    )
    dead_letters: Annotated[int, Integer(0, 100_000)] = key(
        "Dead letters that are kept; what is given up when there are so many is written to the log in full instead.",
        10_000,
    )
    dead_letters_size: Annotated[int, Size(0)] = key(
        "Bytes that the documents of all dead letters may have together.", 256 * _MB
    )
    activation_timeout: Annotated[float, Duration(0.001)] | None = key(
        "How long one activation may take, where neither actor nor node says so; null: for ever.", 30.0
    )
    shutdown_timeout: Annotated[float, Duration(0, 3600)] = key(
        "How long an actor may finish its activation when it is stopped, before it is killed.", 5.0
    )
    drain_timeout: Annotated[float, Duration(0)] | None = key(
        "How long an interrupted run may finish what is under way, before it stops at once; null: for ever.", 60.0
    )


@attrs.frozen(kw_only=True)
class BackoffConfig:
    initial: Annotated[float, Duration(0, 86400)] = key("Wait before the first restart.", 0.1)
    factor: Annotated[float, Number(1, 100)] = key("What each further wait is multiplied with.", 2.0)
    max: Annotated[float, Duration(0, 86400)] = key("Longest wait.", 30.0)
    jitter: Annotated[float, Number(0, 1)] = key(
        "Random part of a wait: 0.2 makes it up to 20 % longer or shorter.", 0.2
    )
    reset_after: Annotated[float, Duration(0)] = key(
        "After so long without a failure the wait is `initial` again.", 60.0
    )


@attrs.frozen(kw_only=True)
class GroupConfig:
    """A supervisor of its own for some of the nodes. What it does not say holds as in the supervisor above it."""

    strategy: Strategy = key("As for the whole network, here for the children of this group.", "one_for_one")
    intensity: Annotated[int, Integer(0, 1_000_000)] | None = key(
        "More restarts than this within `period`, and the group gives up: a failure for the supervisor above. "
        "Null: as there.",
        None,
    )
    period: Annotated[float, Duration(0.001)] | None = key(
        "The time that `intensity` is counted over. Null: as above.", None
    )
    backoff: BackoffConfig | None = key("Waits between restarts. Null: as above.", None)
    nodes: tuple[Name, ...] = key("The nodes of `network.processes` in this group, in the order of their start.", ())
    groups: Mapping[Name, GroupConfig] = key("Groups in this one. They start before its nodes.", MappingProxyType({}))


@attrs.frozen(kw_only=True)
class SupervisionConfig:
    strategy: Strategy = key(
        "Who is restarted when an actor fails: it alone, all of them, or it and those started after it.",
        "one_for_one",
    )
    intensity: Annotated[int, Integer(0, 1_000_000)] = key(
        "More restarts than this within `period`, and the network gives up.", 5
    )
    period: Annotated[float, Duration(0.001)] = key("The time that `intensity` is counted over.", 30.0)
    backoff: BackoffConfig = section("Waits between restarts.", BackoffConfig)
    groups: Mapping[Name, GroupConfig] = key(
        "Supervisors of their own for some of the nodes: name → group. They start before the nodes that are in none.",
        MappingProxyType({}),
    )


@attrs.frozen(kw_only=True)
class ProcessConfig:
    component: Name = key("The actor: its name, or that of a native component.")
    config: Mapping[str, Any] = key(
        "What the actor finds in `context.config`; checked against its `config_schema`.",
        MappingProxyType({}),
    )
    timeout: Annotated[float, Duration(0.001)] | None = key(
        "How long one activation may take, instead of what the actor says.", None
    )
    max_attempts: Annotated[int, Integer(1, 1000)] | None = key(
        "How often an input is tried, instead of `limits.max_attempts`.", None
    )
    restart: Restart | None = key(
        "`permanent`: restarted whenever it ends; `transient`: only when it fails; `temporary`: never. Null: "
        "the supervisor's choice.",
        None,
    )
    mailbox_capacity: Annotated[int, Integer(1, 1_000_000)] | None = key(
        "Messages that wait at each inport, instead of `limits.mailbox_capacity`.", None
    )


@attrs.frozen(kw_only=True)
class ConnectionConfig:
    """Also written as `a.out -> b.in`."""

    source: Port = key("The outport: `node.port`.", name="from")
    target: Port = key("The inport: `node.port`.", name="to")
    on_full: OnFull = key(
        "What happens to a message for a full mailbox: the producer waits, the oldest or the new one is "
        "dropped, or the activation fails.",
        "block",
    )
    capacity: Annotated[int, Integer(1, 1_000_000)] | None = key(
        "Messages that wait on this connection, instead of the node's `mailbox_capacity`.", None
    )


@attrs.frozen(kw_only=True)
class NetworkConfig:
    graph: Annotated[str, Text(r"[^\x00]{1,4096}", "a path")] | None = key(
        "A graph file (Reflow's `*.graph.json`, or YAML), relative to reflow.yaml, instead of the keys below.",
        None,
    )
    processes: Mapping[Name, ProcessConfig] = key("The nodes: id → actor and settings.", MappingProxyType({}))
    connections: tuple[ConnectionConfig, ...] = key(
        "Which outport feeds which inport: `a.out -> b.in`, or a mapping.", ()
    )
    initial: Mapping[Port, Any] = key(
        "Values that are present at an inport from the start: `node.port` → value.",
        MappingProxyType({}),
    )
    inports: Mapping[Name, Port] = key("Inports of the network itself: name → `node.port`.", MappingProxyType({}))
    outports: Mapping[Name, Port] = key("Outports of the network itself: name → `node.port`.", MappingProxyType({}))


@attrs.frozen(kw_only=True)
class Config:
    """reflow.yaml: all that a workspace can be told. Every key may be left out, and so may the file."""

    workspace: WorkspaceConfig = section("Scripts, sandboxes, state and links.", WorkspaceConfig)
    limits: LimitsConfig = section("Bounds on what scripts can do to the supervisor.", LimitsConfig)
    supervision: SupervisionConfig = section("How failures are answered.", SupervisionConfig)
    network: NetworkConfig = section("What runs.", NetworkConfig)
    source: Document = attrs.field(factory=lambda: Document("reflow.yaml", None), eq=False, repr=False)
    """The file, for problems that are found later and have a place in it. Not a key."""

    @property
    def directory(self) -> Path:
        """Where the file is: the root of the workspace."""
        return Path(self.source.file).parent

    @property
    def data_dir(self) -> Path:
        """Where what a run keeps is."""
        return self.directory / self.workspace.data_dir

    @property
    def name(self) -> str:
        return self.workspace.name or self.directory.absolute().name
