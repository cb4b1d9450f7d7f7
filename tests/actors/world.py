"""A node with everything around it played: its agent on a real session and link, its sandbox, pool and state store."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import msgspec
import trio
import trio.testing
from reflow.wire import messages, values
from reflow.wire.messages import Code, Failure
from reflow.wire.session import RequestReceived, Session
from trio_websocket import ConnectionClosed

from reflow_supervisor.actors.activations import Activations
from reflow_supervisor.actors.commit import Committer
from reflow_supervisor.actors.failures import Failures
from reflow_supervisor.actors.modules import ModuleSet
from reflow_supervisor.actors.node import Host, Node, Plan
from reflow_supervisor.actors.registry import LoadedSource
from reflow_supervisor.config import Endpoint
from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.edge import OnFull
from reflow_supervisor.network.graph import Edge, Graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit, Usage
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.retrying import RetryingStore
from reflow_supervisor.state.store import StateCommit, StateStore

WALL = 1_700_000_000.0


def message(value: object, type: str = values.ANY) -> msgspec.Raw:
    return values.encode(type, value)


def plain(raw: msgspec.Raw) -> Any:
    return values.to_plain(*values.decode(raw))


@attrs.define
class Line:
    level: str
    node: str
    text: str
    fields: Mapping[str, Any]


class FaultyStore(MemoryStore):
    """Fails as it is told to: one word a commit, "" (or no word left) for one that works."""

    def __init__(self) -> None:
        super().__init__(clock=trio.current_time)
        self.faults: deque[str] = deque()
        self.calls: list[list[str]] = []
        """The ids of the commits of each call."""
        self.open = trio.Event()
        self.open.set()

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        fault = self.faults.popleft() if self.faults else ""
        self.calls.append([commit.commit_id for commit in commits])
        await self.open.wait()
        if fault == "before":
            raise StateUnavailableError("away")
        await super().commit(commits)
        if fault == "after":
            raise StateUnavailableError("the answer did not come")


class _Socket:
    """One end of a WebSocket in memory."""

    def __init__(self, send: trio.MemorySendChannel[Any], receive: trio.MemoryReceiveChannel[Any]) -> None:
        self._send, self._receive = send, receive

    async def get_message(self) -> bytes | str:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise ConnectionClosed(None) from None

    async def send_message(self, frame: bytes | str) -> None:
        try:
            await self._send.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionClosed(None) from None

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._send.close()
        self._receive.close()


class Agent:
    """What is at the other end of a link. It does what `on_request` says, at once or later."""

    def __init__(self, socket: _Socket) -> None:
        self.session = Session()
        self.asked: list[RequestReceived] = []
        """What it was asked, apart from `load`."""
        self.answers: dict[int | str, Any] = {}
        """Results and errors that it got itself."""
        self.on_request: Callable[[RequestReceived], None] | None = None
        self.on_load: Callable[[RequestReceived], None] = self.loaded
        self.on_closed: Callable[[], None] = lambda: None
        self.comes_back = False
        self._socket = socket

    async def run(self) -> None:
        try:
            while True:
                for event in self.session.receive(await self._socket.get_message()):
                    if isinstance(event, RequestReceived):
                        if event.method == "load":
                            self.on_load(event)
                            continue
                        self.asked.append(event)
                        if self.on_request is not None:
                            self.on_request(event)
                    elif hasattr(event, "error"):
                        outcome = cast("Any", event)
                        self.answers[outcome.id] = outcome.error or outcome.result.plain()
                await self.flush()
        except ConnectionClosed:
            if not self.comes_back:
                self.session.lost()
            self.on_closed()

    async def flush(self) -> None:
        """Sends all that it has said."""
        with contextlib.suppress(ConnectionClosed):
            while (frame := self.session.data_to_send()) is not None:
                await self._socket.send_message(frame)

    def hang_up(self) -> None:
        self._socket.close()

    def come_back(self, link: Link) -> None:
        """After its link was cut. It is no more running."""
        ours, self._socket = _sockets()
        link.resume(ours, lambda: None, self.session.received, self._resumed)

    def _resumed(self, received: int) -> bytes:
        self.session.resume(received)
        return b"\x92\x00\x00"  # instead of an answer to hello, which this agent does not wait for

    def loaded(self, request: RequestReceived) -> None:
        self.session.respond(request.id, messages.LoadResult(name="a"))

    def activations(self) -> list[messages.Activate]:
        return [r.params.decode(messages.Activate) for r in self.asked if r.method == "activate"]

    # What it says about the activation that it was given as the `place`th.

    def commit(self, place: int, *outputs: tuple[str, object], state: Sequence[list[Any]] = ()) -> None:
        encoded = [(port, raw if isinstance(raw, msgspec.Raw) else message(raw)) for port, raw in outputs]
        self.session.respond(self.asked[place].id, messages.Commit(outputs=encoded, state=list(state)))

    def fail(self, place: int, text: str = "no", code: int = Code.SCRIPT_FAILED) -> None:
        self.session.fail(self.asked[place].id, code, text, Failure(type="ValueError", message=text))

    def skip(self, place: int) -> None:
        self.session.fail(self.asked[place].id, Code.SKIPPED, "skipped")

    def send(self, place: int, index: int, port: str, value: object) -> None:
        given = self.asked[place].params.decode(messages.Activate)
        raw = value if isinstance(value, msgspec.Raw) else message(value)
        sent = messages.Send(activation=given.activation, attempt=given.attempt, index=index, port=port, message=raw)
        self.session.notify("send", sent)


def _sockets() -> tuple[Any, _Socket]:
    """Of a link, and of its agent."""
    to_agent, at_agent = trio.open_memory_channel[Any](1000)
    to_link, at_link = trio.open_memory_channel[Any](1000)
    return _Socket(to_agent, at_link), _Socket(to_link, at_agent)


def connected(resume_window: float = 0) -> tuple[Link, Agent]:
    """Both ends of a link after its handshake; each has to be run."""
    ours, theirs = _sockets()
    hello = messages.Hello(protocol=[1], runtime="t")
    link = Link(ours, Session(), hello, lambda: None, ping_interval=None, resume_window=resume_window)
    return link, Agent(theirs)


class FakeSandbox:
    """Ends when it is told to."""

    id = "box"
    runtime = "python"
    pid = 7

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.exit: SandboxExit | None = None
        self.killed: list[str] = []
        self.on_gone: Callable[[], None] = lambda: None
        self._gone = trio.Event()
        self.out, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.err, self.stderr = trio.testing.memory_stream_one_way_pair()

    def kill(self, detail: str = "") -> None:
        self.killed.append(detail)
        self.end(SandboxExit(ExitKind.KILLED, signal=9, detail=detail))

    def end(self, how: SandboxExit) -> None:
        if self.exit is None:
            self.exit = how
            self._gone.set()
            self.out.close()
            self.err.close()
            self.on_gone()

    async def wait(self) -> SandboxExit:
        await self._gone.wait()
        assert self.exit is not None
        return self.exit

    def usage(self) -> Usage | None:
        return Usage(1.5, 2048)


class Lease:
    def __init__(self, sandbox: FakeSandbox, link: Link) -> None:
        self.sandbox, self.link = sandbox, link

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sandbox.kill()
        with trio.CancelScope(shield=True):
            await self.link.aclose()


class FakePool:
    """A new sandbox with a new agent for every lease. `on_agent` is told of each before it is asked anything."""

    def __init__(self, nursery: trio.Nursery, workspace: Path) -> None:
        self.agents: list[Agent] = []
        self.sandboxes: list[FakeSandbox] = []
        self.links: list[Link] = []
        self.leased: list[tuple[str, Limits]] = []
        self.on_agent: Callable[[Agent, FakeSandbox], None] = lambda agent, sandbox: None
        self.before: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self._nursery = nursery
        self._workspace = workspace

    async def lease(self, runtime: str, limits: Limits) -> Lease:
        await self.before()
        self.leased.append((runtime, limits))
        link, agent = connected()
        directory = self._workspace / str(len(self.agents))
        directory.mkdir()
        sandbox = FakeSandbox(directory)
        sandbox.on_gone = agent.hang_up
        self.agents.append(agent)
        self.sandboxes.append(sandbox)
        self.links.append(link)
        self.on_agent(agent, sandbox)
        self._nursery.start_soon(agent.run)
        await self._nursery.start(link.run)
        return Lease(sandbox, link)


class World:
    """A node `a` whose outports lead to the node `b` (as `edges` says), and what was said about it."""

    def __init__(
        self,
        *,
        outports: Sequence[PortDecl] = (PortDecl("out"),),
        edges: Sequence[str] = ("out",),
        capacity: int | None = None,
        on_full: OnFull = "block",
        open_ports: bool = False,
        timeout: float | None = None,
        max_attempts: int = 3,
        window: int = 64,
        log_rate: int = 1000,
        source: LoadedSource | None = None,
        modules: ModuleSet | None = None,
        runtime: Runtime = Runtime.PYTHON,
        ttl: float | None = None,
        store: StateStore | None = None,
    ) -> None:
        self.inbox = Inbox("a", ("in",), max_attempts=max_attempts, window=window)
        self.consumer = Inbox("b", tuple(edges) or ("out",))
        graph = Graph(
            inports={"in": Endpoint("a", "in")},
            edges=tuple(Edge("a", port, "b", port, on_full, capacity) for port in edges),
        )
        self.router = Router(graph, {"a": self.inbox, "b": self.consumer})
        component = Component("A", runtime, (PortDecl("in"),), tuple(outports), open_ports=open_ports)
        self.plan = Plan(
            node="a",
            component=component,
            config={"k": 1},
            source=source or LoadedSource("a.actor.py", b"pass", "pass", "0"),
            modules=modules or ModuleSet(Path("/")),
            limits=Limits(),
            timeout=timeout,
            load_timeout=5,
            ttl=ttl,
            run_id="run",
            log_rate=log_rate,
        )
        self.faulty = FaultyStore()
        self.store: StateStore = store or RetryingStore(
            self.faulty, rng=random.Random(0), on_change=lambda change: None
        )
        self.node = Node(self.plan, self.inbox, self.store)
        self.lines: list[Line] = []
        self.told: list[tuple[str, str, str, str]] = []
        self.host = Host(
            pool=cast("Any", None),
            router=self.router,
            report=self._report,
            on_failure=self._on_failure,
            wall_clock=lambda: WALL,
        )

    def _report(self, level: str, node: str, text: str, fields: Mapping[str, Any] | None = None, /) -> None:
        self.lines.append(Line(level, node, text, fields or {}))

    def _on_failure(self, actor: str, kind: str, reason: str, detail: str) -> None:
        self.told.append((actor, kind, reason, detail))

    def said(self, *levels: str) -> list[str]:
        return [line.text for line in self.lines if not levels or line.level in levels]

    def feed(self, *what: object) -> None:
        for value in what:
            self.inbox.offer("in", message(value))
        self.router.bump()

    def arrived(self, inbox: Inbox | None = None) -> list[tuple[str, Any]]:
        """What came out, taken and done."""
        found: list[tuple[str, Any]] = []
        inbox = inbox or self.consumer
        while (activation := inbox.take()) is not None:
            found += [(port, plain(raw)) for port, raw in activation.inputs.items()]
            inbox.done(activation)
        self.router.bump()
        return found

    async def kept(self, *keys: str) -> dict[str, Any]:
        """What the store holds of the node's state."""
        found = await self.faulty.fetch("a", keys)
        return {
            key: msgspec.json.decode(s.value) if s.kind == "value" else [msgspec.json.decode(i) for i in s.items]
            for key, s in found.items()
        }


