"""OTP's supervisor_SUITE: the groups normal_termination, shutdown_termination and abnormal_termination."""

from __future__ import annotations

import traceback

import pytest
from conformance.otp.bench import Bench, Ending, Status, counts, in_virtual_time, pid, which
from conformance.otp.scenario import scenario

from reflow_supervisor.supervision import (
    ChildExited,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    ChildType,
    FailedToStart,
    Raised,
    Restart,
    StartFailedError,
    Supervisor,
    failure_report,
    reason_chain,
)

pytestmark = in_virtual_time


async def started(bench: Bench, restart: Restart) -> Supervisor:
    supervisor = await bench.supervisor()
    await bench.start(supervisor, bench.spec("child1", restart))
    return supervisor


async def is_restarted(supervisor: Supervisor, how: Ending) -> None:
    before = pid(supervisor, "child1")
    await before.ends(how)
    after = pid(supervisor, "child1")
    assert after is not before
    assert which(supervisor) == [("child1", after)]
    assert counts(supervisor) == [1, 1, 0, 1]


async def is_kept(supervisor: Supervisor, how: Ending) -> None:
    await pid(supervisor, "child1").ends(how)
    assert which(supervisor) == [("child1", None)]
    assert counts(supervisor) == [1, 0, 0, 1]


async def is_gone(supervisor: Supervisor, how: Ending) -> None:
    await pid(supervisor, "child1").ends(how)
    assert which(supervisor) == []
    assert counts(supervisor) == [0, 0, 0, 0]


@scenario(
    "external_start_no_progress_log",
    change="every start is an event; what is kept out of a log is not progress but whatever has no failure report",
)
async def test_external_start_no_progress_log(bench: Bench) -> None:
    """The start of a child by start_child is not logged as progress; its later death is."""
    supervisor = await started(bench, Restart.PERMANENT)
    assert [failure_report(event) for event in bench.events] == [None] * len(bench.events)
    await is_restarted(supervisor, "died")
    logged = [event for event in bench.events if failure_report(event) is not None]
    assert [type(event) for event in logged] == [ChildExited]
    assert [type(event) for event in bench.events[-3:]] == [ChildExited, ChildRestarting, ChildStarted]


@scenario("permanent_normal")
async def test_permanent_normal(bench: Bench) -> None:
    """A permanent child that exits normally is restarted."""
    await is_restarted(await started(bench, Restart.PERMANENT), "normal")


@scenario("transient_normal")
async def test_transient_normal(bench: Bench) -> None:
    """A transient child that exits normally is not restarted, and its spec is kept."""
    await is_kept(await started(bench, Restart.TRANSIENT), "normal")


@scenario("temporary_normal")
async def test_temporary_normal(bench: Bench) -> None:
    """A temporary child that exits normally is not restarted, and its spec is gone."""
    await is_gone(await started(bench, Restart.TEMPORARY), "normal")


@scenario("permanent_shutdown")
async def test_permanent_shutdown(bench: Bench) -> None:
    """A permanent child that exits with shutdown or {shutdown,Term} is restarted."""
    supervisor = await started(bench, Restart.PERMANENT)
    await is_restarted(supervisor, "shutdown")
    await is_restarted(supervisor, "{shutdown,term}")


@scenario("transient_shutdown")
async def test_transient_shutdown(bench: Bench) -> None:
    """A transient child that exits with shutdown or {shutdown,Term} is not restarted; restart_child starts it."""
    supervisor = await started(bench, Restart.TRANSIENT)
    await is_kept(supervisor, "shutdown")
    await supervisor.restart_child("child1")
    await is_kept(supervisor, "{shutdown,term}")


@scenario("temporary_shutdown")
async def test_temporary_shutdown(bench: Bench) -> None:
    """A temporary child that exits with shutdown or {shutdown,Term} is gone; it can be added again."""
    supervisor = await started(bench, Restart.TEMPORARY)
    await is_gone(supervisor, "shutdown")
    await bench.start(supervisor, bench.spec("child1", Restart.TEMPORARY))
    await is_gone(supervisor, "{shutdown,term}")


@scenario("faulty_application_shutdown", change="there are no applications: a nested supervisor is what cannot start")
async def test_faulty_application_shutdown(bench: Bench) -> None:
    """When something deep in a start fails, the caller is told which child it was, and why, with the stack."""

    def undefined_function() -> None:
        raise LookupError("undef")

    async def faulty(*, task_status: Status) -> None:
        undefined_function()

    application = bench.nested("app", [bench.spec("steady"), ChildSpec("app_faulty", faulty)])
    supervisor = await bench.supervisor()
    with pytest.raises(StartFailedError) as caught:
        await supervisor.start_child(ChildSpec("app", application, type=ChildType.SUPERVISOR))
    reason, cause = reason_chain(caught.value.reason)
    assert isinstance(reason, FailedToStart)
    assert reason.child_id == "app_faulty"
    assert isinstance(cause, Raised)
    assert isinstance(cause.error, LookupError)
    assert traceback.extract_tb(cause.error.__traceback__)[-1].name == "undefined_function"
    assert which(supervisor) == []
    assert bench.log == ["start steady", "exit steady"]


@scenario("permanent_abnormal")
async def test_permanent_abnormal(bench: Bench) -> None:
    """A permanent child that exits abnormally is restarted."""
    await is_restarted(await started(bench, Restart.PERMANENT), "died")


@scenario("transient_abnormal")
async def test_transient_abnormal(bench: Bench) -> None:
    """A transient child that exits abnormally is restarted."""
    await is_restarted(await started(bench, Restart.TRANSIENT), "died")


@scenario("temporary_abnormal")
async def test_temporary_abnormal(bench: Bench) -> None:
    """A temporary child that exits abnormally is not restarted, and its spec is gone."""
    await is_gone(await started(bench, Restart.TEMPORARY), "died")
