"""One run of one workspace: puts the rooms together, in the order in which they need each other.

It decides what is started before what, and when a finite run is over. Everything that can be said before anything
starts (configuration, scripts, graph) is checked in `prepare`; `run` then only fails for what happens.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

import attrs
import msgspec
import trio
from reflow.wire import values
from reflow.wire.limits import WireLimits

from reflow_supervisor.actors.discovery import discover
from reflow_supervisor.actors.instance import Commits, Instance, Plan
from reflow_supervisor.actors.modules import companions
from reflow_supervisor.actors.registry import Registry
from reflow_supervisor.config import Config
from reflow_supervisor.errors import EnvironmentError_, ExitCode, GraphError, Location, Problem, Severity, UserError
from reflow_supervisor.network.check import check
from reflow_supervisor.network.graph import Graph, load_graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.resolve import resolve
from reflow_supervisor.network.router import Router
from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import Isolation, Limits, SandboxRuntime
from reflow_supervisor.sandbox.pool import SandboxPool, preload_counts
from reflow_supervisor.sandbox.select import choose_backend
from reflow_supervisor.state.embedded import EmbeddedRedis
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.retrying import Availability, RetryingStore
from reflow_supervisor.state.store import StateStore
from reflow_supervisor.supervision import (
    Backoff,
    ChildRestarting,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorFailedError,
    SupervisorFlags,
    open_supervisor,
)

READ_BLOCK = 256 * 1024
"""Bytes of a feed that are read at a time, off the Trio thread."""

Report = Callable[[str, str, str], None]
"""(level, node or "", text)"""


@attrs.frozen
class Feed:
    """Lines of JSON for an exposed inport."""

    port: str
    file: BinaryIO
    name: str


@attrs.frozen
class Collect:
    """Where the messages of an exposed outport go, one line of JSON each."""

    port: str
    file: TextIO


@attrs.define(eq=False)
class Outcome:
    """How a run ended."""

    code: ExitCode = ExitCode.DONE
    fed: int = 0
    collected: Counter[str] = attrs.field(factory=Counter[str])
    restarts: int = 0
    dead_letters: int = 0


@attrs.frozen
class Prepared:
    config: Config
    graph: Graph
    registry: Registry


def prepare(config: Config) -> Prepared:
    """Reads and checks everything, and starts nothing.

    Raises:
        UserError: what keeps the network from running.
    """
    patterns = config.workspace.script_patterns if config.workspace.discover_scripts else ()
    registry = Registry(discover(config.directory, patterns, config.workspace.exclude))
    graph = load_graph(config)
    used = {node.component for node in graph.nodes.values()}
    errors = [p for p in check(graph, registry.get, registry.names) if p.severity is Severity.ERROR]
    if errors:
        # A broken script explains why a component is missing; a broken one that nothing needs is no obstacle.
        missing = any(name not in registry for name in used)
        broken = [p for p in registry.problems if p.severity is Severity.ERROR] if missing else []
        raise GraphError([*broken, *errors])
    if not graph.nodes:
        raise GraphError("the network has no nodes", hint="list some under network.processes in reflow.yaml")
    most = config.workspace.sandbox.max_pool_size
    if len(graph.nodes) > most:
        raise GraphError(
            f"{len(graph.nodes)} script nodes need as many sandboxes, and max_pool_size is {most}",
            hint="raise workspace.sandbox.max_pool_size",
        )
    return Prepared(config, resolve(graph, registry.get), registry)


class Run:
    """One run. Used once.

    Args:
        on_bad_input: what a feed line that is not JSON does: "stop" the run, or "skip" that line.
        report: gets every log line.
    """

    def __init__(
        self, prepared: Prepared, feeds: list[Feed], collects: list[Collect], *, on_bad_input: str, report: Report
    ) -> None:
        self._p = prepared
        self._feeds = feeds
        self._collects = collects
        self._on_bad_input = on_bad_input
        self._report = report
        self._feeding = len(feeds)
        self._feeds_scope = trio.CancelScope()
        self.outcome = Outcome()
        for kind, names, exposed in (
            ("inport", [f.port for f in feeds], prepared.graph.inports),
            ("outport", [c.port for c in collects], prepared.graph.outports),
        ):
            for name in names:
                if name not in exposed:
                    known = ", ".join(exposed) or "none"
                    raise UserError(f"the network exposes no {kind} {name!r} (it has: {known})")

    async def run(self) -> Outcome:
        config, graph = self._p.config, self._p.graph
        sandbox = config.workspace.sandbox
        minimum = Isolation[sandbox.minimum_isolation.upper()]
        backend = await trio.to_thread.run_sync(
            partial(choose_backend, sandbox.backend, minimum=minimum, unsafe=sandbox.unsafe)
        )
        if backend.isolation is Isolation.NONE:
            self._report("warning", "", "NO ISOLATION: scripts run with this user's rights (backend: process, unsafe)")
        inboxes = {id: self._inbox(id) for id in graph.nodes}
        router = Router(graph, inboxes, {c.port: partial(self._collect, c) for c in self._collects})
        needed = Counter[SandboxRuntime](self._runtime(id) for id in graph.nodes)
        await backend.prepare(list(needed))
        try:
            async with trio.open_nursery() as services:
                store = await self._open_store(services)
                hub = LinkHub(
                    services,
                    WireLimits(
                        max_message=config.limits.max_message_size,
                        max_frame=config.limits.max_message_size * 5 // 4 + 65536,
                        max_depth=config.limits.max_depth,
                    ),
                    ping_interval=config.workspace.websocket.ping_interval,
                )
                pool = SandboxPool[Link](
                    backend,
                    lambda s: hub.accept(s.listener, s.token),
                    preload=preload_counts(sandbox.preload_count, needed),
                    max_size=sandbox.max_pool_size,
                    idle_timeout=sandbox.idle_timeout or float("inf"),
                    limits=self._limits(None),
                    start_timeout=sandbox.start_timeout,
                    on_refill_failure=lambda runtime, e: self._report("error", "", f"no {runtime} sandbox: {e}"),
                )
                await services.start(pool.run)
                services.start_soon(self._obey_signals, router, services.cancel_scope)
                await self._supervise(router, pool, store)
                services.cancel_scope.cancel()
        finally:
            with trio.move_on_after(10, shield=True):
                await backend.aclose()
        self.outcome.dead_letters = len(router.dead_letters)
        if router.dead_letters and self.outcome.code is ExitCode.DONE:
            self.outcome.code = ExitCode.FAILED
        return self.outcome

    # -- parts --------------------------------------------------------------------------------------------------

    def _runtime(self, id: str) -> SandboxRuntime:
        component = self._p.registry.lookup(self._p.graph.nodes[id].component)
        return "python" if component.runtime == "python" else "javascript"

    def _limits(self, memory: int | None) -> Limits:
        s = self._p.config.workspace.sandbox
        return Limits(
            memory=memory or s.memory_limit, cpu=s.cpu_limit, pids=s.pids_limit, tmp=s.tmp_size, open_files=s.open_files
        )

    def _inbox(self, id: str) -> Inbox:
        graph, config = self._p.graph, self._p.config
        node = graph.nodes[id]
        component = self._p.registry.lookup(node.component)
        connected = {e.to_port for e in graph.edges if e.to_node == id}
        connected |= {end.port for end in graph.inports.values() if end.node == id}
        sticky = {end.port: values.from_plain(value) for end, value in graph.initial.items() if end.node == id}
        return Inbox(
            id,
            tuple(sorted(connected)),
            sticky=sticky,
            await_all=component.await_all_inports,
            capacity=node.overrides.mailbox_capacity or config.limits.mailbox_capacity,
            window=config.limits.in_flight,
            max_attempts=node.overrides.max_attempts or component.max_attempts or config.limits.max_attempts,
            start_once=not connected and (bool(sticky) or not component.inports),
        )

    async def _open_store(self, nursery: trio.Nursery) -> StateStore:
        config, redis = self._p.config, self._p.config.workspace.redis
        components = [self._p.registry.lookup(n.component) for n in self._p.graph.nodes.values()]
        if all(c.state_backend == "memory" for c in components):
            return MemoryStore(clock=trio.current_time, ttl=redis.ttl)
        url = redis.url
        if url == "embedded":
            server = EmbeddedRedis(config.directory / ".reflow" / "redis")
            await nursery.start(server.run)
            url = server.url
        store = RedisStore(url, namespace=redis.namespace, ttl=redis.ttl)
        await store.check()

        def changed(availability: Availability) -> None:
            self._report("warning", "", f"state store: {availability}")

        return RetryingStore(store, rng=random.Random(), on_change=changed)

    async def _supervise(self, router: Router, pool: SandboxPool[Link], store: StateStore) -> None:
        config, graph = self._p.config, self._p.graph
        settings, run_id = config.supervision, secrets.token_hex(6)

        def on_event(event: object) -> None:
            if isinstance(event, ChildRestarting):
                self.outcome.restarts += 1
                self._report("warning", event.child_id, f"restarting: {event.reason}")

        specs = [self._spec(id, router, pool, store, run_id) for id in graph.nodes]
        flags = SupervisorFlags(
            strategy=Strategy(settings.strategy),
            intensity=settings.intensity,
            period=settings.period,
            backoff=Backoff(
                initial=settings.backoff.initial,
                factor=settings.backoff.factor,
                max=settings.backoff.max,
                jitter=settings.backoff.jitter,
                reset_after=settings.backoff.reset_after or 0,
            ),
        )
        try:
            async with open_supervisor(specs, flags, name="network", rng=random.Random(), on_event=on_event) as sup:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._feed_all, router)
                    await self._until_idle(router)
                sup.shutdown()
        except* SupervisorFailedError as failed:
            self.outcome.code = ExitCode.FAILED
            for e in _leaves(failed):
                self._report("error", "", f"gave up: {e}")

    def _spec(self, id: str, router: Router, pool: SandboxPool[Link], store: StateStore, run_id: str) -> ChildSpec:
        config, node = self._p.config, self._p.graph.nodes[id]
        component = self._p.registry.lookup(node.component)
        modules = companions(component, config.directory, config.workspace.sandbox.include)
        errors = [p for p in modules.problems if p.severity is Severity.ERROR]
        if errors:
            raise UserError(errors)
        plan = Plan(
            node=id,
            component=component,
            config=node.config,
            source=self._p.registry.source(component),
            modules=modules,
            limits=self._limits(component.memory),
            timeout=node.overrides.timeout or component.timeout or config.limits.activation_timeout,
            load_timeout=config.workspace.sandbox.start_timeout,
            ttl=config.workspace.redis.ttl,
            run_id=run_id,
        )
        inbox, commits, incarnations = router.inboxes[id], Commits(), Counter[str]()
        if component.state_backend == "memory":
            store = MemoryStore(clock=trio.current_time, ttl=config.workspace.redis.ttl)

        async def start(*, task_status: trio.TaskStatus[None]) -> None:
            incarnations[id] += 1
            await Instance(plan, inbox, router, pool, store, commits, self._report, incarnations[id]).run(
                task_status=task_status
            )

        restart = Restart(node.overrides.restart) if node.overrides.restart else Restart.PERMANENT
        return ChildSpec(id, start, restart=restart, shutdown=config.limits.shutdown_timeout)

    # -- what flows in and out ----------------------------------------------------------------------------------

    async def _feed_all(self, router: Router) -> None:
        with self._feeds_scope:
            async with trio.open_nursery() as nursery:
                for feed in self._feeds:
                    nursery.start_soon(self._feed, feed, router)
        self._feeding = 0
        router.bump()

    async def _obey_signals(self, router: Router, everything: trio.CancelScope) -> None:
        """The first SIGINT or SIGTERM ends the feeds, so that the run drains; the second ends everything."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self._feeds_scope.cancel_called:
                    everything.cancel()
                    return
                self.outcome.code = ExitCode.INTERRUPTED
                self._report("warning", "", "draining what is under way; interrupt again to stop at once")
                self._feeds_scope.cancel()

    async def _feed(self, feed: Feed, router: Router) -> None:
        end = self._p.graph.inports[feed.port]
        inbox, number, rest = router.inboxes[end.node], 0, b""
        while True:
            block = await _read(feed.file)
            *lines, rest = (rest + block).split(b"\n") if block else (rest, b"")
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                try:
                    message = values.from_plain(_json(line))
                except (ValueError, values.NotAMessageError) as e:
                    self._bad_line(Location(feed.name, number), str(e))
                    continue
                if inbox.full(end.port):
                    router.bump()  # what was offered so far has to be taken, or there will never be room
                while inbox.full(end.port):
                    await router.changed.wait()
                inbox.offer(end.port, message)
                self.outcome.fed += 1
            router.bump()
            if not block:
                return

    def _bad_line(self, where: Location, why: str) -> None:
        problem = Problem("bad-input", f"not a JSON value: {why}", where, hint="--on-bad-input skip goes on without it")
        if self._on_bad_input == "stop":
            raise UserError(problem)
        self._report("error", "", str(problem))

    def _collect(self, collect: Collect, message: msgspec.Raw) -> None:
        self.outcome.collected[collect.port] += 1
        collect.file.write(values.json_text(values.to_plain(*values.decode(message))) + "\n")

    async def _until_idle(self, router: Router) -> None:
        while self._feeding or not router.idle:
            await router.changed.wait()


