"""OTP's supervisor_SUITE: the cases that belong to no group, from count_children on."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
import trio
from conformance.otp.bench import (
    AnySupervisor,
    Bench,
    Ending,
    Program,
    Status,
    Switch,
    counts,
    ids,
    in_virtual_time,
    pid,
    settle,
    which,
)
from conformance.otp.scenario import scenario

import reflow_supervisor.supervision
from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    AutoShutdown,
    Backoff,
    Cancelled,
    ChildAlreadyPresentError,
    ChildAlreadyStartedError,
    ChildExit,
    ChildExited,
    ChildNotFoundError,
    ChildRestartingError,
    ChildSpec,
    ChildState,
    ChildStopped,
    ChildTemplate,
    ChildType,
    DynamicSupervisor,
    FailureContext,
    Killed,
    Raised,
    Restart,
    Shutdown,
    SpecError,
    StartedChild,
    StartFailedError,
    StopCause,
    Strategy,
    Supervisor,
    SupervisorFlags,
    failure_report,
    open_dynamic_supervisor,
    open_supervisor,
    run_supervisor,
)

GROUP_STRATEGIES = (Strategy.ONE_FOR_ALL, Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE)


# --- Many children -----------------------------------------------------------------------------------------------


async def waits(*, task_status: Status) -> None:
    task_status.started()
    await trio.sleep_forever()


async def count(kind: ChildType) -> None:
    template = ChildTemplate("child", waits, restart=Restart.TEMPORARY, type=kind)

    def expected(children: int) -> list[int]:
        return [1, children, children, 0] if kind is ChildType.SUPERVISOR else [1, children, 0, children]

    async with open_dynamic_supervisor(template) as supervisor:
        for children in (1000, 2000):
            for _ in range(1000):
                await supervisor.start_child()
            assert counts(supervisor) == counts(supervisor) == expected(children)
            assert len(supervisor.which_children()) == children
            assert supervisor.which_children() == supervisor.which_children()
        for child_id in [info.id for info in supervisor.which_children()]:
            await supervisor.terminate_child(child_id)
        assert counts(supervisor) == [1, 0, 0, 0]


@pytest.mark.slow
@in_virtual_time
@scenario("count_children")
async def test_count_children() -> None:
    """With 1000 and 2000 dynamic children, which_children and count_children agree and are stable."""
    await count(ChildType.WORKER)


@pytest.mark.slow
@in_virtual_time
@scenario("count_children_supervisor")
async def test_count_children_supervisor() -> None:
    """As count_children, with children of type supervisor."""
    await count(ChildType.SUPERVISOR)


@in_virtual_time
@scenario(
    "count_restarting_children",
    change="the 2 s between two attempts are a backoff's: a start that takes that long is seen as starting here",
)
async def test_count_restarting_children(bench: Bench) -> None:
    """A child whose restart keeps failing is not active but still a worker, until it recovers or is terminated."""
    failing = Switch(delay=0)
    backoff = Backoff(initial=2, factor=1, jitter=0)
    supervisor = await bench.dynamic(bench.template(shutdown=BRUTAL_KILL), intensity=20, period=10, backoff=backoff)
    assert counts(supervisor) == [1, 0, 0, 0]
    children: list[str] = []
    for number in (1, 2, 3):
        child, _ = await bench.spawn(supervisor, bench.program(failing=failing))
        children.append(child)
        assert counts(supervisor) == [1, number, 0, number]
    for child in children:
        await pid(supervisor, child).ends("died")
    await trio.sleep(2.5)
    assert counts(supervisor) == [1, 3, 0, 3]

    failing.on = True
    await pid(supervisor, children[0]).ends("died")
    await pid(supervisor, children[1]).ends("died")
    await trio.sleep(4.5)
    assert counts(supervisor) == [1, 1, 0, 3]
    assert supervisor.child(children[0]).state is ChildState.RESTARTING

    failing.on = False
    await trio.sleep(4)
    assert counts(supervisor) == [1, 3, 0, 3]
    for left in (2, 1, 0):
        await supervisor.terminate_child(children[left])
        assert counts(supervisor) == [1, left, 0, left]


# --- What is kept of temporary children ----------------------------------------------------------------------------


class Payload:
    """A large argument."""


async def takes(payload: Payload, *, task_status: Status) -> None:
    del payload
    task_status.started()
    await trio.sleep_forever()


@asynccontextmanager
async def dynamic_children(restart: Restart, payloads: list[Payload]) -> AsyncGenerator[DynamicSupervisor[Any]]:
    async with open_dynamic_supervisor(ChildTemplate("child", takes, restart=restart)) as supervisor:
        while payloads:
            await supervisor.start_child(payloads.pop())
        yield supervisor


@asynccontextmanager
async def static_children(strategy: Strategy, restart: Restart, payloads: list[Payload]) -> AsyncGenerator[Supervisor]:
    async with open_supervisor(flags=SupervisorFlags(strategy)) as supervisor:
        while payloads:
            start = partial(takes, payloads.pop())
            await supervisor.start_child(ChildSpec(f"child{len(payloads)}", start, restart=restart))
            del start
        yield supervisor


def fresh() -> tuple[list[Payload], weakref.WeakSet[Payload]]:
    payloads = [Payload() for _ in range(20)]
    return payloads, weakref.WeakSet(payloads)


@pytest.mark.slow
@in_virtual_time
@scenario(
    "do_not_save_start_parameters_for_temporary_children",
    change="weak references tell what is kept; of a static temporary child its spec is, as long as it runs, because "
    "get_childspec gives it, and the arguments with it: Python has them in one object with the function",
)
async def test_do_not_save_start_parameters_for_temporary_children() -> None:
    """The start arguments of temporary children are not kept, those of permanent and transient ones are."""
    for restart in Restart:
        payloads, kept = fresh()
        async with dynamic_children(restart, payloads) as supervisor:
            await settle()
            gc.collect()
            assert len(kept) == (0 if restart is Restart.TEMPORARY else 20)
            assert supervisor.count_children().active == 20
    for strategy in GROUP_STRATEGIES:
        for restart in Restart:
            payloads, kept = fresh()
            async with static_children(strategy, restart, payloads) as supervisor:
                for child_id in [info.id for info in supervisor.which_children()]:
                    await supervisor.terminate_child(child_id)
                gc.collect()
                assert len(kept) == (0 if restart is Restart.TEMPORARY else 20)


async def goes(bench: Bench, supervisor: Supervisor, child_id: str, how: Ending | None) -> None:
    """Ends a child; None: by terminate_child."""
    if how is None:
        await supervisor.terminate_child(child_id)
    else:
        await pid(supervisor, child_id).ends(how)


@pytest.mark.parametrize("strategy", GROUP_STRATEGIES)
@pytest.mark.parametrize("how", ["killed", "normal", "died", None])
@in_virtual_time
@scenario("do_not_save_child_specs_for_temporary_children")
async def test_do_not_save_child_specs_for_temporary_children(
    bench: Bench, strategy: Strategy, how: Ending | None
) -> None:
    """A temporary child that ended can be added again; the others run again or are there, by what ended them."""
    supervisor = await bench.supervisor(strategy=strategy)
    for child_id, restart in (
        ("child1", Restart.PERMANENT),
        ("child2", Restart.TRANSIENT),
        ("child3", Restart.TEMPORARY),
    ):
        spec = bench.spec(child_id, restart)
        await bench.start(supervisor, spec)
        await goes(bench, supervisor, child_id, how)
        if restart is Restart.TEMPORARY:
            await bench.start(supervisor, spec)
        elif how is None or (restart is Restart.TRANSIENT and how == "normal"):
            with pytest.raises(ChildAlreadyPresentError):
                await supervisor.start_child(spec)
            await supervisor.restart_child(child_id)
        else:
            with pytest.raises(ChildAlreadyStartedError):
                await supervisor.start_child(spec)
        assert pid(supervisor, child_id).alive
    assert await bench.stop(supervisor) == Shutdown()


# --- Scale -------------------------------------------------------------------------------------------------------

LIBRARY = str(Path(reflow_supervisor.supervision.__file__).parent)


@attrs.define
class Steps:
    """Lines of the library that were run."""

    count: int = 0


@contextmanager
def counting() -> Generator[Steps]:
    """Counts the lines of the library that are run. What a built-in function does in one line counts as one."""
    steps = Steps()

    def line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            steps.count += 1
        return line

    def call(frame: FrameType, event: str, _: object) -> Any:
        return line if frame.f_code.co_filename.startswith(LIBRARY) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield steps
    finally:
        sys.settrace(before)


@pytest.mark.slow
@in_virtual_time
@scenario(
    "simple_one_for_one_scale_many_temporary_children",
    change="lines that are run are counted, not seconds: they are the same each time",
)
async def test_simple_one_for_one_scale_many_temporary_children() -> None:
    """Terminating ten times as many dynamic children takes about ten times as long."""

    async def terminating(children: int) -> int:
        template = ChildTemplate("child", waits, restart=Restart.TEMPORARY)
        async with open_dynamic_supervisor(template) as supervisor:
            started = [await supervisor.start_child() for _ in range(children)]
            with counting() as steps:
                for child in started:
                    assert isinstance(child, StartedChild)
                    await supervisor.terminate_child(child.id)
            assert counts(supervisor) == [1, 0, 0, 0]
        return steps.count

    few, many = await terminating(100), await terminating(1000)
    assert few > 100
    assert many < 11 * few


# --- Bystanders and named processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@in_virtual_time
@scenario("temporary_bystander")
async def test_temporary_bystander(bench: Bench, strategy: Strategy) -> None:
    """A temporary child that is stopped in the restart of a group is not restarted, and the supervisor is well."""
    supervisor = await bench.supervisor(strategy=strategy, period=300)
    process1 = await bench.start(supervisor, bench.spec("child1", shutdown=0.1))
    process2 = await bench.start(supervisor, bench.spec("child2", Restart.TEMPORARY, shutdown=0.1))
    await process1.ends("normal")
    await trio.sleep(0.35)
    assert supervisor.outcome is None
    assert which(supervisor) == [("child1", pid(supervisor, "child1"))]
    assert not process2.alive
    assert len(process2.program.processes) == 1


@attrs.define
class Names:
    """Processes by name, of which each can be there once: OTP's global."""

    owners: dict[str, Named] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Named:
    end: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None

    async def ends(self, error: Exception | None) -> None:
        self.error = error
        self.end.set()
        await settle()


