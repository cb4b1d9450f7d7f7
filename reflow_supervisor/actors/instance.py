"""One incarnation of a script actor: the body of its supervisor's child.

It leases a sandbox, loads the script, lets `activations` work, and finds out why that ended. It decides nothing about
retries (`network.inbox`) or restarts (`supervision`): it ends with one exception that says why, and what was in flight
waits for the next incarnation.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from reflow.wire import messages
from reflow.wire.messages import Failure
from reflow.wire.session import NotificationReceived, ProtocolViolationError, RequestReceived

from reflow_supervisor.errors import DiscoveryError
from reflow_supervisor.network.component import Runtime
from reflow_supervisor.rpc.link import ClosedBy, Link, LinkClosedError, LinkEnd, RequestFailedError
from reflow_supervisor.sandbox.backend import Sandbox, SandboxRuntime
from reflow_supervisor.supervision import ChildExit, ExitReason

from .activations import Activations
from .commit import Committer, RefusedError
from .endings import LinkDown, LoadFailedError, reason_for
from .failures import Failures, bounded
from .modules import materialise
from .node import Host, Node
from .output import Output
from .state_queries import StateQueries

EXIT_PATIENCE = 2.0
"""Seconds that a sandbox whose link is over may take to be gone by itself, so that its exit says why."""

OUTPUT_PATIENCE = 1.0
"""Seconds for the last of its output, when it is gone."""


class Instance:
    """Used once."""

    def __init__(self, host: Host, node: Node) -> None:
        self._host = host
        self._node = node
        self._committer = Committer(host, node)
        self._failures = Failures(host, node)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """
        Raises:
            ChildExit: why this incarnation is over. LoadFailedError where the script could not be loaded.
            SandboxError: there is no sandbox to be had.
        """
        node, host = self._node, self._host
        node.incarnation += 1
        ready = False

        def started() -> None:
            nonlocal ready
            if not ready:
                ready = True
                task_status.started()

        try:
            await self._finish_decided()
            runtime: SandboxRuntime = "python" if node.plan.component.runtime is Runtime.PYTHON else "javascript"
            while True:
                async with await host.pool.lease(runtime, node.plan.limits) as lease:
                    node.sandbox, node.started_at = lease.sandbox, host.wall_clock()
                    reason = await self._live(lease.sandbox, lease.link, started)
                if reason is not None:
                    await self._failures.lost(reason)
                    raise ChildExit(reason)
        finally:
            node.sandbox = node.started_at = None
            self._failures.give_back()

    async def _finish_decided(self) -> None:
        """What an earlier incarnation could not finish comes before anything else (`commit`)."""
        node = self._node
        left = list(node.decided)
        for decided in left:
            node.inbox.take_again(decided.activation)
        try:
            await self._committer.commit(left)
        except RefusedError as e:
            await self._failures.failed(
                next(d for d in left if node.inbox.is_in_flight(d.activation)).activation, e.failure
            )

    async def _live(self, sandbox: Sandbox, link: Link, started: Callable[[], None]) -> ExitReason | None:
        """The life of one sandbox: why it is over, or None where another one has to take its place.

        Raises:
            LoadFailedError: the script could not be loaded.
        """
        node = self._node
        output = Output(self._host, node)
        queries = StateQueries(node.id, node.store, link)
        activations = Activations(self._host, node, link, self._committer, self._failures, sandbox.kill)
        failed: LoadFailedError | None = None
        replace = False
        async with trio.open_nursery() as nursery:
            forwarded = trio.Event()

            async def forward() -> None:
                await output.run(sandbox.stdout, sandbox.stderr)
                forwarded.set()

            nursery.start_soon(forward)
            nursery.start_soon(queries.run)
            link.attach(_Ears(output, queries, activations), on_cut=self._cut, on_resumed=self._resumed)
            try:
                await self._load(sandbox, link)
                started()
                replace = await activations.run()
            except LoadFailedError as error:
                failed = error  # a nursery would make it a group
            except LinkClosedError:
                pass  # while it was loaded
            queries.close()
            reason = await self._ending(sandbox, link, activations)
            with trio.move_on_after(OUTPUT_PATIENCE):
                await forwarded.wait()
            nursery.cancel_scope.cancel()
        if failed is not None:
            self._failures.loading_failed(failed.failure)
            raise failed
        return None if replace else reason

    def _cut(self, why: str) -> None:
        self._host.report("warning", self._node.id, f"{why}; waiting for it to come back", {"event": "link-cut"})

    def _resumed(self, seconds: float) -> None:
        fields = {"event": "link-resumed", "seconds": round(seconds, 3)}
        self._host.report("info", self._node.id, f"the link is back after {seconds:.2g} s", fields)
        self._host.router.bump()  # what was not handed out meanwhile is now

    async def _load(self, sandbox: Sandbox, link: Link) -> None:
        plan, component = self._node.plan, self._node.plan.component
        try:
            await trio.to_thread.run_sync(materialise, plan.modules, plan.source, sandbox.workspace)
        except (DiscoveryError, OSError) as e:
            missing = Failure(type="FilesError", message=f"its files cannot be put into the sandbox: {e}")
            raise LoadFailedError(missing, plan.source.file) from None
        params = messages.Load(
            node=plan.node,
            component=component.name,
            file=plan.source.file,
            source=plan.source.code,
            export=component.export,
            config=dict(plan.config),
            incarnation=self._node.incarnation,
            inports=[p.name for p in component.inports],
            outports=None if component.open_ports else [p.name for p in component.outports],
            error_port=component.outport("error") is not None,
            state=messages.StateSettings(
                backend=component.state_backend, ttl_ms=None if plan.ttl is None else round(plan.ttl * 1000)
            ),
        )
        try:
            with trio.fail_after(plan.load_timeout):
                await link.request("load", params, messages.LoadResult)
        except RequestFailedError as e:
            failure = e.error.decode_data(Failure) or Failure(type="Error", message=e.error.message)
            raise LoadFailedError(bounded(failure), plan.source.file) from None
        except ProtocolViolationError as e:
            link.violated(str(e))
            raise LinkClosedError(link.end or LinkEnd(ClosedBy.VIOLATION)) from None
        except trio.TooSlowError:
            late = Failure(type="TimeoutError", message=f"it was not loaded within {plan.load_timeout:g} s")
            raise LoadFailedError(late, plan.source.file) from None

    async def _ending(self, sandbox: Sandbox, link: Link, activations: Activations) -> ExitReason:
        """Why it is over; the sandbox is gone when that is known."""
        if activations.overran is not None:
            await sandbox.wait()
            return activations.overran
        end = link.end
        if end is not None and end.by is ClosedBy.LOST:
            # Most often the sandbox died, which says more; its exit may take a moment longer than its connection's.
            with trio.move_on_after(EXIT_PATIENCE):
                return reason_for(await sandbox.wait(), self._node.plan.limits)
        sandbox.kill()
        await sandbox.wait()
        return LinkDown(end or LinkEnd(ClosedBy.US))


class _Ears:
    """What an agent says while it is alive goes to who deals with it. See `rpc.link.LinkHandler`."""

    def __init__(self, output: Output, queries: StateQueries, activations: Activations) -> None:
        self._output = output
        self._queries = queries
        self._activations = activations

    def on_request(self, request: RequestReceived) -> None:
        self._queries.ask(request)

    def on_notification(self, notification: NotificationReceived) -> None:
        match notification.method:
            case "send":
                self._activations.sent(notification.params.decode(messages.Send))
            case "log":
                log = notification.params.decode(messages.Log)
                self._output.line(log.level, log.message, log.fields)
            case _:
                pass
