"""Which children a failure concerns."""

from __future__ import annotations

import pytest
from supervision.world import spec

from reflow_supervisor.supervision import (
    Cancelled,
    Exited,
    ExitReason,
    Restart,
    Returned,
    Shutdown,
    StopCause,
    Strategy,
)
from reflow_supervisor.supervision._children import Child, Operation, Purpose
from reflow_supervisor.supervision._strategy import group, is_restarted, overlaps

CHILDREN = {name: Child(name, position, spec(name)) for position, name in enumerate("abcd")}


@pytest.mark.parametrize(
    ("strategy", "ids"), [(Strategy.ONE_FOR_ONE, "b"), (Strategy.ONE_FOR_ALL, "abcd"), (Strategy.REST_FOR_ONE, "bcd")]
)
def test_the_group_in_start_order(strategy: Strategy, ids: str) -> None:
    assert "".join(child.id for child in group(strategy, CHILDREN, CHILDREN["b"])) == ids


@pytest.mark.parametrize(
    ("strategy", "at_work", "waits"),
    [
        (Strategy.ONE_FOR_ONE, "a", False),
        (Strategy.ONE_FOR_ONE, "b", True),
        (Strategy.ONE_FOR_ALL, "a", True),
        (Strategy.REST_FOR_ONE, "a", False),
        (Strategy.REST_FOR_ONE, "b", True),
        (Strategy.REST_FOR_ONE, "d", True),
    ],
)
def test_whom_a_group_waits_for(strategy: Strategy, at_work: str, waits: bool) -> None:
    children = {name: Child(name, position, spec(name)) for position, name in enumerate("abcd")}
    operation = Operation(Purpose.TERMINATE_CHILD, StopCause.OPERATOR, stop=[children[at_work]])
    children[at_work].owner = operation
    assert overlaps(strategy, children["b"], operation) is waits


@pytest.mark.parametrize(
    ("reason", "restarted"),
    [
        (Returned(), {Restart.PERMANENT}),
        (Shutdown("done"), {Restart.PERMANENT}),
        (Cancelled(StopCause.SHUTDOWN), {Restart.PERMANENT}),
        (Exited(1), {Restart.PERMANENT, Restart.TRANSIENT}),
    ],
)
def test_which_types_are_restarted(reason: ExitReason, restarted: set[Restart]) -> None:
    assert {restart for restart in Restart if is_restarted(restart, reason)} == restarted
