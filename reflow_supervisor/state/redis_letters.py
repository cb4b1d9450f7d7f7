"""Dead letters in Redis, beside the state of the actors and over the same connections.

What is where (`docs/state.md` tells the user):

    {namespace}#dead-letters           a sorted set: letter → its number, in the order in which they first came
    {namespace}#dead-letter:{id}       a hash: `letter` (the JSON document), `entry` (what a list shows of it), `bytes`,
                                       `node`, and `burial`, which names the burial that wrote it
    {namespace}#dead-letters-marked    a sorted set: those that are to be replayed → in which order
    {namespace}#dead-letters-totals    a hash: `bytes` of all documents, `number` that was given out last

Every change is one script on the server. As with commits (`redis_scripts`), each looks at all that it will change
before it writes, so that a key of the wrong type stops it in front of its first write.

A burial that was given up for lost and arrives late could bring back a letter that has been replayed since. So each is
sent on the condition that `number` still is what it was; every burial moves it. One that finds its own name in the
letter has been carried out already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.state.letters import Bounds, DamagedLetterError, Entry, Found, Letter, decode, encode, entry_of
from reflow_supervisor.state.redis_store import RedisStore

_ROUNDS = 5
_AT_ONCE = 500
"""Letters in one request."""

# KEYS: letters, marked, totals, the letter. ARGV: id, number that it must follow, the burial's name, document, entry,
# bytes, node, letters and bytes that there may be. Answers {"kept", number}, {"full"} or {"overtaken", number}.
_BURY = """
local letters, marked, totals, key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, after, burial, bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
local number = redis.call('HGET', totals, 'number') or '0'
if redis.call('HGET', key, 'burial') == burial then return {'kept', number} end
if number ~= after then return {'overtaken', number} end
local place = redis.call('ZSCORE', letters, id)
local was = tonumber(redis.call('HGET', key, 'bytes') or '') or 0
local total = tonumber(redis.call('HGET', totals, 'bytes') or '') or 0
redis.call('ZSCORE', marked, id)
if not place then
  if redis.call('ZCARD', letters) >= tonumber(ARGV[8]) or total + bytes > tonumber(ARGV[9]) then return {'full'} end
