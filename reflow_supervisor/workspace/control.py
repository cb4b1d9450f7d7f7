"""What an operator may do with a run while it runs: the provider of the control endpoint.

It decides which commands make sense in which state; what they do is the run's, the supervisor's and the mailbox's.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from reflow_supervisor.control.protocol import (
    ControlError,
    DeadLetters,
    ErrorCode,
    LettersDone,
    ShownLetter,
    Snapshot,
)
from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.letters import DamagedLetterError
from reflow_supervisor.supervision import ChildRunningError, StartFailedError, SupervisionError, Supervisor

from .letter_desk import LetterDesk, shown_done, shown_letter, shown_list
from .nodes import Node, find_supervisor
from .status import Status


class Stoppable(Protocol):
    def drain(self, why: str) -> None: ...
    def end(self) -> None: ...


class Control:
    """See `control.server.ControlProvider`."""

    def __init__(
        self, run: Stoppable, status: Status, nodes: Mapping[str, Node], router: Router, letters: LetterDesk
    ) -> None:
        self._run = run
        self._status = status
        self._nodes = nodes
        self._router = router
        self._letters = letters

    def snapshot(self) -> Snapshot:
        return self._status.snapshot()

    async def stop(self) -> None:
        await trio.lowlevel.checkpoint()
        self._run.drain("told to stop over the control endpoint")

    async def kill(self) -> None:
        await trio.lowlevel.checkpoint()
        self._run.end()

    async def restart_actor(self, actor_id: str) -> None:
        await self._command(actor_id, "restart")

    async def stop_actor(self, actor_id: str) -> None:
        await self._command(actor_id, "terminate_child")

    async def start_actor(self, actor_id: str) -> None:
        await self._command(actor_id, "restart_child")

    async def pause_actor(self, actor_id: str) -> None:
        await self._pause(actor_id, True)

    async def resume_actor(self, actor_id: str) -> None:
        await self._pause(actor_id, False)

    async def dead_letters(self, limit: int, node: str) -> DeadLetters:
        with self._telling():
            return shown_list(await self._letters.find(limit=limit, node=node))

    async def dead_letter(self, letter_id: str) -> ShownLetter:
        with self._telling():
            letter = await self._letters.get(letter_id)
        if letter is None:
            raise ControlError(ErrorCode.NO_SUCH_LETTER, f"there is no dead letter {letter_id!r}")
        return shown_letter(letter)

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone:
        if self._status.state not in ("starting", "running"):
            raise ControlError(ErrorCode.REFUSED, f"the network is {self._status.state}: nothing is replayed now")
        with self._telling():
            return shown_done(await self._letters.replay(ids, node))

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone:
        with self._telling():
            return shown_done(await self._letters.drop(ids, node))

    @contextmanager
    def _telling(self) -> Generator[None]:
        try:
            yield
        except (StateUnavailableError, DamagedLetterError) as e:
            raise ControlError(ErrorCode.REFUSED, str(e)) from None

    async def _command(self, actor_id: str, method: str) -> None:
        supervisor = self._supervisor(actor_id)
        try:
            match method:
                case "restart":
                    await supervisor.restart(actor_id)
                case "terminate_child":
                    await supervisor.terminate_child(actor_id)
                case _:
                    await supervisor.restart_child(actor_id)
        except ChildRunningError:
            raise ControlError(ErrorCode.REFUSED, f"{actor_id} is running") from None
        except StartFailedError as e:
            raise ControlError(ErrorCode.REFUSED, f"{actor_id} did not start: {e}") from None
        except SupervisionError as e:
            raise ControlError(ErrorCode.REFUSED, str(e)) from None

    async def _pause(self, actor_id: str, paused: bool) -> None:
        await trio.lowlevel.checkpoint()
        self._supervisor(actor_id)
        self._nodes[actor_id].inbox.paused = paused
        self._router.bump()

    def _supervisor(self, actor_id: str) -> Supervisor:
        if actor_id not in self._nodes:
            known = ", ".join(list(self._nodes)[:20])
            raise ControlError(ErrorCode.NO_SUCH_ACTOR, f"there is no actor {actor_id!r} (there are: {known})")
        network = self._status.network
        found = None if network is None else find_supervisor(network, actor_id)
        if found is None:
            if network is not None and self._status.state in ("running", "draining"):
                why = "it has ended, and is not kept (restart: temporary), or its group is stopped"
                raise ControlError(ErrorCode.REFUSED, f"{actor_id} is not there: {why}")
            raise ControlError(ErrorCode.REFUSED, f"the network is {self._status.state}: {actor_id} is not up")
        return found
