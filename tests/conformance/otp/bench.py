"""What the test cases of OTP's suite need: children that do as they are told, and supervisors to put them under.

A *process* is one start of a child and stands for OTP's pid: it is the value that the child is started with, so that
`which_children` shows it. A *program* is what each start of a child does; its options are those of the suite's
modules supervisor_1 to supervisor_4, supervisor_deadlock and naughty_child.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, Protocol

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reflow_supervisor.supervision import (
    IGNORE,
    Cancelled,
    ChildCounts,
    ChildExit,
    ChildExited,
    ChildInfo,
    ChildSpec,
    ChildStopped,
    ChildTemplate,
    DynamicSupervisor,
    Event,
    ExitReason,
    FailedToStart,
    Killed,
    Raised,
    Restart,
    Returned,
    Shutdown,
    StartedChild,
    Strategy,
    Supervisor,
    SupervisorFailedError,
    SupervisorFlags,
    run_dynamic_supervisor,
    run_supervisor,
)

Status = trio.TaskStatus[Any]
Ending = Literal["normal", "shutdown", "{shutdown,term}", "died", "killed"]
Answer = Literal["ok", "ignore", "junk", "error"]


class AnySupervisor(Protocol):
    """What static and dynamic supervisors have in common."""

    def which_children(self) -> list[ChildInfo]: ...

    def child(self, child_id: str, /) -> ChildInfo: ...

    def count_children(self) -> ChildCounts: ...

    def shutdown(self) -> None: ...

    async def wait(self) -> ExitReason: ...


class Died(Exception):
    """The abnormal end of a process."""


class Runaway(BaseException):
    """A child is started again without end: not an error of the child, so that it ends the test."""


ENDINGS: Final[Mapping[Ending, Callable[[], Exception | None]]] = {
    "normal": lambda: None,
    "shutdown": lambda: ChildExit(Shutdown()),
    "{shutdown,term}": lambda: ChildExit(Shutdown("term")),
    "died": Died,
    "killed": lambda: ChildExit(Killed(9)),
}


def ending(reason: ExitReason) -> str:
    """The reason in OTP's words."""
    match reason:
        case Returned():
            return "normal"
        case Cancelled() | Shutdown(""):
            return "shutdown"
        case Shutdown(detail):
            return f"{{shutdown,{detail}}}"
        case Killed():
            return "killed"
        case Raised(Died()):
            return "died"
        case _:
            return str(reason)


async def _within_a_day(test: Callable[[], Awaitable[object]]) -> object:
    # Of virtual time, so it takes none: a supervisor that does not do what a test waits for fails it.
    with trio.fail_after(24 * 60 * 60):
        return await test()


def run_in_virtual_time(test: Callable[[], Awaitable[object]], *, clock: object, **fields: Any) -> Any:
    return trio.run(_within_a_day, test, clock=MockClock(autojump_threshold=0), **fields)


in_virtual_time = pytest.mark.trio(run=run_in_virtual_time)


def schedule(seed: int) -> None:
    """The order in which Trio runs tasks from now on, where it may choose."""
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]  # pyright: ignore


async def settle() -> None:
    """Until everything that follows from what was done is done, except for what waits for a time."""
    await wait_all_tasks_blocked()


# --- Children ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Process:
    """One start of a child."""

    program: Program
    alive: bool = True
    asleep: bool = False
    """It does not notice for 200 s that it is told to stop: only a kill ends it."""
    _gone: trio.Event = attrs.field(factory=trio.Event)
    _order: trio.Event = attrs.field(factory=trio.Event)
    _ending: Ending = "normal"
    _killed: trio.Event = attrs.field(factory=trio.Event)
    _decided: trio.Event = attrs.field(factory=trio.Event)
    _decision: Answer = "ok"

    def end(self, how: Ending) -> None:
        """It ends by itself, at its next turn."""
        self._ending = how
        self._order.set()

    async def ends(self, how: Ending) -> None:
        """It ends by itself, and its supervisor has done what it does then."""
        self.end(how)
        await self._gone.wait()
        await settle()

    def decide(self, answer: Answer) -> None:
        """What becomes of its start, if it waits for that."""
        self._decision = answer
        self._decided.set()

    def kill(self) -> None:
        self._killed.set()

    async def decision(self) -> Answer:
        await self._decided.wait()
        return self._decision

    async def live(self) -> None:
        try:
            await self._order.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(200 if self.asleep else self.program.cleanup):
                    await self._killed.wait()
            if self.program.when_stopped is None or self._killed.is_set():
                raise
            self._ending = self.program.when_stopped
        error = ENDINGS[self._ending]()
        if error is not None:
            raise error

    def over(self) -> None:
        self.alive = False
        self._gone.set()


