"""What a script node is and has over all its incarnations, and what all nodes of a run share.

Facts and counters; it decides nothing. What one incarnation does with them is in `instance`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import msgspec

from reflow_supervisor.network.component import Component
from reflow_supervisor.network.inbox import Activation, Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import Limits, Sandbox
from reflow_supervisor.sandbox.pool import SandboxPool
from reflow_supervisor.state.store import StateCommit, StateStore
from reflow_supervisor.telemetry.logs import Report
from reflow_supervisor.telemetry.meters import NodeMeter

from .modules import ModuleSet
from .registry import LoadedSource


class OnFailure(Protocol):
    """Told of every attempt of an activation that failed: `reason` is one line, `detail` may be a traceback."""

    def __call__(self, actor: str, kind: str, reason: str, detail: str) -> None: ...


def _nobody(actor: str, kind: str, reason: str, detail: str) -> None:
    pass


@attrs.frozen
class Host:
    """What the nodes of a run share. `wall_clock`: seconds since the epoch, for what is shown."""

    pool: SandboxPool[Link]
    router: Router
    report: Report
    on_failure: OnFailure = _nobody
    wall_clock: Callable[[], float] = time.time


@attrs.frozen
class Plan:
    """What every incarnation of a node needs.

    `timeout` and `load_timeout`: seconds; `ttl`: seconds that a written key of its state lives, None for ever;
    `log_rate`: lines of output a second. `max_depth`: how deep a frame may be nested. `run_id` distinguishes this
    run's commits from those of every other run.
    """

    node: str
    component: Component
    config: Mapping[str, Any]
    source: LoadedSource
    modules: ModuleSet
    limits: Limits
    timeout: float | None
    load_timeout: float
    ttl: float | None
    run_id: str
    log_rate: int = 1000
    max_depth: int = 64


@attrs.frozen
class Decided:
    """A commit whose state may have been applied, and whose outputs are not placed yet."""

    activation: Activation
    state: StateCommit
    outputs: Sequence[tuple[str, msgspec.Raw]]
    since: float
    """When the activation was handed out, on Trio's clock."""


@attrs.frozen
class Status:
    """The present incarnation, as a status page shows it. `started_at`: seconds since the epoch, when the sandbox was
    leased; `memory` in bytes. None: there is no sandbox now, or it cannot be told."""

    incarnation: int
    sandbox: str | None = None
    pid: int | None = None
    started_at: float | None = None
    cpu_seconds: float | None = None
    memory: int | None = None


@attrs.define(eq=False)
class Node:
    """A node's life. Used by one incarnation at a time.

    `incarnation` counts from 1 once the first has begun; `decided` are the commits that the last one could not finish.
    """

    plan: Plan
    inbox: Inbox
    store: StateStore
    meter: NodeMeter = attrs.Factory(NodeMeter)
    incarnation: int = 0
    decided: Sequence[Decided] = ()
    sandbox: Sandbox | None = None
    started_at: float | None = None

    @property
    def id(self) -> str:
        return self.plan.node

    def status(self) -> Status:
        """Reads a few small files of the kernel's."""
        sandbox = self.sandbox
        if sandbox is None:
            return Status(self.incarnation)
        used = sandbox.usage()
        return Status(
            self.incarnation,
            sandbox.id,
            sandbox.pid,
            self.started_at,
            None if used is None else used.cpu_seconds,
            None if used is None else used.memory,
        )
