"""OTP's supervisor_SUITE: the group significant."""

from __future__ import annotations

import pytest
import trio
from conformance.otp.bench import Bench, Ending, Process, in_virtual_time, pid
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import (
    AutoShutdown,
    ChildSpec,
    ChildType,
    Restart,
    Shutdown,
    SpecError,
    Strategy,
    Supervisor,
    SupervisorFlags,
    open_dynamic_supervisor,
)

pytestmark = in_virtual_time

ANY = AutoShutdown.ANY_SIGNIFICANT
ALL = AutoShutdown.ALL_SIGNIFICANT
NEVER = AutoShutdown.NEVER
CHANGED = "Supervisor.change is what an upgrade of the callback module is there"


async def lives_on(supervisor: Supervisor, *processes: Process) -> None:
    """Nothing happens for a second."""
    await trio.sleep(1)
    assert supervisor.outcome is None
    assert all(process.alive for process in processes)


async def has_ended(supervisor: Supervisor, *processes: Process) -> None:
    assert isinstance(await supervisor.wait(), Shutdown)
    assert not any(process.alive for process in processes)


async def three(bench: Bench, mode: AutoShutdown, restart: Restart) -> tuple[Supervisor, list[Process]]:
    """A supervisor of three children, of which the first two are significant."""
    supervisor = await bench.supervisor(intensity=5, auto_shutdown=mode)
    processes = [
        await bench.start(supervisor, bench.spec(name, restart, significant=name != "child3"))
        for name in ("child1", "child2", "child3")
    ]
    return supervisor, processes


@pytest.mark.parametrize("mode", AutoShutdown)
@scenario("nonsignificant_temporary")
async def test_nonsignificant_temporary(bench: Bench, mode: AutoShutdown) -> None:
    """A temporary child that is not significant never ends its supervisor, however it goes."""
    supervisor = await bench.supervisor(auto_shutdown=mode)
    child = bench.spec("child1", Restart.TEMPORARY)
    process = await bench.start(supervisor, child)
    await supervisor.terminate_child("child1")
    await lives_on(supervisor)
    assert not process.alive
    for how in ("killed", "died", "normal"):
        process = await bench.start(supervisor, child)
        await process.ends(how)
        await lives_on(supervisor)
    assert await bench.stop(supervisor) == Shutdown()


@pytest.mark.parametrize("mode", AutoShutdown)
@scenario("nonsignificant_transient")
async def test_nonsignificant_transient(bench: Bench, mode: AutoShutdown) -> None:
    """A transient child that is not significant never ends its supervisor; killed or abnormal, it is restarted."""
    supervisor = await bench.supervisor(intensity=5, auto_shutdown=mode)
    await bench.start(supervisor, bench.spec("child1", Restart.TRANSIENT))
    await supervisor.terminate_child("child1")
    await lives_on(supervisor)
    await supervisor.restart_child("child1")
    abnormal: tuple[Ending, ...] = ("killed", "died")
    for how in abnormal:
        await pid(supervisor, "child1").ends(how)
        await lives_on(supervisor, pid(supervisor, "child1"))
    await pid(supervisor, "child1").ends("normal")
    await lives_on(supervisor)
    assert supervisor.child("child1").value is None
    assert await bench.stop(supervisor) == Shutdown()


@scenario("significant_temporary")
async def test_significant_temporary(bench: Bench) -> None:
    """A temporary significant child ends its supervisor by any exit, but terminate_child; of all, the last one does."""
    supervisor, (process1, *others) = await three(bench, ANY, Restart.TEMPORARY)
    await supervisor.terminate_child("child1")
    assert not process1.alive
    await lives_on(supervisor, *others)
    process1 = await bench.start(supervisor, bench.spec("child1", Restart.TEMPORARY, significant=True))
    await process1.ends("killed")
    await has_ended(supervisor, *others)

    endings: tuple[Ending, ...] = ("died", "normal")
    for how in endings:
        supervisor, processes = await three(bench, ANY, Restart.TEMPORARY)
        await processes[0].ends(how)
        await has_ended(supervisor, *processes)

    supervisor, (process1, process2, process3) = await three(bench, ALL, Restart.TEMPORARY)
    await process1.ends("normal")
    await lives_on(supervisor, process2, process3)
    await process2.ends("normal")
    await has_ended(supervisor, process3)