end
number = string.format('%d', tonumber(number) + 1)
if not place then redis.call('ZADD', letters, number, id) end
redis.call('HSET', totals, 'number', number, 'bytes', string.format('%d', math.max(0, total - was) + bytes))
redis.call('DEL', key)
redis.call('HSET', key, 'letter', ARGV[4], 'entry', ARGV[5], 'bytes', ARGV[6], 'node', ARGV[7], 'burial', burial)
redis.call('ZREM', marked, id)
return {'kept', number}
"""

# KEYS: letters, marked, totals, then a key for each id. ARGV: the ids. Answers those that were there.
_REMOVE = """
local letters, marked, totals = KEYS[1], KEYS[2], KEYS[3]
local total, left, there = tonumber(redis.call('HGET', totals, 'bytes') or '') or 0, 0, {}
redis.call('ZCARD', marked)
for i, id in ipairs(ARGV) do
  if redis.call('ZSCORE', letters, id) then there[#there + 1] = id end
  left = left + (tonumber(redis.call('HGET', KEYS[i + 3], 'bytes') or '') or 0)
end
for i, id in ipairs(ARGV) do
  redis.call('DEL', KEYS[i + 3])
  redis.call('ZREM', letters, id)
  redis.call('ZREM', marked, id)
end
if redis.call('EXISTS', totals) == 1 then
  redis.call('HSET', totals, 'bytes', string.format('%d', math.max(0, total - left)))
end
return there
"""

# KEYS: letters, marked. ARGV: the ids. Answers those that are marked now.
_MARK = """
local letters, marked, there = KEYS[1], KEYS[2], {}
local last = tonumber(redis.call('ZREVRANGE', marked, 0, 0, 'WITHSCORES')[2] or '') or 0
for _, id in ipairs(ARGV) do
  if redis.call('ZSCORE', letters, id) then
    there[#there + 1] = id
    if not redis.call('ZSCORE', marked, id) then
      last = last + 1
      redis.call('ZADD', marked, string.format('%d', last), id)
    end
  end
end
return there
"""

# KEYS: letters. ARGV: what keys of letters begin with, the node ("" for all), how many. Answers how many there are, and
# the ids of the newest.
_FIND = """
local ids = redis.call('ZREVRANGE', KEYS[1], 0, -1)
local node, limit, total, found = ARGV[2], tonumber(ARGV[3]), 0, {}
for _, id in ipairs(ids) do
  if node == '' or redis.call('HGET', ARGV[1] .. id, 'node') == node then
    total = total + 1
    if #found < limit then found[#found + 1] = id end
  end
end
return {total, found}
"""

# KEYS: letters, marked, then a key for each id. ARGV: the ids. Answers for each {entry, number, marked or nil}, or {}.
_ENTRIES = """
local found = {}
for i, id in ipairs(ARGV) do
  local entry, number = redis.call('HGET', KEYS[i + 2], 'entry'), redis.call('ZSCORE', KEYS[1], id)
  if entry and number then found[i] = {entry, number, redis.call('ZSCORE', KEYS[2], id)} else found[i] = {} end
end
return found
"""


class RedisLetters:
    """See `LetterStore`.

    Args:
        store: whose connections and namespace it uses. It is not closed with this.
    """

    def __init__(self, store: RedisStore, bounds: Bounds) -> None:
        self._store = store
        self._bounds = bounds
        self._keys = store.letter_keys
        self._number: str | None = None
        """The number that was given out last, as far as it is known."""

    async def bury(self, letter: Letter) -> bool:
        document = encode(letter)
        entry = msgspec.json.encode(entry_of(letter, len(document)))
        burial = f"{letter.run}:{letter.activation}"
        for _ in range(_ROUNDS):
            if self._number is None:
                number: bytes | None = await self._store.execute("HGET", self._keys.totals, "number")
                self._number = "0" if number is None else number.decode()
            after, self._number = self._number, None
            answer: list[Any] = await self._eval(
                _BURY,
                [self._keys.letters, self._keys.marked, self._keys.totals, self._keys.letter(letter.id)],
                [letter.id, after, burial, document, entry, len(document), letter.node],
                [self._bounds.count, self._bounds.size],
            )
            if answer[0] == b"full":
                self._number = after
                return False
            self._number = answer[1].decode()
            if answer[0] == b"kept":
                return True
        raise StateUnavailableError("the dead letters keep changing; does another supervisor use the namespace?")

    async def find(self, *, limit: int, node: str = "") -> Found:
        total, ids = await self._find(node, limit)
        return Found(total, await self.entries(ids))

    async def ids(self, node: str = "") -> Sequence[str]:
        _, found = await self._find(node, 2**31)
        return found[::-1]

    async def _find(self, node: str, limit: int) -> tuple[int, list[str]]:
        total, found = await self._eval(_FIND, [self._keys.letters], [self._keys.letter(""), node, limit])
        return total, [id.decode(errors="replace") for id in found]

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry]:
        found: list[Entry] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            keys = [self._keys.letters, self._keys.marked, *map(self._keys.letter, some)]
            answers: list[list[bytes | None]] = await self._eval(_ENTRIES, keys, some)
            found += filter(None, map(_entry, answers))
        return found

    async def get(self, id: str) -> Letter | None:
        document: bytes | None = await self._store.execute("HGET", self._keys.letter(id), "letter")
        if document is None:
            return None
        letter = decode(document)
        if letter.id != id:
            raise DamagedLetterError(f"it is the letter {letter.id!r}")
        return letter

    async def mark(self, ids: Sequence[str]) -> Sequence[str]:
        marked: list[str] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            marked += map(bytes.decode, await self._eval(_MARK, [self._keys.letters, self._keys.marked], some))
        return marked

    async def unmark(self, id: str) -> None:
        await self._store.execute("ZREM", self._keys.marked, id)

    async def marked(self) -> Sequence[str]:
        found: list[bytes] = await self._store.execute("ZRANGE", self._keys.marked, 0, -1)
        return [id.decode(errors="replace") for id in found]

    async def remove(self, ids: Sequence[str]) -> Sequence[str]:
        removed: list[str] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            keys = [self._keys.letters, self._keys.marked, self._keys.totals, *map(self._keys.letter, some)]
            removed += map(bytes.decode, await self._eval(_REMOVE, keys, some))
        return removed

    async def _eval(self, script: str, keys: Sequence[bytes], *arguments: Sequence[Any]) -> Any:
        return await self._store.execute("EVAL", script, len(keys), *keys, *[a for some in arguments for a in some])


def _entry(answer: list[bytes | None]) -> Entry | None:
    """An entry as the script found it; None where there is none, or somebody else wrote something there."""
    match answer:
        case [bytes(entry), bytes(number), marked]:
            try:
                found = msgspec.json.decode(entry, type=Entry)
            except (msgspec.DecodeError, RecursionError):
                return None
            return msgspec.structs.replace(found, number=int(float(number)), marked=marked is not None)
        case _:
            return None
