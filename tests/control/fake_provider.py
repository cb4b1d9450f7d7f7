"""A workspace that is all say: it shows the snapshot it is given and notes the commands it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import trio
from state.letter_samples import make_letter

from reflow_supervisor.control.protocol import (
    ActorStatus,
    ControlError,
    DeadLetter,
    DeadLetters,
    ErrorCode,
    ErrorInfo,
    Failure,
    LettersDone,
    RedisStatus,
    ShownLetter,
    Snapshot,
    Totals,
)


def make_snapshot(**changes: Any) -> Snapshot:
    snapshot = Snapshot(
        workspace="weather",
        boundary="namespaces",
        pid=4242,
        started_at=1_700_000_000.0,
        uptime=12.5,
        state="running",
        redis=RedisStatus(kind="embedded", available=True),
        totals=Totals(received=10, emitted=20, failed=1, restarts=2, dead_letters=1),
        actors=(
            ActorStatus(id="clean", component="clean", runtime="python", state="running", incarnation=1, received=10),
            ActorStatus(
                id="plot",
                component="plot",
                runtime="javascript",
                state="backoff",
                next_retry_in=1.5,
                last_error=ErrorInfo(type="ValueError", message="no rows", traceback="Traceback…", at=1_700_000_001.0),
            ),
        ),
        failures=(Failure(at=1_700_000_001.0, actor="plot", kind="activation", reason="ValueError: no rows"),),
    )
    return msgspec.structs.replace(snapshot, **changes)


class FakeProvider:
    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.current = snapshot or make_snapshot()
        self.calls: list[tuple[str, ...]] = []
        self.snapshots_taken = 0
        self.snapshot_error: Exception | None = None
        self.command_error: Exception | None = None
        self.hold: trio.Event | None = None
        """While set, commands wait for it."""

    def snapshot(self) -> Snapshot:
        self.snapshots_taken += 1
        if self.snapshot_error is not None:
            raise self.snapshot_error
        return self.current

    async def stop(self) -> None:
        await self._note("stop")

    async def kill(self) -> None:
        await self._note("kill")

    async def restart_actor(self, actor_id: str) -> None:
        await self._note("restart", actor_id)

    async def stop_actor(self, actor_id: str) -> None:
        await self._note("stop", actor_id)

    async def start_actor(self, actor_id: str) -> None:
        await self._note("start", actor_id)

    async def pause_actor(self, actor_id: str) -> None:
        await self._note("pause", actor_id)

    async def resume_actor(self, actor_id: str) -> None:
        await self._note("resume", actor_id)

    async def dead_letters(self, limit: int, node: str) -> DeadLetters:
        letter = DeadLetter(
            id="m-1",
            at=1_700_000_001.0,
            actor="plot",
            port="rows",
            attempts=3,
            error=ErrorInfo(type="ValueError", message="no rows", at=1_700_000_001.0),
        )
        await self._note("list", node or "clean")
        return DeadLetters(total=7, letters=(letter,) * min(limit, 7))

    async def dead_letter(self, letter_id: str) -> ShownLetter:
        return ShownLetter(letter=make_letter(letter_id))

    async def replay_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone:
        return await self._letters("replay", ids, node)

    async def drop_dead_letters(self, ids: Sequence[str] | None, node: str) -> LettersDone:
        return await self._letters("drop", ids, node)

    async def _letters(self, what: str, ids: Sequence[str] | None, node: str) -> LettersDone:
        await trio.lowlevel.checkpoint()
        self.calls.append((what, node, *(["all"] if ids is None else ids[:3])))
        return LettersDone(done=tuple(ids or ()), refused={"x": "no"})

    async def _note(self, *call: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await trio.lowlevel.checkpoint()
        if self.command_error is not None:
            raise self.command_error
        if len(call) == 2 and call[1] not in {actor.id for actor in self.current.actors}:
            raise ControlError(ErrorCode.NO_SUCH_ACTOR, f"no actor {call[1]!r}")
        self.calls.append(call)