@asynccontextmanager
async def named(names: Names, name: str) -> AsyncGenerator[Named]:
    assert name not in names.owners, f"{name} is registered twice"
    owner = names.owners[name] = Named()
    try:
        yield owner
    finally:
        del names.owners[name]


async def wait_for_end(process: Named) -> None:
    await process.end.wait()
    if process.error is not None:
        raise process.error


@in_virtual_time
@scenario(
    "simple_global_supervisor",
    change="names are a dictionary's; a Trio task cannot be killed, so what kills the supervisor is a task beside it",
)
async def test_simple_global_supervisor() -> None:
    """When a supervisor or its worker is killed, exits or is restarted, both are there again under their names."""
    names = Names()

    async def server(*, task_status: Status) -> None:
        async with named(names, "server") as process:
            task_status.started()
            await wait_for_end(process)

    async def middle(*, task_status: Status) -> None:
        flags = SupervisorFlags(Strategy.ONE_FOR_ALL, 3, 60)
        async with named(names, "sup2") as process, trio.open_nursery() as nursery:
            supervisor = await nursery.start(run_supervisor, [ChildSpec("child", server, shutdown=2)], flags)
            task_status.started(supervisor)
            await wait_for_end(process)

    @asynccontextmanager
    async def top() -> AsyncGenerator[Supervisor]:
        spec = ChildSpec("middle", middle, type=ChildType.SUPERVISOR, shutdown=2)
        async with open_supervisor([spec], SupervisorFlags(Strategy.ONE_FOR_ALL, 3, 60)) as supervisor:
            assert set(names.owners) == {"sup2", "server"}
            yield supervisor
        assert names.owners == {}

    async with top():
        before = names.owners.copy()
        await names.owners["sup2"].ends(ChildExit(Killed(9)))
        assert {name: names.owners[name] is before[name] for name in before} == {"sup2": False, "server": False}

    for error in (ChildExit(Killed(9)), None):
        async with top():
            before = names.owners.copy()
            await names.owners["server"].ends(error)
            assert {name: names.owners[name] is before[name] for name in before} == {"sup2": True, "server": False}

    async with top() as supervisor:
        before = names.owners.copy()
        sup2 = supervisor.child("middle").value
        assert isinstance(sup2, Supervisor)
        await sup2.terminate_child("child")
        assert set(names.owners) == {"sup2"}
        await sup2.restart_child("child")
        assert {name: names.owners[name] is before[name] for name in before} == {"sup2": True, "server": False}


