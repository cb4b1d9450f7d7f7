"""What an operator asks about dead letters, and wants done with them: of a run, or of a workspace that has none.

It decides which letters can be replayed and dropped, and in which form they go over the control endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import msgspec

from reflow_supervisor.control.protocol import (
    MAX_LETTER,
    DeadLetter,
    DeadLetters,
    ErrorInfo,
    LettersDone,
    LetterState,
    ShownLetter,
)
from reflow_supervisor.network.dead_letters import as_kept
from reflow_supervisor.state.letters import Entry, Letter, LetterStore, entry_of

from .letters import LetterKeeper
from .replays import LetterNodes, why_not

NONE_SUCH = "there is no such dead letter"
NOT_YET = "it is not in the store yet"


@attrs.frozen
class Done:
    """What became of letters that something was asked for: their ids, and id → why not."""

    done: Sequence[str] = ()
    refused: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class Listed:
    """`replaying`: ids of those whose replay is under way; `unkept`: of those that are in memory only."""

    total: int
    entries: Sequence[Entry]
    replaying: frozenset[str] = frozenset()
    unkept: frozenset[str] = frozenset()


class LetterDesk:
    """Of a run. All methods raise StateUnavailableError where the store does not answer."""

    def __init__(self, keeper: LetterKeeper, nodes: LetterNodes) -> None:
        self._keeper = keeper
        self._letters = keeper.letters
        self._nodes = nodes

    async def find(self, *, limit: int, node: str = "") -> Listed:
        """The newest ones first, of one node or of all."""
        unkept = [entry_of(as_kept(letter, self._letters.run), 0) for letter in self._letters]
        unkept = [entry for entry in reversed(unkept) if node in ("", entry.node)]
        ids = frozenset(entry.id for entry in unkept)
        if not await self._keeper.reach():
            return Listed(len(unkept), unkept[:limit], unkept=ids)
        found = await self._keeper.store.find(limit=limit, node=node)
        kept = [entry for entry in found.entries if entry.id not in ids]
        total = found.total - (len(found.entries) - len(kept)) + len(unkept)
        return Listed(total, [*unkept, *kept][:limit], frozenset(self._letters.replaying), ids)

    async def get(self, id: str) -> Letter | None:
        """
        Raises:
            DamagedLetterError: what stands in its place is none.
        """
        for letter in self._letters:
            if self._letters.id_of(letter) == id:
                return as_kept(letter, self._letters.run)
        return await self._keeper.store.get(id) if await self._keeper.reach() else None

    async def replay(self, ids: Sequence[str] | None, node: str = "") -> Done:
        """Gives letters to their nodes again: these, or all that are not being replayed already."""
        if not await self._keeper.reach():
            return self._none_of(ids)
        replaying = self._letters.replaying
        refused = {id: "it is being replayed already" for id in ids or () if id in replaying}
        wanted = await self._keeper.store.ids(node) if ids is None else ids
        done = await mark(self._keeper.store, [id for id in wanted if id not in replaying], self._why_not)
        self._keeper.replays.line_up(await self._keeper.store.entries(done.done))
        return Done(done.done, {**refused, **done.refused})

    async def drop(self, ids: Sequence[str] | None, node: str = "") -> Done:
        """Takes letters away for good: these, or all that are not being replayed."""
        if not await self._keeper.reach():
            return self._none_of(ids)
        refused: dict[str, str] = {}
        good: list[str] = []
        for id in await self._keeper.store.ids(node) if ids is None else ids:
            if id in self._letters.replaying:
                refused[id] = "it is being replayed"
            elif self._letters.waits(id):
                refused[id] = NOT_YET
            else:
                good.append(id)
        done = await drop(self._keeper.store, good)
        for id in done.done:
            self._letters.gone(id)
        return Done(done.done, {**refused, **done.refused})

    def _why_not(self, entry: Entry) -> str:
        return NOT_YET if self._letters.waits(entry.id) else why_not(entry.node, self._nodes(entry.node), entry)

    def _none_of(self, ids: Sequence[str] | None) -> Done:
        return Done((), {id: NOT_YET if self._letters.waits(id) else NONE_SUCH for id in ids or ()})


async def mark(store: LetterStore, wanted: Sequence[str], why_not: Callable[[Entry], str]) -> Done:
    """Marks those letters that are there and can be replayed, in the order in which they are wanted."""
    there = {entry.id: entry for entry in await store.entries(wanted)}
    refused: dict[str, str] = {}
    good: list[str] = []
    for id in dict.fromkeys(wanted):
        why = why_not(there[id]) if id in there else NONE_SUCH
        if why:
            refused[id] = why
        else:
            good.append(id)
    marked = await store.mark(good)
    return Done(marked, refused | {id: NONE_SUCH for id in good if id not in marked})


async def drop(store: LetterStore, wanted: Sequence[str]) -> Done:
    """Takes letters away for good."""
    wanted = list(dict.fromkeys(wanted))
    removed = await store.remove(wanted)
    return Done(removed, {id: NONE_SUCH for id in wanted if id not in removed})


# -- as the control endpoint has them ----------------------------------------------------------------------------------


def shown_list(listed: Listed) -> DeadLetters:
    def state(entry: Entry) -> LetterState:
        if entry.id in listed.unkept:
            return "unkept"
        return "replaying" if entry.id in listed.replaying else "marked" if entry.marked else "dead"

    return DeadLetters(
        total=listed.total,
        letters=tuple(
            DeadLetter(
                id=entry.id,
                at=entry.last.timestamp(),
                actor=entry.node,
                port=", ".join(entry.ports),
                attempts=entry.attempts,
                error=ErrorInfo(type=entry.type, message=entry.message, at=entry.last.timestamp()),
                preview=entry.shown,
                component=entry.component,
                first_at=entry.first.timestamp(),
                burials=entry.burials,
                size=entry.size,
                state=state(entry),
            )
            for entry in listed.entries
        ),
    )


def shown_letter(letter: Letter) -> ShownLetter:
    if sum(message.size for message in letter.inputs.values()) <= MAX_LETTER:
        return ShownLetter(letter=letter)
    replace = msgspec.structs.replace
    without = {port: replace(message, exact=b"") for port, message in letter.inputs.items()}
    return ShownLetter(letter=replace(letter, inputs=without), complete=False)


def shown_done(done: Done) -> LettersDone:
    return LettersDone(done=tuple(done.done), refused=dict(done.refused))
