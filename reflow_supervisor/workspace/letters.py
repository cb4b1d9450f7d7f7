"""The keeper of a run's dead letters: brings what was given up to where it outlasts the run.

It decides when the store is brought up, where the run has none for its state, and what happens while the store is away
or cannot be had at all. What a letter is, and how many may wait in memory, is decided in `network.dead_letters`; the
way back, in `replays`.

A letter that was given up waits in memory until the store has it. When too many wait, nodes that give something up wait
too. Where no store could be brought up at all, the oldest is written to the log in full instead, and counted: a
network whose state is not in Redis must not stand still for want of one.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

import attrs
import trio

from reflow_supervisor.errors import ReflowError, StateUnavailableError, UserError
from reflow_supervisor.network.dead_letters import DeadLetters, as_kept
from reflow_supervisor.network.inbox import DeadLetter
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.letters import LARGEST, LetterStore, encode
from reflow_supervisor.state.retrying import RetryDelays
from reflow_supervisor.telemetry.logs import Report

from .replays import LetterNodes, Replays

T = TypeVar("T")

FINISH_PATIENCE = 15.0
FLUSH_PATIENCE = 2.0
"""Seconds that the end of a run waits for letters to be kept, when it ends by itself, and when it is ended."""

ASKING_PATIENCE = 5.0
"""Seconds that an operator's question waits for a store that is being brought up."""

OPENING = RetryDelays(initial=0.5, longest=60)
KEEPING = RetryDelays(initial=0.05, longest=2)

_PIECE = 8000
"""Characters of a document in one record of the log."""


@attrs.frozen
class Place:
    """Where letters are kept.

    Args:
        open: while its context lasts, somebody answers where the store asks. It raises a ReflowError where that cannot
            be had.
        at_hand: it can always be had: the run has it for its state.
        expected: there may be letters in it from before.
    """

    store: LetterStore
    open: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    at_hand: bool = True
    expected: bool = True


class LetterKeeper:
    """The keeper of one run. `run` is its body, as a supervisor's child; the rest may be used whenever."""

    def __init__(
        self,
        letters: DeadLetters,
        router: Router,
        place: Place,
        nodes: LetterNodes,
        *,
        report: Report,
        rng: random.Random,
    ) -> None:
        self.letters = letters
        self.store = place.store
        self.replays = Replays(letters, router, place.store, nodes, self.persistently, report, look=place.expected)
        self._router = router
        self._place = place
        self._report = report
        self._rng = rng
        self._up = self._ever_up = place.at_hand
        self._why = ""
        """Why it cannot be had."""
        self._asked = False
        """An operator wants it."""

    # -- its life -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        failures = 0
        while True:
            while not self._needed:
                await self._router.changed.wait()
            errors: list[str] = []
            opened = False
            try:
                async with self._place.open():
                    opened = self._up = self._ever_up = True
                    self._why, self._asked = "", False
                    self._router.bump()
                    await self._work()
            except* ReflowError as group:
                errors += _texts(group)
            self._up = False
            failures = 1 if opened else failures + 1
            self._could_not_be_had(errors[0] if errors else "it ended")
            await self._hold_on(OPENING.delay(failures, self._rng))

    @property
    def _needed(self) -> bool:
        return self._place.at_hand or self._asked or self.replays.unknown or len(self.letters) > 0

    @property
    def _hopeless(self) -> bool:
        return bool(self._why) and not self._ever_up

    async def _work(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.replays.run)
            await self._keep()

    def _could_not_be_had(self, why: str) -> None:
        if not self._why:
            waiting = f"{len(self.letters)} wait in memory; trying again" if self.letters else "none waits"
            self._report("error", "", f"dead letters can be neither kept nor read now ({waiting}): {why}")
        self._why, self._asked = why, False
        self.replays.give_up_looking()
        self._router.bump()

    async def _hold_on(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while not self._asked:
                changed = self._router.changed
                while self.letters.full and self._hopeless and (oldest := self.letters.oldest) is not None:
                    self._cannot_keep(oldest, self._why)
                await changed.wait()

    async def reach(self) -> bool:
        """Whether the store can be asked; False where there is none, and so no letters in it.

        Raises:
            StateUnavailableError: there should be one, and it cannot be had.
        """
        await trio.lowlevel.checkpoint()
        if not self._up and (self._why or self._place.expected or len(self.letters)):
            self._asked = True
            self._router.bump()
            with trio.move_on_after(ASKING_PATIENCE):
                while self._asked and not self._up:
                    await self._router.changed.wait()
            if not self._up:
                why = self._why or "it is being brought up"
                raise StateUnavailableError(f"the store of dead letters is not there: {why}")
        return self._up

    async def persistently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks until the store answers."""
        failures = 0
        while True:
            try:
                answer = await ask()
            except StateUnavailableError as error:
                failures += 1
                if failures == 2:  # a cut connection is back by then
                    self._report("warning", "", f"dead letters wait, {len(self.letters)} of them in memory: {error}")
                await trio.sleep(KEEPING.delay(failures, self._rng))
            else:
                if failures >= 2:
                    self._report("info", "", "the store of dead letters is back")
                return answer

    # -- to the store -------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            while True:
                changed = self._router.changed
                while (letter := self.letters.oldest) is not None:
                    await self._keep_one(letter)
                await changed.wait()
        finally:
            # Nobody takes them when this is over.
            with trio.move_on_after(FLUSH_PATIENCE, shield=True):
                while (letter := self.letters.oldest) is not None:
                    await self._keep_one(letter)

    async def _keep_one(self, letter: DeadLetter) -> None:
        document = as_kept(letter, self.letters.run)
        size = len(encode(document))
        if size > LARGEST:
            self._cannot_keep(letter, f"its {size} bytes are more than {LARGEST}")
        elif await self.persistently(lambda: self.store.bury(document)):
            self.letters.kept(letter)
            self._router.bump()
        else:
            self._cannot_keep(letter, "there is no room for more (limits.dead_letters, limits.dead_letters_size)")

    def _cannot_keep(self, letter: DeadLetter, why: str) -> None:
        """It is written to the log, where somebody may find it."""
        id = self.letters.id_of(letter)
        self._report("error", letter.node, f"dead letter {id} cannot be kept: {why}; the log has it in full")
        document = encode(as_kept(letter, self.letters.run)).decode()
        pieces = range(0, len(document), _PIECE)
        for number, start in enumerate(pieces, 1):
            text = f"dead letter {id} ({number} of {len(pieces)}): {document[start : start + _PIECE]}"
            self._report("error", letter.node, text)
        self.letters.given_up(letter)
        self._router.bump()

    # -- the end ------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """The network has ended: waits for a while until all is kept, where that can be hoped for."""
        with trio.move_on_after(FINISH_PATIENCE):
            while len(self.letters) and not self._hopeless:
                await self._router.changed.wait()

    def abandon(self) -> None:
        """The store is gone for good: what is not kept goes to the log."""
        while (letter := self.letters.oldest) is not None:
            self._cannot_keep(letter, self._why or "the run ended before the store answered")


def _texts(group: BaseExceptionGroup[ReflowError]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        match error:
            case BaseExceptionGroup():
                found += _texts(error)  # pyright: ignore[reportUnknownArgumentType]
            case UserError():
                found += [f"{p.message} ({p.hint})" if p.hint else p.message for p in error.problems]
            case _:
                found.append(str(error))
    return found
