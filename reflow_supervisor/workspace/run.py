"""One run of one workspace: the root of its supervision tree, and the end of it.

It decides what is started before what, when a finite run is over, what an interrupt does, and what the exit code is.
Everything that can be said before anything starts is said in `prepare`.
"""

from __future__ import annotations

import random
import secrets
import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from reflow_supervisor.errors import ExitCode, Problem, UserError
from reflow_supervisor.network.graph import Edge, Graph
from reflow_supervisor.network.router import Router
from reflow_supervisor.sandbox.backend import Isolation, SandboxBackend
from reflow_supervisor.sandbox.select import choose_backend
from reflow_supervisor.supervision import (
    ChildRestarting,
    ChildSpec,
    ChildType,
    Event,
    ExitReason,
    Raised,
    StartFailedError,
    Strategy,
    SupervisorFailedError,
    SupervisorFlags,
    open_supervisor,
    reason_chain,
    run_supervisor,
)
from reflow_supervisor.telemetry.logs import Logs

from .control import Control
from .flow import Collect, Feed, collect, feed
from .letter_desk import LetterDesk
from .letters import LetterKeeper
from .nodes import Workers, network_spec
from .prepare import Prepared
from .services import SERVICE_FLAGS, Services, make_data_dir
from .status import Status

ROOT_FLAGS = SupervisorFlags(strategy=Strategy.ONE_FOR_ALL, intensity=0, period=1)
"""Whoever gives up below has tried; there is nothing that the root could do better."""


@attrs.define(eq=False)
class Outcome:
    """How a run ended."""

    code: ExitCode = ExitCode.DONE
    fed: int = 0
    collected: Counter[str] = attrs.field(factory=Counter[str])
    restarts: int = 0
    dead_letters: int = 0
    """What it gave up and leaves behind."""
    unkept: int = 0
    """Those among them that could not be kept, and are in the log."""


