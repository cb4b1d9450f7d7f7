"""One incarnation of a script actor: the body of its supervisor's child.

It leases a sandbox, loads the script, hands out activations, and commits what comes back: room first, then state, then
outputs, then the input is done; all or nothing. It decides nothing about retries (`network.inbox`) or restarts
(`supervision`): it ends with an exception that says why, and what was in flight waits for the next incarnation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio
from reflow.wire import messages, values
from reflow.wire.messages import Code, Failure
from reflow.wire.session import NotificationReceived, Outcome, ProtocolViolationError, RequestReceived

from reflow_supervisor.network.component import Component
from reflow_supervisor.network.inbox import Activation, DeadLetter, Inbox
from reflow_supervisor.network.ports import accepts, parse_port_type
from reflow_supervisor.network.router import Router
from reflow_supervisor.rpc.link import Link, LinkClosedError, RequestFailedError
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit, SandboxRuntime
from reflow_supervisor.sandbox.pool import SandboxPool
from reflow_supervisor.state.operations import InvalidStateOps, StateLimits, parse_key, parse_keys, parse_ops
from reflow_supervisor.state.store import Kind, StateCommit, StateStore
from reflow_supervisor.supervision import ChildExit, Exited, Killed, OutOfMemory

from .modules import ModuleSet, materialise
from .registry import LoadedSource

KILL_GRACE = 1.0
"""Seconds between an activation's timeout and the end of a sandbox that did not yield to it."""

_STATE_LIMITS = StateLimits()


class LoadFailedError(Exception):
    """The script could not be loaded; the text ends with its own traceback."""


class SandboxGoneError(Exception):
    """The sandbox or its link is over."""


@attrs.frozen
class Plan:
    """What every incarnation of a node needs."""

    node: str
    component: Component
    config: Mapping[str, Any]
    source: LoadedSource
    modules: ModuleSet
    limits: Limits
    timeout: float | None
    load_timeout: float
    ttl: float | None
    run_id: str
    """Distinguishes this run's commit ids from those of every other run."""


@attrs.define(eq=False)
class Commits:
    """Numbers a node's commits over its incarnations."""

    last: int = 0


Report = Callable[[str, str, str], None]
"""(level, node, text)"""


