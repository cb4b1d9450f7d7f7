"""Dead letters in this process's memory, for tests and for what need not outlive it.

It does what the letters in Redis do, by the same conformance suite, and keeps the same documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from reflow_supervisor.state.letters import Bounds, Entry, Found, Letter, decode, encode, entry_of


class MemoryLetters:
    """See `LetterStore`."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._documents: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self._marked: dict[str, None] = {}
        self._number = 0

    async def bury(self, letter: Letter) -> bool:
        await trio.lowlevel.checkpoint()
        document = encode(letter)
        there = self._entries.get(letter.id)
        if there is None:
            size = sum(map(len, self._documents.values())) + len(document)
            if len(self._documents) >= self._bounds.count or size > self._bounds.size:
                return False
        self._number += 1
        number = self._number if there is None else there.number
        self._documents[letter.id] = document
        self._entries[letter.id] = msgspec.structs.replace(entry_of(letter, len(document)), number=number)
        self._marked.pop(letter.id, None)
        return True

    async def find(self, *, limit: int, node: str = "") -> Found:
        ids = [*reversed(await self.ids(node))]
        return Found(len(ids), await self.entries(ids[:limit]))

    async def ids(self, node: str = "") -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return [id for id, entry in self._entries.items() if node in ("", entry.node)]

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry]:
        await trio.lowlevel.checkpoint()
        return [
            msgspec.structs.replace(self._entries[id], marked=id in self._marked) for id in ids if id in self._entries
        ]

    async def get(self, id: str) -> Letter | None:
        await trio.lowlevel.checkpoint()
        document = self._documents.get(id)
        return None if document is None else decode(document)

    async def mark(self, ids: Sequence[str]) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        there = [id for id in ids if id in self._documents]
        self._marked.update(dict.fromkeys(id for id in there if id not in self._marked))
        return there

    async def unmark(self, id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._marked.pop(id, None)

    async def marked(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return list(self._marked)

    async def remove(self, ids: Sequence[str]) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        there = [id for id in ids if id in self._documents]
        for id in there:
            self.settle(id)
        return there

    def settle(self, id: str) -> None:
        """Its replay is committed."""
        self._documents.pop(id, None)
        self._entries.pop(id, None)
        self._marked.pop(id, None)
