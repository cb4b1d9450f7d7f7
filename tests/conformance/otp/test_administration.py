"""OTP's supervisor_SUITE: the cases about management calls, child specs and flags."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from conformance.otp.bench import Bench, counts, in_virtual_time, pid, which
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    AutoShutdown,
    ChildAlreadyPresentError,
    ChildAlreadyStartedError,
    ChildNotFoundError,
    ChildRunningError,
    ChildSpec,
    ChildTemplate,
    ChildType,
    DynamicSupervisor,
    Restart,
    Shutdown,
    SpecError,
    Strategy,
    SupervisorEndedError,
    SupervisorFlags,
    check_child_specs,
    open_dynamic_supervisor,
)


async def body(*, task_status: Any) -> object:
    return IGNORE


def refused(field: str, match: str, **fields: Any) -> None:
    """A child spec with these fields is refused, because of that one."""
    make: Any = ChildSpec
    with pytest.raises(SpecError, match=match) as caught:
        make(**({"id": "child", "start": body} | fields))
    assert caught.value.field == field


@in_virtual_time
@scenario(
    "child_adm", change="hibernation is the runtime's affair; a supervisor that has ended still answers questions"
)
async def test_child_adm(bench: Bench) -> None:
    """start, terminate, restart, delete, which and count of a static child, with every error that they can give."""
    child = bench.spec("child1")
    supervisor = await bench.supervisor([child])
    process = pid(supervisor, "child1")
    assert which(supervisor) == [("child1", process)]
    assert counts(supervisor) == [1, 1, 0, 1]
    with pytest.raises(ChildAlreadyStartedError) as started:
        await supervisor.start_child(child)
    assert started.value.value is process

    with pytest.raises(ChildNotFoundError):
        await supervisor.terminate_child("hej")
    await supervisor.terminate_child("child1")
    assert bench.exits("child1") == ["shutdown"]
    assert which(supervisor) == [("child1", None)]
    assert counts(supervisor) == [1, 0, 0, 1]
    await supervisor.terminate_child("child1")
    with pytest.raises(ChildAlreadyPresentError):
        await supervisor.start_child(child)

    process2 = await supervisor.restart_child("child1")
    assert which(supervisor) == [("child1", process2)]
    assert counts(supervisor) == [1, 1, 0, 1]
    with pytest.raises(ChildRunningError):
        await supervisor.restart_child("child1")
    with pytest.raises(ChildNotFoundError):
        await supervisor.restart_child("child2")

    with pytest.raises(ChildRunningError):
        await supervisor.delete_child("child1")
    with pytest.raises(ChildNotFoundError):
        await supervisor.delete_child("hej")
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    with pytest.raises(ChildNotFoundError):
        await supervisor.restart_child("child1")
    assert which(supervisor) == []
    assert counts(supervisor) == [0, 0, 0, 0]

    process3 = await bench.start(supervisor, child)
    by_pid: Any = process3
    with pytest.raises(ChildNotFoundError):
        await supervisor.terminate_child(by_pid)
    assert which(supervisor) == [("child1", process3)]
    assert counts(supervisor) == [1, 1, 0, 1]
    assert supervisor.restarts == 0

    assert await bench.stop(supervisor) == Shutdown()
    for call in (supervisor.terminate_child, supervisor.delete_child, supervisor.restart_child):
        with pytest.raises(SupervisorEndedError):
            await call("child1")
    with pytest.raises(SupervisorEndedError):
        await supervisor.start_child(child)
    assert counts(supervisor) == [1, 0, 0, 1]


@in_virtual_time
@scenario(
    "child_adm_simple",
    change="a dynamic child has an id in place of its pid; restart_child and delete_child are not there at all",
)
async def test_child_adm_simple(bench: Bench) -> None:
    """start, terminate, which and count of dynamic children; a dead one can be terminated, a stranger cannot."""
    supervisor = await bench.dynamic(bench.template())
    assert which(supervisor) == []
    assert counts(supervisor) == [1, 0, 0, 0]
    child1, process1 = await bench.spawn(supervisor)
    assert which(supervisor) == [(child1, process1)]
    assert counts(supervisor) == [1, 1, 0, 1]
    child2, process2 = await bench.spawn(supervisor)
    assert sorted(which(supervisor), key=str) == sorted([(child1, process1), (child2, process2)], key=str)
    assert counts(supervisor) == [1, 2, 0, 2]

    with pytest.raises(ChildNotFoundError):
        await supervisor.terminate_child("child1")
    assert counts(supervisor) == [1, 2, 0, 2]
    await supervisor.terminate_child(child1)
    assert which(supervisor) == [(child2, process2)]
    assert counts(supervisor) == [1, 1, 0, 1]
    assert not process1.alive
    await supervisor.terminate_child(child1)
    assert which(supervisor) == [(child2, process2)]

    other = await bench.dynamic(ChildTemplate("other", bench.template().start))
    stranger = await other.start_child(bench.program())
    assert stranger is not IGNORE
    with pytest.raises(ChildNotFoundError):
        await supervisor.terminate_child(stranger.id)
    assert pid(other, stranger.id).alive

    assert not hasattr(DynamicSupervisor, "restart_child")
    assert not hasattr(DynamicSupervisor, "delete_child")
    assert await bench.stop(supervisor) == Shutdown()
    with pytest.raises(SupervisorEndedError):
        await supervisor.start_child(bench.program())


@in_virtual_time
@scenario("extra_return", change="whatever a child gives to started() is passed on, there is no pid beside it")
async def test_extra_return(bench: Bench) -> None:
    """What a start gives beside the pid is passed on by start_child and restart_child, and means nothing else."""
    program = bench.program("child1", extra="extra_return")
    child = bench.spec("child1", program=program)
    supervisor = await bench.supervisor([child])
    assert which(supervisor) == [("child1", (program.processes[0], "extra_return"))]
    for call in (supervisor.terminate_child, supervisor.delete_child, supervisor.restart_child):
        with pytest.raises(ChildNotFoundError):
            await call("hej")
    for call in (supervisor.delete_child, supervisor.restart_child):
        with pytest.raises(ChildRunningError):
            await call("child1")
    assert counts(supervisor) == [1, 1, 0, 1]

    await supervisor.terminate_child("child1")
    assert bench.exits("child1") == ["shutdown"]
    assert which(supervisor) == [("child1", None)]
    assert counts(supervisor) == [1, 0, 0, 1]
    assert await supervisor.restart_child("child1") == (program.processes[1], "extra_return")
    assert counts(supervisor) == [1, 1, 0, 1]

    await supervisor.terminate_child("child1")
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    with pytest.raises(ChildNotFoundError):
        await supervisor.restart_child("child1")
    assert which(supervisor) == []
    assert counts(supervisor) == [0, 0, 0, 0]

    assert await supervisor.start_child(child) == (program.processes[2], "extra_return")
    await program.processes[2].ends("died")
    assert which(supervisor) == [("child1", (program.processes[3], "extra_return"))]
    assert counts(supervisor) == [1, 1, 0, 1]


@in_virtual_time
@scenario(
    "child_specs",
    change="a ChildSpec is checked when it is made; it has no modules; a dynamic supervisor has just one template",
)
async def test_child_specs(bench: Bench) -> None:
    """Each invalid field of a spec has its own error, every valid combination passes, ids must differ."""
    supervisor = await bench.supervisor()
    junk: Any = "hej"
    with pytest.raises(SpecError, match="'hej'"):
        await supervisor.start_child(junk)
    assert which(supervisor) == []

    refused("start", "'mfa'", start="mfa")
    refused("restart", "'prmanent'", restart="prmanent")
    refused("shutdown", "-10", shutdown=-10)
    refused("type", "'wrker'", type="wrker")
    refused("kill", "'dy'", kill="dy")
    refused("id", "''", id="")
    flags = SupervisorFlags()
    for restart, shutdown, kind in itertools.product(Restart, (0, 1, math.inf, BRUTAL_KILL), ChildType):
        check_child_specs([ChildSpec("child", body, restart=restart, shutdown=shutdown, type=kind)], flags)

    twice = [ChildSpec("child", body, shutdown=math.inf), ChildSpec("child", body, type=ChildType.SUPERVISOR)]
    with pytest.raises(SpecError, match="'child': id is used by more than one"):
        check_child_specs(twice, flags)
    with pytest.raises(SpecError, match="'child'"):
        await bench.supervisor(twice)


@in_virtual_time
@scenario(
    "child_specs_map",
    change="a ChildSpec is checked when it is made; a missing or unknown field is a TypeError; it has no modules",
)
async def test_child_specs_map(bench: Bench) -> None:
    """As child_specs, and every combination of auto_shutdown, significant and restart, of which some are refused."""
    make: Any = ChildSpec
    for fields in ({}, {"id": "child"}, {"start": body}, {"id": "child", "start": body, "dummy": "dummy"}):
        with pytest.raises(TypeError):
            make(**fields)
    refused("significant", "'maybe'", significant="maybe")

    refusals = 0
    for mode, restart, shutdown, kind, significant in itertools.product(
        AutoShutdown, Restart, (0, 1, math.inf, BRUTAL_KILL), ChildType, (True, False)
    ):
        fields = {"restart": restart, "shutdown": shutdown, "type": kind, "significant": significant}
        if significant and restart is Restart.PERMANENT:
            refused("significant", "permanent", **fields)
            refusals += 1
            continue
        specs = [ChildSpec("child", body, **fields)]
        if significant and mode is AutoShutdown.NEVER:
            with pytest.raises(SpecError, match="auto_shutdown is never") as caught:
                check_child_specs(specs, SupervisorFlags(auto_shutdown=mode))
            assert caught.value.field == "significant"
            refusals += 1
        else:
            check_child_specs(specs, SupervisorFlags(auto_shutdown=mode))
    assert refusals == 8 * 3 + 8 * 2

    spec = ChildSpec("child", body)
    with pytest.raises(SpecError, match="'child': id is used by more than one"):
        check_child_specs([spec, spec], SupervisorFlags())
    with pytest.raises(SpecError, match="auto_shutdown is never"):
        await bench.supervisor([ChildSpec("child", body, restart=Restart.TRANSIENT, significant=True)])
    junk: Any = "template"
    with pytest.raises(SpecError, match="'template'"):
        async with open_dynamic_supervisor(junk):
            raise AssertionError("not entered")


@scenario("sup_flags", change="SupervisorFlags is a Python class: an unknown flag is a TypeError; OTP takes it")
def test_sup_flags() -> None:
    """Each invalid flag has its own error, and unknown flags are taken."""
    make: Any = SupervisorFlags
    for field, value in (
        ("strategy", "none_for_one"),
        ("intensity", math.inf),
        ("intensity", -1),
        ("intensity", 1.5),
        ("period", 0),
        ("period", math.inf),
        ("auto_shutdown", "sometimes"),
        ("backoff", 1),
    ):
        with pytest.raises(SpecError, match=f"{field} must be") as caught:
            make(**{field: value})
        assert caught.value.field == field
    with pytest.raises(TypeError, match="'silly_flag'"):
        make(silly_flag=True)
    assert make(strategy="rest_for_one").strategy is Strategy.REST_FOR_ONE