class Instance:
    """See the module. Used once."""

    def __init__(
        self,
        plan: Plan,
        inbox: Inbox,
        router: Router,
        pool: SandboxPool[Link],
        store: StateStore,
        commits: Commits,
        report: Report,
        incarnation: int,
    ) -> None:
        self._plan = plan
        self._inbox = inbox
        self._router = router
        self._pool = pool
        self._store = store
        self._commits = commits
        self._report = report
        self._incarnation = incarnation
        self._link: Link
        self._accepted: deque[tuple[Activation, messages.Commit | Failure]] = deque()
        self._arrived = trio.Event()
        self._requests: trio.MemorySendChannel[RequestReceived]
        self._types = {p.name: parse_port_type(p.type) for p in plan.component.outports}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """
        Raises:
            LoadFailedError, SandboxGoneError, ChildExit: why this incarnation is over.
        """
        plan = self._plan
        runtime: SandboxRuntime = "python" if plan.component.runtime == "python" else "javascript"
        async with await self._pool.lease(runtime, plan.limits) as lease:
            self._link, sandbox = lease.link, lease.sandbox
            await trio.to_thread.run_sync(materialise, plan.modules, plan.source, sandbox.workspace)
            send, receive = trio.open_memory_channel[RequestReceived](256)
            self._requests = send
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forward, sandbox.stdout, "info")
                nursery.start_soon(self._forward, sandbox.stderr, "warning")
                nursery.start_soon(self._answer, receive)
                self._link.attach(self)
                await self._load()
                task_status.started()
                try:
                    async with trio.open_nursery() as work:
                        work.start_soon(self._hand_out)
                        work.start_soon(self._watch_overruns, sandbox.kill)
                        work.start_soon(self._commit_until_lost)
                except* SandboxGoneError:
                    pass
                finally:
                    self._lost()
                nursery.cancel_scope.cancel()
            with trio.move_on_after(2):
                gone = await sandbox.wait()
                raise ChildExit(_reason(gone))
            end = self._link.end
            raise SandboxGoneError(str(end))

    async def _load(self) -> None:
        plan, component = self._plan, self._plan.component
        params = messages.Load(
            node=plan.node,
            component=component.name,
            file=plan.source.file,
            source=plan.source.code,
            export=component.export,
            config=dict(plan.config),
            incarnation=self._incarnation,
            inports=[p.name for p in component.inports],
            outports=None if component.open_ports else [p.name for p in component.outports],
            error_port=component.outport("error") is not None,
            state=messages.StateSettings(
                backend=component.state_backend, ttl_ms=None if plan.ttl is None else round(plan.ttl * 1000)
            ),
        )
        try:
            with trio.fail_after(plan.load_timeout):
                await self._link.request("load", params, messages.LoadResult)
        except RequestFailedError as e:
            failure = e.error.decode_data(Failure)
            text = _text(failure) if failure else str(e)
            self._report("error", plan.node, text)
            raise LoadFailedError(text) from None
        except (LinkClosedError, ProtocolViolationError) as e:
            raise SandboxGoneError(str(e)) from None
        except trio.TooSlowError:
            raise LoadFailedError(f"the script was not loaded within {plan.load_timeout:g} s") from None

    # -- activations --------------------------------------------------------------------------------------------

    async def _hand_out(self) -> None:
        timeout_ms = None if self._plan.timeout is None else round(self._plan.timeout * 1000)
        while True:
            changed = self._router.changed
            while (activation := self._inbox.take()) is not None:
                params = messages.Activate(
                    activation=activation.id,
                    attempt=activation.attempt,
                    epoch=self._inbox.epoch,
                    inputs=dict(activation.inputs),
                    timeout_ms=timeout_ms,
                )
                attempt = activation.attempt

                def answered(outcome: Outcome, id: int = activation.id, attempt: int = attempt) -> None:
                    self._answered(id, attempt, outcome)

                try:
                    self._link.call("activate", params, answered)
                except LinkClosedError:
                    raise SandboxGoneError from None
            await changed.wait()

    def _answered(self, id: int, attempt: int, outcome: Outcome) -> None:
        activation = self._inbox.current(id, attempt)
        if activation is None or outcome.unknown:
            return
        if outcome.error is not None:
            if outcome.error.code == Code.SKIPPED:
                return
            failure = outcome.error.decode_data(Failure) or Failure(type="Error", message=outcome.error.message)
            self._accepted.append((activation, failure))
        else:
            assert outcome.result is not None
            self._accepted.append((activation, outcome.result.decode(messages.Commit)))
        self._arrived.set()

    async def _watch_overruns(self, kill: Callable[[str], None]) -> None:
        """Ends a sandbox whose oldest activation yields to no timeout of the agent."""
        if self._plan.timeout is None:
            return
        allowed, oldest, since = self._plan.timeout + KILL_GRACE, None, trio.current_time()
        while True:
            await trio.sleep(min(0.25, allowed / 4))
            head = self._inbox.oldest
            if head != oldest or head is None or self._accepted:
                oldest, since = head, trio.current_time()
            elif trio.current_time() - since > allowed:
                kill(f"an activation did not end within {self._plan.timeout:g} s, nor when it was interrupted")
                return

    async def _commit_until_lost(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_when_lost)
            while True:
                while self._accepted:
                    activation, result = self._accepted[0]
                    if isinstance(result, Failure):
                        self._accepted.clear()  # what follows is of the same epoch, and was skipped
                        self._failed(activation, result)
                    else:
                        await self._commit(activation, result)
                        self._accepted.popleft()
                    self._router.bump()
                if self._link.closed.is_set():
                    raise SandboxGoneError
                await self._arrived.wait()
                self._arrived = trio.Event()

    async def _wake_when_lost(self) -> None:
        await self._link.closed.wait()
        self._arrived.set()

    async def _commit(self, activation: Activation, commit: messages.Commit) -> None:
        node, router = self._plan.node, self._router
        try:
            ops = parse_ops(commit.state, _STATE_LIMITS)
            for port, raw in commit.outputs:
                self._check(port, values.decode(raw)[0])
        except (InvalidStateOps, values.MalformedMessageError) as e:
            self._link.violated(f"activation {activation.id}: {e}")
            raise SandboxGoneError from None
        ports = [port for port, _ in commit.outputs]
        while not router.has_room(node, ports):
            await router.changed.wait()
        if ops:
            # Without a deadline: while Redis is away a commit waits. The store lets no started call be cut short, and
            # nothing below awaits, so that what was applied is also placed.
            self._commits.last += 1
            await self._store.commit([StateCommit(node, f"{self._plan.run_id}:{self._commits.last}", ops)])
        for port, raw in commit.outputs:
            router.place(node, port, raw)
        self._inbox.done(activation)

    def _check(self, port: str, type: str) -> None:
        expected = self._types.get(port)
        if expected is not None:
            if type != values.ERROR and not accepts(expected, type):
                raise values.MalformedMessageError(
                    f"port {port!r} is declared {expected}, and got a message of type {type}"
                )
        elif not self._plan.component.open_ports and not self._router.unrouted[self._plan.node, port]:
            declared = ", ".join(self._types) or "none"
            self._report(
                "error", self._plan.node, f"returned port {port!r}, which it does not declare (declared: {declared})"
            )

    def _failed(self, activation: Activation, failure: Failure) -> None:
        self._report("error", self._plan.node, _text(failure))
        if self._plan.component.outport("error") is not None:
            error = {"message": failure.message, "code": failure.type}
            self._inbox.skip(activation)
            self._router.place(self._plan.node, "error", values.encode(values.ERROR, error))
            return
        self._bury(self._inbox.failed(activation, failure))

    def _lost(self) -> None:
        if self._inbox.in_flight:
            end = self._link.end
            self._bury(self._inbox.lost(Failure(type="SandboxLost", message=f"the sandbox was lost: {end}")))
        self._router.bump()

    def _bury(self, letter: DeadLetter | None) -> None:
        if letter is not None:
            self._router.dead_letters.append(letter)
            times = letter.activation.failures
            self._report("error", self._plan.node, f"dead letter after {times} attempts: {letter.failure.message}")

    # -- what the agent says ------------------------------------------------------------------------------------

    def on_request(self, request: RequestReceived) -> None:
        try:
            self._requests.send_nowait(request)
        except trio.WouldBlock:
            raise ProtocolViolationError("more than 256 requests at once") from None

    def on_notification(self, notification: NotificationReceived) -> None:
        if notification.method == "send":
            sent = notification.params.decode(messages.Send)
            activation = self._inbox.current(sent.activation, sent.attempt)
            if activation is None or sent.index < activation.sent:
                return
            try:
                self._check(sent.port, values.decode(sent.message)[0])
            except values.MalformedMessageError as e:
                raise ProtocolViolationError(str(e)) from None
            activation.sent = sent.index + 1
            self._router.place(self._plan.node, sent.port, sent.message)
            self._router.bump()
        elif notification.method == "log":
            log = notification.params.decode(messages.Log)
            self._report(log.level[:10], self._plan.node, log.message)

    async def _answer(self, requests: trio.MemoryReceiveChannel[RequestReceived]) -> None:
        node = self._plan.node
        async for request in requests:
            try:
                if request.method == "state.fetch":
                    keys = parse_keys(request.params.decode(messages.StateFetch).keys, _STATE_LIMITS)
                    found = await self._store.fetch(node, keys)
                    answer: Any = {
                        key: ["value", s.value.decode(), s.ttl]
                        if s.kind is Kind.VALUE
                        else ["list", [item.decode() for item in s.items], s.ttl]
                        for key, s in found.items()
                    }
                elif request.method == "state.keys":
                    pattern = parse_key(request.params.decode(messages.StateKeys).pattern)
                    answer = list(await self._store.keys(node, pattern))
                else:
                    self._link.fail(request.id, Code.METHOD_NOT_FOUND, f"no method {request.method[:64]!r}")
                    continue
            except InvalidStateOps as e:
                self._link.fail(request.id, Code.NOT_ALLOWED, str(e))
            except ProtocolViolationError as e:
                self._link.violated(str(e))
            else:
                self._link.respond(request.id, answer)

    async def _forward(self, stream: trio.abc.ReceiveStream, level: str) -> None:
        """The script's output, a record a line; a flood is counted, not kept."""
        rest, kept, dropped, since = b"", 0, 0, trio.current_time()
        try:
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-8192:]
                if trio.current_time() - since >= 1:
                    if dropped:
                        self._report("warning", self._plan.node, f"{dropped} lines of output dropped")
                    kept, dropped, since = 0, 0, trio.current_time()
                for line in lines:
                    kept += 1
                    if kept <= 200:
                        self._report(level, self._plan.node, line[:8192].decode("utf-8", "replace"))
                    else:
                        dropped += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            if dropped:
                self._report("warning", self._plan.node, f"{dropped} lines of output dropped")
        if rest:
            self._report(level, self._plan.node, rest.decode("utf-8", "replace"))


def _text(failure: Failure) -> str:
    return failure.traceback.rstrip() or f"{failure.type}: {failure.message}"


def _reason(gone: SandboxExit) -> Any:
    match gone.kind:
        case ExitKind.OUT_OF_MEMORY:
            return OutOfMemory()
        case ExitKind.EXITED:
            return Exited(gone.code or 0)
        case _:
            return Killed(gone.signal or 9, gone.detail)