# --- Restarts that hang ------------------------------------------------------------------------------------------

HANGING = (
    "a start does not hold up the supervisor: calls are answered within it too, and it is seen as starting then; "
    "between two attempts there is time for calls only with a backoff"
)


@attrs.frozen
class Loop:
    """Two ways to take 2 s for each attempt, at the end of which it fails; and how the child looks after 3 s."""

    delay: float
    backoff: Backoff | None
    state: ChildState
    processes: int


LOOPS = [
    Loop(2, None, ChildState.STARTING, 3),
    Loop(0, Backoff(initial=2, factor=1, jitter=0), ChildState.RESTARTING, 2),
]

hanging = pytest.mark.parametrize("loop", LOOPS, ids=["in a start", "between two"])


async def in_the_loop(supervisor: AnySupervisor, child_id: str, loop: Loop) -> None:
    """The child dies; one restart has failed when this returns."""
    await pid(supervisor, child_id).ends("died")
    await trio.sleep(3)
    info = supervisor.child(child_id)
    assert (info.state, info.value, info.restarts) == (loop.state, None, 2)


async def says_restarting(supervisor: Supervisor, spec: ChildSpec) -> None:
    with pytest.raises(ChildAlreadyPresentError):
        await supervisor.start_child(spec)
    with pytest.raises(ChildRestartingError):
        await supervisor.restart_child(spec.id)
    with pytest.raises(ChildRestartingError):
        await supervisor.delete_child(spec.id)