class Run:
    """One run. Used once.

    Args:
        on_bad_input: what a feed line that is not JSON does: "stop" the run, or "skip" that line.
        until_idle: end when nothing is left to do; False: only when told to.
        hold: stay, when the network is done, until told to stop: somebody is looking.
    """

    def __init__(
        self,
        prepared: Prepared,
        feeds: Sequence[Feed],
        collects: Sequence[Collect],
        *,
        logs: Logs,
        on_bad_input: str = "stop",
        until_idle: bool = True,
        hold: bool = False,
    ) -> None:
        self._p = prepared
        self.feeds = feeds
        self.collects = collects
        self._logs = logs
        self._on_bad_input = on_bad_input
        self._until_idle = until_idle
        self._hold = hold
        self._feeding = True
        self._feeds_scope = trio.CancelScope()
        self._everything = trio.CancelScope()
        self._draining = trio.Event()
        self._released = trio.Event()
        self._code = ExitCode.DONE
        self._error: UserError | None = None
        self._workers: Workers | None = None
        self._services: Services | None = None
        self._status: Status | None = None
        for kind, names, exposed in (
            ("inport", [f.port for f in feeds], prepared.graph.inports),
            ("outport", [c.port for c in collects], prepared.graph.outports),
        ):
            for name in names:
                if name not in exposed:
                    known = ", ".join(exposed) or "none"
                    raise UserError(f"the network exposes no {kind} {name!r} (it has: {known})")

    @property
    def outcome(self) -> Outcome:
        """How far it is, or how it ended."""
        workers = self._workers
        letters = 0 if workers is None else workers.router.dead_letters.left_behind
        code = self._code
        if letters and code is ExitCode.DONE:
            code = ExitCode.FAILED
        return Outcome(
            code=code,
            fed=sum(f.fed for f in self.feeds),
            collected=Counter({c.port: c.lines for c in self.collects}),
            restarts=0 if self._status is None else self._status.restarts,
            dead_letters=letters,
            unkept=0 if workers is None else workers.router.dead_letters.lost,
        )

    async def run(self) -> Outcome:
        """
        Raises:
            UserError: it could not start, or its input or output is not what it must be. What was under way is
                finished first where that is possible.
        """
        config = self._p.config
        make_data_dir(config)
        sandbox = config.workspace.sandbox
        minimum = Isolation[sandbox.minimum_isolation.upper()]
        notice = partial(self._report, "warning", "")
        backend = await trio.to_thread.run_sync(
            partial(choose_backend, sandbox.backend, minimum=minimum, unsafe=sandbox.unsafe, on_notice=notice)
        )
        if backend.isolation is Isolation.NONE:
            self._report("warning", "", "NO ISOLATION: scripts run with this user's rights (backend: process, unsafe)")
        try:
            with self._everything:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._obey_signals)
                    try:
                        await self._supervise(backend)
                    except UserError as error:
                        self._error = error  # a nursery would make it a group
                    nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(10, shield=True):
                await backend.aclose()
        if self._error is not None:
            raise self._error
        return self.outcome

    # -- the tree -----------------------------------------------------------------------------------------------

    async def _supervise(self, backend: SandboxBackend) -> None:
        config, rng = self._p.config, random.Random()
        workers = self._workers = Workers(
            self._p,
            self._with_collects(),
            sinks=[c.node for c in self.collects],
            report=self._logs.report,
            on_failure=self._on_failure,
            run_id=secrets.token_hex(6),
        )
        services = self._services = Services(
            config,
            backend,
            needed=workers.runtimes,
            stateful=workers.stateful,
            limits=workers.limits(None),
            report=self._logs.report,
            rng=rng,
        )
        status = self._status = Status(config.name, workers.nodes, workers.router, self._logs)
        status.bounded_by(backend.isolation)
        status.redis = services.redis_status
        keeper = LetterKeeper(
            workers.router.dead_letters,
            workers.router,
            services.letters,
            workers.letter_node,
            report=self._logs.report,
            rng=rng,
        )
        desk = LetterDesk(keeper, workers.letter_node)
        control = Control(self, status, workers.nodes, workers.router, desk)
        supervisor = partial(run_supervisor, rng=rng, on_event=self._heard)
        specs = [
            ChildSpec(
                "services",
                partial(supervisor, services.specs(control, keeper), SERVICE_FLAGS, name="services"),
                type=ChildType.SUPERVISOR,
            ),
            network_spec(config.supervision, workers.specs(services), supervisor),
        ]
        try:
            async with open_supervisor(flags=ROOT_FLAGS, name=config.name, rng=rng, on_event=self._heard) as root:
                status.root = root
                for spec in specs:
                    await root.start_child(spec)
                status.state = "draining" if self._draining.is_set() else "running"
                await self._flow(workers)
                if (problem := workers.router.bad_input) is not None:
                    self._error = self._error or UserError(problem)
                await root.terminate_child("network")
                await keeper.finish()
                status.state = "stopped"
                if self._hold:
                    await self._released.wait()
        except StartFailedError as failed:
            self._gave_up(failed.reason)
        except SupervisorFailedError as failed:
            self._gave_up(failed.reason)
        finally:
            keeper.abandon()
            await services.aclose()

    def _gave_up(self, reason: ExitReason) -> None:
        """A user's mistake is shown as one; everything else is a failure of the run."""
        *_, root = reason_chain(reason)
        match root:
            case Raised(UserError() as error):
                self._error = error
            case _:
                self._code = ExitCode.FAILED
                self._report("error", "", f"gave up: {reason}")

    def _on_failure(self, actor: str, kind: str, reason: str, detail: str) -> None:
        if self._status is not None:
            self._status.failed(actor, kind, reason, detail)

    def _heard(self, event: Event) -> None:
        if self._status is not None:
            self._status.heard(event)
        if isinstance(event, ChildRestarting):
            self._report("warning", event.child_id, f"restarting: {event.reason}")

    # -- what flows in and out ----------------------------------------------------------------------------------

    def _with_collects(self) -> Graph:
        """The network with an edge to a mailbox for each collected port."""
        graph = self._p.graph
        ends = [(graph.outports[c.port], c) for c in self.collects]
        edges = [Edge(end.node, end.port, c.node, "line") for end, c in ends]
        return attrs.evolve(graph, edges=(*graph.edges, *edges))

    async def _flow(self, workers: Workers) -> None:
        router = workers.router
        locks: dict[int, trio.Lock] = {}
        try:
            async with trio.open_nursery() as nursery:
                for sink in self.collects:
                    lock = locks.setdefault(sink.fd, trio.Lock())
                    nursery.start_soon(collect, sink, router.inboxes[sink.node], router, lock)
                nursery.start_soon(self._feed_all, workers)
                nursery.start_soon(self._give_up_draining)
                nursery.start_soon(self._stop_feeding, router)
                while not self._done(router):
                    await router.changed.wait()
                nursery.cancel_scope.cancel()
        except* UserError as group:
            self._error = first_user_error(group)

    def _done(self, router: Router) -> bool:
        return (self._until_idle or router.draining.is_set()) and not self._feeding and router.idle

    async def _feed_all(self, workers: Workers) -> None:
        with self._feeds_scope:
            async with trio.open_nursery() as nursery:
                for source in self.feeds:
                    longest = self._p.config.limits.max_message_size
                    nursery.start_soon(feed, source, workers.router, longest, self._bad_line)
        self._feeding = False
        workers.router.bump()

    async def _stop_feeding(self, router: Router) -> None:
        await router.draining.wait()
        self._feeds_scope.cancel()

    def _bad_line(self, problem: Problem) -> bool:
        """Whether to go on with the next line."""
        if self._on_bad_input == "stop":
            # What was fed before it is still worked on; `run` raises it when that is done.
            self._error = self._error or UserError(problem)
            self._feeds_scope.cancel()
            return False
        self._report("error", "", str(problem))
        return True

    # -- the end ------------------------------------------------------------------------------------------------

    def drain(self, why: str) -> None:
        """Takes no more input, finishes what is under way, and ends. While nothing runs yet, ends at once."""
        self._released.set()
        if self._draining.is_set():
            return
        self._draining.set()
        workers, status = self._workers, self._status
        if workers is None or status is None or status.state == "starting":
            self.end()
        elif status.state == "running":
            status.state = "draining"
            self._cut_short()
            self._report("warning", "", f"{why}: draining what is under way")
            workers.router.drain()
            workers.router.bump()

    def release(self) -> None:
        """Nobody is looking any more: a run that holds may end."""
        self._released.set()

    def note(self, level: str, text: str) -> None:
        """A log line of the workspace's own."""
        self._report(level, "", text)

    def end(self) -> None:
        """Stops at once. What was committed stays."""
        if self._status is None or self._status.state != "stopped":
            self._code = ExitCode.INTERRUPTED
        self._everything.cancel()

    def _cut_short(self) -> None:
        """A run that would have ended by itself was told to end before; one that would not has no other end."""
        if self._until_idle:
            self._code = ExitCode.INTERRUPTED

    async def _obey_signals(self) -> None:
        """The first SIGINT, SIGTERM or SIGHUP drains, the second ends everything."""
        wanted = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
        with trio.open_signal_receiver(*wanted) as signals:
            async for _ in signals:
                self._code = ExitCode.INTERRUPTED
                if self._draining.is_set():
                    self.end()
                else:
                    self.drain("interrupted (once more to stop at once)")

    async def _give_up_draining(self) -> None:
        await self._draining.wait()
        patience = self._p.config.limits.drain_timeout
        if patience is not None:
            await trio.sleep(patience)
            self._code = ExitCode.INTERRUPTED
            self._report("error", "", f"not drained within {patience:g} s; stopped with {self._left()}")
            self.end()

    def _left(self) -> str:
        assert self._workers is not None
        boxes = {id: box.waiting + box.in_flight for id, box in self._workers.router.inboxes.items()}
        left = [f"{count} at {id}" for id, count in boxes.items() if count]
        return ", ".join(left[:10]) or "nothing left"

    def _report(self, level: str, node: str, text: str) -> None:
        self._logs.report(level, node, text)


def first_user_error(group: BaseExceptionGroup[UserError]) -> UserError:
    for e in group.exceptions:
        return first_user_error(e) if isinstance(e, BaseExceptionGroup) else e  # pyright: ignore[reportUnknownArgumentType]
    raise ValueError("an empty group")
