"""OTP's supervisor_SUITE: the groups sup_start and sup_start_map."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from conformance.otp.bench import Bench, Died, Status, counts, in_virtual_time, pid, which
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    IGNORE,
    ChildNotFoundError,
    ChildSpec,
    ChildType,
    NeverReady,
    Raised,
    Restart,
    Shutdown,
    SpecError,
    StartFailedError,
    run_supervisor,
)

pytestmark = in_virtual_time

NO_INIT = "there is no init callback: the start function of a nested supervisor takes its place"


@scenario("sup_start_normal")
async def test_sup_start_normal(bench: Bench) -> None:
    """A supervisor starts without children, and stops with reason shutdown."""
    supervisor = await bench.supervisor()
    assert which(supervisor) == []
    assert await bench.stop(supervisor) == Shutdown()


@scenario("sup_start_ignore_init", change=NO_INIT)
async def test_sup_start_ignore_init(bench: Bench) -> None:
    """When init ignores, so does the start of the supervisor, and nothing exits behind the caller's back."""

    async def init(*, task_status: Status) -> object:
        return IGNORE

    top = await bench.supervisor()
    assert await top.start_child(ChildSpec("sup", init, type=ChildType.SUPERVISOR)) is IGNORE
    await trio.sleep(0.1)
    assert bench.exits("sup") == []
    assert top.outcome is None


@scenario("sup_start_ignore_child")
async def test_sup_start_ignore_child(bench: Bench) -> None:
    """A permanent child that ignores is started as undefined, and its spec is kept."""
    supervisor = await bench.supervisor()
    child1 = bench.spec("child1", program=bench.program("child1", starts=["ignore"]))
    assert await supervisor.start_child(child1) is IGNORE
    process2 = await bench.start(supervisor, bench.spec("child2"))
    assert which(supervisor) == [("child2", process2), ("child1", None)]
    assert counts(supervisor) == [2, 1, 0, 2]


@scenario("sup_start_ignore_temporary_child")
async def test_sup_start_ignore_temporary_child(bench: Bench) -> None:
    """The spec of a temporary child that ignores is not saved, when it is one of the first children."""
    ignores = bench.program("child1", starts=["ignore"])
    specs = [bench.spec("child1", Restart.TEMPORARY, program=ignores), bench.spec("child2", Restart.TEMPORARY)]
    supervisor = await bench.supervisor(specs)
    assert which(supervisor) == [("child2", pid(supervisor, "child2"))]
    assert counts(supervisor) == [1, 1, 0, 1]


@scenario("sup_start_ignore_temporary_child_start_child")
async def test_sup_start_ignore_temporary_child_start_child(bench: Bench) -> None:
    """The spec of a temporary child that ignores is not saved, when it was added by start_child."""
    supervisor = await bench.supervisor()
    ignores = bench.program("child1", starts=["ignore"])
    assert await supervisor.start_child(bench.spec("child1", Restart.TEMPORARY, program=ignores)) is IGNORE
    process2 = await bench.start(supervisor, bench.spec("child2", Restart.TEMPORARY))
    assert which(supervisor) == [("child2", process2)]
    assert counts(supervisor) == [1, 1, 0, 1]


@scenario("sup_start_ignore_temporary_child_start_child_simple")
async def test_sup_start_ignore_temporary_child_start_child_simple(bench: Bench) -> None:
    """Nothing is saved of a temporary dynamic child that ignores."""
    supervisor = await bench.dynamic(bench.template(Restart.TEMPORARY))
    assert await supervisor.start_child(bench.program(starts=["ignore"])) is IGNORE
    child2, process2 = await bench.spawn(supervisor)
    assert which(supervisor) == [(child2, process2)]
    assert counts(supervisor) == [1, 1, 0, 1]


@scenario("sup_start_ignore_permanent_child_start_child_simple")
async def test_sup_start_ignore_permanent_child_start_child_simple(bench: Bench) -> None:
    """Nothing is saved of a permanent dynamic child that ignores, and the supervisor later stops without error."""
    supervisor = await bench.dynamic(bench.template(Restart.PERMANENT))
    assert await supervisor.start_child(bench.program(starts=["ignore"])) is IGNORE
    child2, process2 = await bench.spawn(supervisor)
    assert which(supervisor) == [(child2, process2)]
    assert counts(supervisor) == [1, 1, 0, 1]
    assert await bench.stop(supervisor) == Shutdown()


@scenario("sup_start_error_return", change="the specs are an argument, not what init returns; it is they that are junk")
async def test_sup_start_error_return(bench: Bench) -> None:
    """When init returns junk, the start fails with an error that says so, and nothing else exits."""
    junk: Any = ["invalid"]
    with pytest.raises(SpecError, match="'invalid'"):
        await bench.supervisor(junk)
    await trio.sleep(0.1)
    assert bench.events == []