async def stops_at_once(bench: Bench, supervisor: AnySupervisor) -> None:
    before = trio.current_time()
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == before


@hanging
@in_virtual_time
@scenario("hanging_restart_loop", change=HANGING)
async def test_hanging_restart_loop(bench: Bench, loop: Loop) -> None:
    """While restarts take long and fail, calls are answered, and the child, or the supervisor, can be stopped."""
    failing = Switch(loop.delay)
    program = bench.program("child1", failing=failing)
    spec = bench.spec("child1", program=program, shutdown=BRUTAL_KILL)
    supervisor = await bench.supervisor(intensity=8, period=10, backoff=loop.backoff)
    await bench.start(supervisor, spec)
    failing.on = True
    await in_the_loop(supervisor, "child1", loop)
    await says_restarting(supervisor, spec)
    assert counts(supervisor) == [1, 1 if loop.state is ChildState.STARTING else 0, 0, 1]
    await supervisor.terminate_child("child1")
    assert bench.exits("child1")[0] == "died"
    assert which(supervisor) == [("child1", None)]
    await trio.sleep(20)
    assert len(program.processes) == loop.processes, "the loop is over"

    failing.on = False
    await supervisor.restart_child("child1")
    failing.on = True
    await in_the_loop(supervisor, "child1", loop)
    await stops_at_once(bench, supervisor)


@hanging
@in_virtual_time
@scenario("hanging_restart_loop_rest_for_one", change=HANGING)
async def test_hanging_restart_loop_rest_for_one(bench: Bench, loop: Loop) -> None:
    """As hanging_restart_loop, while the children after the one in the loop are stopped and those before it run."""
    failing = Switch(loop.delay)
    program = bench.program("child2", failing=failing)
    child2 = bench.spec("child2", program=program, shutdown=BRUTAL_KILL)
    supervisor = await bench.supervisor(strategy=Strategy.REST_FOR_ONE, intensity=8, period=10, backoff=loop.backoff)
    process1 = await bench.start(supervisor, bench.spec("child1", shutdown=BRUTAL_KILL))
    await bench.start(supervisor, child2)
    await bench.start(supervisor, bench.spec("child3", shutdown=BRUTAL_KILL))
    failing.on = True
    await in_the_loop(supervisor, "child2", loop)
    await says_restarting(supervisor, child2)
    alone = [("child3", None), ("child2", None), ("child1", process1)]
    assert which(supervisor) == alone
    assert counts(supervisor) == [3, 2 if loop.state is ChildState.STARTING else 1, 0, 3]
    await supervisor.terminate_child("child2")
    assert bench.exits("child2")[0] == "died"
    await trio.sleep(20)
    assert which(supervisor) == alone
    assert len(program.processes) == loop.processes, "the loop is over"

    failing.on = False
    await supervisor.restart_child("child2")
    failing.on = True
    await in_the_loop(supervisor, "child2", loop)
    await stops_at_once(bench, supervisor)