@scenario("significant_transient")
async def test_significant_transient(bench: Bench) -> None:
    """A transient significant child ends its supervisor by a normal exit only; of all, the last one does."""
    supervisor, (_, *others) = await three(bench, ANY, Restart.TRANSIENT)
    await supervisor.terminate_child("child1")
    await lives_on(supervisor, *others)
    await supervisor.restart_child("child1")
    abnormal: tuple[Ending, ...] = ("killed", "died")
    for how in abnormal:
        await pid(supervisor, "child1").ends(how)
        await lives_on(supervisor, pid(supervisor, "child1"), *others)
    await pid(supervisor, "child1").ends("normal")
    await has_ended(supervisor, *others)

    supervisor, (process1, process2, process3) = await three(bench, ALL, Restart.TRANSIENT)
    await process1.ends("normal")
    await lives_on(supervisor, process2, process3)
    await process2.ends("normal")
    await has_ended(supervisor, process3)


@scenario("significant_simple")
async def test_significant_simple(bench: Bench) -> None:
    """Auto-shutdown is refused together with dynamic children."""
    for mode in (ANY, ALL):
        with pytest.raises(SpecError, match="auto_shutdown must be never"):
            async with open_dynamic_supervisor(bench.template(), SupervisorFlags(auto_shutdown=mode)):
                raise AssertionError("not entered")
    supervisor = await bench.dynamic(bench.template(), auto_shutdown=NEVER)
    assert await bench.stop(supervisor) == Shutdown()


@pytest.mark.parametrize("mode", [ANY, ALL])
@pytest.mark.parametrize("strategy", Strategy)
@scenario("significant_bystander")
async def test_significant_bystander(bench: Bench, strategy: Strategy, mode: AutoShutdown) -> None:
    """Significant children that are stopped because of a sibling do not end their supervisor."""
    supervisor = await bench.supervisor(strategy=strategy, intensity=5, auto_shutdown=mode)
    process1, process2, process3 = [
        await bench.start(supervisor, bench.spec(name, Restart.TRANSIENT, significant=name != "child2"))
        for name in ("child1", "child2", "child3")
    ]
    await process2.ends("killed")
    assert process1.alive is (strategy is not Strategy.ONE_FOR_ALL)
    assert process3.alive is (strategy is Strategy.ONE_FOR_ONE)
    await lives_on(supervisor, *(pid(supervisor, name) for name in ("child1", "child2", "child3")))
    assert await bench.stop(supervisor) == Shutdown()


@pytest.mark.parametrize("significant", [True, False])
@scenario("significant_escalation")
async def test_significant_escalation(bench: Bench, significant: bool) -> None:
    """A supervisor that ends by auto-shutdown ends the one above it too, if it is a significant child of that."""
    top = await bench.supervisor(intensity=1, auto_shutdown=ANY)
    below = bench.nested("sup1", auto_shutdown=ANY)
    await top.start_child(
        ChildSpec("sup1", below, restart=Restart.TRANSIENT, type=ChildType.SUPERVISOR, significant=significant)
    )
    sup1 = top.child("sup1").value
    assert isinstance(sup1, Supervisor)
    process = await bench.start(sup1, bench.spec("child1", Restart.TRANSIENT, significant=True))
    await process.ends("normal")
    await has_ended(sup1)
    if significant:
        await has_ended(top)
    else:
        await lives_on(top)
        assert await bench.stop(top) == Shutdown()


def significant(bench: Bench, child_id: str) -> ChildSpec:
    return bench.spec(child_id, Restart.TRANSIENT, significant=True)


async def changed(bench: Bench, before: AutoShutdown, after: AutoShutdown, children: int) -> Supervisor:
    """A supervisor whose mode is changed when that many significant children run; it does not mind."""
    supervisor = await bench.supervisor(intensity=1, auto_shutdown=before)
    processes = [
        await bench.start(supervisor, significant(bench, f"child{number}")) for number in range(1, children + 1)
    ]
    if before is NEVER:
        with pytest.raises(SpecError, match="auto_shutdown is never"):
            await supervisor.start_child(significant(bench, "child1"))
    supervisor.change(flags=SupervisorFlags(auto_shutdown=after))
    assert supervisor.flags.auto_shutdown is after
    await lives_on(supervisor, *processes)
    return supervisor