@attrs.define(eq=False)
class Program:
    """What the starts of a child do.

    Args:
        name: for the log.
        starts: what becomes of the first start, the second and so on; those after the last are as the last.
        failing: while it is on, a start takes `failing.delay` seconds and fails.
        desk: its starts wait for the test to decide what becomes of them.
        extra: it is started with a pair of the process and this.
        cleanup: seconds that it takes to end when it is told to stop.
        when_stopped: how it ends when it is told to stop; None: as it is told.
    """

    name: str
    log: list[str] = attrs.field(factory=list)
    starts: Sequence[Answer] = ("ok",)
    failing: Switch | None = None
    desk: Desk | None = None
    extra: object = None
    cleanup: float = 0.0
    when_stopped: Ending | None = None
    processes: list[Process] = attrs.field(factory=list)

    async def run(self, *, task_status: Status) -> object:
        process = Process(self)
        self.processes.append(process)
        if len(self.processes) > 100:
            raise Runaway(self.name)
        self.log.append(f"start {self.name}")
        try:
            match await self._answer(process):
                case "ignore":
                    return IGNORE
                case "junk":
                    return "junk"
                case "error":
                    raise Died("cannot start")
                case "ok":
                    task_status.started(process if self.extra is None else (process, self.extra))
                    await process.live()
        finally:
            process.over()
            self.log.append(f"exit {self.name}")

    async def _answer(self, process: Process) -> Answer:
        if self.desk is not None:
            self.desk.send.send_nowait(process)
            return await process.decision()
        if self.failing is not None and self.failing.on:
            await trio.sleep(self.failing.delay)
            return "error"
        return self.starts[min(len(self.processes), len(self.starts)) - 1]

    def kill(self) -> None:
        """What the supervisor does when the shutdown time is over."""
        self.processes[-1].kill()


@attrs.define
class Switch:
    delay: float
    on: bool = False


@attrs.define
class Desk:
    """Where starts wait for a decision."""

    send: trio.MemorySendChannel[Process]
    receive: trio.MemoryReceiveChannel[Process]

    @classmethod
    def open(cls) -> Desk:
        return cls(*trio.open_memory_channel[Process](math.inf))

    async def asked(self, name: str) -> Process:
        """The next start, which must be one of that child."""
        process = await self.receive.receive()
        assert process.program.name == name
        return process

    async def let(self, name: str, answer: Answer) -> Process:
        process = await self.asked(name)
        process.decide(answer)
        return process


async def run_program(program: Program, *, task_status: Status) -> object:
    return await program.run(task_status=task_status)


def kill_program(program: Program) -> None:
    program.kill()


# --- Supervisors -------------------------------------------------------------------------------------------------


