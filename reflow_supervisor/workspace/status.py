"""What a run shows of itself: the snapshot that the control endpoint serves, made from what the rooms know.

It decides how a child's state reads for people, and which failures are kept for them. It starts and stops nothing.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import trio

from reflow_supervisor.control.protocol import (
    ActorState,
    ActorStatus,
    Boundary,
    EdgeStatus,
    ErrorInfo,
    Failure,
    LogLine,
    RedisStatus,
    Snapshot,
    Totals,
    TreeNode,
    WorkspaceState,
)
from reflow_supervisor.network.router import Router
from reflow_supervisor.sandbox.backend import Isolation
from reflow_supervisor.supervision import (
    ChildEvent,
    ChildExited,
    ChildInfo,
    ChildRestarting,
    ChildStartFailed,
    ChildState,
    ChildStopped,
    ChildType,
    Event,
    ExitReason,
    Raised,
    Supervisor,
    SupervisorGaveUp,
    SupervisorTree,
    reason_chain,
)
from reflow_supervisor.telemetry.logs import Logs

from .nodes import Node
from .prepare import NETWORK, SERVICES

KEPT_FAILURES = 200


_BOUNDARIES: Mapping[Isolation, Boundary] = {
    Isolation.MICROVM: "microVM",
    Isolation.NAMESPACES: "namespaces",
    Isolation.NONE: "NONE",
}

_STATES: Mapping[ChildState, ActorState] = {
    ChildState.STARTING: "starting",
    ChildState.RUNNING: "running",
    ChildState.EXITED: "failed",
    ChildState.RESTARTING: "backoff",
    ChildState.STOPPING: "stopped",
    ChildState.STOPPED: "stopped",
}


_COMING = (ChildState.STARTING, ChildState.RESTARTING, ChildState.EXITED)


class Status:
    """The present of one run. Its fields are set by the run as it goes."""

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, Node],
        router: Router,
        logs: Logs,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.state: WorkspaceState = "starting"
        self.boundary: Boundary = "NONE"
        self.redis: Callable[[], RedisStatus] = lambda: RedisStatus(kind="memory", available=True)
        self.root: Supervisor | None = None
        self._name = name
        self._nodes = nodes
        self._router = router
        self._logs = logs
        self._wall = wall_clock
        self._started_at = wall_clock()
        self._since = trio.current_time()
        self._failures: deque[Failure] = deque(maxlen=KEPT_FAILURES)
        self._restarts: dict[str, int] = {}
        self._exits: dict[str, ErrorInfo] = {}

    @property
    def network(self) -> Supervisor | None:
        """The supervisor of all nodes, while it is up."""
        for child in self.root.which_children() if self.root is not None else ():
            if child.id == NETWORK and isinstance(child.value, Supervisor):
                return child.value
        return None

    def bounded_by(self, isolation: Isolation) -> None:
        self.boundary = _BOUNDARIES[isolation]

    @property
    def restarts(self) -> int:
        """Of all nodes, since the start."""
        return sum(self._restarts.values())

    def failed(self, actor: str, kind: str, reason: str, detail: str = "") -> None:
        """Keeps a failure for whoever looks; the oldest ones are forgotten."""
        self._failures.append(Failure(at=self._wall(), actor=actor, kind=kind, reason=reason, detail=detail))

    def heard(self, event: Event) -> None:
        """An event of any supervisor of this run."""
        if isinstance(event, SupervisorGaveUp):
            self.failed(event.supervisor, "gave-up", str(event.reason))
        if not isinstance(event, ChildEvent):
            return
        is_node = event.child_id in self._nodes and event.supervisor != SERVICES
        if isinstance(event, ChildRestarting) and is_node:
            self._restarts[event.child_id] = self._restarts.get(event.child_id, 0) + 1
        reason: ExitReason | None = None
        kind = "exit"
        if isinstance(event, ChildExited | ChildStopped):
            reason = event.reason
        elif isinstance(event, ChildStartFailed):
            reason, kind = event.reason, "load"
        if reason is not None and not reason.normal:
            *_, root = reason_chain(reason)
            what = type(root.error).__name__ if isinstance(root, Raised) else type(root).__name__
            message = str(root.error) if isinstance(root, Raised) else str(root)
            self.failed(event.child_id, kind, str(reason).partition("\n")[0], message)
            if is_node:
                self._exits[event.child_id] = ErrorInfo(type=what, message=message, at=self._wall())

    def snapshot(self) -> Snapshot:
        now = trio.current_time()
        tree = None if self.root is None else self.root.tree()
        children = {} if tree is None else {info.id: info for info in _workers(tree)}
        # A node that its supervisor does not know is temporary and has ended, or its group is stopped; unless the group
        # is about to come.
        coming = tree is None or any(info.state in _COMING for info in _groups(tree))
        gone = self.state == "stopped" or (self.state in ("running", "draining") and not coming)
        actors = tuple(self._actor(node, children.get(id), now, gone) for id, node in self._nodes.items())
        return Snapshot(
            workspace=self._name,
            boundary=self.boundary,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime=now - self._since,
            state=self.state,
            redis=self.redis(),
            totals=Totals(
                received=sum(a.received for a in actors),
                emitted=sum(a.emitted for a in actors),
                failed=sum(a.failed for a in actors),
                restarts=self.restarts,
                dead_letters=sum(a.dead_letters for a in actors),
            ),
            actors=actors,
            edges=tuple(
                EdgeStatus(
                    source=e.source,
                    target=e.target,
                    delivered=e.delivered,
                    queued=e.queued,
                    full=e.full,
                    dropped=e.dropped,
                )
                for e in self._router.edges
            ),
            failures=tuple(self._failures),
            log=tuple(
                LogLine(seq=r.seq, at=r.at, level=r.level, message=r.message, source=r.source)
                for r in self._logs.records()
            ),
            tree=None if tree is None else shown(tree),
        )

    def _actor(self, node: Node, child: ChildInfo | None, now: float, gone: bool) -> ActorStatus:
        inbox, meter = node.inbox, node.meter
        state: ActorState = "stopped" if gone else "starting"
        error = self._exits.get(node.id)
        if child is not None:
            state = _STATES[child.state]
            if child.state is ChildState.RUNNING and inbox.paused:
                state = "paused"
            if child.state is ChildState.STOPPED and child.last_exit is not None and not child.last_exit.normal:
                state = "failed"
        if (last := meter.last_error) is not None and (error is None or last.at >= error.at):
            error = ErrorInfo(type=last.type, message=last.message, at=last.at, traceback=last.traceback)
        retry_at = child.next_retry_at if child is not None else None
        present = node.script.status() if node.script is not None else None
        return ActorStatus(
            id=node.id,
            component=node.component.name,
            runtime=str(node.component.runtime),
            state=state,
            incarnation=node.incarnation,
            restarts=self._restarts.get(node.id, 0),
            restarts_in_window=0 if child is None else child.restarts,
            next_retry_in=None if retry_at is None else max(0.0, retry_at - now),
            mailbox=inbox.waiting,
            mailbox_capacity=inbox.capacity,
            in_flight=inbox.in_flight,
            received=inbox.received,
            emitted=meter.emitted,
            failed=meter.failed,
            dead_letters=meter.dead_letters,
            cpu_seconds=present.cpu_seconds if present else None,
            memory=present.memory if present else None,
            pid=present.pid if present else None,
            last_error=error,
        )


def _workers(tree: SupervisorTree) -> Iterator[ChildInfo]:
    """The nodes: everything below the network's supervisor that is no supervisor itself."""
    return _leaves(next((child.below for child in tree.children if child.info.id == NETWORK), None))


