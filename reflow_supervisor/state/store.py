"""What a state store must do: fetch the keys of one actor, and apply whole commits, each all or nothing.

The agent inside a sandbox keeps its actor's state locally and sends, with each commit, what changed. Since
one actor instance is the only writer of its keys, operations carry *results* (the counter's new value), not
requests, wherever that is possible: then applying a commit a second time changes nothing. Only list appends
and pops are relative, and the commit's marker tells whether they were applied.

This module decides what every store does. How the agent's data becomes operations is decided in `operations`,
and waiting for a store that is away in `retrying`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from reflow_supervisor.errors import ReflowError


class Kind(enum.StrEnum):
    VALUE = "value"
    """A JSON document; a counter is the JSON of an integer, which Redis reads as its own integer."""
    LIST = "list"
    """A native list whose elements are JSON documents."""


@attrs.frozen
class Stored:
    """A key's content as the store has it. `value`: one JSON document for VALUE; `items`: JSON documents for
    LIST. `ttl`: milliseconds left, None for a key that stays."""

    kind: Kind
    value: bytes = b""
    items: tuple[bytes, ...] = ()
    ttl: int | None = None


# Every operation that writes a key sets what is left of its life: its own `ttl` (milliseconds, at least 1),
# else the store's default, else nothing: then Set and SetList make a key that stays, Append and Trim leave
# its life alone.


@attrs.frozen
class Set:
    """Makes the key a VALUE with this JSON."""

    key: str
    value: bytes
    ttl: int | None = None


@attrs.frozen
class SetList:
    """Makes the key a LIST with exactly these items (an empty one: no such key)."""

    key: str
    items: tuple[bytes, ...]
    ttl: int | None = None


@attrs.frozen
class Append:
    """Adds items at the end of a LIST, making it where there is none."""

    key: str
    items: tuple[bytes, ...]
    ttl: int | None = None


@attrs.frozen
class Trim:
    """Takes `left` items off the front and `right` off the end of a LIST (what pops amount to)."""

    key: str
    left: int = 0
    right: int = 0


@attrs.frozen
class Delete:
    key: str


@attrs.frozen
class Expire:
    """Sets what is left of the key's life, in milliseconds; None makes it stay, 0 ends it now."""

    key: str
    ttl: int | None


StateOp = Set | SetList | Append | Trim | Delete | Expire


@attrs.frozen
class StateCommit:
    """The state operations of one activation. `actor` is the node's id; `commit_id` (not empty) names this
    commit among all commits of that actor, over restarts too: a store that applied it once never applies it
    again. `settles` is the id of the dead letter whose replay this is, "" for none: it leaves the letters (see
    `letters`) in the same step."""

    actor: str
    commit_id: str
    ops: tuple[StateOp, ...]
    settles: str = ""


class StateCorruptError(ReflowError):
    """A key holds what this store did not write there, or a list operation met a value. Trying again does not
    help.

    `key` is the actor's key; `expected` and `found` say in words what it should hold and what it does.
    """

    def __init__(self, actor: str, key: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"state of actor {actor!r}: the key {key!r} holds {found} where {expected} is expected; "
            "delete the key, or put back what it held"
        )
        self.actor = actor
        self.key = key
        self.expected = expected
        self.found = found


MAX_KEYS = 100_000
"""The most keys that `StateStore.keys` lists."""


class StateStore(Protocol):
    """Stores are used by the supervisor only; a script never sees one. Keys are checked at the border
    (length, no control characters) before they come here.

    All methods raise StateUnavailableError where the store does not answer in time; the caller tries again.
    """

    async def fetch(self, actor: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        """The named keys that exist.

        Raises:
            StateCorruptError: a key holds neither JSON nor a list of JSON.
        """
        ...

    async def keys(self, actor: str, pattern: str = "*") -> Sequence[str]:
        """The actor's keys that match a glob pattern as Redis has it, without prefix, at most MAX_KEYS,
        sorted."""
        ...

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        """Applies each commit all or nothing, in the order given.

        Safe to call again when its outcome is unknown, with the same commits, or the same and more behind
        them: a store remembers the last commit of each actor, so an actor's commits must be given in their
        order, and the outcome of one call be known before a call with that actor's later commits alone. Calls
        for different actors may overlap.

        Raises:
            StateCorruptError: a list operation met a key that is no list. Nothing of that commit was applied,
                nor of the same actor's commits behind it; those of other actors were. Call again without that
                actor's.
        """
        ...

    async def clear(self, actor: str) -> None:
        """Forgets everything of one actor."""
        ...

    async def aclose(self) -> None: ...
