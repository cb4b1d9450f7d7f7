"""A state store in Redis, or whatever speaks its protocol and runs its scripts (Valkey).

What is where (`docs/state.md` tells the user):

    {namespace}:{actor}:{key}   a string of JSON, or a list of strings of JSON
    {namespace}#commits         a hash: actor → the id of the last commit applied (the marker)

Dead letters are in the same namespace (`redis_letters`); a commit that settles one takes it out.

Each commit is one script call on the server, all or nothing, on the condition that the actor's marker still
is the one that the commit follows. So a request that was given up for lost and arrives late changes nothing,
and after a lost answer the marker tells what was applied. Waiting for a Redis that is away is not decided
here but in `retrying`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import attrs
import msgspec
import redis
import redis.backoff
import redis.exceptions
import redis.retry
import trio

from reflow_supervisor.errors import EnvironmentError_, Problem, StateUnavailableError
from reflow_supervisor.state.ledger import Pending, pending
from reflow_supervisor.state.operations import is_json
from reflow_supervisor.state.patterns import matcher
from reflow_supervisor.state.redis_scripts import APPLY_COMMIT, APPLY_COMMIT_SHA, FETCH
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

T = TypeVar("T")

OLDEST_REDIS = 6
_SCAN_COUNT = 2000
_ROUNDS = 5
"""How often a commit is planned anew after the actor's marker moved under it."""


@attrs.frozen
class LetterKeys:
    """Where the dead letters of a namespace are; see `redis_letters`."""

    namespace: str

    @property
    def letters(self) -> bytes:
        return f"{self.namespace}#dead-letters".encode()

    @property
    def marked(self) -> bytes:
        return f"{self.namespace}#dead-letters-marked".encode()

    @property
    def totals(self) -> bytes:
        return f"{self.namespace}#dead-letters-totals".encode()

    def letter(self, id: str) -> bytes:
        return f"{self.namespace}#dead-letter:{id}".encode()


