"""OTP's supervisor_SUITE: multiple_restarts, and the groups restart_*."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import trio
from conformance.otp.bench import Bench, Desk, Status, counts, in_virtual_time, pid, schedule, settle, which
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    ChildTemplate,
    GaveUp,
    Restart,
    Shutdown,
    StartedChild,
    Strategy,
    Supervisor,
    run_dynamic_supervisor,
)

pytestmark = in_virtual_time

GAVE_UP = "giving up is a reason of its own, not shutdown"


@scenario("multiple_restarts")
async def test_multiple_restarts(bench: Bench) -> None:
    """Restarts that stay below the intensity, again and again, do not end the supervisor."""
    supervisor = await bench.supervisor(intensity=1, period=1)
    process = await bench.start(supervisor, bench.spec("child1", shutdown=BRUTAL_KILL))
    await process.ends("died")
    for _ in range(3):
        await trio.sleep(2.1)
        await pid(supervisor, "child1").ends("died")
    assert pid(supervisor, "child1").alive
    assert supervisor.child("child1").incarnation == 5
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    assert which(supervisor) == []


@scenario("one_for_one")
async def test_one_for_one(bench: Bench) -> None:
    """Only the child that died is replaced; the third failure at an intensity of two ends the supervisor."""
    supervisor = await bench.supervisor()
    process1 = await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2"))
    await process1.ends("died")
    assert pid(supervisor, "child1") is not process1
    assert pid(supervisor, "child2") is process2
    assert counts(supervisor) == [2, 2, 0, 2]
    await process2.ends("died")
    assert supervisor.outcome is None
    await pid(supervisor, "child2").ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)


@scenario("one_for_one_escalation")
async def test_one_for_one_escalation(bench: Bench) -> None:
    """When a child fails at each restart, the supervisor and the healthy sibling end too."""
    supervisor = await bench.supervisor(intensity=4)
    fails = bench.program("child1", starts=["ok", "error"])
    process1 = await bench.start(supervisor, bench.spec("child1", program=fails))
    process2 = await bench.start(supervisor, bench.spec("child2"))
    await process1.ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)
    assert not process2.alive
    assert len(fails.processes) == 1 + 4


@scenario("one_for_all")
async def test_one_for_all(bench: Bench) -> None:
    """When a child dies, its sibling is replaced too; the third failure ends the supervisor."""
    supervisor = await bench.supervisor(strategy=Strategy.ONE_FOR_ALL)
    process1 = await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2"))
    await process1.ends("died")
    assert bench.exits("child2") == ["shutdown"]
    assert not {process1, process2} & {pid(supervisor, "child1"), pid(supervisor, "child2")}
    assert counts(supervisor) == [2, 2, 0, 2]
    await pid(supervisor, "child2").ends("died")
    assert supervisor.outcome is None
    assert supervisor.restarts == 2, "a group restart is one restart"
    await pid(supervisor, "child2").ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)


@scenario("one_for_all_escalation")
async def test_one_for_all_escalation(bench: Bench) -> None:
    """When a sibling fails at each restart of the group, the supervisor ends."""
    supervisor = await bench.supervisor(strategy=Strategy.ONE_FOR_ALL, intensity=4)
    fails = bench.program("child2", starts=["ok", "error"])
    process1 = await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2", program=fails))
    await process1.ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)
    assert not process2.alive
    assert len(fails.processes) == 1 + 4
    assert bench.log.count("start child1") == 1 + 4


async def restarts_by_decision(bench: Bench, strategy: Strategy) -> tuple[Desk, Supervisor]:
    """Two children of which the test decides every start; the first has died and is back, the second failed to."""
    desk = Desk.open()
    specs = [bench.spec(name, program=bench.program(name, desk=desk)) for name in ("child1", "child2")]
    bench.nursery.start_soon(partial(bench.supervisor, specs, strategy, intensity=3))
    process1 = await desk.let("child1", "ok")
    await desk.let("child2", "ok")
    await settle()
    (supervisor,) = bench.supervisors
    assert isinstance(supervisor, Supervisor)
    await process1.ends("died")
    await desk.let("child1", "ok")
    await desk.let("child2", "error")
    await settle()
    return desk, supervisor


@scenario("one_for_all_other_child_fails_restart")
async def test_one_for_all_other_child_fails_restart(bench: Bench) -> None:
    """When a child fails to start in a restart, those just restarted are stopped, and all are started again."""
    desk, supervisor = await restarts_by_decision(bench, Strategy.ONE_FOR_ALL)
    assert bench.exits("child1") == ["died", "shutdown"]
    process1 = await desk.let("child1", "ok")
    process2 = await desk.let("child2", "ok")
    await settle()
    assert which(supervisor) == [("child2", process2), ("child1", process1)]
    assert await bench.stop(supervisor) == Shutdown()


@scenario("simple_one_for_one", change=GAVE_UP)
async def test_simple_one_for_one(bench: Bench) -> None:
    """Only the dynamic child that died is replaced; the third failure ends the supervisor."""
    supervisor = await bench.dynamic(bench.template())
    child1, process1 = await bench.spawn(supervisor)
    child2, process2 = await bench.spawn(supervisor)
    await process1.ends("died")
    assert pid(supervisor, child1) is not process1
    assert pid(supervisor, child2) is process2
    assert counts(supervisor) == [1, 2, 0, 2]
    await process2.ends("died")
    assert supervisor.outcome is None
    await pid(supervisor, child2).ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)


@pytest.mark.parametrize("seed", range(5))
@scenario("simple_one_for_one_shutdown", change="each child has a shutdown time of its own; OTP has one timer for all")
async def test_simple_one_for_one_shutdown(bench: Bench, seed: int) -> None:
    """Dynamic children are stopped side by side: it takes as long as the slowest, which is killed at its time."""
    schedule(seed)
    supervisor = await bench.dynamic(bench.template(shutdown=2))
    for cleanup in (1, 1, 5):
        await bench.spawn(supervisor, bench.program(cleanup=cleanup))
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == 2
    assert [bench.exits(f"child-{number}") for number in (1, 2, 3)] == [["shutdown"], ["shutdown"], ["killed"]]


@scenario(
    "simple_one_for_one_extra", change="whatever a child gives to started() is passed on, there is no pid beside it"
)
async def test_simple_one_for_one_extra(bench: Bench) -> None:
    """Dynamic children whose start gives more than the pid are restarted as others are."""
    supervisor = await bench.dynamic(bench.template())
    programs = [bench.program(extra="extra_info") for _ in range(2)]
    for number, program in enumerate(programs, start=1):
        started = await supervisor.start_child(program)
        assert started == StartedChild(f"child-{number}", (program.processes[0], "extra_info"))
    await programs[0].processes[0].ends("died")
    assert which(supervisor) == [
        ("child-2", (programs[1].processes[0], "extra_info")),
        ("child-1", (programs[0].processes[1], "extra_info")),
    ]
    assert counts(supervisor) == [1, 2, 0, 2]
    await programs[1].processes[0].ends("died")
    assert supervisor.outcome is None
    await programs[1].processes[1].ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)


@scenario("simple_one_for_one_escalation")
async def test_simple_one_for_one_escalation(bench: Bench) -> None:
    """When a dynamic child fails at each restart, the supervisor and the others end."""
    supervisor = await bench.dynamic(bench.template(), intensity=4)
    fails = bench.program(starts=["ok", "error"])
    _, process1 = await bench.spawn(supervisor, fails)
    _, process2 = await bench.spawn(supervisor)
    await process1.ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)
    assert not process2.alive
    assert len(fails.processes) == 1 + 4


class Payload:
    """A large argument."""


@scenario("simple_one_for_one_corruption", change="a weak reference tells whether an argument is kept, not a heap size")
async def test_simple_one_for_one_corruption(bench: Bench) -> None:
    """After a temporary dynamic child has died, the arguments of later ones are still not kept."""
    dying: list[trio.Event] = []

    async def body(payload: Payload, *, task_status: Status) -> None:
        del payload
        die = trio.Event()
        dying.append(die)
        task_status.started()
        await die.wait()
        raise RuntimeError

    template = ChildTemplate("child", body, restart=Restart.TEMPORARY)
    supervisor = await bench.nursery.start(run_dynamic_supervisor, template)
    await supervisor.start_child(Payload())
    dying[0].set()
    await settle()
    assert which(supervisor) == []

    payload = Payload()
    kept = weakref.ref(payload)
    await supervisor.start_child(payload)
    del payload
    await settle()
    gc.collect()
    assert kept() is None
    assert counts(supervisor) == [1, 1, 0, 1]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.PERMANENT])
@scenario("simple_one_for_one_restart_ignore")
async def test_simple_one_for_one_restart_ignore(bench: Bench, restart: Restart) -> None:
    """A dynamic child that ignores when it is restarted is forgotten, and the supervisor is well."""
    supervisor = await bench.dynamic(bench.template(restart), intensity=10)
    program = bench.program(starts=["ok", "ok", "ignore"])
    child, process = await bench.spawn(supervisor, program)
    await process.ends("killed")
    assert which(supervisor) == [(child, program.processes[1])]
    await program.processes[1].ends("killed")
    assert len(program.processes) == 3
    assert which(supervisor) == []
    assert await bench.stop(supervisor) == Shutdown()


@scenario("rest_for_one")
async def test_rest_for_one(bench: Bench) -> None:
    """The child that died and those after it are replaced, the one before is not; the third failure ends it."""
    supervisor = await bench.supervisor(strategy=Strategy.REST_FOR_ONE)
    process1, process2, process3 = [
        await bench.start(supervisor, bench.spec(name)) for name in ("child1", "child2", "child3")
    ]
    assert counts(supervisor) == [3, 3, 0, 3]
    await process2.ends("died")
    assert bench.exits("child3") == ["shutdown"]
    assert pid(supervisor, "child1") is process1
    assert not {process2, process3} & {pid(supervisor, "child2"), pid(supervisor, "child3")}
    assert counts(supervisor) == [3, 3, 0, 3]
    await pid(supervisor, "child3").ends("died")
    assert supervisor.outcome is None
    await pid(supervisor, "child2").ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)


@scenario("rest_for_one_escalation")
async def test_rest_for_one_escalation(bench: Bench) -> None:
    """When a later child fails at each restart, the supervisor ends."""
    supervisor = await bench.supervisor(strategy=Strategy.REST_FOR_ONE, intensity=4)
    fails = bench.program("child2", starts=["ok", "error"])
    process1 = await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2", program=fails))
    await process1.ends("died")
    assert isinstance(await supervisor.wait(), GaveUp)
    assert not process2.alive
    assert len(fails.processes) == 1 + 4
    assert bench.log.count("start child1") == 2


@scenario("rest_for_one_other_child_fails_restart")
async def test_rest_for_one_other_child_fails_restart(bench: Bench) -> None:
    """When a later child fails to start in a restart, it alone is tried again, not those before it."""
    desk, supervisor = await restarts_by_decision(bench, Strategy.REST_FOR_ONE)
    process2 = await desk.let("child2", "ok")
    await settle()
    assert which(supervisor) == [("child2", process2), ("child1", pid(supervisor, "child1"))]
    assert bench.exits("child1") == ["died"]
    assert await bench.stop(supervisor) == Shutdown()
