"""The driver's part, played by a test: carries out what a state machine wants; children do what the test says."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from typing import Any

import attrs
import trio

from reflow_supervisor.supervision import (
    ChildInfo,
    ChildSpec,
    ChildTemplate,
    Event,
    Exited,
    ExitReason,
    Restart,
    SupervisorFlags,
)
from reflow_supervisor.supervision import _messages as m
from reflow_supervisor.supervision._dynamic_machine import DynamicMachine
from reflow_supervisor.supervision._machine import Machine

CRASH = Exited(1)
PLENTY = 1_000


async def body(*, task_status: trio.TaskStatus[Any]) -> None:
    raise AssertionError("the machine runs nothing")


def spec(child_id: str, restart: Restart = Restart.PERMANENT, **fields: Any) -> ChildSpec:
    return ChildSpec(child_id, body, restart=restart, **fields)


@attrs.define
class Task:
    incarnation: int
    args: tuple[object, ...] = ()
    ready: bool = False
    cancelled: bool = False
    killed: bool = False


class World:
    """Carries out actions as the driver would, but for the children, whose every step is a method here."""

    machine: Any

    def __init__(self, specs: Iterable[ChildSpec | str], seed: int = 0, **flags: Any) -> None:
        flags.setdefault("intensity", PLENTY)
        specs = [spec(one) if isinstance(one, str) else one for one in specs]
        self.machine = Machine("sup", specs, SupervisorFlags(**flags), random.Random(seed))
        self.now = 0.0
        self.tasks: dict[str, Task] = {}
        self.timers: dict[int, float] = {}
        self.watches: dict[int, tuple[str, int]] = {}
        self.progress_of: dict[tuple[str, int], float] = {}
        self.kills: dict[str, Any] = {}
        """What the last kill of a child would have called."""
        self.replies: dict[int, object] = {}
        self.events: list[Event] = []
        self.log: list[str] = []
        self.ready = False
        self.outcome: ExitReason | None = None
        self.calls = 0

    def feed(self, item: m.Input) -> None:
        for action in self.machine.handle(item, self.now):
            assert self.outcome is None, f"{action} after the end"
            match action:
                case m.Start(child_id=child_id, incarnation=incarnation, args=args):
                    assert child_id not in self.tasks, f"{child_id} would live twice"
                    self.tasks[child_id] = Task(incarnation, args)
                    self.log.append(f"start {child_id}")
                case m.Cancel(child_id=child_id, incarnation=incarnation):
                    assert self.tasks[child_id].incarnation == incarnation
                    assert not self.tasks[child_id].cancelled
                    self.tasks[child_id].cancelled = True
                    self.log.append(f"cancel {child_id}")
                case m.Kill(child_id=child_id, spec=child, args=args):
                    assert self.tasks[child_id].cancelled
                    assert not self.tasks[child_id].killed
                    self.tasks[child_id].killed = True
                    self.kills[child_id] = None if child.kill is None else partial(child.kill, *args)
                    self.log.append(f"kill {child_id}")
                case m.SetTimer(timer=timer, delay=delay, watch=watch):
                    assert delay >= 0
                    self.timers[timer] = self.now + delay
                    if watch is not None:
                        self.watches[timer] = watch
                case m.ClearTimer(timer=timer):
                    del self.timers[timer]
                case m.Report(event=event):
                    assert event.time == self.now
                    self.events.append(event)
                case m.Reply(call=call, outcome=outcome):
                    assert call not in self.replies, f"call {call} is answered twice"
                    self.replies[call] = outcome
                case m.Ready():
                    self.ready = True
                case m.End(reason=reason):
                    assert not self.tasks, "a task outlives its supervisor"
                    assert not self.timers, "a timer outlives its supervisor"
                    self.outcome = reason

    # What children do.

    def up(self, *child_ids: str) -> None:
        for child_id in child_ids:
            task = self.tasks[child_id]
            task.ready = True
            self.feed(m.BecameReady(child_id, task.incarnation, f"value of {child_id}"))

    def end(self, child_id: str, reason: Any = CRASH) -> None:
        task = self.tasks.pop(child_id)
        self.feed(m.Ended(child_id, task.incarnation, reason))

    def gone(self, *child_ids: str) -> None:
        """They end because they were cancelled."""
        for child_id in child_ids:
            assert self.tasks[child_id].cancelled, f"{child_id} was not told to stop"
            self.end(child_id, None)

    def progress(self, child_id: str) -> None:
        self.progress_of[child_id, self.tasks[child_id].incarnation] = self.now

    # What the world does.

    def begin(self) -> World:
        self.feed(m.Begin())
        return self

    def begun(self) -> World:
        """Everything starts as it should; the log is empty then."""
        self.begin()
        while not self.ready:
            self.up(*[child_id for child_id, task in self.tasks.items() if not task.ready])
        self.log.clear()
        self.events.clear()
        return self

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and min(self.timers.values()) <= until:
            timer = min(self.timers, key=lambda one: (self.timers[one], one))
            self.now = self.timers.pop(timer)
            self.feed(m.TimerFired(timer, self.progress_of.get(self.watches.get(timer, ("", 0)))))
        self.now = until

    def call(self, command: type[m.Command], argument: object) -> int:
        self.calls += 1
        make: Any = command
        self.feed(make(self.calls, argument))
        return self.calls

    def ask(self, command: type[m.Command], argument: object) -> object:
        """A call that is answered at once."""
        return self.replies[self.call(command, argument)]

    # What can be seen.

    @property
    def states(self) -> dict[str, str]:
        return {info.id: str(info.state) for info in reversed(self.machine.infos(self.now))}

    def info(self, child_id: str) -> ChildInfo:
        return self.machine.info(child_id, self.now)

    def take(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def saw(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class DynamicWorld(World):
    def __init__(self, seed: int = 0, *, max_children: int | None = None, template: Any = None, **flags: Any) -> None:
        super().__init__([], seed)
        flags.setdefault("intensity", PLENTY)
        chosen = ChildTemplate("job", body) if template is None else template
        rng = random.Random(seed)
        self.machine = DynamicMachine("sup", chosen.spec, SupervisorFlags(**flags), rng, max_children=max_children)
