"""The nodes of a run as children of its network supervisor, in the groups that reflow.yaml gives them.

It decides which supervisor a node belongs to, in which order nodes start, and what an incarnation is made of. What a
node does is its body's matter (`actors.instance`, `network.native`), when it is restarted the supervisor's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio
from reflow.wire import values

from reflow_supervisor.actors.instance import Instance
from reflow_supervisor.actors.modules import ModuleFinder
from reflow_supervisor.actors.node import Host, OnFailure, Plan
from reflow_supervisor.actors.node import Node as ScriptNode
from reflow_supervisor.config.model import BackoffConfig, GroupConfig, SupervisionConfig
from reflow_supervisor.errors import Severity, UserError
from reflow_supervisor.network.component import Component, Runtime
from reflow_supervisor.network.dead_letters import DeadLetters
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.graph import Node as GraphNode
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.native import BODIES, Native
from reflow_supervisor.network.router import Router
from reflow_supervisor.sandbox.backend import Limits, SandboxRuntime
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.settling import SettlingStore
from reflow_supervisor.supervision import (
    Backoff,
    ChildSpec,
    ChildType,
    Restart,
    StartFunction,
    Strategy,
    Supervisor,
    SupervisorFlags,
)
from reflow_supervisor.telemetry.logs import Report
from reflow_supervisor.telemetry.meters import NodeMeter

from .prepare import Prepared
from .replays import LetterNode
from .services import Services

NATIVE_WINDOW = 1024
"""Messages that a built-in component may take at once: it writes them in one go."""

_RUNTIMES: Mapping[Runtime, SandboxRuntime] = {Runtime.PYTHON: "python", Runtime.JAVASCRIPT: "javascript"}


@attrs.define(eq=False)
class Node:
    """What is kept of a node over its incarnations."""

    id: str
    component: Component
    inbox: Inbox
    meter: NodeMeter
    native: Native | None = None
    script: ScriptNode | None = None

    @property
    def incarnation(self) -> int:
        """How often it was started."""
        life = self.script or self.native
        return 0 if life is None else life.incarnation


class Workers:
    """The nodes of one run, and where their messages go.

    Args:
        graph: the network, with an edge to a mailbox for each collected port in `sinks`.
        sinks: names of those mailboxes. They have no body here.
        run_id: distinguishes this run's commit ids from those of every other run.
    """

    def __init__(
        self,
        prepared: Prepared,
        graph: Graph,
        *,
        sinks: Sequence[str] = (),
        report: Report,
        on_failure: OnFailure,
        run_id: str,
    ) -> None:
        self._p = prepared
        self._graph = graph
        self._report = report
        self._run_id = run_id
        self._on_failure = on_failure
        self._modules = ModuleFinder(prepared.config.directory, prepared.config.workspace.sandbox.include)
        self.nodes = {id: self._node(id) for id in graph.nodes}
        limits = prepared.config.limits
        boxes = {sink: Inbox(sink, ("line",), capacity=limits.mailbox_capacity, window=1024) for sink in sinks}
        inboxes = {id: node.inbox for id, node in self.nodes.items()} | boxes
        self.router = Router(graph, inboxes, {}, DeadLetters(run_id, bounded=True))

    def letter_node(self, id: str) -> LetterNode | None:
        """The node that a dead letter of that node's can be given to."""
        node = self.nodes.get(id)
        return None if node is None else LetterNode(node.component, node.inbox)

    @property
    def runtimes(self) -> Counter[SandboxRuntime]:
        """How many sandboxes of each runtime the network needs."""
        kinds = (node.component.runtime for node in self.nodes.values())
        return Counter[SandboxRuntime](_RUNTIMES[kind] for kind in kinds if kind in _RUNTIMES)

    @property
    def stateful(self) -> bool:
        """Whether any node keeps its state in Redis."""
        return any(
            n.component.state_backend != "memory" and n.component.runtime in _RUNTIMES for n in self.nodes.values()
        )

    def limits(self, memory: int | None) -> Limits:
        s = self._p.config.workspace.sandbox
        return Limits(
            memory=memory or s.memory_limit, cpu=s.cpu_limit, pids=s.pids_limit, tmp=s.tmp_size, open_files=s.open_files
        )

    def _node(self, id: str) -> Node:
        graph, config = self._graph, self._p.config
        node = graph.nodes[id]
        component = self._p.registry.lookup(node.component)
        connected = connected_inports(graph, id)
        sticky = {end.port: values.from_plain(value) for end, value in graph.initial.items() if end.node == id}
        script = component.runtime is not Runtime.NATIVE
        inbox = Inbox(
            id,
            connected,
            sticky=sticky,
            await_all=component.await_all_inports,
            capacity=node.overrides.mailbox_capacity or config.limits.mailbox_capacity,
            window=config.limits.in_flight if script else NATIVE_WINDOW,
            max_attempts=node.overrides.max_attempts or component.max_attempts or config.limits.max_attempts,
            start_once=script and not connected and (bool(sticky) or not component.inports),
        )
        return Node(id, component, inbox, NodeMeter())

    def specs(self, services: Services) -> dict[str, ChildSpec]:
        """A child for each node, by its id.

        Raises:
            UserError: a script's companions cannot be given to it.
        """
        return {id: self._spec(node, services) for id, node in self.nodes.items()}

    def _spec(self, node: Node, services: Services) -> ChildSpec:
        settings, shutdown = self._graph.nodes[node.id], self._p.config.limits.shutdown_timeout
        if node.component.runtime is Runtime.NATIVE:
            start, restart = self._native(node, settings.config, services), Restart.TRANSIENT
        else:
            start, restart = self._script(node, settings, services), Restart.PERMANENT
        if settings.overrides.restart:
            restart = Restart(settings.overrides.restart)
        return ChildSpec(node.id, start, restart=restart, shutdown=shutdown)

    def _native(self, node: Node, settings: Mapping[str, Any], services: Services) -> StartFunction:
        config = self._p.config
        roots = tuple(config.directory / root for root in config.workspace.file_roots)
        native = node.native = Native(
            node.id,
            settings,
            node.inbox,
            self.router,
            node.meter,
            self._report,
            config.directory,
            roots,
            component=node.component,
            letters=services.store,
        )

        async def start(*, task_status: trio.TaskStatus[None]) -> None:
            native.incarnation += 1
            await BODIES[node.component.name](native, task_status=task_status)

        return start

    def _script(self, node: Node, settings: GraphNode, services: Services) -> StartFunction:
        config, component = self._p.config, node.component
        modules = self._modules.find(component)
        errors = [p for p in modules.problems if p.severity is Severity.ERROR]
        if errors:
            raise UserError(errors)
        ttl = config.workspace.redis.ttl
        plan = Plan(
            node=node.id,
            component=component,
            config=settings.config,
            source=self._p.registry.source(component),
            modules=modules,
            limits=self.limits(component.memory),
            timeout=settings.overrides.timeout or component.timeout or config.limits.activation_timeout,
            load_timeout=config.workspace.sandbox.start_timeout,
            ttl=ttl,
            run_id=self._run_id,
            log_rate=config.limits.log_rate,
            max_depth=config.limits.max_depth,
        )
        store = services.store
        if component.state_backend == "memory":
            store = SettlingStore(MemoryStore(clock=trio.current_time, ttl=ttl), store)
        script = node.script = ScriptNode(plan, node.inbox, store, node.meter)

        async def start(*, task_status: trio.TaskStatus[None]) -> None:
            host = Host(await services.pool(), self.router, self._report, self._on_failure)
            await Instance(host, script).run(task_status=task_status)

        return start