def _groups(tree: SupervisorTree) -> Iterator[ChildInfo]:
    for child in tree.children:
        if child.info.type is ChildType.SUPERVISOR:
            yield child.info
        if child.below is not None:
            yield from _groups(child.below)


def _leaves(tree: SupervisorTree | None) -> Iterator[ChildInfo]:
    for child in tree.children if tree is not None else ():
        if child.below is not None:
            yield from _leaves(child.below)
        elif child.info.type is ChildType.WORKER:
            yield child.info


def shown(tree: SupervisorTree, state: str = "running", id: str | None = None) -> TreeNode:
    """A supervisor and everything below it, in the order of start."""
    children: list[TreeNode] = []
    for child in tree.children:
        info = child.info
        if child.below is not None:
            children.append(shown(child.below, str(info.state), info.id))
        else:
            retry = None if info.next_retry_at is None else max(0.0, info.next_retry_at - tree.time)
            children.append(
                TreeNode(id=info.id, state=str(info.state), restarts_in_window=info.restarts, next_retry_in=retry)
            )
    return TreeNode(
        id=id or tree.name,
        state=state,
        strategy=str(tree.flags.strategy),
        restarts_in_window=tree.restarts,
        intensity=tree.flags.intensity,
        period=tree.flags.period,
        children=tuple(children),
    )
