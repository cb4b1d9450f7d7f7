"""Supervision groups: which supervisor a node belongs to, in which order nodes start, and what a group inherits."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from reflow_supervisor.config import parse_config
from reflow_supervisor.supervision import ChildSpec, Strategy, Supervisor, open_supervisor, run_supervisor
from reflow_supervisor.workspace.nodes import find_supervisor, network_spec
from reflow_supervisor.workspace.status import shown

CONFIG = """
supervision:
  intensity: 7
  period: 9s
  groups:
    ingest:
      strategy: one_for_all
      nodes: [b, a]
      groups:
        inner: {strategy: rest_for_one, intensity: 1, backoff: {initial: 2s}, nodes: [c]}
"""


def specs(started: list[str], ids: str) -> dict[str, ChildSpec]:
    async def body(id: str, *, task_status: trio.TaskStatus[None]) -> None:
        started.append(id)
        task_status.started()
        await trio.sleep_forever()

    return {id: ChildSpec(id, partial(body, id)) for id in ids}


def flags_of(root: Supervisor, child: str) -> tuple[str, Strategy, int, float, float]:
    found = find_supervisor(root, child)
    assert found is not None
    flags = found.flags
    assert flags.backoff is not None
    return (found.name, flags.strategy, flags.intensity, flags.period, flags.backoff.initial)


@pytest.mark.trio
async def test_groups_start_first_and_inherit_what_they_do_not_say() -> None:
    started: list[str] = []
    network = network_spec(parse_config(CONFIG).supervision, specs(started, "abcd"), run_supervisor)
    async with open_supervisor([network], name="root") as root:
        assert started == ["c", "b", "a", "d"]
        assert flags_of(root, "c") == ("inner", Strategy.REST_FOR_ONE, 1, 9, 2)
        assert flags_of(root, "a") == ("ingest", Strategy.ONE_FOR_ALL, 7, 9, 0.1)
        assert flags_of(root, "d") == ("network", Strategy.ONE_FOR_ONE, 7, 9, 0.1)
        assert find_supervisor(root, "zzz") is None

        tree = shown(root.tree())
        (network_node,) = tree.children
        assert [c.id for c in network_node.children] == ["ingest", "d"]
        assert [c.id for c in network_node.children[0].children] == ["inner", "b", "a"]
        assert (network_node.strategy, network_node.intensity, network_node.period) == ("one_for_one", 7, 9)


@pytest.mark.trio
async def test_a_group_that_gives_up_is_a_failure_for_the_supervisor_above(autojump_clock: object) -> None:
    """One restart is allowed inside; the second failure ends the group, which the network starts anew."""
    text = "supervision: {backoff: {initial: 0}, groups: {g: {intensity: 1, nodes: [a]}}}"
    runs: list[float] = []

    async def failing(*, task_status: trio.TaskStatus[None]) -> None:
        runs.append(trio.current_time())
        task_status.started()
        await trio.sleep(1)
        if len(runs) < 4:
            raise ValueError("again")
        await trio.sleep_forever()

    network = network_spec(parse_config(text).supervision, {"a": ChildSpec("a", failing)}, run_supervisor)
    async with open_supervisor([network], name="root") as root:
        await trio.sleep(10)
        inner, above = find_supervisor(root, "a"), find_supervisor(root, "g")
        assert inner is not None
        assert above is not None
        assert len(runs) == 4
        assert above.child("g").incarnation == 2
        assert inner.restarts == 1
