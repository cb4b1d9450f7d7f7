"""A store for actors whose state is in one place, and the dead letters whose replays they commit in another.

For `state_backend: memory`: the state is gone with this process anyway, the letters are not. It decides the order: the
state first, then the letter, so that whoever is killed between finds the letter and not the state, and replays it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reflow_supervisor.state.store import StateCommit, StateStore, Stored


class SettlingStore:
    """See `StateStore`. Where only `letters` does not answer, a call may be repeated like any other.

    Args:
        state: where the state is.
        letters: settles dead letters. Not closed with this.
    """

    def __init__(self, state: StateStore, letters: StateStore) -> None:
        self._state = state
        self._letters = letters

    async def fetch(self, actor: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        return await self._state.fetch(actor, keys)

    async def keys(self, actor: str, pattern: str = "*") -> Sequence[str]:
        return await self._state.keys(actor, pattern)

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        await self._state.commit(commits)
        settling = [StateCommit(c.actor, c.commit_id, (), c.settles) for c in commits if c.settles]
        if settling:
            await self._letters.commit(settling)

    async def clear(self, actor: str) -> None:
        await self._state.clear(actor)

    async def aclose(self) -> None:
        await self._state.aclose()
