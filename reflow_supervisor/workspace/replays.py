"""Dead letters on their way back to their nodes.

A letter that is to be replayed is *marked* in the store before anything else, and stays so until its replay is
committed, which takes it out in the same step, or fails, which buries it anew. So whoever is killed between finds it
there. This module decides what is given back when: what was marked before the run when that begins, the rest when it is
asked for, in that order, as there is room. Which letters may be asked for is decided in `letter_desk`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from reflow_supervisor.network.component import Component
from reflow_supervisor.network.dead_letters import DeadLetters, obstacle, replay_of
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.letters import DamagedLetterError, Entry, Letter, LetterStore, ports_of
from reflow_supervisor.telemetry.logs import Report

T = TypeVar("T")

SOURCE = " dead letters"
"""Its name among the sources of a network. No node is called so: spaces around are cut off names."""

AT_ONCE = 16
"""Replays that wait at one node; the others wait in the store."""


@attrs.frozen
class LetterNode:
    """What a letter could be given to."""

    component: Component
    inbox: Inbox


LetterNodes = Callable[[str], LetterNode | None]
"""What a node of that name is now; None: there is none."""


class Persistently(Protocol):
    async def __call__(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks until the store answers."""
        ...


class Replays:
    """
    Args:
        look: there may be marked letters from before this run. Until it was looked, the run does not end.
    """

    def __init__(
        self,
        letters: DeadLetters,
        router: Router,
        store: LetterStore,
        nodes: LetterNodes,
        persistently: Persistently,
        report: Report,
        *,
        look: bool,
    ) -> None:
        self._letters = letters
        self._router = router
        self._store = store
        self._nodes = nodes
        self._persistently = persistently
        self._report = report
        self._queue: deque[tuple[str, str]] = deque()
        """Letters, and their nodes."""
        self.unknown = look
        """Whether letters from before are marked is not known yet."""
        self._open = False
        self._say_what_is_to_come()

    async def run(self) -> None:
        """Gives letters back, as there is room, until cancelled. The store is there."""
        if self.unknown:
            await self._look()
        while True:
            changed = self._router.changed
            while (following := self._following()) is not None:
                await self._give(following)
            self._say_what_is_to_come()
            await changed.wait()

    async def _look(self) -> None:
        """Finds what was marked before, unless the network drains first."""
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._router.draining.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            marked = await self._persistently(self._store.marked)
            entries = await self._persistently(lambda: self._store.entries(marked))
            self.line_up(entries)
            if entries:
                self._report("info", "", f"{len(entries)} dead letters were marked to be replayed")
            nursery.cancel_scope.cancel()
        self.unknown = False

    def line_up(self, entries: Sequence[Entry]) -> None:
        """These are marked, and to be given back."""
        for entry in entries:
            if entry.id not in self._letters.replaying:
                self._letters.replaying.add(entry.id)
                self._queue.append((entry.id, entry.node))
        self._say_what_is_to_come()
        self._router.bump()

    def give_up_looking(self) -> None:
        """The store cannot be had. What is marked in it stays so."""
        self.unknown = False
        self._say_what_is_to_come()

    def _following(self) -> tuple[str, str] | None:
        """The next letter whose node has room for it. What is left when the network drains stays marked."""
        if self._router.draining.is_set() and self._queue:
            self._report("info", "", f"{len(self._queue)} dead letters wait for the next run to be replayed")
            self._letters.replaying.difference_update(id for id, _ in self._queue)
            self._queue.clear()
        for item in self._queue:
            node = self._nodes(item[1])
            if node is None or node.inbox.replays < AT_ONCE:
                return item
        return None

    async def _give(self, item: tuple[str, str]) -> None:
        id = item[0]
        why = ""
        letter: Letter | None = None
        try:
            letter = await self._persistently(lambda: self._store.get(id))
        except DamagedLetterError as error:
            why = f"it is damaged: {error}"
        node = None if letter is None else self._nodes(letter.node)
        if letter is not None:
            why = why_not(letter.node, node, letter)
        if why:
            self._report("warning", "", f"dead letter {id} cannot be replayed: {why}")
            await self._persistently(lambda: self._store.unmark(id))
        if item not in self._queue:
            return  # the network drains
        self._queue.remove(item)
        if why:
            self._letters.replaying.discard(id)
        elif letter is None or node is None:
            self._letters.gone(id)  # somebody took it away
        else:
            inputs, replay = replay_of(letter)
            node.inbox.replay(inputs, letter.initial, replay)
        self._router.bump()

    def _say_what_is_to_come(self) -> None:
        """A run does not end while letters are to be given back."""
        more = bool(self._queue) or self.unknown
        if more and not self._open:
            self._router.opened(SOURCE)
        elif self._open and not more:
            self._router.closed(SOURCE)
        self._open = more


def why_not(name: str, node: LetterNode | None, letter: Letter | Entry) -> str:
    """Why a node cannot be given that letter; "" where it can."""
    component, awaited = (None, ()) if node is None else (node.component, node.inbox.awaited)
    return obstacle(name, component, awaited, letter.ports if isinstance(letter, Entry) else ports_of(letter))
