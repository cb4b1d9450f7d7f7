"""What the body of a built-in component works with: its settings, its mailbox, and the way out.

It decides how a source waits for room and how a sink marks its input done. What a component makes or does is its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import msgspec
import trio
from reflow.wire.messages import Failure

from reflow_supervisor.network.component import Component
from reflow_supervisor.network.dead_letters import preview
from reflow_supervisor.network.inbox import Activation, Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.store import StateCommit, StateStore
from reflow_supervisor.telemetry.logs import Report
from reflow_supervisor.telemetry.meters import NodeMeter


class NativeError(Exception):
    """A built-in component cannot go on; the text says why, and what to do."""


@attrs.define(eq=False)
class Native:
    """One node of a built-in component, over all its incarnations.

    `progress` is the component's own: how far it is, so that the next incarnation goes on from there.

    Args:
        directory: the workspace.
        roots: further directories that its files may be in.
        stdin, stdout: the descriptors of the program's own.
        component: what it is a node of.
        letters: where the dead letters are settled that it is given again.
    """

    id: str
    config: Mapping[str, Any]
    inbox: Inbox
    router: Router
    meter: NodeMeter
    report: Report
    directory: Path
    roots: tuple[Path, ...] = ()
    stdin: int = 0
    stdout: int = 1
    wall_clock: Callable[[], float] = time.time
    component: Component | None = None
    letters: StateStore | None = None
    incarnation: int = 0
    progress: Any = None

    async def emit(self, port: str, message: msgspec.Raw) -> None:
        """Lets a message out as soon as there is room."""
        router = self.router
        if not router.has_room(self.id, [port]):
            router.bump()  # what was placed so far has to be taken, or there will never be room
            while not router.has_room(self.id, [port]):
                await router.changed.wait()
        if refusal := router.refusal(self.id, [port]):
            raise NativeError(refusal)
        router.place(self.id, port, message)
        self.meter.committed(1, 0.0)

    async def take(self, most: int = 1024) -> list[Activation]:
        """What waits, at least one. It is in flight until `done` or `fail`; what an earlier incarnation left comes
        first."""
        router = self.router
        while True:
            changed = router.changed
            taken: list[Activation] = []
            while len(taken) < most and (activation := self.inbox.take()) is not None:
                taken.append(activation)
            if taken:
                return taken
            await changed.wait()

    async def done(self, activations: list[Activation], since: float) -> None:
        """They have had their effect. `since`: when they were taken, on Trio's clock."""
        letters = self.router.dead_letters
        settled = [
            StateCommit(self.id, f"{letters.run}:{activation.id}", (), activation.replay.letter)
            for activation in activations
            if activation.replay is not None
        ]
        if settled and self.letters is not None:
            await self.letters.commit(settled)
        for activation in activations:
            self.inbox.done(activation)
            self.meter.committed(0, trio.current_time() - since)
        for commit in settled:
            letters.gone(commit.settles)
            self.report("info", self.id, f"dead letter {commit.settles} was replayed")
        self.router.bump()

    async def refuse(self, activation: Activation, why: str) -> None:
        """An input that cannot be dealt with, however often it is tried: a dead letter at once, or as soon as there is
        room for one."""
        letters = self.router.dead_letters
        while letters.full:
            await self.router.changed.wait()
        failure, at = Failure(type="RefusedInput", message=why), self.wall_clock()
        self.meter.failure(failure.type, why, "", at)
        letter = self.inbox.give_up(activation, failure, at)
        id = letters.bury(attrs.evolve(letter, component=self.component))
        self.meter.dead_letters += 1
        self.report("error", self.id, f"dead letter: {why}; input: {preview(activation, 200)}; id: {id}")
        self.router.bump()

    def give_back(self) -> None:
        """What is in flight waits again, for the next incarnation."""
        self.inbox.give_back()
        self.router.bump()


class Body(Protocol):
    """The body of a component. It begins by calling `task_status.started`, when it can work."""

    def __call__(self, native: Native, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


async def while_open(native: Native, work: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[None]) -> None:
    """Runs a source until it has no more, or the network drains."""
    native.router.opened(native.id)
    task_status.started()
    failure: NativeError | None = None
    async with trio.open_nursery() as nursery:

        async def stop() -> None:
            await native.router.draining.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(stop)
        try:
            await work()
        except NativeError as error:
            failure = error  # a nursery would make it a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure  # its next incarnation has more to come
    native.router.closed(native.id)