def connected_inports(graph: Graph, id: str) -> tuple[str, ...]:
    """Those that something feeds while the network runs, by name."""
    connected = {e.to_port for e in graph.edges if e.to_node == id}
    connected |= {end.port for end in graph.inports.values() if end.node == id}
    return tuple(sorted(connected))


def backoff_of(config: BackoffConfig) -> Backoff:
    return Backoff(
        initial=config.initial,
        factor=config.factor,
        max=config.max,
        jitter=config.jitter,
        reset_after=config.reset_after or 0,
    )


def flags_of(config: SupervisionConfig) -> SupervisorFlags:
    return SupervisorFlags(
        strategy=Strategy(config.strategy),
        intensity=config.intensity,
        period=config.period,
        backoff=backoff_of(config.backoff),
    )


def _group_flags(config: GroupConfig, above: SupervisorFlags) -> SupervisorFlags:
    return attrs.evolve(
        above,
        strategy=Strategy(config.strategy),
        intensity=above.intensity if config.intensity is None else config.intensity,
        period=above.period if config.period is None else config.period,
        backoff=above.backoff if config.backoff is None else backoff_of(config.backoff),
    )


def network_spec(
    config: SupervisionConfig, nodes: Mapping[str, ChildSpec], run: Callable[..., Awaitable[object]]
) -> ChildSpec:
    """The network supervisor: groups in the order in which they are written, then the nodes that are in none.

    Args:
        run: `supervision.run_supervisor`, with what all supervisors of a run have in common.
    """
    grouped: set[str] = set()

    def supervisor(id: str, specs: Iterable[ChildSpec], flags: SupervisorFlags) -> ChildSpec:
        return ChildSpec(id, partial(run, list(specs), flags, name=id), type=ChildType.SUPERVISOR)

    def group(id: str, settings: GroupConfig, above: SupervisorFlags) -> ChildSpec:
        flags = _group_flags(settings, above)
        grouped.update(settings.nodes)
        inner = [group(name, g, flags) for name, g in settings.groups.items()]
        return supervisor(id, [*inner, *(nodes[name] for name in settings.nodes)], flags)

    flags = flags_of(config)
    groups = [group(name, g, flags) for name, g in config.groups.items()]
    rest = [spec for id, spec in nodes.items() if id not in grouped]
    return supervisor("network", [*groups, *rest], flags)


def find_supervisor(root: Supervisor, child_id: str) -> Supervisor | None:
    """The supervisor that has a child of that id, at or below `root`; None while it is not there."""
    for child in root.which_children():
        if child.id == child_id:
            return root
        if isinstance(child.value, Supervisor) and (found := find_supervisor(child.value, child_id)):
            return found
    return None