class RedisStore:
    """See `StateStore`.

    redis-py runs in worker threads, at most `threads` at a time. A call that has started is not cut short by
    cancellation: its thread returns within the timeouts, and its outcome is known.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        namespace: what all keys begin with. Two workspaces on one Redis need two; one must not be the other
            plus a colon.
        ttl: how many seconds a written key lives where the operation does not say; None: it stays.
        timeout: the longest wait, in seconds, for a connection and for an answer.
        threads: the most calls, and connections, at a time.
        on_set_back: told of an actor whose marker is neither the last one that Redis acknowledged here nor one that
            is in doubt: what was acknowledged is not there any more.

    Raises:
        UserError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        ttl: float | None = None,
        timeout: float = 3.0,
        threads: int = 4,
        on_set_back: Callable[[str], None] = lambda actor: None,
    ) -> None:
        self._where = _without_credentials(url)
        try:
            # redis-py's own types say little, and in part that a call may be awaitable.
            self._client: Any = cast("Any", redis.Redis).from_url(
                url,
                protocol=2,
                max_connections=threads,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # redis-py would send again by itself, inside the thread, for longer than the timeout.
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            )
        except ValueError as error:
            raise EnvironmentError_(
                Problem("redis-url", f"not a Redis URL: {error}", path="redis.url", hint="use redis://HOST:PORT/0")
            ) from None
        self._limiter = trio.CapacityLimiter(threads)
        self._namespace = namespace
        self._ttl = None if ttl is None else max(1, round(ttl * 1000))
        self._markers_key = f"{namespace}#commits".encode()
        self.letter_keys = LetterKeys(namespace)
        self._acknowledged: dict[str, str] = {}
        """The last commit of each actor that is known to have been applied."""
        self._on_set_back = on_set_back
        self._markers: dict[str, str] = {}
        """What is known of the markers; an actor in doubt is not in it, one without a marker is with ""."""

    async def check(self) -> str:
        """Asks the server who it is; returns its version.

        Raises:
            UserError: it refuses the credentials, is too old, or does not let this user run scripts.
            StateUnavailableError: it does not answer.
        """

        def ask() -> str:
            self._client.execute_command("EVAL", FETCH, 0)
            return str(self._client.info("server")["redis_version"])

        hint = ""
        try:
            version = await self._call(ask)
        except StateUnavailableError as error:
            match error.__cause__:
                case redis.exceptions.AuthenticationError():
                    hint = "put the right user and password into redis.url"
                case redis.exceptions.NoPermissionError():
                    hint = "allow the user +@read +@write +@scripting +info on the namespace's keys"
                case _:
                    raise
            raise EnvironmentError_(Problem("redis-refused", str(error), path="redis.url", hint=hint)) from None
        if int(version.split(".")[0]) < OLDEST_REDIS:
            raise EnvironmentError_(
                Problem(
                    "redis-version",
                    f"Redis at {self._where} is {version}; {OLDEST_REDIS} or newer is needed",
                    path="redis.url",
                    hint="upgrade it, or use `url: embedded`",
                )
            )
        return version

    async def fetch(self, actor: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        if not keys:
            await trio.lowlevel.checkpoint()
            return {}
        names = [self._key(actor, key) for key in keys]
        answers: list[Any] = await self._ask("EVAL", FETCH, len(names), *names)
        found: dict[str, Stored] = {}
        for key, answer in zip(keys, answers, strict=True):
            stored = _stored(actor, key, answer)
            if stored is not None:
                found[key] = stored
        return found

    async def keys(self, actor: str, pattern: str = "*") -> Sequence[str]:
        # Only the prefix is matched by Redis: older ones take exponential time over a pattern meant for that.
        prefix = self._key(actor, "")
        matches = matcher(pattern)
        found: set[str] = set()
        cursor = 0
        while True:
            cursor, names = await self._scan(actor, cursor)
            for name in names:
                key = _text(name[len(prefix) :])
                if key is not None and matches(key):
                    found.add(key)
            if cursor == 0 or len(found) >= MAX_KEYS:
                return sorted(found)[:MAX_KEYS]

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        await trio.lowlevel.checkpoint()
        actors = {commit.actor for commit in commits}
        for _ in range(_ROUNDS):
            await self._learn_markers(actors)
            self._compare(commits)
            todo = pending(commits, self._markers)
            if not todo:
                return
            if not await self._apply(todo):
                return
        raise StateUnavailableError(
            f"the state of {', '.join(sorted(actors))} keeps changing in Redis at {self._where}; "
            f"does another supervisor use the namespace {self._namespace!r}?"
        )

    async def clear(self, actor: str) -> None:
        cursor = 0
        while True:
            cursor, names = await self._scan(actor, cursor)
            if names:
                await self._ask("UNLINK", *names)
            if cursor == 0:
                break
        # Last, so that a clear that was cut short can be told from one that was not.
        await self._ask("HDEL", self._markers_key, actor.encode())
        self._markers.pop(actor, None)
        self._acknowledged.pop(actor, None)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self._client.close()

    async def execute(self, *command: object) -> Any:
        """One command of Redis's, for what is kept beside the state.

        Raises:
            StateUnavailableError: it does not answer, or refuses.
        """
        return await self._ask(*command)

    async def _learn_markers(self, actors: Iterable[str]) -> None:
        unknown = sorted(actor for actor in actors if actor not in self._markers)
        if not unknown:
            return
        fields = [actor.encode() for actor in unknown]
        values: list[bytes | None] = await self._ask("HMGET", self._markers_key, *fields)
        for actor, value in zip(unknown, values, strict=True):
            self._markers[actor] = "" if value is None else value.decode(errors="replace")

    def _compare(self, commits: Sequence[StateCommit]) -> None:
        """Looks whether what was acknowledged is still there, or these commits or the first of them in its place."""
        in_doubt: dict[str, set[str]] = {}
        for commit in commits:
            in_doubt.setdefault(commit.actor, set()).add(commit.commit_id)
        for actor, ids in in_doubt.items():
            marker, last = self._markers[actor], self._acknowledged.get(actor)
            if last is not None and marker != last and marker not in ids:
                self._on_set_back(actor)
            self._acknowledged[actor] = marker

    async def _apply(self, todo: Sequence[Pending]) -> bool:
        """Applies commits in one round trip. Returns whether some were overtaken and have to be planned
        anew."""
        # In doubt from the first byte sent to the last answer read, whatever happens between.
        for item in todo:
            self._markers.pop(item.commit.actor, None)
        answers = await self._call(lambda: self._send(todo))
        overtaken: set[str] = set()
        refused: dict[str, StateCorruptError] = {}
        markers: dict[str, str] = {}
        for item, answer in zip(todo, answers, strict=True):
            commit = item.commit
            if isinstance(answer, Exception):
                raise self._unavailable(answer)
            match answer[0]:
                case b"applied":
                    markers[commit.actor] = commit.commit_id
                case b"overtaken":
                    # Also what becomes of the commits behind a refused one.
                    overtaken.add(commit.actor)
                case _:
                    place: int = answer[1]
                    refused[commit.actor] = StateCorruptError(
                        commit.actor, commit.ops[place].key, expected="a list", found=_in_words(answer[2])
                    )
        for actor, marker in markers.items():
            self._acknowledged[actor] = marker
            if actor not in overtaken and actor not in refused:
                self._markers[actor] = marker
        for error in refused.values():
            raise error
        return bool(overtaken)

    def _send(self, todo: Sequence[Pending]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            # The first call brings the script with it, so that the server knows it when it reads the others.
            script: tuple[str, str] = ("EVAL", APPLY_COMMIT)
            for item in todo:
                pipeline.execute_command(*script, *self._arguments(item))
                script = ("EVALSHA", APPLY_COMMIT_SHA)
            return pipeline.execute(raise_on_error=False)

    def _arguments(self, item: Pending) -> list[bytes | int]:
        commit = item.commit
        keys = [self._key(commit.actor, op.key) for op in commit.ops]
        # One argument for all operations: redis-py takes longer over many than the server over the work.
        ops = msgspec.msgpack.encode([self._packed(op) for op in commit.ops])
        arguments: list[bytes | int] = [commit.actor.encode(), item.after.encode(), commit.commit_id.encode(), ops]
        if commit.settles:
            places = self.letter_keys
            keys += [places.letters, places.marked, places.totals, places.letter(commit.settles)]
            arguments.append(commit.settles.encode())
        return [len(keys) + 1, self._markers_key, *keys, *arguments]

    def _packed(self, op: StateOp) -> tuple[object, ...]:
        # As text, since Redis's reader of MessagePack knows no bytes.
        match op:
            case Set():
                return "set", self._ttl if op.ttl is None else op.ttl, op.value.decode()
            case SetList():
                return "list", self._ttl if op.ttl is None else op.ttl, [item.decode() for item in op.items]
            case Append():
                return "append", self._ttl if op.ttl is None else op.ttl, [item.decode() for item in op.items]
            case Trim():
                return "trim", self._ttl, op.left, op.right
            case Delete():
                return "delete", None
            case Expire():
                return "expire", op.ttl

    async def _scan(self, actor: str, cursor: int) -> tuple[int, list[bytes]]:
        """One step of a scan of the actor's keys, so that no thread is held for all of a large Redis."""
        pattern = _literally(self._key(actor, "")) + b"*"
        following, names = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
        return int(following), names

    def _key(self, actor: str, key: str) -> bytes:
        # A colon ends the actor's name, so one inside it is written otherwise: else the keys of "a" and "a:b"
        # meet.
        name = actor.replace("%", "%25").replace(":", "%3A")
        return f"{self._namespace}:{name}:{key}".encode()

    async def _ask(self, *command: object) -> Any:
        return await self._call(lambda: self._client.execute_command(*command))

    async def _call(self, ask: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(ask, limiter=self._limiter)
        except redis.exceptions.RedisError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: object) -> StateUnavailableError:
        """Whatever Redis says instead of doing it (loading, out of memory, read-only, no permission) keeps
        commits waiting, with its words: somebody can set it right, and nothing is lost until then."""
        # What is cut off is where in our script it happened.
        message = str(error).partition(" script: ")[0] or type(error).__name__
        if "WRONGTYPE" in message:
            message += f" (a key that begins with {self._namespace}# is not what docs/state.md says: delete it)"
        return StateUnavailableError(f"Redis at {self._where}: {message}")


def _stored(actor: str, key: str, answer: list[Any]) -> Stored | None:
    """What the fetch script found at one key; others can write there, so it is looked at before it is
    believed."""
    kind: bytes = answer[0]
    if kind == b"none":
        return None
    if kind not in (b"string", b"list"):
        raise StateCorruptError(actor, key, expected="a value or a list", found=_in_words(kind))
    ttl: int | None = None if answer[1] < 0 else max(1, answer[1])
    documents: list[bytes] = answer[2] if kind == b"list" else [answer[2]]
    if not all(map(is_json, documents)):
        raise StateCorruptError(actor, key, expected="JSON", found="text that is no JSON")
    if kind == b"list":
        return Stored(Kind.LIST, items=tuple(documents), ttl=ttl)
    return Stored(Kind.VALUE, value=documents[0], ttl=ttl)


def _in_words(redis_type: bytes) -> str:
    return "a value" if redis_type == b"string" else f"a Redis {redis_type.decode(errors='replace')}"


def _text(name: bytes) -> str | None:
    """A key as text; None for what no script can have written."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _literally(text: bytes) -> bytes:
    """A Redis pattern that matches exactly this."""
    return b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^-" else bytes((byte,)) for byte in text)


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "redis.url"
