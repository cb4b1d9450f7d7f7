"""A run in this process, with real sandboxes and a real store, so that a test can break things at a given place of its
way: after so many results, and not after so much time."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import attrs
import msgspec
import trio
from run.harness import Workspace

from reflow_supervisor.actors.node import Node as ScriptNode
from reflow_supervisor.config import load_config
from reflow_supervisor.control.protocol import Snapshot
from reflow_supervisor.network.router import Router
from reflow_supervisor.sandbox.backend import Sandbox
from reflow_supervisor.state.letters import Entry
from reflow_supervisor.telemetry.logs import Logs
from reflow_supervisor.telemetry.sinks import StreamSink
from reflow_supervisor.workspace import Outcome, Run, open_collect, open_feed, prepare
from reflow_supervisor.workspace.nodes import Workers, find_supervisor
from reflow_supervisor.workspace.services import RedisPlace


@attrs.define(eq=False)
class Live:
    """`outcome` is there when it is over."""

    run: Run
    log: io.StringIO
    over: trio.Event = attrs.field(factory=trio.Event)
    outcome: Outcome | None = None

    @property
    def workers(self) -> Workers:
        workers = self.run._workers
        assert workers is not None
        return workers

    @property
    def router(self) -> Router:
        return self.workers.router

    @property
    def collected(self) -> int:
        return sum(self.run.outcome.collected.values())

    def script(self, node: str) -> ScriptNode:
        script = self.workers.nodes[node].script
        assert script is not None
        return script

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Waits until something is so, or the run is over; whether it is so."""
        while self.run._workers is None:
            await trio.sleep(0.001)
        while not condition():
            if self.over.is_set():
                return False
            changed = self.router.changed
            with trio.move_on_after(1):
                await changed.wait()
        return True

    async def sandbox(self, node: str, other_than: Sandbox | None = None) -> Sandbox | None:
        """The present one, as soon as there is one that is another; None where the run is over before that."""
        while (sandbox := self.script(node).sandbox) is None or sandbox is other_than:
            if self.over.is_set():
                return None
            await trio.sleep(0.001)
        return sandbox

    async def state(self, node: str, *keys: str) -> dict[str, Any]:
        """What the store holds of a node's state now."""
        found = await self.script(node).store.fetch(node, keys)
        return {
            key: msgspec.json.decode(s.value) if s.kind == "value" else [msgspec.json.decode(i) for i in s.items]
            for key, s in found.items()
        }

    async def letters(self) -> Sequence[Entry]:
        """The dead letters that are kept, in the order in which they came."""
        store = self.redis_place.letters
        return await store.entries(await store.ids())

    async def redis(self, *command: object) -> Any:
        return await self.redis_place.store.execute(*command)

    async def restart(self, node: str) -> None:
        assert self.run._status is not None
        assert self.run._status.root is not None
        supervisor = find_supervisor(self.run._status.root, node)
        assert supervisor is not None
        await supervisor.restart(node)

    def snapshot(self) -> Snapshot:
        assert self.run._status is not None
        return self.run._status.snapshot()

    @property
    def redis_place(self) -> RedisPlace:
        services = self.run._services
        assert services is not None
        return services.redis

    async def kill(self, node: str, times: int, every: int) -> int:
        """Kills the node's sandbox each time when so many more results were collected; how often that was."""
        killed: Sandbox | None = None
        for number in range(1, times + 1):
            if not await self.until(lambda at=number * every: self.collected >= at):  # type: ignore[misc]
                return number - 1
            killed = await self.sandbox(node, killed)
            if killed is None or killed.pid is None:
                return number - 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed.pid, signal.SIGKILL)
        return times


@contextlib.asynccontextmanager
async def live(ws: Workspace, *args: str, stays: bool = False) -> AsyncGenerator[Live]:
    """Runs the workspace beside the block, and waits for its end. `args`: as for `reflow-supervise run`; with `stays`
    it ends only after the block."""
    pairs = dict[str, list[str]]({"--feed": [], "--collect": []})
    for option, value in zip(args[::2], args[1::2], strict=True):
        port, file = value.split("=")
        pairs[option].append(f"{port}={ws.path / file}")
    log = io.StringIO()
    feeds, collects = [open_feed(f) for f in pairs["--feed"]], [open_collect(c) for c in pairs["--collect"]]
    try:
        prepared = prepare(load_config(ws.path / "reflow.yaml"))
        it = Live(Run(prepared, feeds, collects, logs=Logs(StreamSink(log)), until_idle=not stays), log)

        async def run() -> None:
            try:
                it.outcome = await it.run.run()
            finally:
                it.over.set()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                yield it
                if stays:
                    await it.until(lambda: not it.run._feeding and it.router.idle)
                    it.run.drain("the test is done")
    finally:
        for end in (*feeds, *collects):
            end.close()
