"""A node of a built-in component between a mailbox that tests fill and one that they read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing
from reflow.wire import values

from reflow_supervisor.network.config_schema import apply_schema
from reflow_supervisor.network.graph import Edge, Graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.native import BODIES, NATIVES, Native
from reflow_supervisor.network.router import Router
from reflow_supervisor.telemetry.meters import NodeMeter


@attrs.define(eq=False)
class Bench:
    name: str
    native: Native
    before: Inbox
    after: Inbox
    said: list[tuple[str, str]]

    @property
    def router(self) -> Router:
        return self.native.router

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await BODIES[self.name](self.native, task_status=task_status)

    def put(self, *plain: Any) -> None:
        for value in plain:
            self.before.offer("in", values.from_plain(value))
        self.router.bump()

    def got(self) -> list[Any]:
        """What came out since the last call."""
        found: list[Any] = []
        while (activation := self.after.take()) is not None:
            found += [values.to_plain(*values.decode(raw)) for raw in activation.inputs.values()]
            self.after.done(activation)
        if found:
            self.router.bump()
        return found

    async def until_done(self) -> None:
        while not self.before.idle:
            await self.router.changed.wait()

    async def read(self, count: int) -> list[Any]:
        """So many messages, as soon as they are there."""
        found: list[Any] = []
        while len(found) < count:
            changed = self.router.changed
            if new := self.got():
                found += new
            else:
                await changed.wait()
        return found


def make(name: str, config: Mapping[str, Any], directory: Path = Path(), *, capacity: int = 1000) -> Bench:
    component = next(c for c in NATIVES if c.name == name)
    assert component.config_schema is not None
    complete, violations = apply_schema(component.config_schema, config)
    assert not violations
    before, after = Inbox("n", ("in",), capacity=capacity), Inbox("after", ("in",), capacity=capacity)
    router = Router(Graph(edges=(Edge("n", "out", "after", "in"),)), {"n": before, "after": after})
    said: list[tuple[str, str]] = []

    def report(level: str, node: str, text: str, fields: Mapping[str, Any] | None = None, /) -> None:
        said.append((level, text))

    native = Native("n", complete, before, router, NodeMeter(), report, directory)
    return Bench(name, native, before, after, said)
