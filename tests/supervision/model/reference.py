"""What a plan must lead to, by the rules of OTP and of docs/supervision.md: a second, plain implementation of them.

It shares no code with the supervisor: it simulates virtual time, workers and supervisors in one thread, and gives the
trace that the real one must give. Two things it leaves open and says so (`UndecidedError`): what comes of two things
that happen at the same instant, and of a call about a child with which something else is still being done. Whoever
compares counts how often that is.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from supervision.model.plans import REST, Act, Life, Node, Plan, Tree


class UndecidedError(Exception):
    """The rules leave open what this plan leads to."""


@attrs.frozen
class Trace:
    """What can be seen of a run: for each supervisor its events, and what came of the calls, in order."""

    events: dict[str, list[tuple[Any, ...]]]
    calls: list[tuple[Any, ...]]
    outcome: str


def simulate(plan: Plan, seen: Counter[str] | None = None) -> Trace:
    """The trace that the plan must lead to. `seen` counts the rare paths that it took.

    Raises:
        UndecidedError: the rules leave it open.
    """
    return _Simulation(plan, Counter() if seen is None else seen).run()


class _Simulation:
    def __init__(self, plan: Plan, seen: Counter[str]) -> None:
        self.plan = plan
        self.seen = seen
        self.now = 0.0
        self.due: list[list[Any]] = []
        self.count = 0
        self.together = False
        self.born: Counter[str] = Counter()
        self.events: dict[str, list[tuple[Any, ...]]] = {}
        self.calls: list[tuple[Any, ...]] = []

    def at(self, delay: float, what: Callable[[], None]) -> list[Any]:
        """Does it after `delay`. The entry that comes back is cleared with `clear`."""
        entry = [self.now + delay, self.count, what]
        self.count += 1
        if delay < math.inf:
            heapq.heappush(self.due, entry)
        return entry

    def report(self, supervisor: str, *event: Any) -> None:
        self.seen[event[0]] += 1
        self.events.setdefault(supervisor, []).append((self.now, *event))

    def run(self) -> Trace:
        top = _Supervisor(self, self.plan.tree, "")
        outcomes: list[str] = []
        steps = iter(self.plan.steps)
        following: list[Any] | None = None

        def next_step() -> None:
            nonlocal following
            if outcomes and outcomes[0] != "shutdown":
                return
            step = next(steps, None)
            if step is None:
                following = self.at(REST, lambda: top.end("shutdown"))
            else:
                self.together = step.wait == 0
                following = self.at(step.wait, lambda: do(step.acts))

        def do(acts: tuple[Act, ...]) -> None:
            if len(acts) > 1 or self.together:
                raise UndecidedError("several acts at once")
            for act in acts:
                self.act(top, act)
            next_step()

        def ended(outcome: str) -> None:
            outcomes.append(outcome)
            if outcome != "shutdown":  # The block is cancelled.
                clear(following)

        top.begin(next_step, ended)
        while self.due:
            time, _, what = heapq.heappop(self.due)
            if what is None:
                continue
            while self.due and self.due[0][2] is None:
                heapq.heappop(self.due)
            if self.due and self.due[0][0] == time:
                raise UndecidedError("two things at once")
            self.now = time
            what()
        assert outcomes, "it hangs"
        return Trace(self.events, self.calls, outcomes[0])

    # Acts.

    def act(self, top: _Supervisor, act: Act) -> None:
        if act.kind == "shutdown" or act.kind == "start_child":
            supervisor = find(top, act.path)
        else:
            above, _, child_id = act.path.rpartition("/")
            supervisor = find(top, above)
        if supervisor is None:
            return
        if act.kind == "shutdown":
            supervisor.end("shutdown")
        elif act.kind == "exit":
            child = supervisor.children.get(child_id)
            if child is not None and child.state == "running" and isinstance(child.process, _Worker):
                child.process.exit(act.how)
        else:
            argument = act.node if act.kind == "start_child" else child_id
            number = len(self.calls)
            self.calls.append(())
            self.seen[f"call {act.kind}"] += 1

            def reply(outcome: str) -> None:
                self.seen[f"call: {outcome}"] += 1
                assert not self.calls[number], "answered twice"
                self.calls[number] = (act.kind, act.path, outcome, self.now)

            supervisor.call(act.kind, argument, reply)


def clear(entry: list[Any] | None) -> None:
    if entry is not None:
        entry[2] = None


def find(top: _Supervisor, path: str) -> _Supervisor | None:
    supervisor = top
    for child_id in path.split("/") if path else ():
        child = supervisor.children.get(child_id)
        if child is None or not child.is_up or not isinstance(child.process, _Supervisor):
            return None
        supervisor = child.process
    return supervisor


class _Worker:
    """One incarnation of a worker, as the plan says."""

    def __init__(
        self, simulation: _Simulation, life: Life, ready: Callable[[], None], gone: Callable[[str], None]
    ) -> None:
        self.simulation = simulation
        self.life = life
        self.ready = ready
        self.gone = gone
        self.stopping = False
        self.next = simulation.at(life.start_time, self.begun)

    def begun(self) -> None:
        if self.life.start != "ready":
            self.gone({"crash": "crash", "return": "never ready"}.get(self.life.start, self.life.start))
            return
        if self.life.run_time == 0:
            raise UndecidedError("an end at the moment of being ready")
        self.next = self.simulation.at(
            math.inf if self.life.run_time is None else self.life.run_time, lambda: self.exit(self.life.end)
        )
        self.ready()

    def exit(self, how: str) -> None:
        clear(self.next)
        self.simulation.at(0, lambda: self.gone({"return": "returned"}.get(how, how)))

    def stop(self) -> None:
        self.stopping = True
        clear(self.next)
        ends = {"obey": "", "deaf": "", "return": "returned", "crash": "crash stopping"}[self.life.stop]
        delay = math.inf if self.life.stop_time is None else self.life.stop_time
        self.next = self.simulation.at(delay, lambda: self.gone(ends))

    def kill(self) -> None:
        if self.life.stop != "deaf":
            clear(self.next)
            self.simulation.at(0, lambda: self.gone("killed 9"))


@attrs.define(eq=False)
class _Child:
    node: Node
    position: int
    state: str = "stopped"
    """stopped, starting, running, exited (and not decided), restarting (and waits), stopping."""
    incarnation: int = 0
    process: _Worker | _Supervisor | None = None
    is_up: bool = False
    """It became ready, and is not gone."""
    owner: _Operation | None = None
    timer: list[Any] | None = None
    cause: str = ""
    killed: bool = False
    late: bool = False
    failures: int = 0
    ready_at: float = 0.0
    last: str = ""

    @property
    def live(self) -> bool:
        return self.state in ("starting", "running", "stopping")

    @property
    def temporary(self) -> bool:
        return self.node.restart == "temporary"


@attrs.define(eq=False)
class _Operation:
    """Stops some children, then starts some: it owns them until it is done with them."""

    kind: str
    cause: str
    stop: list[_Child]
    start: list[_Child]
    reply: Callable[[str], None] | None = None
    last: int = -1
    busy: bool = False


def is_normal(reason: str) -> bool:
    return reason in ("returned", "shutdown") or reason.startswith("cancelled")


class _Supervisor:
    """Also a process: it is started, told to stop, and ends."""

    def __init__(self, simulation: _Simulation, tree: Tree, path: str) -> None:
        self.simulation = simulation
        self.tree = tree
        self.path = path
        self.children = {node.id: _Child(node, number) for number, node in enumerate(tree.children)}
        self.positions = len(tree.children)
        self.phase = "starting"
        self.outcome = "shutdown"
        self.told = False
        self.ready_at: float | None = None
        self.window: list[float] = []
        self.waiting: list[tuple[str, _Child, int]] = []
        self.operations: list[_Operation] = []

    def report(self, kind: str, child: _Child, *more: Any) -> None:
        self.simulation.report(self.path, kind, child.node.id, child.incarnation, *more)

    # As a process.

    def begin(self, ready: Callable[[], None], gone: Callable[[str], None]) -> None:
        self.ready = ready
        self.gone = gone
        self.operate("start up", "shutdown", start=self.children.values())

    def stop(self) -> None:
        self.told = True
        if self.ready_at == self.simulation.now:
            raise UndecidedError("an end at the moment of being ready")
        self.end("shutdown")

    def kill(self) -> None:
        """A supervisor cannot be killed: it ends when its children have."""
        self.simulation.seen["supervisor out of time"] += 1

    # What children do.

    def launch(self, child: _Child) -> None:
        child.incarnation += 1
        child.state = "starting"
        child.killed = child.late = False
        clear(child.timer)
        node = child.node
        if node.start_timeout is not None:
            child.timer = self.simulation.at(node.start_timeout, lambda: self.too_late(child))
        path = f"{self.path}/{node.id}".lstrip("/")

        def ready() -> None:
            self.on_ready(child)

        def gone(reason: str) -> None:
            self.on_gone(child, reason)

        if node.below is None:
            life = node.lives[min(self.simulation.born[path], len(node.lives) - 1)]
            self.simulation.born[path] += 1
            child.process = _Worker(self.simulation, life, ready, gone)
        else:
            child.process = below = _Supervisor(self.simulation, node.below, path)
            below.begin(ready, gone)

    def too_late(self, child: _Child) -> None:
        child.late = True
        self.tell_to_stop(child, "start-timeout")

    def tell_to_stop(self, child: _Child, cause: str) -> None:
        if child.state == "stopping":
            return
        child.state = "stopping"
        child.cause = cause
        clear(child.timer)
        assert child.process is not None
        shutdown = child.node.shutdown
        process = child.process

        def kill() -> None:
            child.killed = True
            self.simulation.seen["kill"] += 1
            process.kill()

        if shutdown is None:
            child.killed = True
            process.stop()
            if child.live:
                process.kill()
            return
        child.timer = self.simulation.at(shutdown, kill)
        process.stop()

    def on_ready(self, child: _Child) -> None:
        if child.state != "starting":
            return
        child.state = "running"
        child.is_up = True
        clear(child.timer)
        child.ready_at = self.simulation.now
        self.report("started", child)
        self.start_is_over(child)

    def start_is_over(self, child: _Child) -> None:
        operation = child.owner
        assert operation is not None
        if operation.kind != "end":
            operation.start.remove(child)
            child.owner = None
            self.go_on(operation)
        self.work()

    def on_gone(self, child: _Child, reason: str) -> None:
        clear(child.timer)
        child.is_up = False
        operation = child.owner
        if child.state == "running":
            backoff = self.tree.backoff
            if backoff is None or self.simulation.now - child.ready_at >= backoff[3]:
                child.failures = 0
            child.state = "exited"
            child.last = reason
            self.report("exited", child, reason)
            self.waiting.append(("exit", child, child.incarnation))
        elif child.state == "starting" and reason == "ignore":
            child.state = "stopped"
            self.report("ignored", child)
            assert operation is not None
            if child.temporary and operation.kind != "end":
                del self.children[child.node.id]
            self.start_is_over(child)
            return
        elif child.state == "starting":
            self.start_failed(child, reason)
        else:
            assert child.state == "stopping"
            assert operation is not None
            child.state = "stopped"
            if child.late:
                reason = "timed out"
            elif child.killed and (not reason or is_normal(reason)):
                reason = "killed"
            elif not reason:
                reason = f"cancelled {child.cause}"
            if child.late and operation.kind != "end" and child not in operation.stop:
                self.start_failed(child, reason)
            else:
                child.last = reason
                self.report("stopped", child, reason, child.cause)
                self.go_on(operation)
        self.work()

    def start_failed(self, child: _Child, reason: str) -> None:
        child.state = "stopped"
        child.last = reason
        self.report("start failed", child, reason)
        operation = child.owner
        assert operation is not None
        self.simulation.seen[f"start failed in {operation.kind}"] += 1
        match operation.kind:
            case "start up":
                self.end(f"failed to start {child.node.id}: {reason}")
            case "restart":
                child.state = "restarting"
                self.waiting.append(("retry", child, child.incarnation))
                self.finish(operation, "")
            case "start_child" | "restart_child":
                if operation.kind == "start_child" or child.temporary:
                    del self.children[child.node.id]
                self.finish(operation, "StartFailedError")
            case _:
                pass  # The end finds it stopped.

    # What follows.

    def work(self) -> None:
        """Takes what waits, oldest first, unless an operation is in its way."""
        while self.phase == "running":
            item = next((one for one in self.waiting if not self.must_wait(*one)), None)
            if item is None:
                return
            self.waiting.remove(item)
            self.follow_up(*item)

    def is_stale(self, what: str, child: _Child, incarnation: int) -> bool:
        state = "exited" if what == "exit" else "restarting"
        return child.state != state or child.incarnation != incarnation or self.children.get(child.node.id) is not child

    def restarts(self, child: _Child) -> bool:
        return child.node.restart == "permanent" or (child.node.restart == "transient" and not is_normal(child.last))

    def must_wait(self, what: str, child: _Child, incarnation: int) -> bool:
        if self.is_stale(what, child, incarnation):
            return False
        if self.tree.strategy == "one_for_one" or (what == "exit" and not self.restarts(child)):
            return child.owner is not None
        if self.tree.strategy == "one_for_all":
            return bool(self.operations)
        return any(operation.last >= child.position for operation in self.operations)

    def follow_up(self, what: str, child: _Child, incarnation: int) -> None:
        if self.is_stale(what, child, incarnation):
            self.simulation.seen["overtaken"] += 1
        elif what == "due":
            self.restart_group(child)
        elif what == "retry" or self.restarts(child):
            self.restart(child)
        else:
            child.state = "stopped"
            if child.temporary:
                del self.children[child.node.id]
            self.consider_auto_shutdown(child)

    def consider_auto_shutdown(self, child: _Child) -> None:
        mode = self.tree.auto_shutdown
        if mode == "never" or not child.node.significant:
            return
        others = [one for one in self.children.values() if one.node.significant and one.state != "stopped"]
        if mode == "any_significant" or not others:
            self.simulation.seen["auto shutdown"] += 1
            self.end("shutdown")

    def restart(self, child: _Child) -> None:
        now = self.simulation.now
        self.window = [time for time in self.window if time >= now - self.tree.period] + [now]
        if len(self.window) > self.tree.intensity:
            outcome = f"gave up {child.node.id} {len(self.window) - 1}: {child.last}"
            self.simulation.report(self.path, "gave up", outcome)
            self.end(outcome)
            return
        child.failures += 1
        delay = 0.0
        if self.tree.backoff is not None:
            initial, factor, most, _ = self.tree.backoff
            delay = min(most, initial * factor ** (child.failures - 1))
        self.report("restarting", child, child.last, delay, child.failures, len(self.window))
        if not delay:
            self.restart_group(child)
            return
        child.state = "restarting"
        incarnation = child.incarnation
        child.timer = self.simulation.at(delay, lambda: self.due(child, incarnation))
        self.operate("restart", "sibling", stop=[one for one in self.group(child)[::-1] if one is not child])

    def due(self, child: _Child, incarnation: int) -> None:
        self.simulation.seen["due"] += 1
        self.waiting.append(("due", child, incarnation))
        self.work()

    def restart_group(self, child: _Child) -> None:
        members = self.group(child)
        if len(members) > 1:
            self.simulation.seen["group restart"] += 1
        self.operate(
            "restart",
            "sibling",
            stop=[one for one in members[::-1] if one is not child],
            start=[one for one in members if not one.temporary],
        )

    def group(self, child: _Child) -> list[_Child]:
        everybody = list(self.children.values())
        match self.tree.strategy:
            case "one_for_one":
                return [child]
            case "one_for_all":
                return everybody
            case _:
                return everybody[everybody.index(child) :]

    # Operations.

    def operate(
        self,
        kind: str,
        cause: str,
        stop: Iterable[_Child] = (),
        start: Iterable[_Child] = (),
        reply: Callable[[str], None] | None = None,
    ) -> None:
        operation = _Operation(kind, cause, list(stop), list(start), reply)
        everybody = operation.stop + operation.start
        operation.last = max((child.position for child in everybody), default=-1)
        for child in everybody:
            child.owner = operation
        self.operations.append(operation)
        self.go_on(operation)

    def go_on(self, operation: _Operation) -> None:
        """Until there is something to wait for."""
        if operation.busy:  # A process has ended, or is ready, as soon as it was told to: the loop sees it.
            return
        operation.busy = True
        while operation in self.operations:
            if operation.stop:
                child = operation.stop[0]
                if child.state in ("starting", "running"):
                    self.tell_to_stop(child, operation.cause)
                if child.live:
                    break
                operation.stop.pop(0)
                self.lay_to_rest(child, operation)
            elif operation.start:
                child = operation.start[0]
                if child.live:
                    break
                self.launch(child)
            else:
                self.finish(operation, "done")
        operation.busy = False

    def lay_to_rest(self, child: _Child, operation: _Operation) -> None:
        if child.state == "restarting":
            self.report("stopped", child, child.last, operation.cause)
        child.state = "stopped"
        clear(child.timer)
        if child not in operation.start:
            child.owner = None
            if child.temporary:
                del self.children[child.node.id]

    def finish(self, operation: _Operation, outcome: str) -> None:
        self.operations.remove(operation)
        for child in operation.start:
            child.owner = None
        if operation.reply is not None:
            operation.reply(outcome)
        if operation.kind == "start up":
            self.phase = "running"
            self.ready_at = self.simulation.now
            self.simulation.report(self.path, "supervisor started")
            self.work()  # What happened meanwhile comes before whatever its parent makes of its being ready.
            self.ready()
        elif operation.kind == "end":
            self.phase = "ended"
            if self.ready_at == self.simulation.now and self.path:
                raise UndecidedError("an end at the moment of being ready")
            self.simulation.report(self.path, "supervisor ended", self.outcome)
            if self.outcome == "shutdown" and self.path:
                self.gone("" if self.told else "returned")
            else:
                self.gone(self.outcome)
        self.work()

    def end(self, outcome: str) -> None:
        if self.phase in ("ending", "ended"):
            return
        self.phase = "ending"
        self.outcome = outcome
        for operation in self.operations:
            if operation.reply is not None:
                operation.reply("SupervisorEndedError")
        if self.operations:
            self.simulation.seen["end in the midst of something"] += 1
        self.operations.clear()
        self.waiting.clear()
        urgency = {"stopping": 0, "starting": 1}
        newest_first = list(self.children.values())[::-1]
        order = sorted(newest_first, key=lambda child: urgency.get(child.state, 2))
        self.operate("end", "shutdown", stop=order)

    # Calls.

    def call(self, kind: str, argument: Any, reply: Callable[[str], None]) -> None:
        if self.phase in ("ending", "ended"):
            reply("SupervisorEndedError")
            return
        if kind == "start_child":
            self.start_child(argument, reply)
            return
        child = self.children.get(argument)
        if child is None:
            reply("ChildNotFoundError")
        elif kind in ("terminate", "restart"):
            if child.owner is not None:
                raise UndecidedError("a call about a child with which something is being done")
            if kind == "restart":
                child.failures = 0
            start = [child] if kind == "restart" else []
            self.operate("restart_child", "operator", stop=[child], start=start, reply=reply)
        elif child.state == "stopped" and child.owner is None:
            if kind == "delete":
                del self.children[argument]
                reply("done")
            else:
                child.failures = 0
                self.operate("restart_child", "operator", start=[child], reply=reply)
        elif child.state in ("stopped", "exited", "restarting") or (
            child.state == "starting" and child.owner is not None and child.owner.kind == "restart"
        ):
            reply("ChildRestartingError")
        else:
            reply("ChildRunningError")

    def start_child(self, node: Node, reply: Callable[[str], None]) -> None:
        if node.significant and (node.restart == "permanent" or self.tree.auto_shutdown == "never"):
            reply("SpecError")
        elif node.id in self.children:
            running = self.children[node.id].state == "running"
            reply("ChildAlreadyStartedError" if running else "ChildAlreadyPresentError")
        else:
            child = self.children[node.id] = _Child(node, self.positions)
            self.positions += 1
            self.operate("start_child", "operator", start=[child], reply=reply)
