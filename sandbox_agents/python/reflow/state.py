"""`ActorState`: an actor's own state, kept here and written by the supervisor with each commit.

The actor is the only writer of its keys, so every operation is local and synchronous; what is not known yet is fetched
once. Changes of one activation are journaled: `commit` gives what they amount to, `rollback` undoes them.

Values are copied by going in and coming out as JSON. So a list that came from `get` may be changed freely, and is saved
only by `set`.

This module does no I/O: `fetch` and `fetch_keys` ask the supervisor, `clock` is a monotonic one in seconds.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from .document import from_json, to_json
from .wire.values import INT_MAX, INT_MIN

MAX_KEY_BYTES: Final = 512

Operation = list[Any]
"""As in specs/protocol.md §6: ["set", key, json, ttl_ms], …"""

Fetch = Callable[[Sequence[str]], Mapping[str, Sequence[Any]]]
FetchKeys = Callable[[str], Sequence[str]]


class _Value:
    """A key that holds one JSON document."""

    __slots__ = ("expires", "text")

    def __init__(self, text: str, expires: float | None) -> None:
        self.text = text
        self.expires = expires


class _List:
    """A key that holds a native list: its items are JSON documents."""

    __slots__ = ("expires", "items")

    def __init__(self, items: Iterable[str], expires: float | None) -> None:
        self.items = deque(items)
        self.expires = expires


_Entry = _Value | _List


class _Unknown:
    """Stands for a key of which it is not known whether it exists."""


_UNKNOWN: Final = _Unknown()


class _Change:
    """What this activation did to one key: enough to undo it, and to say what it amounts to.

    A list that was there before is changed in place and its changes are counted, so that neither a push to a long list
    nor its commit costs by the list's length.
    """

    __slots__ = ("appended", "before", "expire", "expires_before", "from_left", "from_right", "ttl")

    def __init__(self, before: _Entry | _Unknown | None) -> None:
        self.before = before
        self.expires_before = before.expires if isinstance(before, (_Value, _List)) else None
        self.from_left: list[str] = []
        """Items taken off the front of the list that was there before."""
        self.from_right: list[str] = []
        self.appended = 0
        """How many of the items at its end are new."""
        self.ttl: int | None = None
        """Milliseconds, as the last write said; None: the configured one."""
        self.expire: tuple[int | None] | None = None
        """The time to live that `expire` set after the last write."""


class ActorState:
    """The state of one actor instance. Every method may be called with `await` too.

    Args:
        fetch: the named keys that exist, as the protocol's `state.fetch` answers.
        fetch_keys: the names of keys that match a glob pattern.
        ttl_ms: the configured time to live of what is written.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        fetch: Fetch,
        fetch_keys: FetchKeys,
        *,
        ttl_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._fetch_keys = fetch_keys
        self._ttl_ms = ttl_ms
        self._clock = clock
        self._table: dict[str, _Entry | None] = {}
        """What is known: None for a key that does not exist."""
        self._changes: dict[str, _Change] = {}

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A fresh copy of the value, or the default where there is no such key. Changing it is saved by `set` only."""
        entry = self._entry(key)
        if entry is None:
            return default
        if isinstance(entry, _Value):
            return from_json(entry.text)
        return [from_json(item) for item in entry.items]

    def exists(self, key: str) -> bool:
        return self._entry(key) is not None

    def keys(self, pattern: str = "*") -> list[str]:
        """The names of the keys that match a glob pattern as Redis has it (`*`, `?`, `[a-z]`), sorted."""
        matches = _glob(pattern)
        names = set(self._fetch_keys(pattern))
        for key in list(self._table):
            if matches(key):
                # What is known here is newer than what the store says: commits may be on their way.
                if self._entry(key) is None:
                    names.discard(key)
                else:
                    names.add(key)
        return sorted(names)

    def ttl(self, key: str) -> int:
        """Whole seconds until the key expires, rounded up; -1 when it stays, -2 when there is no such key."""
        entry = self._entry(key)
        if entry is None:
            return -2
        return -1 if entry.expires is None else max(math.ceil(entry.expires - self._clock()), 0)

    # -- writing ------------------------------------------------------------------------------------------------

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets the key to a JSON value, for `ttl` seconds if that is given."""
        key = self._name(key)
        text = to_json(value, f"state[{key!r}]")
        self._put(key, _Value(text, None), _milliseconds(ttl))

    def delete(self, key: str) -> bool:
        """Removes the key; False where there was none."""
        if self._entry(key) is None:
            return False
        self._change(key)
        self._table[key] = None
        return True

    def increment(self, key: str, amount: int = 1) -> int:
        """Adds to a whole number (0 where there is no such key) and returns the new one."""
        entry = self._entry(key)
        number = 0 if entry is None else self._number(key, entry)
        number += _whole(amount, key)
        if not INT_MIN <= number <= INT_MAX:
            raise ValueError(f"state[{key!r}]: {number} does not fit 64 bits")
        self._put(key, _Value(str(number), None), None if entry is None else self._kept(entry))
        return number

    def decrement(self, key: str, amount: int = 1) -> int:
        return self.increment(key, -_whole(amount, key))

    def push(self, key: str, *values: Any) -> int:
        """Adds to the end of a list (an empty one where there is no such key) and returns its new length."""
        return self.extend(key, values)

    def extend(self, key: str, values: Iterable[Any]) -> int:
        """Adds all values to the end of a list and returns its new length."""
        entry = self._as_list(key)
        before = 0 if entry is None else len(entry.items)
        new = [to_json(value, f"state[{key!r}][{before + i}]") for i, value in enumerate(values)]
        if not new:
            return before
        if entry is None:
            self._put(key, _List(new, None), None)
            return len(new)
        change = self._change(key)
        if change.before is entry:
            change.appended += len(new)
        entry.items.extend(new)
        self._changed_in_place(entry, change)
        return len(entry.items)

    def pop(self, key: str, default: Any = None, *, left: bool = False) -> Any:
        """Takes the last item off a list (the first one with `left`); the default where there is none."""
        entry = self._as_list(key)
        if entry is None:
            return default
        change = self._change(key)
        text = entry.items.popleft() if left else entry.items.pop()
        if change.before is entry:
            if not left and change.appended:
                change.appended -= 1
            elif left and len(entry.items) < change.appended:
                # Everything older is gone: what went is the first of the new ones.
                change.appended -= 1
            else:
                (change.from_left if left else change.from_right).append(text)
        self._changed_in_place(entry, change)
        if not entry.items:
            # A list without items is no key, as in Redis.
            self._table[key] = None
        return from_json(text)

    def expire(self, key: str, seconds: float | None) -> bool:
        """Lets the key live for so many seconds from now; None makes it stay. False where there is no such key."""
        ttl = _milliseconds(seconds)
        entry = self._entry(key)
        if entry is None:
            return False
        change = self._change(key)
        change.expire = (ttl,)
        entry.expires = None if ttl is None else self._clock() + ttl / 1000
        return True

    # -- one activation -----------------------------------------------------------------------------------------

    def operations(self) -> list[Operation]:
        """What the changes since the last commit amount to. They stand until `commit` or `rollback`."""
        operations: list[Operation] = []
        for key, change in self._changes.items():
            entry = self._table.get(key)
            if entry is None:
                if change.before is not None:
                    operations.append(["delete", key])
                continue
            if isinstance(entry, _List) and change.before is entry:
                if change.from_left or change.from_right:
                    operations.append(["trim", key, len(change.from_left), len(change.from_right)])
                if change.appended:
                    new = list(islice(reversed(entry.items), change.appended))[::-1]
                    operations.append(["append", key, new, change.ttl])
            elif isinstance(entry, _List):
                operations.append(["list", key, list(entry.items), change.ttl])
            elif change.before is not entry:
                operations.append(["set", key, entry.text, change.ttl])
            if change.expire is not None:
                operations.append(["expire", key, change.expire[0]])
        return operations

    def commit(self) -> None:
        """The changes since the last commit are final."""
        self._changes.clear()

    def rollback(self) -> None:
        """Undoes every change since the last commit."""
        for key, change in self._changes.items():
            before = change.before
            if isinstance(before, _Unknown):
                self._table.pop(key, None)
                continue
            if before is not None:
                before.expires = change.expires_before
            if isinstance(before, _List):
                for _ in range(change.appended):
                    before.items.pop()
                before.items.extend(reversed(change.from_right))
                before.items.extendleft(reversed(change.from_left))
            self._table[key] = before
        self._changes.clear()

    # -- the table ----------------------------------------------------------------------------------------------

    def _name(self, key: str) -> str:
        """The key, checked. One that is in the table has been checked before."""
        if type(key) is not str or key not in self._table:
            _check_key(key)
        return key

    def _entry(self, key: str) -> _Entry | None:
        entry = self._table.get(self._name(key), _UNKNOWN)
        if isinstance(entry, _Unknown):
            entry = self._table[key] = self._parse(self._fetch([key]).get(key))
        if entry is not None and entry.expires is not None and entry.expires <= self._clock():
            entry = self._table[key] = None
        return entry

    def _parse(self, stored: Sequence[Any] | None) -> _Entry | None:
        if stored is None:
            return None
        kind, content, ttl = stored
        expires = None if ttl is None else self._clock() + ttl / 1000
        return _List(content, expires) if kind == "list" else _Value(content, expires)

    def _change(self, key: str) -> _Change:
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = _Change(self._table.get(key, _UNKNOWN))
        return change

    def _put(self, key: str, entry: _Entry, ttl: int | None) -> None:
        change = self._change(key)
        self._table[key] = entry
        self._written(entry, change, ttl)

    def _written(self, entry: _Entry, change: _Change, ttl: int | None) -> None:
        # A write sets the time to live anew, and forgets an `expire` that came before it.
        change.ttl = ttl
        change.expire = None
        effective = self._ttl_ms if ttl is None else ttl
        entry.expires = None if effective is None else self._clock() + effective / 1000

    def _changed_in_place(self, entry: _List, change: _Change) -> None:
        # Where no time to live is configured, the store leaves that of a list as it is.
        if self._ttl_ms is not None:
            self._written(entry, change, None)

    def _kept(self, entry: _Entry) -> int | None:
        """What a write says that replaces a value by what has become of it, in milliseconds: like a list's, its time
        to live goes on where none is configured."""
        if self._ttl_ms is not None or entry.expires is None:
            return None
        return max(math.ceil((entry.expires - self._clock()) * 1000), 1)

    def _number(self, key: str, entry: _Entry) -> int:
        if isinstance(entry, _Value):
            try:
                return int(entry.text)
            except ValueError:
                pass
        raise TypeError(f"state[{key!r}]: holds {_described(entry)}, not a whole number; set it to one first")

    def _as_list(self, key: str) -> _List | None:
        """The key as a native list. A JSON array that `set` put there becomes one."""
        entry = self._entry(key)
        if entry is None or isinstance(entry, _List):
            return entry
        items = from_json(entry.text)
        if not isinstance(items, list):
            raise TypeError(f"state[{key!r}]: holds {_described(entry)}, not a list; set it to one first")
        if not items:
            return None
        texts = [to_json(item, f"state[{key!r}]") for item in items]  # pyright: ignore[reportUnknownVariableType]
        native = _List(texts, None)
        self._put(key, native, self._kept(entry))
        return native