class Working(World):
    """A node whose activations are at work on one link."""

    link: Link
    agent: Agent
    activations: Activations
    replace: bool | None = None

    def __init__(self, *, resume_window: float = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.resume_window = resume_window
        self.killed: list[str] = []

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        self.link, self.agent = connected(self.resume_window)
        self.agent.comes_back = self.resume_window > 0
        committer, failures = Committer(self.host, self.node), Failures(self.host, self.node)
        self.activations = Activations(self.host, self.node, self.link, committer, failures, self._kill)
        self.over = trio.Event()
        self.link.attach(self, on_resumed=lambda seconds: self.router.bump())
        async with trio.open_nursery() as nursery:
            await nursery.start(self.link.run)
            nursery.start_soon(self.agent.run)
            nursery.start_soon(self._work)
            await settled()
            yield
            nursery.cancel_scope.cancel()

    async def cut(self) -> None:
        """The link, which the agent notices."""
        self.agent.hang_up()
        await settled()
        assert not self.link.is_up

    @contextlib.asynccontextmanager
    async def resumed(self) -> AsyncGenerator[None]:
        self.agent.come_back(self.link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.agent.run)
            await settled()
            yield
            nursery.cancel_scope.cancel()

    def _kill(self, why: str) -> None:
        self.killed.append(why)
        self.agent.hang_up()

    async def _work(self) -> None:
        try:
            self.replace = await self.activations.run()
        finally:
            self.over.set()

    def on_request(self, request: Any) -> None:
        raise AssertionError(request)

    def on_notification(self, notification: Any) -> None:
        self.activations.sent(notification.params.decode(messages.Send))

    async def agent_says(self) -> None:
        """Everything that the agent has said has come and had its effects."""
        await self.agent.flush()
        await settled()


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()