async def _read(file: BinaryIO) -> bytes:
    """What there is to read; b"" at the end. A pipe is waited for by Trio: a thread in a blocking read could not be
    ended with the run."""
    fd = file.fileno()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return await trio.to_thread.run_sync(os.read, fd, READ_BLOCK)
    await trio.lowlevel.wait_readable(fd)
    return os.read(fd, READ_BLOCK)


def _json(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return json.loads(line)  # takes NaN and infinities, and says where else it fails


def _leaves(group: BaseExceptionGroup[SupervisorFailedError]) -> list[BaseException]:
    found: list[BaseException] = []
    for e in group.exceptions:
        found.extend(_leaves(e) if isinstance(e, BaseExceptionGroup) else [e])  # pyright: ignore[reportUnknownArgumentType]
    return found


def open_feed(text: str) -> Feed:
    """PORT=FILE, where `-` is standard input."""
    port, equals, file = text.partition("=")
    if not equals or not port or not file:
        raise UserError(f"--feed {text}: write PORT=FILE, or PORT=- for standard input")
    if file == "-":
        return Feed(port, sys.stdin.buffer, "stdin")
    try:
        return Feed(port, Path(file).open("rb", buffering=0), file)
    except OSError as e:
        raise EnvironmentError_(f"--feed {port}: cannot read {file}: {e.strerror}") from None


def open_collect(text: str) -> Collect:
    """PORT=FILE, where `-` is standard output."""
    port, equals, file = text.partition("=")
    if not equals or not port or not file:
        raise UserError(f"--collect {text}: write PORT=FILE, or PORT=- for standard output")
    if file == "-":
        # Line by line: whoever reads the pipe wants rows as they come.
        return Collect(port, os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8"))
    try:
        return Collect(port, Path(file).open("w", encoding="utf-8"))
    except OSError as e:
        raise EnvironmentError_(f"--collect {port}: cannot write {file}: {e.strerror}") from None