@attrs.define
class Bench:
    """The supervisors and the children of one test. What they were is checked when it is over: see `close`."""

    nursery: trio.Nursery
    supervisors: list[AnySupervisor] = attrs.field(factory=list)
    programs: list[Program] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    log: list[str] = attrs.field(factory=list)
    """Starts and ends of processes."""

    def program(self, name: str = "child", **options: Any) -> Program:
        program = Program(name, self.log, **options)
        self.programs.append(program)
        return program

    def spec(
        self,
        child_id: str,
        restart: Restart = Restart.PERMANENT,
        *,
        program: Program | None = None,
        shutdown: Any = 1,
        **fields: Any,
    ) -> ChildSpec:
        """A child with a shutdown time of 1 s, as most in the suite; it runs a program of its own, or the one given."""
        ran = self.program(child_id) if program is None else program
        return ChildSpec(child_id, ran.run, restart=restart, kill=ran.kill, shutdown=shutdown, **fields)

    def template(
        self, restart: Restart = Restart.PERMANENT, shutdown: Any = 1, **fields: Any
    ) -> ChildTemplate[Program]:
        return ChildTemplate("child", run_program, restart=restart, kill=kill_program, shutdown=shutdown, **fields)

    async def supervisor(
        self,
        specs: Iterable[ChildSpec] = (),
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 2,
        period: float = 3600,
        **flags: Any,
    ) -> Supervisor:
        chosen = SupervisorFlags(strategy, intensity, period, **flags)
        run = partial(run_supervisor, specs, chosen, name="sup_test", on_event=self.events.append)
        supervisor = await self.nursery.start(self._run, run)
        self.supervisors.append(supervisor)
        return supervisor

    async def dynamic(
        self, template: ChildTemplate[Program], intensity: int = 2, period: float = 3600, **flags: Any
    ) -> DynamicSupervisor[Program]:
        chosen = SupervisorFlags(intensity=intensity, period=period, **flags)
        run = partial(run_dynamic_supervisor, template, chosen, name="sup_test", on_event=self.events.append)
        supervisor = await self.nursery.start(self._run, run)
        self.supervisors.append(supervisor)
        return supervisor

    async def _run(self, run: Callable[..., Any], *, task_status: Status) -> None:
        try:
            await run(task_status=task_status)
        except SupervisorFailedError as error:
            # That it gave up, the test sees from the outcome; that it did not start, from nothing else.
            if isinstance(error.reason, FailedToStart):
                raise

    def nested(
        self, name: str, specs: Iterable[ChildSpec] = (), *, intensity: int = 4, **flags: Any
    ) -> Callable[..., Any]:
        """The start function of a supervisor below another."""
        chosen = SupervisorFlags(intensity=intensity, period=3600, **flags)
        return partial(run_supervisor, tuple(specs), chosen, name=name, on_event=self.events.append)

    async def start(self, supervisor: Supervisor, spec: ChildSpec) -> Process:
        process = await supervisor.start_child(spec)
        assert isinstance(process, Process)
        return process

    async def spawn(
        self, supervisor: DynamicSupervisor[Program], program: Program | None = None
    ) -> tuple[str, Process]:
        """Starts a dynamic child: its id and its process."""
        started = await supervisor.start_child(self.program() if program is None else program)
        assert isinstance(started, StartedChild)
        assert isinstance(started.value, Process)
        return started.id, started.value

    async def stop(self, supervisor: AnySupervisor) -> ExitReason:
        supervisor.shutdown()
        return await supervisor.wait()

    def exits(self, child_id: str) -> list[str]:
        """How the processes of a child ended, in OTP's words, oldest first."""
        return [
            ending(event.reason)
            for event in self.events
            if isinstance(event, ChildExited | ChildStopped) and event.child_id == child_id
        ]

    def take_log(self) -> list[str]:
        log = self.log.copy()
        self.log.clear()
        return log

    async def close(self) -> None:
        """Stops what is left, and checks that no process outlives its supervisor."""
        for supervisor in self.supervisors:
            await self.stop(supervisor)
        left = [program.name for program in self.programs if any(process.alive for process in program.processes)]
        assert left == []


def which(supervisor: AnySupervisor) -> list[tuple[str, object]]:
    """`which_children`, as pairs of id and process; None where OTP has `undefined` or `restarting`."""
    return [(info.id, info.value) for info in supervisor.which_children()]


def ids(supervisor: AnySupervisor) -> list[str]:
    return [info.id for info in supervisor.which_children()]


def pid(supervisor: AnySupervisor, child_id: str) -> Process:
    process = supervisor.child(child_id).value
    assert isinstance(process, Process)
    assert process.alive
    return process


def counts(supervisor: AnySupervisor) -> list[int]:
    """`count_children`: specs, active, supervisors, workers."""
    counted = supervisor.count_children()
    return [counted.specs, counted.active, counted.supervisors, counted.workers]
