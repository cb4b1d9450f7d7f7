"""Defaults, and one clear error for each field that is wrong."""

import math
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from reflow_supervisor.supervision import (
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildType,
    Restart,
    SpecError,
    Strategy,
    SupervisorFlags,
    check_child_specs,
)


async def body(*, task_status: trio.TaskStatus[Any]) -> None:
    task_status.started()


def test_the_defaults_of_a_child_are_those_of_otp() -> None:
    spec = ChildSpec("a", body)
    assert (spec.restart, spec.type, spec.shutdown) == (Restart.PERMANENT, ChildType.WORKER, 5.0)
    assert (spec.significant, spec.start_timeout, spec.liveness, spec.kill) == (False, None, None, None)
    assert ChildSpec("a", body, type=ChildType.SUPERVISOR).shutdown == INFINITY


def test_the_defaults_of_the_flags_are_those_of_otp() -> None:
    flags = SupervisorFlags()
    assert (flags.strategy, flags.intensity, flags.period) == (Strategy.ONE_FOR_ONE, 1, 5.0)
    assert (flags.auto_shutdown, flags.backoff) == (AutoShutdown.NEVER, None)


def test_names_from_configuration_are_accepted_in_place_of_members() -> None:
    names: dict[str, Any] = {"restart": "transient", "type": "supervisor"}
    spec = ChildSpec("a", body, **names)
    assert spec.restart is Restart.TRANSIENT
    assert spec.type is ChildType.SUPERVISOR
    assert spec.shutdown == INFINITY
    flags: dict[str, Any] = {"strategy": "rest_for_one", "auto_shutdown": "any_significant"}
    assert SupervisorFlags(**flags).strategy is Strategy.REST_FOR_ONE
    assert SupervisorFlags(**flags).auto_shutdown is AutoShutdown.ANY_SIGNIFICANT


@pytest.mark.parametrize("shutdown", [0, 0.5, 3, INFINITY, BRUTAL_KILL])
def test_valid_shutdown_times(shutdown: Any) -> None:
    assert ChildSpec("a", body, shutdown=shutdown).shutdown == shutdown


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"id": ""}, "id", "child spec: id must be a non-empty string, not ''"),
        ({"id": 7}, "id", "child spec: id must be a non-empty string, not 7"),
        ({"start": None}, "start", "child 'a': start must be an async function, not None"),
        (
            {"restart": "always"},
            "restart",
            "child 'a': restart must be one of permanent, transient, temporary, not 'always'",
        ),
        ({"type": "job"}, "type", "child 'a': type must be one of worker, supervisor, not 'job'"),
        ({"shutdown": -1}, "shutdown", "at least 0"),
        ({"shutdown": True}, "shutdown", "BRUTAL_KILL, not True"),
        ({"shutdown": math.nan}, "shutdown", "not nan"),
        ({"shutdown": "5"}, "shutdown", "not '5'"),
        ({"significant": 1}, "significant", "must be True or False, not 1"),
        ({"significant": True}, "significant", "cannot be True for a permanent child"),
        ({"start_timeout": 0}, "start_timeout", "must be a finite number greater than 0, not 0"),
        ({"start_timeout": INFINITY}, "start_timeout", "not inf"),
        ({"liveness": 0}, "liveness", "must be a finite number greater than 0, not 0"),
        ({"liveness": True}, "liveness", "not True"),
        ({"liveness": 1, "type": "supervisor"}, "liveness", "is for workers"),
        ({"kill": 9}, "kill", "must be a function or None, not 9"),
    ],
)
def test_each_field_of_a_child_has_its_own_error(changes: dict[str, Any], field: str, text: str) -> None:
    fields: dict[str, Any] = {"id": "a", "start": body} | changes
    with pytest.raises(SpecError) as caught:
        ChildSpec(**fields)
    assert caught.value.field == field
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strategy": "one"}, "strategy"),
        ({"strategy": None}, "strategy"),
        ({"intensity": -1}, "intensity"),
        ({"intensity": 1.5}, "intensity"),
        ({"intensity": True}, "intensity"),
        ({"period": 0}, "period"),
        ({"period": math.inf}, "period"),
        ({"period": "5"}, "period"),
        ({"auto_shutdown": "sometimes"}, "auto_shutdown"),
        ({"backoff": 3}, "backoff"),
    ],
)
def test_each_flag_has_its_own_error(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        SupervisorFlags(**changes)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"supervisor flags: {field} must be ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"initial": -0.1}, "initial"),
        ({"factor": 0.9}, "factor"),
        ({"max": 0.01}, "max"),
        ({"max": math.inf}, "max"),
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"reset_after": -1}, "reset_after"),
    ],
)
def test_each_field_of_a_backoff_has_its_own_error(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        Backoff(**changes)
    assert caught.value.field == field


def test_ids_must_differ() -> None:
    with pytest.raises(SpecError, match="child 'a': id is used by more than one child"):
        check_child_specs([ChildSpec("a", body), ChildSpec("b", body), ChildSpec("a", body)], SupervisorFlags())


@pytest.mark.parametrize("mode", AutoShutdown)
def test_significant_children_need_an_auto_shutdown(mode: AutoShutdown) -> None:
    specs = [ChildSpec("a", body, restart=Restart.TEMPORARY, significant=True)]
    flags = SupervisorFlags(auto_shutdown=mode)
    if mode is AutoShutdown.NEVER:
        with pytest.raises(SpecError, match="auto_shutdown is never"):
            check_child_specs(specs, flags)
    else:
        check_child_specs(specs, flags)


def test_backoff_grows_to_its_cap() -> None:
    backoff = Backoff(initial=0.1, factor=2, max=1, jitter=0)
    assert [backoff.delay(n, 0.9) for n in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1, 1]


def test_backoff_stays_at_its_cap_for_good() -> None:
    assert Backoff(initial=1, factor=10, max=30, jitter=0).delay(10**6, 0) == 30
    assert Backoff(initial=0, factor=10, max=30).delay(10**6, 0) in (0, 30)


@given(
    initial=st.floats(0.001, 10),
    factor=st.floats(1, 10),
    above=st.floats(0, 100),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_jitter_never_lengthens_a_wait(
    initial: float, factor: float, above: float, jitter: float, attempt: int, draw: float
) -> None:
    backoff = Backoff(initial=initial, factor=factor, max=initial + above, jitter=jitter)
    full = backoff.delay(attempt, 0)
    assert full <= backoff.max
    assert full * (1 - jitter) <= backoff.delay(attempt, draw) <= full
