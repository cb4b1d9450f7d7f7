"""Dead letters as they are kept: activations that were given up, in a form that outlives the run.

This module decides what is in a letter, how it is written (as one JSON document, exact and readable both), and what a
store of letters does. When something becomes a letter is decided in `network`; what redis-cli sees of them, in
`redis_letters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import attrs
import msgspec

SHOWN = 200
"""Characters of a message, or of one input, in a list of letters."""

LARGEST = 256 * 1024 * 1024
"""Bytes of one letter's document. Redis takes 512 MiB in one piece."""


class Port(msgspec.Struct, frozen=True):
    """The type of a message, and the type that its inport was declared with."""

    type: str
    declared: str = "any"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `shown`: its value as JSON for people, cut short; `exact`: the message as it travels (MessagePack,
    specs/protocol.md §3), in the document as base64; `size`: how many bytes that is; `declared`: the type of its
    inport."""

    type: str
    declared: str = "any"
    size: int
    shown: str
    exact: bytes


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What its last attempt failed with. Untrusted text."""

    type: str
    message: str
    traceback: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Attributes:
        id: short, and unique in a workspace. It stays when a replay fails.
        run, activation: where it was given up last.
        source: SHA-256 of the script that did so, "" for a built-in component.
        attempts: how often it was tried, over all replays; `burials`: how often it was given up.
        first, last: when its first and its last attempt failed.
        inputs: the whole input set, by inport; `initial` names those that are initial values of the network.
    """

    id: str
    node: str
    component: str
    run: str
    activation: int
    source: str
    attempts: int
    burials: int = 1
    first: datetime
    last: datetime
    cause: Cause
    inputs: dict[str, Input]
    initial: list[str] = msgspec.field(default_factory=list[str])


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in a list. `size`: bytes of its document. `number` orders letters by when they first came; `marked`: it
    is to be replayed."""

    id: str
    node: str
    component: str
    attempts: int
    burials: int
    first: datetime
    last: datetime
    type: str
    message: str
    shown: str
    ports: dict[str, Port]
    size: int
    number: int = 0
    marked: bool = False


class DamagedLetterError(Exception):
    """What stands in the place of a letter is none: somebody else wrote there."""


def encode(letter: Letter) -> bytes:
    return msgspec.json.encode(letter)


def decode(document: bytes) -> Letter:
    """
    Raises:
        DamagedLetterError: it is no letter.
    """
    try:
        return msgspec.json.decode(document, type=Letter)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DamagedLetterError(str(error)) from None


def entry_of(letter: Letter, size: int) -> Entry:
    shown = ", ".join(f"{port}={message.shown}" for port, message in letter.inputs.items())
    return Entry(
        id=letter.id,
        node=letter.node,
        component=letter.component,
        attempts=letter.attempts,
        burials=letter.burials,
        first=letter.first,
        last=letter.last,
        type=letter.cause.type,
        message=cut(letter.cause.message),
        shown=cut(shown),
        ports=ports_of(letter),
        size=size,
    )


def ports_of(letter: Letter) -> dict[str, Port]:
    return {port: Port(message.type, message.declared) for port, message in letter.inputs.items()}


def cut(text: str, length: int = SHOWN) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


@attrs.frozen
class Bounds:
    """How many letters may be kept, and how many bytes all their documents may have together."""

    count: int
    size: int


@attrs.frozen
class Found:
    """`total`: how many there are, also those that were not asked for."""

    total: int
    entries: Sequence[Entry]


class LetterStore(Protocol):
    """All methods raise StateUnavailableError where the store does not answer in time. The caller may try again: none
    does anything twice.

    A letter is *marked* from when its replay was asked for until that has an outcome. Where it is committed, the
    letter goes with the commit (`StateCommit.settles`).
    """

    async def bury(self, letter: Letter) -> bool:
        """Keeps a letter, behind all others; one of that id that is there is replaced, in its place and unmarked.

        Returns:
            Whether there was room. There always is for one that is there already.
        """
        ...

    async def find(self, *, limit: int, node: str = "") -> Found:
        """The newest ones first, of one node or of all."""
        ...

    async def ids(self, node: str = "") -> Sequence[str]:
        """All, in the order in which they first came."""
        ...

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry]:
        """Those of these that are there, in this order."""
        ...

    async def get(self, id: str) -> Letter | None:
        """
        Raises:
            DamagedLetterError: what stands there is none.
        """
        ...

    async def mark(self, ids: Sequence[str]) -> Sequence[str]:
        """Marks those that are there, behind those that are marked already; returns all of these that are now."""
        ...

    async def unmark(self, id: str) -> None: ...

    async def marked(self) -> Sequence[str]:
        """In the order in which they were marked."""
        ...

    async def remove(self, ids: Sequence[str]) -> Sequence[str]:
        """Takes them away; returns those that were there."""
        ...