@hanging
@in_virtual_time
@scenario("hanging_restart_loop_simple", change=f"{HANGING}; a dynamic child keeps its id, so there is no old pid")
async def test_hanging_restart_loop_simple(bench: Bench, loop: Loop) -> None:
    """As hanging_restart_loop, for a dynamic child, which is terminated by the pid that it had."""
    failing = Switch(loop.delay)
    program = bench.program(failing=failing)
    template = bench.template(shutdown=BRUTAL_KILL)
    supervisor = await bench.dynamic(template, intensity=8, period=10, backoff=loop.backoff)
    child, _ = await bench.spawn(supervisor, program)
    failing.on = True
    await in_the_loop(supervisor, child, loop)
    assert counts(supervisor) == [1, 1 if loop.state is ChildState.STARTING else 0, 0, 1]
    await supervisor.terminate_child(child)
    assert bench.exits(child)[0] == "died"
    assert which(supervisor) == []
    await trio.sleep(20)
    assert len(program.processes) == loop.processes, "the loop is over"

    failing.on = False
    child, _ = await bench.spawn(supervisor, program)
    failing.on = True
    await in_the_loop(supervisor, child, loop)
    await stops_at_once(bench, supervisor)


# --- Live change -------------------------------------------------------------------------------------------------

CHANGED = "Supervisor.change is what an upgrade of the callback module is there, so init cannot ignore or fail in it"


async def change_children(bench: Bench, supervisor: Supervisor) -> None:
    """Adds two children, then changes one, adds a third and leaves one out."""
    supervisor.change([bench.spec("child1", shutdown=2), bench.spec("child2", shutdown=BRUTAL_KILL)])
    assert which(supervisor) == [("child2", None), ("child1", None)]
    await supervisor.restart_child("child1")
    await supervisor.restart_child("child2")
    processes = which(supervisor)
    assert supervisor.get_childspec("child1").shutdown == 2

    change = supervisor.change([bench.spec("child1", shutdown=1), bench.spec("child3", shutdown=BRUTAL_KILL)])
    assert (change.changed, change.added, change.kept) == (("child1",), ("child3",), ("child2",))
    assert which(supervisor) == [processes[0], ("child3", None), processes[1]]
    assert supervisor.get_childspec("child1").shutdown == 1
    supervisor.change()
    assert which(supervisor) == [processes[0], ("child3", None), processes[1]]


@in_virtual_time
@scenario("code_change", change=CHANGED)
async def test_code_change(bench: Bench) -> None:
    """Flags and children are changed: new ones are not started, old ones stay; what is faulty changes nothing."""
    supervisor = await bench.supervisor(intensity=0, period=1)
    supervisor.change([], SupervisorFlags(intensity=1, period=3))
    assert (supervisor.flags.intensity, supervisor.flags.period) == (1, 3)
    faulty: Any = ["child1"]
    with pytest.raises(SpecError, match="'child1'"):
        supervisor.change(faulty)
    await change_children(bench, supervisor)
    flags = supervisor.flags
    faulty_flags: Any = "faulty_flags"
    with pytest.raises(SpecError, match="'faulty_flags'"):
        supervisor.change([], faulty_flags)
    assert supervisor.flags is flags
    assert await bench.stop(supervisor) == Shutdown()


@in_virtual_time
@scenario("code_change_map", change=f"{CHANGED}; specs have one form")
async def test_code_change_map(bench: Bench) -> None:
    """As code_change; two specs of one id, or a spec that does not fit to the flags, change nothing."""
    supervisor = await bench.supervisor()
    await change_children(bench, supervisor)
    before = ids(supervisor), supervisor.flags
    twice = [bench.spec("child4"), bench.spec("child4")]
    with pytest.raises(SpecError, match="'child4'"):
        supervisor.change(twice, SupervisorFlags(intensity=7))
    significant = [bench.spec("child5", Restart.TRANSIENT, significant=True)]
    with pytest.raises(SpecError, match="'child5'"):
        supervisor.change(significant, SupervisorFlags(intensity=7))
    assert (ids(supervisor), supervisor.flags) == before
    assert await bench.stop(supervisor) == Shutdown()


async def change_template(bench: Bench, supervisor: DynamicSupervisor[Program], flags: SupervisorFlags) -> None:
    child, process = await bench.spawn(supervisor)
    process.asleep = True
    template = bench.template(shutdown=1)
    supervisor.change(template, flags)
    assert supervisor.get_childspec(child) is template
    other = ChildTemplate("other", template.start)
    with pytest.raises(SpecError, match="must stay 'child'"):
        supervisor.change(other)
    assert supervisor.get_childspec(child) is template
    before = trio.current_time()
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == before + 1, "the new shutdown time holds for a child that was there"