def _described(entry: _Entry) -> str:
    if isinstance(entry, _List):
        return "a list"
    value = from_json(entry.text)
    return "null" if value is None else f"a {type(value).__name__}"


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a state key is a str, not {type(key).__name__} ({key!r})")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"state key {key[:40]!r} is not valid Unicode") from None
    if not 1 <= size <= MAX_KEY_BYTES:
        raise ValueError(f"state key {key[:40]!r} has {size} bytes; 1 to {MAX_KEY_BYTES} are allowed")
    if not key.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in key):
        raise ValueError(f"state key {key[:40]!r} holds a control character")


def _whole(amount: object, key: str) -> int:
    if isinstance(amount, int) and not isinstance(amount, bool):
        return amount
    kind = type(amount).__name__
    raise TypeError(f"state[{key!r}]: an increment is a whole number, not {kind}; use get and set for others")


def _milliseconds(seconds: object) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"a time to live is a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < 1e12:
        raise ValueError(f"a time to live is more than 0 seconds, not {seconds}; use delete to end it now")
    return max(round(seconds * 1000), 1)


def _glob(pattern: str) -> Callable[[str], object]:
    """Redis' glob, which is not fnmatch's: `[^…]` negates, and a backslash takes away special meaning."""
    parts: list[str] = []
    i = 0
    while i < len(pattern):
        char = pattern[i]
        i += 1
        if char == "*":
            parts.append(".*")
        elif char == "?":
            parts.append(".")
        elif char == "\\" and i < len(pattern):
            parts.append(re.escape(pattern[i]))
            i += 1
        elif char == "[":
            members, i = _glob_class(pattern, i)
            parts.append(members)
        else:
            parts.append(re.escape(char))
    return re.compile("".join(parts), re.DOTALL).fullmatch


def _glob_class(pattern: str, i: int) -> tuple[str, int]:
    """The regular expression for what stands between `[` and `]`, and where that ends (without a `]`: at the end)."""
    negated = pattern.startswith("^", i)
    i += negated
    members = ""
    while i < len(pattern) and pattern[i] != "]":
        if pattern[i] == "\\" and i + 1 < len(pattern):
            i += 1
        if pattern[i + 1 : i + 2] == "-" and i + 2 < len(pattern):
            low, high = sorted((pattern[i], pattern[i + 2]))
            members += f"{re.escape(low)}-{re.escape(high)}"
            i += 3
        else:
            members += re.escape(pattern[i])
            i += 1
    if not members:
        return ("." if negated else "(?!)"), i + 1
    return f"[{'^' if negated else ''}{members}]", i + 1