async def any_then_ends(supervisor: Supervisor) -> None:
    process1, process2 = pid(supervisor, "child1"), pid(supervisor, "child2")
    await process1.ends("normal")
    await has_ended(supervisor, process2)


async def all_then_ends(supervisor: Supervisor) -> None:
    process1, process2 = pid(supervisor, "child1"), pid(supervisor, "child2")
    await process1.ends("normal")
    await lives_on(supervisor, process2)
    await process2.ends("normal")
    await has_ended(supervisor)


async def never_then_ends(bench: Bench, supervisor: Supervisor) -> None:
    with pytest.raises(SpecError, match="auto_shutdown is never"):
        await supervisor.start_child(significant(bench, "child2"))
    await pid(supervisor, "child1").ends("normal")
    await lives_on(supervisor)
    process = await supervisor.restart_child("child1")
    assert isinstance(process, Process)
    assert await bench.stop(supervisor) == Shutdown()
    assert not process.alive


@scenario("significant_upgrade_never_any", change=CHANGED)
async def test_significant_upgrade_never_any(bench: Bench) -> None:
    """From never to any_significant: significant children are taken from then on, and the first exit ends it."""
    supervisor = await changed(bench, NEVER, ANY, 0)
    await bench.start(supervisor, significant(bench, "child1"))
    await bench.start(supervisor, significant(bench, "child2"))
    await any_then_ends(supervisor)


@scenario("significant_upgrade_any_never", change=CHANGED)
async def test_significant_upgrade_any_never(bench: Bench) -> None:
    """From any_significant to never: no more significant children are taken, and the exit of one ends nothing."""
    await never_then_ends(bench, await changed(bench, ANY, NEVER, 1))


@scenario("significant_upgrade_never_all", change=CHANGED)
async def test_significant_upgrade_never_all(bench: Bench) -> None:
    """From never to all_significant: significant children are taken from then on, and the last exit ends it."""
    supervisor = await changed(bench, NEVER, ALL, 0)
    await bench.start(supervisor, significant(bench, "child1"))
    await bench.start(supervisor, significant(bench, "child2"))
    await all_then_ends(supervisor)


@scenario("significant_upgrade_all_never", change=CHANGED)
async def test_significant_upgrade_all_never(bench: Bench) -> None:
    """From all_significant to never: no more significant children are taken, and the exit of the last ends nothing."""
    await never_then_ends(bench, await changed(bench, ALL, NEVER, 1))


@scenario("significant_upgrade_any_all", change=CHANGED)
async def test_significant_upgrade_any_all(bench: Bench) -> None:
    """From any_significant to all_significant: only the last exit ends it."""
    await all_then_ends(await changed(bench, ANY, ALL, 2))


@scenario("significant_upgrade_all_any", change=CHANGED)
async def test_significant_upgrade_all_any(bench: Bench) -> None:
    """From all_significant to any_significant: the first exit ends it."""
    await any_then_ends(await changed(bench, ALL, ANY, 2))


@scenario("significant_upgrade_child", change=CHANGED)
async def test_significant_upgrade_child(bench: Bench) -> None:
    """A running child becomes significant, or no longer is, from its next exit on; in the mode never, it cannot."""
    program = bench.program()
    plain = bench.spec("child", Restart.TRANSIENT, program=program)
    marked = bench.spec("child", Restart.TRANSIENT, program=program, significant=True)

    supervisor = await bench.supervisor([plain], auto_shutdown=NEVER)
    with pytest.raises(SpecError, match="auto_shutdown is never"):
        supervisor.change([marked])
    await lives_on(supervisor, pid(supervisor, "child"))
    assert supervisor.get_childspec("child") is plain
    assert await bench.stop(supervisor) == Shutdown()

    supervisor = await bench.supervisor([plain], auto_shutdown=ANY)
    supervisor.change([marked])
    await lives_on(supervisor, pid(supervisor, "child"))
    await pid(supervisor, "child").ends("normal")
    await has_ended(supervisor)

    supervisor = await bench.supervisor([marked], auto_shutdown=ANY)
    supervisor.change([plain])
    await lives_on(supervisor, pid(supervisor, "child"))
    await pid(supervisor, "child").ends("normal")
    await lives_on(supervisor)
    assert await bench.stop(supervisor) == Shutdown()
