"""OTP's supervisor_SUITE: the group sup_stop."""

from __future__ import annotations

import pytest
import trio
from conformance.otp.bench import Bench, Ending, Process, in_virtual_time, schedule
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import BRUTAL_KILL, INFINITY, ChildType, Restart, Shutdown

pytestmark = in_virtual_time

SEEDS = range(5)
REASONS: tuple[Ending, ...] = ("normal", "shutdown", "{shutdown,term}", "died")


@scenario("sup_stop_infinity")
async def test_sup_stop_infinity(bench: Bench) -> None:
    """A shutdown time of infinity is allowed for supervisors and workers; both exit with shutdown."""
    supervisor = await bench.supervisor()
    await bench.start(supervisor, bench.spec("child1", shutdown=INFINITY, type=ChildType.SUPERVISOR))
    await bench.start(supervisor, bench.spec("child2", shutdown=INFINITY))
    assert await bench.stop(supervisor) == Shutdown()
    assert bench.exits("child1") == bench.exits("child2") == ["shutdown"]


@scenario("sup_stop_timeout")
async def test_sup_stop_timeout(bench: Bench) -> None:
    """A child that takes longer than its shutdown time is killed, the other exits with shutdown."""
    supervisor = await bench.supervisor()
    await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2"))
    process2.asleep = True
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == 1
    assert bench.exits("child1") == ["shutdown"]
    assert bench.exits("child2") == ["killed"]


@scenario("sup_stop_timeout_dynamic")
async def test_sup_stop_timeout_dynamic(bench: Bench) -> None:
    """A dynamic child that takes longer than its shutdown time is killed, the other exits with shutdown."""
    supervisor = await bench.dynamic(bench.template(Restart.TEMPORARY))
    child1, _ = await bench.spawn(supervisor)
    child2, process2 = await bench.spawn(supervisor)
    process2.asleep = True
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == 1
    assert bench.exits(child1) == ["shutdown"]
    assert bench.exits(child2) == ["killed"]


@scenario("sup_stop_brutal_kill")
async def test_sup_stop_brutal_kill(bench: Bench) -> None:
    """A child with brutal_kill is killed at once, the other exits with shutdown."""
    supervisor = await bench.supervisor()
    await bench.start(supervisor, bench.spec("child1"))
    process2 = await bench.start(supervisor, bench.spec("child2", shutdown=BRUTAL_KILL))
    process2.asleep = True
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == 0
    assert bench.exits("child1") == ["shutdown"]
    assert bench.exits("child2") == ["killed"]


@pytest.mark.parametrize("seed", SEEDS)
@scenario("sup_stop_brutal_kill_dynamic")
async def test_sup_stop_brutal_kill_dynamic(bench: Bench, seed: int) -> None:
    """Ten dynamic children with brutal_kill are all killed, and the supervisor exits with shutdown."""
    schedule(seed)
    supervisor = await bench.dynamic(bench.template(Restart.TEMPORARY, shutdown=BRUTAL_KILL))
    children = [await bench.spawn(supervisor) for _ in range(10)]
    for _, process in children:
        process.asleep = True
    assert await bench.stop(supervisor) == Shutdown()
    assert trio.current_time() == 0
    assert [bench.exits(child) for child, _ in children] == [["killed"]] * 10


@pytest.mark.parametrize("seed", SEEDS)
@scenario("sup_stop_race")
async def test_sup_stop_race(bench: Bench, seed: int) -> None:
    """Children that exit by themselves while the supervisor stops another keep their reasons, and it its shutdown."""
    schedule(seed)
    supervisor = await bench.supervisor()
    await bench.start(supervisor, bench.spec("child_a", Restart.TEMPORARY))
    racing: dict[str, tuple[Process, Ending]] = {
        f"{restart} {how}": (await bench.start(supervisor, bench.spec(f"{restart} {how}", restart)), how)
        for restart in Restart
        for how in REASONS
    }
    slow = bench.program("child_z", cleanup=1)
    await bench.start(supervisor, bench.spec("child_z", Restart.TEMPORARY, program=slow, shutdown=2))
    supervisor.shutdown()
    await trio.sleep(0.2)
    for process, how in racing.values():
        process.end(how)
    assert await supervisor.wait() == Shutdown()
    assert trio.current_time() == 1
    assert {child: bench.exits(child) for child in racing} == {child: [how] for child, (_, how) in racing.items()}
    assert bench.exits("child_a") == bench.exits("child_z") == ["shutdown"]
    assert bench.log.count("start child_z") == len(slow.processes) == 1
    assert sum(len(program.processes) for program in bench.programs) == len(racing) + 2, "nothing is restarted"


@pytest.mark.parametrize("restart", Restart)
@scenario("sup_stop_non_shutdown_exit_dynamic")
async def test_sup_stop_non_shutdown_exit_dynamic(bench: Bench, restart: Restart) -> None:
    """Dynamic children that answer shutdown with other reasons keep them, and the supervisor exits with shutdown."""
    supervisor = await bench.dynamic(bench.template(restart, shutdown=5))
    children = {how: (await bench.spawn(supervisor, bench.program(when_stopped=how)))[0] for how in REASONS}
    assert await bench.stop(supervisor) == Shutdown()
    assert {how: bench.exits(child) for how, child in children.items()} == {how: [how] for how in REASONS}
