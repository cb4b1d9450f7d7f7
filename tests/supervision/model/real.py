"""Plays a plan on the real supervisor, on Trio and a clock that jumps, and notes what can be seen.

What must hold for every plan, also where the reference leaves open what happens, is checked here: one incarnation at a
time, nothing left running, one answer for every call, restarts within the intensity.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any

import attrs
import trio
from supervision.model.plans import REST, Act, Life, Node, Plan, Tree
from supervision.model.reference import Trace
from trio.testing import MockClock

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    AutoShutdown,
    Backoff,
    Cancelled,
    ChildEvent,
    ChildExit,
    ChildExited,
    ChildIgnored,
    ChildNotFoundError,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    ChildStartFailed,
    ChildState,
    ChildStopped,
    ChildType,
    Event,
    Exited,
    ExitReason,
    FailedToStart,
    GaveUp,
    Killed,
    NeverReady,
    Restart,
    Returned,
    Shutdown,
    Strategy,
    SupervisionError,
    Supervisor,
    SupervisorEnded,
    SupervisorFailedError,
    SupervisorFlags,
    SupervisorGaveUp,
    SupervisorStarted,
    TimedOut,
    open_supervisor,
    run_supervisor,
)

MOST_EVENTS = 2000
"""More than any plan leads to, by far."""


def play(plan: Plan) -> Trace:
    """Runs the plan.

    Raises:
        AssertionError: what must always hold did not.
    """
    stage = _Stage(plan)
    trio.run(stage.run, clock=MockClock(autojump_threshold=0))
    return Trace(stage.events, stage.calls, stage.outcome)


@attrs.define(eq=False)
class _Incarnation:
    told: trio.Event = attrs.field(factory=trio.Event)
    killed: trio.Event = attrs.field(factory=trio.Event)
    how: str = ""
    ready: bool = False


_REASONS: dict[ExitReason, str] = {
    Returned(): "returned",
    Exited(1): "crash",
    Exited(2): "crash stopping",
    NeverReady(): "never ready",
    Killed(9): "killed 9",
}


def name_of(reason: ExitReason) -> str:
    """The reason in the words of the reference."""
    match reason:
        case Cancelled(by=by):
            return f"cancelled {by}"
        case Shutdown():
            return "shutdown"
        case Killed(signal=None):
            return "killed"
        case TimedOut():
            return "timed out"
        case FailedToStart(child_id=child_id, reason=below):
            return f"failed to start {child_id}: {name_of(below)}"
        case GaveUp(child_id=child_id, reason=below, restarts=restarts):
            return f"gave up {child_id} {restarts}: {name_of(below)}"
        case _:
            return _REASONS[reason]


class _Stage:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.born: Counter[str] = Counter()
        self.alive: dict[str, _Incarnation] = {}
        self.killed_early: set[str] = set()
        self.noted = 0
        self.events: dict[str, list[tuple[Any, ...]]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.outcome = ""
        self.trees: dict[str, Tree] = {}

    async def run(self) -> None:
        # Trio's scheduler gets its seed from the plan: Hypothesis would give it the same for every example.
        trio._core._run._r.seed(self.plan.seed)  # type: ignore[attr-defined]
        before = trio.lowlevel.current_statistics().tasks_living
        self.trees[""] = self.plan.tree
        async with trio.open_nursery() as callers:
            try:
                with trio.CancelScope() as scope:
                    async with open_supervisor(
                        self.specs(self.plan.tree, ""),
                        flags(self.plan.tree),
                        name="top",
                        on_event=partial(self.note, ""),
                    ) as top:
                        for step in self.plan.steps:
                            await trio.sleep(step.wait)
                            self.check(top)
                            for act in step.acts:
                                self.act(callers, top, act)
                        await trio.sleep(REST)
                        if self.plan.cancel:
                            scope.cancel()
                            await trio.sleep_forever()
                self.outcome = "shutdown"
            except SupervisorFailedError as error:
                self.outcome = name_of(error.reason)
            assert not self.alive, f"left running: {list(self.alive)}"
            ended_at = trio.current_time()
        # Callers have had their answers, all at the latest when it ended.
        assert trio.current_time() == ended_at
        assert () not in self.calls
        assert trio.lowlevel.current_statistics().tasks_living == before

    def specs(self, tree: Tree, path: str) -> list[ChildSpec]:
        return [self.spec(node, path) for node in tree.children]

    def spec(self, node: Node, above: str) -> ChildSpec:
        path = f"{above}/{node.id}".lstrip("/")
        shutdown = BRUTAL_KILL if node.shutdown is None else INFINITY if node.shutdown == math.inf else node.shutdown
        common: dict[str, Any] = {
            "restart": Restart(node.restart),
            "shutdown": shutdown,
            "significant": node.significant,
            "start_timeout": node.start_timeout,
        }
        if node.below is None:
            return ChildSpec(node.id, partial(self.work, path, node), kill=partial(self.kill, path), **common)
        self.trees[path] = node.below
        below = partial(
            run_supervisor,
            self.specs(node.below, path),
            flags(node.below),
            name=path,
            on_event=partial(self.note, path),
        )
        return ChildSpec(node.id, below, type=ChildType.SUPERVISOR, **common)

    # Workers.

    async def work(self, path: str, node: Node, *, task_status: trio.TaskStatus[Any]) -> object:
        life = node.lives[min(self.born[path], len(node.lives) - 1)]
        self.born[path] += 1
        assert path not in self.alive, f"two incarnations of {path} at once"
        me = self.alive[path] = _Incarnation()
        if path in self.killed_early:
            self.killed_early.remove(path)
            me.killed.set()
        try:
            try:
                await trio.sleep(life.start_time)
                if life.start != "ready":
                    return self.ends(life.start)
                me.ready = True
                task_status.started()
                with trio.move_on_after(math.inf if life.run_time is None else life.run_time):
                    await me.told.wait()
                return self.ends(me.how or life.end)
            except trio.Cancelled:
                me.ready = False
                return await self.stop(me, life)
        finally:
            del self.alive[path]

    async def stop(self, me: _Incarnation, life: Life) -> object:
        with trio.CancelScope(shield=True):
            if life.stop == "deaf":
                await trio.sleep(life.stop_time or 0)
            else:
                with trio.move_on_after(math.inf if life.stop_time is None else life.stop_time):
                    await me.killed.wait()
                if me.killed.is_set():
                    raise ChildExit(Killed(9))
        if life.stop == "return":
            return None
        if life.stop == "crash":
            raise ChildExit(Exited(2))
        raise

    def ends(self, how: str) -> object:
        match how:
            case "ignore":
                return IGNORE
            case "crash":
                raise ChildExit(Exited(1))
            case "shutdown":
                raise ChildExit(Shutdown())
            case _:
                return None

    def kill(self, path: str) -> None:
        me = self.alive.get(path)
        if me is None:  # Its task has not begun to run.
            self.killed_early.add(path)
        else:
            me.killed.set()

    # What is done to it.

    def act(self, callers: trio.Nursery, top: Supervisor, act: Act) -> None:
        above, _, child_id = act.path.rpartition("/")
        supervisor = find(top, act.path if act.kind in ("shutdown", "start_child") else above)
        if supervisor is None:
            return
        if act.kind == "shutdown":
            supervisor.shutdown()
        elif act.kind == "exit":
            me = self.alive.get(act.path)
            if me is not None and me.ready:
                me.how = me.how or act.how
                me.told.set()
        else:
            self.calls.append(())
            callers.start_soon(self.call, supervisor, act, child_id, len(self.calls) - 1)

    async def call(self, supervisor: Supervisor, act: Act, child_id: str, number: int) -> None:
        try:
            match act.kind:
                case "terminate":
                    await supervisor.terminate_child(child_id)
                case "restart_child":
                    await supervisor.restart_child(child_id)
                case "restart":
                    await supervisor.restart(child_id)
                case "delete":
                    await supervisor.delete_child(child_id)
                case _:
                    assert act.node is not None
                    await supervisor.start_child(self.spec(act.node, act.path))
        except SupervisionError as error:
            outcome = type(error).__name__
        else:
            outcome = "done"
        assert not self.calls[number], "answered twice"
        self.calls[number] = (act.kind, act.path, outcome, trio.current_time())

    # What is seen.

    def check(self, supervisor: Supervisor, path: str = "") -> None:
        """What must hold at any moment, of a supervisor and all below it."""
        children = supervisor.which_children()
        counts = supervisor.count_children()
        assert counts.specs == len(children) == counts.supervisors + counts.workers
        inactive = (ChildState.STOPPED, ChildState.RESTARTING)
        assert counts.active == sum(child.state not in inactive for child in children)
        # The one that was too many is counted, too.
        assert supervisor.restarts <= supervisor.flags.intensity + 1
        for child in children:
            below = f"{path}/{child.id}".lstrip("/")
            if isinstance(child.value, Supervisor):
                assert child.state in (ChildState.RUNNING, ChildState.STOPPING)
                self.check(child.value, below)
            elif child.type is ChildType.WORKER and child.state is ChildState.STOPPED:
                assert below not in self.alive, f"{below} is said to be stopped"
            elif child.type is ChildType.WORKER and child.state is ChildState.RUNNING:
                assert self.alive[below], f"{below} is said to be running"

    def note(self, path: str, event: Event) -> None:
        self.noted += 1
        assert self.noted < MOST_EVENTS, "it goes on for ever"
        common: tuple[Any, ...] = (event.child_id, event.incarnation) if isinstance(event, ChildEvent) else ()
        match event:
            case ChildStarted():
                noted: tuple[Any, ...] = ("started", *common)
            case ChildIgnored():
                noted = ("ignored", *common)
            case ChildStartFailed(reason=reason):
                noted = ("start failed", *common, name_of(reason))
            case ChildExited(reason=reason):
                noted = ("exited", *common, name_of(reason))
            case ChildStopped(reason=reason, cause=cause):
                noted = ("stopped", *common, name_of(reason), str(cause))
            case ChildRestarting(reason=reason, delay=delay, attempt=attempt, restarts=restarts):
                assert restarts <= self.trees[path].intensity
                noted = ("restarting", *common, name_of(reason), delay, attempt, restarts)
            case SupervisorGaveUp(reason=reason):
                noted = ("gave up", name_of(reason))
            case SupervisorEnded(reason=reason):
                noted = ("supervisor ended", name_of(reason))
            case _:
                assert isinstance(event, SupervisorStarted)
                noted = ("supervisor started",)
        self.events.setdefault(path, []).append((event.time, *noted))


def flags(tree: Tree) -> SupervisorFlags:
    backoff = None
    if tree.backoff is not None:
        initial, factor, most, reset_after = tree.backoff
        backoff = Backoff(initial, factor, most, 0, reset_after)
    return SupervisorFlags(
        Strategy(tree.strategy), tree.intensity, tree.period, AutoShutdown(tree.auto_shutdown), backoff
    )


def find(top: Supervisor, path: str) -> Supervisor | None:
    supervisor = top
    for child_id in path.split("/") if path else ():
        try:
            below = supervisor.child(child_id).value
        except ChildNotFoundError:
            return None
        if not isinstance(below, Supervisor):
            return None
        supervisor = below
    return supervisor
