"""The dead letters of a workspace while nothing of it runs.

It decides how they are reached then, and which of them the next run can be given. It answers as the client of a run's
control endpoint does, so that whoever asks need not know which of the two it has.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from reflow_supervisor.config import Config
from reflow_supervisor.control.protocol import ControlError, DeadLetters, ErrorCode, LettersDone, ShownLetter
from reflow_supervisor.errors import EnvironmentError_, StateUnavailableError, UserError
from reflow_supervisor.network.dead_letters import obstacle
from reflow_supervisor.state.letters import Bounds, DamagedLetterError, Entry, LetterStore
from reflow_supervisor.state.memory_letters import MemoryLetters

from .letter_desk import Listed, drop, mark, shown_done, shown_letter, shown_list
from .nodes import connected_inports
from .prepare import Prepared, prepare
from .run import first_user_error
from .services import RedisPlace, make_data_dir


class Shelf:
    """
    Args:
        prepare: the network that the next run will have; raises UserError where it could not run.
    """

    def __init__(self, store: LetterStore, prepare: Callable[[], Prepared]) -> None:
        self._store = store
        self._prepare = prepare

    async def dead_letters(self, limit: int = 100, node: str = "") -> DeadLetters:
        found = await self._store.find(limit=limit, node=node)
        return shown_list(Listed(found.total, found.entries))

    async def dead_letter(self, letter_id: str) -> ShownLetter:
        try:
            letter = await self._store.get(letter_id)
        except DamagedLetterError as e:
            raise ControlError(ErrorCode.REFUSED, f"dead letter {letter_id} is damaged: {e}") from None
        if letter is None:
            raise ControlError(ErrorCode.NO_SUCH_LETTER, f"there is no dead letter {letter_id!r}")
        return shown_letter(letter)

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        """Marks them: the next run takes them up when it begins."""
        prepared = self._prepare()

        def why_not(entry: Entry) -> str:
            there = prepared.graph.nodes.get(entry.node)
            component = None if there is None else prepared.registry.lookup(there.component)
            every = component is not None and component.await_all_inports
            awaited = connected_inports(prepared.graph, entry.node) if every else ()
            return obstacle(entry.node, component, awaited, entry.ports)

        wanted = await self._store.ids(node) if ids is None else ids
        return shown_done(await mark(self._store, wanted, why_not))

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str = "") -> LettersDone:
        return shown_done(await drop(self._store, await self._store.ids(node) if ids is None else ids))


@asynccontextmanager
async def open_shelf(config: Config) -> AsyncGenerator[Shelf]:
    """Reaches the letters: starts the embedded server for as long as the block takes, or connects to the Redis of
    reflow.yaml. Where there never was an embedded server, there are no letters, and none is started.

    Raises:
        UserError: it cannot be had.
    """
    place = RedisPlace(config)
    if not place.may_hold_something:
        yield Shelf(MemoryLetters(Bounds(0, 0)), lambda: prepare(config))
        return
    make_data_dir(config)
    error: UserError | None = None
    try:
        async with place.opened():
            try:
                yield Shelf(place.letters, lambda: prepare(config))
            except StateUnavailableError as e:
                error = EnvironmentError_(str(e))
            except UserError as e:
                error = e  # a nursery would make it a group
    except* UserError as group:
        error = first_user_error(group)
    finally:
        await place.aclose()
    if error is not None:
        raise error
