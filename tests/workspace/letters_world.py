"""A network of mailboxes without bodies, its dead letters and their keeper, and a store that fails as it is told to."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.errors import EnvironmentError_, StateUnavailableError
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.dead_letters import DeadLetters
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.inbox import Activation, Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.letters import Bounds, Letter
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.workspace.letter_desk import LetterDesk
from reflow_supervisor.workspace.letters import LetterKeeper, Place
from reflow_supervisor.workspace.replays import LetterNode


class FaultyLetters(MemoryLetters):
    """`away`: does not answer. `lost_answers`: so many burials are carried out and their answer does not come."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.away = False
        self.lost_answers = 0

    async def bury(self, letter: Letter) -> bool:
        self._try()
        kept = await super().bury(letter)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StateUnavailableError("the answer did not come")
        return kept

    async def marked(self) -> Sequence[str]:
        self._try()
        return await super().marked()

    async def get(self, id: str) -> Letter | None:
        self._try()
        return await super().get(id)

    def _try(self) -> None:
        if self.away:
            raise StateUnavailableError("away")


class LettersWorld:
    """Nodes `a` (inport `in`) and `b` (awaits `x` and `y`)."""

    def __init__(
        self,
        *,
        store: MemoryLetters | None = None,
        bounds: Bounds | None = None,
        at_hand: bool = True,
        expected: bool = True,
        run: str = "run",
    ) -> None:
        self.store = store or FaultyLetters(bounds or Bounds(1000, 10**8))
        self.inboxes = {
            "a": Inbox("a", ("in",), max_attempts=1),
            "b": Inbox("b", ("x", "y"), max_attempts=1, await_all=True),
        }
        self.components: dict[str, Component] = {
            "a": Component("A", Runtime.PYTHON, (PortDecl("in"),)),
            "b": Component("B", Runtime.PYTHON, (PortDecl("x"), PortDecl("y")), await_all_inports=True),
        }
        self.letters = DeadLetters(run, bounded=True)
        self.router = Router(Graph(), self.inboxes, {}, self.letters)
        self.said: list[tuple[str, str]] = []
        self.openings: deque[str] = deque()
        """Why the store cannot be opened, one after the other."""
        self.opened = 0
        self.crash: trio.Event | None = None
        """When it is set, the opened store ends by itself."""
        place = Place(self.store, self._open, at_hand=at_hand, expected=expected)
        self.keeper = LetterKeeper(
            self.letters, self.router, place, self.node, report=self._report, rng=random.Random(0)
        )
        self.desk = LetterDesk(self.keeper, self.node)

    def node(self, id: str) -> LetterNode | None:
        return LetterNode(self.components[id], self.inboxes[id]) if id in self.components else None

    def _report(self, level: str, node: str, text: str, fields: Mapping[str, Any] | None = None, /) -> None:
        self.said.append((level, text))

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        if self.openings:
            raise EnvironmentError_(self.openings.popleft(), hint="do something")
        self.opened += 1
        async with trio.open_nursery() as nursery:
            if self.crash is not None:
                nursery.start_soon(self._crash, self.crash)
            yield
            nursery.cancel_scope.cancel()

    async def _crash(self, when: trio.Event) -> None:
        await when.wait()
        self.crash = None
        raise StateUnavailableError("it ended by itself")

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Around a block in which the keeper is at work."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.keeper.run)
            await settled()
            yield
            nursery.cancel_scope.cancel()

    def give_up(self, *values_: object, node: str = "a") -> list[str]:
        """Dead letters of these inputs; their ids."""
        ids: list[str] = []
        for value in values_:
            for port in ("in",) if node == "a" else ("x", "y"):
                self.inboxes[node].offer(port, values.from_plain(value))
            ids.append(self.fail(self.take(node), str(value)))
        return ids

    def take(self, node: str = "a") -> Activation:
        activation = self.inboxes[node].take()
        assert activation is not None
        return activation

    def fail(self, activation: Activation, why: str = "no") -> str:
        inbox = self.inboxes[self._node_of(activation)]
        letter = inbox.failed(activation, Failure(type="ValueError", message=why), 100.0)
        assert letter is not None
        id = self.letters.bury(letter)
        self.router.bump()
        return id

    def _node_of(self, activation: Activation) -> str:
        return next(id for id, inbox in self.inboxes.items() if inbox.is_in_flight(activation))

    def commit(self, activation: Activation) -> None:
        """As a node does with the replay of a letter."""
        assert activation.replay is not None
        self.store.settle(activation.replay.letter)
        self.inboxes[self._node_of(activation)].done(activation)
        self.letters.gone(activation.replay.letter)
        self.router.bump()

    def texts(self, level: str) -> list[str]:
        return [text for said, text in self.said if said == level]


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


def plain(activation: Activation) -> list[Any]:
    return [values.to_plain(*values.decode(raw)) for raw in activation.inputs.values()]
