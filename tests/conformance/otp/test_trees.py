"""OTP's supervisor_SUITE: child_unlink and tree."""

from __future__ import annotations

import trio
from conformance.otp.bench import Bench, counts, ids, in_virtual_time, pid, settle, which
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import ChildSpec, ChildType, Restart, Strategy, Supervisor

pytestmark = in_virtual_time


@scenario(
    "child_unlink",
    change="a Trio task cannot leave its nursery: the naughty child is shielded from cancellation until it is killed",
)
async def test_child_unlink(bench: Bench) -> None:
    """terminate_child of a child that tries to slip away does not hang the supervisor."""
    supervisor = await bench.supervisor()
    process = await bench.start(supervisor, bench.spec("naughty_child"))
    process.asleep = True
    bench.nursery.start_soon(supervisor.terminate_child, "naughty_child")
    await settle()
    await bench.start(supervisor, bench.spec("another"))
    assert process.alive, "the other call was answered meanwhile"
    await trio.sleep(5)
    assert which(supervisor) == [("another", pid(supervisor, "another")), ("naughty_child", None)]
    assert bench.exits("naughty_child") == ["killed"]


def nested(supervisor: Supervisor, child_id: str) -> Supervisor:
    below = supervisor.child(child_id).value
    assert isinstance(below, Supervisor)
    return below


@scenario("tree")
async def test_tree(bench: Bench) -> None:
    """A worker is restarted alone; when its supervisor gives up, the tree comes back without what was added to it."""

    def sup(name: str, restart: Restart, *specs: ChildSpec) -> ChildSpec:
        return ChildSpec(name, bench.nested(name, specs), restart=restart, type=ChildType.SUPERVISOR)

    top = await bench.supervisor(strategy=Strategy.ONE_FOR_ALL, intensity=4)
    await top.start_child(sup("supchild1", Restart.PERMANENT, bench.spec("child1"), bench.spec("child2")))
    await top.start_child(sup("supchild2", Restart.PERMANENT))
    await top.start_child(sup("supchild3", Restart.TRANSIENT))
    await top.terminate_child("supchild3")
    assert counts(top) == [3, 2, 3, 0]
    sup1, sup2 = nested(top, "supchild1"), nested(top, "supchild2")
    workers = which(sup1)
    assert ids(sup1) == ["child2", "child1"]
    assert counts(sup1) == [2, 2, 0, 2]
    assert counts(sup2) == [0, 0, 0, 0]

    fails = bench.program("child3", starts=["ok", "error"])
    process3 = await bench.start(sup2, bench.spec("child3", program=fails))
    process4 = await bench.start(sup2, bench.spec("child4"))
    assert counts(sup2) == [2, 2, 0, 2]

    await process4.ends("died")
    assert which(sup1) == workers
    assert which(sup2) == [("child4", pid(sup2, "child4")), ("child3", process3)]
    assert pid(sup2, "child4") is not process4
    assert counts(sup2) == [2, 2, 0, 2]

    await process3.ends("died")
    assert len(fails.processes) == 1 + 3, "the restart of child4 counts too"
    assert ids(top) == ["supchild3", "supchild2", "supchild1"]
    assert counts(top) == [3, 3, 3, 0]
    assert top.restarts == 1
    new1, new2, new3 = (nested(top, name) for name in ("supchild1", "supchild2", "supchild3"))
    assert new1 is not sup1
    assert new2 is not sup2
    assert ids(new1) == ["child2", "child1"]
    assert counts(new1) == [2, 2, 0, 2]
    assert not {process for _, process in workers} & {process for _, process in which(new1)}
    assert which(new2) == which(new3) == []
    assert counts(new2) == counts(new3) == [0, 0, 0, 0]