@scenario("sup_start_fail", change=NO_INIT)
async def test_sup_start_fail(bench: Bench) -> None:
    """When init raises, the start fails with the exception and its traceback, and nothing else exits."""

    async def init(*, task_status: Status) -> None:
        raise Died("init")

    top = await bench.supervisor()
    with pytest.raises(StartFailedError) as caught:
        await top.start_child(ChildSpec("sup", init, type=ChildType.SUPERVISOR))
    reason = caught.value.reason
    assert isinstance(reason, Raised)
    assert isinstance(reason.error, Died)
    assert reason.error.__traceback__ is not None
    await trio.sleep(0.1)
    assert bench.exits("sup") == []
    assert top.outcome is None


@scenario("sup_start_child_returns_error")
async def test_sup_start_child_returns_error(bench: Bench) -> None:
    """When the start of a child fails or gives junk, start_child gives an error and the spec is discarded."""
    supervisor = await bench.supervisor()
    with pytest.raises(StartFailedError, match="cannot start"):
        await supervisor.start_child(bench.spec("child1", program=bench.program(starts=["error"])))
    with pytest.raises(StartFailedError) as caught:
        await supervisor.start_child(bench.spec("child2", program=bench.program(starts=["junk"])))
    assert caught.value.reason == NeverReady()
    assert which(supervisor) == []


@scenario("sup_start_restart_child_returns_error")
async def test_sup_start_restart_child_returns_error(bench: Bench) -> None:
    """When the start fails in restart_child, that gives an error, and the child stays, undefined."""
    supervisor = await bench.supervisor([bench.spec("child1", program=bench.program(starts=["ok", "error"]))])
    await supervisor.terminate_child("child1")
    with pytest.raises(StartFailedError, match="cannot start"):
        await supervisor.restart_child("child1")
    assert which(supervisor) == [("child1", None)]


@scenario("sup_start_child_returns_error_simple")
async def test_sup_start_child_returns_error_simple(bench: Bench) -> None:
    """When the start of a dynamic child fails or gives junk, start_child gives the error and nothing is stored."""
    supervisor = await bench.dynamic(bench.template())
    with pytest.raises(StartFailedError) as caught:
        await supervisor.start_child(bench.program(starts=["error"]))
    assert isinstance(caught.value.reason, Raised)
    assert isinstance(caught.value.reason.error, Died)
    with pytest.raises(StartFailedError) as caught:
        await supervisor.start_child(bench.program(starts=["junk"]))
    assert caught.value.reason == NeverReady()
    assert which(supervisor) == []


@scenario("sup_start_map", change="specs are ChildSpec objects, and have no modules; times are seconds")
async def test_sup_start_map(bench: Bench) -> None:
    """get_childspec gives the spec with the defaults filled in, which depend on the type; not_found for another id."""
    run = bench.program().run
    specs = [
        ChildSpec("child1", run),
        ChildSpec("child2", run, shutdown=BRUTAL_KILL),
        ChildSpec("child3", run, type=ChildType.SUPERVISOR),
    ]
    supervisor = await bench.supervisor(specs)
    for child_id, shutdown, kind in (
        ("child1", 5, ChildType.WORKER),
        ("child2", BRUTAL_KILL, ChildType.WORKER),
        ("child3", math.inf, ChildType.SUPERVISOR),
    ):
        spec = supervisor.get_childspec(child_id)
        assert (spec.id, spec.start) == (child_id, run)
        assert (spec.restart, spec.shutdown, spec.type) == (Restart.PERMANENT, shutdown, kind)
        assert spec.significant is False
    with pytest.raises(ChildNotFoundError):
        supervisor.get_childspec("child4")


@scenario("sup_start_map_simple", change="a dynamic child has an id in place of its pid")
async def test_sup_start_map_simple(bench: Bench) -> None:
    """get_childspec gives the one spec, defaults filled in, for each dynamic child; not_found for any other."""
    template = bench.template(Restart.TEMPORARY, shutdown=5)
    supervisor = await bench.dynamic(template)
    for _ in range(3):
        child, _ = await bench.spawn(supervisor)
        spec = supervisor.get_childspec(child)
        assert spec is template
        assert (spec.restart, spec.shutdown, spec.type) == (Restart.TEMPORARY, 5, ChildType.WORKER)
    with pytest.raises(ChildNotFoundError):
        supervisor.get_childspec("another")


@scenario(
    "sup_start_map_faulty_specs",
    change="a ChildSpec is a Python class: a missing or unknown field is a TypeError; OTP takes unknown ones",
)
async def test_sup_start_map_faulty_specs(bench: Bench) -> None:
    """A spec without an id, one without a start, and one that is no map have an error each; unknown keys are taken."""
    make: Any = ChildSpec
    with pytest.raises(TypeError, match="'id'"):
        make(start=bench.program().run)
    with pytest.raises(TypeError, match="'start'"):
        make(id="child2")
    with pytest.raises(TypeError, match="'silly_flag'"):
        make(id="child3", start=bench.program().run, silly_flag=True)
    faulty: Any = ["child4"]
    with pytest.raises(SpecError, match="'child4'"):
        await run_supervisor(faulty)