@in_virtual_time
@scenario(
    "code_change_simple", change="a dynamic supervisor has one template by its type; only that it stays the same one"
)
async def test_code_change_simple(bench: Bench) -> None:
    """The spec of the dynamic children is changed; a second one, or none, is refused."""
    supervisor = await bench.dynamic(bench.template(shutdown=BRUTAL_KILL), intensity=0, period=1)
    await change_template(bench, supervisor, SupervisorFlags(intensity=0, period=1))


@in_virtual_time
@scenario("code_change_simple_map", change="a dynamic supervisor has one template by its type; specs have one form")
async def test_code_change_simple_map(bench: Bench) -> None:
    """As code_change_simple; flags that a dynamic supervisor cannot have are refused."""
    supervisor = await bench.dynamic(bench.template(shutdown=5))
    flags = supervisor.flags
    for faulty in (SupervisorFlags(Strategy.REST_FOR_ONE), SupervisorFlags(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)):
        with pytest.raises(SpecError):
            supervisor.change(bench.template(shutdown=1), faulty)
    assert supervisor.flags is flags
    await change_template(bench, supervisor, SupervisorFlags())


# --- Order -------------------------------------------------------------------------------------------------------


@in_virtual_time
@scenario("order_of_children")
async def test_order_of_children(bench: Bench) -> None:
    """Children are started in the order given, and stopped in the opposite one, in a restart and at the end."""
    names = ["ch7", "ch3", "ch10", "ch2", "ch5"]
    supervisor = await bench.supervisor([bench.spec(name) for name in names], Strategy.REST_FOR_ONE)
    assert bench.take_log() == [f"start {name}" for name in names]
    assert ids(supervisor) == names[::-1]
    before = which(supervisor)

    await pid(supervisor, "ch10").ends("died")
    assert bench.take_log() == ["exit ch10", "exit ch5", "exit ch2", "start ch10", "start ch2", "start ch5"]
    assert which(supervisor)[3:] == before[3:]

    assert await bench.stop(supervisor) == Shutdown()
    assert bench.take_log() == [f"exit {name}" for name in reversed(names)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", GROUP_STRATEGIES)
@in_virtual_time
@scenario(
    "scale_start_stop_many_children",
    change="lines that are run are counted, not seconds, and so of 100 and 1000 children, not of 1000 and 100000",
)
async def test_scale_start_stop_many_children(strategy: Strategy) -> None:
    """Starting, and terminating, N times as many static children takes about N times as long."""

    async def starting_and_stopping(children: int) -> tuple[int, int, int]:
        names = [f"child{number}" for number in range(children)]
        async with open_supervisor(flags=SupervisorFlags(strategy)) as supervisor:
            with counting() as starting:
                for name in names:
                    await supervisor.start_child(ChildSpec(name, waits))
            with counting() as stopping:
                for name in names:
                    await supervisor.terminate_child(name)
            for name in names:
                await supervisor.restart_child(name)
            with counting() as ending:
                supervisor.shutdown()
                await supervisor.wait()
        return starting.count, stopping.count, ending.count

    few, many = await starting_and_stopping(100), await starting_and_stopping(1000)
    for steps_of_few, steps_of_many in zip(few, many, strict=True):
        assert steps_of_few > 100
        assert steps_of_many < 11 * steps_of_few


# --- Reports -----------------------------------------------------------------------------------------------------


@scenario("format_log_1", change="a report is an object with limits of its own, not a term for a log handler to format")
def test_format_log_1() -> None:
    """A report has supervisor, context, reason and offender, and its terms are cut at a depth."""
    error = ValueError("x" * 100_000)
    event = ChildStopped(
        supervisor="my_supervisor",
        time=0,
        child_id="any_id",
        incarnation=7,
        reason=Raised(error),
        cause=StopCause.SHUTDOWN,
        uptime=1.5,
    )
    report = failure_report(event)
    assert report is not None
    assert (report.supervisor, report.context) == ("my_supervisor", FailureContext.SHUTDOWN_ERROR)
    assert (report.child_id, report.incarnation, report.uptime) == ("any_id", 7, 1.5)
    assert report.reason.startswith("raised ValueError: xxx")
    assert len(report.reason) <= 1_000
    in_order = attrs.evolve(event, reason=Cancelled(StopCause.SHUTDOWN))
    assert failure_report(in_order) is None
    assert failure_report(attrs.evolve(event, reason=Killed())) is None, "a brutal kill was asked for"


@scenario(
    "format_log_2", change="a report is an object with limits of its own: str() is its text, reason its single line"
)
def test_format_log_2() -> None:
    """The text of a report has a line for each field, is cut at a number of characters, and may be a single line."""
    try:
        raise ValueError("first line\nsecond line")
    except ValueError as caught:
        error = caught
    event = ChildExited(
        supervisor="my_supervisor",
        time=0,
        child_id="any_id",
        incarnation=7,
        reason=Raised(error),
        uptime=1.5,
        restarts=2,
    )
    report = failure_report(event)
    assert report is not None
    assert report.reason == "raised ValueError: first line second line"
    lines = str(report).splitlines()
    assert lines[:4] == [
        "my_supervisor: child_terminated: any_id: raised ValueError: first line second line",
        "  incarnation: 7",
        "  restarts in the window: 2",
        "  up for: 1.500 s",
    ]
    assert lines[4] == "  Traceback (most recent call last):"
    for limit in (0, 10, 100):
        cut = failure_report(event, max_traceback=limit)
        assert cut is not None
        assert len(cut.traceback) <= limit < len(report.traceback)


# --- Outsiders, and questions --------------------------------------------------------------------------------------


class RegisteredError(Exception):
    """Some other process has that name."""

    def __init__(self, owner: object) -> None:
        super().__init__("already registered")
        self.owner = owner


@in_virtual_time
@scenario("already_started_outside_supervisor", change="a start says so by an exception of its own")
async def test_already_started_outside_supervisor(bench: Bench) -> None:
    """When a start fails because something else is there already, the caller is told what, and no spec is stored."""
    owner = object()

    async def child(*, task_status: Status) -> None:
        raise RegisteredError(owner)

    supervisor = await bench.supervisor()
    with pytest.raises(StartFailedError) as caught:
        await supervisor.start_child(ChildSpec("child", child, restart=Restart.TRANSIENT))
    assert isinstance(caught.value.reason, Raised)
    assert isinstance(caught.value.reason.error, RegisteredError)
    assert caught.value.reason.error.owner is owner
    assert which(supervisor) == []
    assert await bench.stop(supervisor) == Shutdown()


def shown(supervisor: AnySupervisor) -> list[tuple[str, object]]:
    """`which_children`, once it is seen that `child` says the same of each."""
    infos = supervisor.which_children()
    assert [supervisor.child(info.id) for info in infos] == infos
    with pytest.raises(ChildNotFoundError):
        supervisor.child("childx")
    return which(supervisor)


@in_virtual_time
@scenario("which_children")
async def test_which_children(bench: Bench) -> None:
    """which_children and which_child show the same at each step of starting, terminating and deleting children."""
    supervisor = await bench.supervisor()
    assert shown(supervisor) == []
    process1 = await bench.start(supervisor, bench.spec("child1"))
    assert shown(supervisor) == [("child1", process1)]
    process2 = await bench.start(supervisor, bench.spec("child2"))
    assert shown(supervisor) == [("child2", process2), ("child1", process1)]
    await supervisor.terminate_child("child1")
    assert shown(supervisor) == [("child2", process2), ("child1", None)]
    await supervisor.delete_child("child1")
    assert shown(supervisor) == [("child2", process2)]
    with pytest.raises(ChildNotFoundError):
        supervisor.child("child1")


@in_virtual_time
@scenario(
    "which_children_simple_one_for_one",
    change="newest first, as with static children; an id that is none is not_found, not simple_one_for_one",
)
async def test_which_children_simple_one_for_one(bench: Bench) -> None:
    """The same for dynamic children: one that is gone is not shown."""
    supervisor = await bench.dynamic(bench.template(Restart.TEMPORARY))
    assert shown(supervisor) == []
    child1, process1 = await bench.spawn(supervisor)
    assert shown(supervisor) == [(child1, process1)]
    child2, process2 = await bench.spawn(supervisor)
    assert shown(supervisor) == [(child2, process2), (child1, process1)]
    await supervisor.terminate_child(child1)
    assert shown(supervisor) == [(child2, process2)]
    with pytest.raises(ChildNotFoundError):
        supervisor.child(child1)
