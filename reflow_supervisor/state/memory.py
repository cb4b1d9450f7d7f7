"""A state store in this process's memory, for what need not outlive it (`state_backend="memory"`) and for
tests.

It does what the Redis store does, by the same conformance suite. It decides nothing about durability: there
is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from reflow_supervisor.state.ledger import pending
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.state.patterns import matcher
from reflow_supervisor.state.store import (
    MAX_KEYS,
    Append,
    Delete,
    Expire,
    Kind,
    Set,
    SetList,
    StateCommit,
    StateCorruptError,
    StateOp,
    Stored,
    Trim,
)

_SWEEP_AT_LEAST = 256


@attrs.define
class _Entry:
    content: bytes | list[bytes]
    """A list for a LIST, bytes for a VALUE."""
    expires_at: float | None


@attrs.define
class _Actor:
    entries: dict[str, _Entry] = attrs.Factory(dict[str, _Entry])
    writes_until_sweep: int = _SWEEP_AT_LEAST


class MemoryStore:
    """See `StateStore`.

    Args:
        clock: seconds, as from `trio.current_time`.
        ttl: how many seconds a written key lives where the operation does not say; None: it stays.
        letters: the dead letters that commits settle; None: what is said of them is ignored.
    """

    def __init__(
        self, *, clock: Callable[[], float], ttl: float | None = None, letters: MemoryLetters | None = None
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._letters = letters
        self._actors: dict[str, _Actor] = {}
        self._markers: dict[str, str] = {}

    async def fetch(self, actor: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        found: dict[str, Stored] = {}
        for key in keys:
            entry = self._live(actor, key, now)
            if entry is None:
                continue
            ttl = None if entry.expires_at is None else max(1, round((entry.expires_at - now) * 1000))
            if isinstance(entry.content, list):
                found[key] = Stored(Kind.LIST, items=tuple(entry.content), ttl=ttl)
            else:
                found[key] = Stored(Kind.VALUE, value=entry.content, ttl=ttl)
        return found

    async def keys(self, actor: str, pattern: str = "*") -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        state = self._actors.get(actor, _Actor())
        matches = matcher(pattern)
        return sorted(k for k, entry in state.entries.items() if _lives(entry, now) and matches(k))[:MAX_KEYS]

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        await trio.lowlevel.checkpoint()
        refused: dict[str, StateCorruptError] = {}
        now = self._clock()
        for item in pending(commits, self._markers):
            commit = item.commit
            # A commit may stand twice in a batch; behind a refused one of its actor none is applied.
            if commit.actor in refused or self._markers.get(commit.actor) == commit.commit_id:
                continue
            try:
                self._check(commit, now)
            except StateCorruptError as error:
                refused[commit.actor] = error
                continue
            for op in commit.ops:
                self._apply(commit.actor, op, now)
            if commit.settles and self._letters is not None:
                self._letters.settle(commit.settles)
            self._markers[commit.actor] = commit.commit_id
        for error in refused.values():
            raise error

    async def clear(self, actor: str) -> None:
        await trio.lowlevel.checkpoint()
        self._actors.pop(actor, None)
        self._markers.pop(actor, None)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _live(self, actor: str, key: str, now: float) -> _Entry | None:
        state = self._actors.get(actor)
        entry = state.entries.get(key) if state else None
        return entry if entry is not None and _lives(entry, now) else None

    def _check(self, commit: StateCommit, now: float) -> None:
        """Refuses a commit whose list operations meet a value, before anything of it is applied."""
        is_value: dict[str, bool] = {}
        for op in commit.ops:
            match op:
                case Append(key=key) | Trim(key=key):
                    if key not in is_value:
                        entry = self._live(commit.actor, key, now)
                        is_value[key] = entry is not None and isinstance(entry.content, bytes)
                    if is_value[key]:
                        raise StateCorruptError(commit.actor, key, expected="a list", found="a value")
                case Expire(key=key, ttl=ttl):
                    if ttl == 0:
                        is_value[key] = False
                case Set() | SetList() | Delete():
                    is_value[op.key] = isinstance(op, Set)

    def _apply(self, actor: str, op: StateOp, now: float) -> None:
        state = self._actors.setdefault(actor, _Actor())
        entries = state.entries
        entry = self._live(actor, op.key, now)
        match op:
            case Set(key=key, value=value, ttl=ttl):
                entries[key] = _Entry(value, self._expiry(ttl, now))
            case SetList(key=key, items=items, ttl=ttl):
                entries[key] = _Entry(list(items), self._expiry(ttl, now))
            case Append(key=key, items=items, ttl=ttl):
                if entry is None:
                    entry = entries[key] = _Entry([], None)
                assert isinstance(entry.content, list), "checked before"
                entry.content.extend(items)
                entry.expires_at = self._expiry(ttl, now, entry.expires_at)
            case Trim(left=left, right=right):
                if entry is not None:
                    assert isinstance(entry.content, list), "checked before"
                    del entry.content[:left]
                    del entry.content[max(0, len(entry.content) - right) :]
                    entry.expires_at = self._expiry(None, now, entry.expires_at)
            case Delete(key=key):
                entries.pop(key, None)
            case Expire(ttl=ttl):
                if entry is not None:
                    entry.expires_at = None if ttl is None else now + ttl / 1000
        # An empty list is no key, as in Redis.
        if op.key in entries and entries[op.key].content == []:
            del entries[op.key]
        self._sweep(state, now)

    def _expiry(self, ttl: int | None, now: float, otherwise: float | None = None) -> float | None:
        if ttl is not None:
            return now + ttl / 1000
        return now + self._ttl if self._ttl is not None else otherwise

    def _sweep(self, state: _Actor, now: float) -> None:
        """Drops expired keys that nobody asks for. Once every as many writes as there are keys, so that it
        costs a write nothing on average and the dead never outnumber the living for long."""
        state.writes_until_sweep -= 1
        if state.writes_until_sweep <= 0:
            state.entries = {key: entry for key, entry in state.entries.items() if _lives(entry, now)}
            state.writes_until_sweep = max(_SWEEP_AT_LEAST, len(state.entries))


def _lives(entry: _Entry, now: float) -> bool:
    return entry.expires_at is None or entry.expires_at > now
