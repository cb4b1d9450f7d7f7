"""The messages of the control endpoint: JSON-RPC 2.0 in text frames, and the snapshot that it is all about.

This module decides what is a well-formed message and how big one may be; it does no I/O and knows no method's
meaning. The language-neutral description is specs/control.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from reflow_supervisor.errors import ReflowError
from reflow_supervisor.state.letters import Letter

VERSION = 1
RESOURCE = "/control"
SUBPROTOCOL = "reflow.control.v1"

MAX_REQUEST = 64 * 1024
"""Bytes of a message to the server: a request names an actor at most."""
MAX_RESPONSE = 64 * 1024 * 1024
"""Bytes of a message to a client, which refuses more: some 50 000 actors."""
MAX_TRACEBACK = 16 * 1024
"""Characters of one traceback; what is cut is its beginning, since the end says what went wrong."""
MAX_LETTERS = 1000
"""Ids of dead letters in one request."""
MAX_LETTER = 16 * 1024 * 1024
"""Bytes of exact inputs that are sent with one letter."""
MAX_LINE = 2 * 1024
"""Characters of a reason, a message or a log line."""
TRACEBACK_BUDGET = 1024 * 1024
"""Characters of all the tracebacks in one snapshot. When a whole network fails at once, the operator still
gets every reason, several times a second; only the oldest tracebacks go missing.
"""

P = TypeVar("P", bound=msgspec.Struct)

Boundary = Literal["microVM", "namespaces", "NONE"]
WorkspaceState = Literal["starting", "running", "draining", "stopped"]
ActorState = Literal["starting", "running", "backoff", "stopped", "failed", "paused"]
LogLevel = Literal["debug", "info", "warning", "error"]
LetterState = Literal["dead", "marked", "replaying", "unkept"]
"""`marked`: to be replayed by the next run; `replaying`: by this one; `unkept`: in the supervisor's memory only."""

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, msgspec.Meta(max_length=64)]


# --- the snapshot -----------------------------------------------------------------------------------------
# Points in time are seconds since the epoch, spans are seconds, sizes are bytes; counters only grow.


class RedisStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` says where the state lives ("embedded", "tcp", "unix", "memory"), never a URL: those hold
    passwords.
    """

    kind: str
    available: bool


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole workspace, since its start."""

    received: int = msgspec.field(default=0, name="in")
    emitted: int = msgspec.field(default=0, name="out")
    failed: int = 0
    restarts: int = 0
    dead_letters: int = 0


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An exception of a script, or the reason of a sandbox's end put in the same form. All of it is untrusted
    text.
    """

    type: str
    message: str
    at: float
    traceback: str = ""


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One actor instance. `incarnation` counts its sandboxes from 1; `next_retry_in` is set in backoff;
    `cpu_seconds` are those of the present sandbox. None: not known, or not to be known for this runtime."""

    id: str
    component: str
    runtime: str
    state: ActorState
    incarnation: int = 0
    restarts: int = 0
    restarts_in_window: int = 0
    next_retry_in: float | None = None
    mailbox: int = 0
    mailbox_capacity: int = 0
    in_flight: int = 0
    received: int = 0
    emitted: int = 0
    failed: int = 0
    dead_letters: int = 0
    cpu_seconds: float | None = None
    memory: int | None = None
    pid: int | None = None
    last_error: ErrorInfo | None = None


class EdgeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, its ends as "actor.port". `full` is true while its producer waits for room; `dropped` are
    messages that its `on_full` let go."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    delivered: int = 0
    queued: int = 0
    full: bool = False
    dropped: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong: `kind` is a short stable name ("activation", "exit", "load", "timeout",
    "gave-up"), `reason` one line for people, `detail` a traceback or more lines."""

    at: float
    actor: str
    kind: str
    reason: str
    detail: str = ""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log, numbered so that a reader of successive snapshots shows each one once."""

    seq: int
    at: float
    level: LogLevel
    message: str
    source: str = ""


class TreeNode(msgspec.Struct, frozen=True, kw_only=True):
    """One child of the supervision tree; a supervisor also has a strategy, its restart intensity and
    children.
    """

    id: str
    state: str
    strategy: str | None = None
    restarts_in_window: int = 0
    intensity: int | None = None
    period: float | None = None
    next_retry_in: float | None = None
    children: tuple[TreeNode, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is to show, at one moment. `failures` and `log` are the last ones, oldest first."""

    workspace: str
    boundary: Boundary
    pid: int
    started_at: float
    uptime: float
    state: WorkspaceState
    redis: RedisStatus
    totals: Totals
    actors: tuple[ActorStatus, ...] = ()
    edges: tuple[EdgeStatus, ...] = ()
    failures: tuple[Failure, ...] = ()
    log: tuple[LogLine, ...] = ()
    tree: TreeNode | None = None


def fit(snapshot: Snapshot, *, budget: int = TRACEBACK_BUDGET) -> Snapshot:
    """The snapshot with its untrusted text cut to what is sent: the newest failures keep their tracebacks
    first, then the actors.
    """
    left = budget

    def cut(text: str) -> str:
        nonlocal left
        text = text[-MAX_TRACEBACK:]
        if len(text) > left:  # half a traceback would mislead: the budget takes whole ones
            return ""
        left -= len(text)
        return text

    replace = msgspec.structs.replace
    failures = [
        replace(failure, reason=failure.reason[:MAX_LINE], detail=cut(failure.detail))
        for failure in reversed(snapshot.failures)
    ]
    actors: list[ActorStatus] = []
    for actor in snapshot.actors:
        if (error := actor.last_error) is not None:
            error = replace(error, message=error.message[:MAX_LINE], traceback=cut(error.traceback))
            actor = replace(actor, last_error=error)
        actors.append(actor)
    log = [replace(line, message=line.message[:MAX_LINE]) for line in snapshot.log]
    return replace(snapshot, failures=tuple(reversed(failures)), actors=tuple(actors), log=tuple(log))


# --- parameters and the other results ---------------------------------------------------------------------


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ActorParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SubscribeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The floor keeps a client from making the supervisor do little else than draw its own picture."""

    interval_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1000


class DeadLettersParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`node` "": of every node."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    node: Annotated[str, msgspec.Meta(max_length=256)] = ""


LetterId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class DeadLetterParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: LetterId


class SelectionParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters: those of `ids`, or with `all` every one, of `node` where that is not ""."""

    ids: Annotated[list[LetterId], msgspec.Meta(max_length=MAX_LETTERS)] = msgspec.field(default_factory=list[str])
    all: bool = False
    node: Annotated[str, msgspec.Meta(max_length=256)] = ""

    def __post_init__(self) -> None:
        if self.all == bool(self.ids) or (self.node and not self.all):
            raise ValueError("either `ids`, or `all` and perhaps `node`")

    @property
    def wanted(self) -> list[str] | None:
        """The ids, None for all."""
        return None if self.all else self.ids


class Done(msgspec.Struct, frozen=True):
    """The result of what only has an effect: an empty object."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    protocol: int = VERSION


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One in a list. `at` is when its last attempt failed, `first_at` when the first one did; `attempts` are those of
    all replays, `burials` how often it was given up; `port` names the inports of its input, `preview` is that as text
    for people, cut short; `size` is of the document, in bytes."""

    id: str
    at: float
    actor: str
    port: str
    attempts: int
    error: ErrorInfo
    preview: str = ""
    component: str = ""
    first_at: float = 0.0
    burials: int = 1
    size: int = 0
    state: LetterState = "dead"


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The newest ones first; `total` counts those that were not asked for as well."""

    total: int
    letters: tuple[DeadLetter, ...] = ()


class ShownLetter(msgspec.Struct, frozen=True, kw_only=True):
    """All of one letter. `complete` is false where the exact inputs are too large to be sent, and left out."""

    letter: Letter
    complete: bool = True


class LettersDone(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to dead letters: their ids, in order; and id → why it was not."""

    done: tuple[str, ...] = ()
    refused: dict[str, str] = msgspec.field(default_factory=dict[str, str])


# --- the envelope -----------------------------------------------------------------------------------------


class ErrorCode(enum.IntEnum):
    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    REFUSED = -32040
    """It is understood and cannot be done now: an actor in the wrong state, a workspace already draining."""
    NO_SUCH_ACTOR = -32041
    NO_SUCH_LETTER = -32042


class ControlError(ReflowError):
    """A request was answered with an error. A provider raises it to answer with one; a client raises what it
    got.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A notification where `id` is UNSET."""

    jsonrpc: Literal["2.0"]
    method: Annotated[str, msgspec.Meta(max_length=64)]
    id: _Id | msgspec.UnsetType | None = msgspec.UNSET
    params: msgspec.Raw = msgspec.Raw(b"{}")


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: int
    message: str
    data: Any = None


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """What a client receives: a notification where `method` is set, else the response to `id`."""

    jsonrpc: Literal["2.0"]
    id: _Id | None = None
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorObject | None = None


_requests = msgspec.json.Decoder(Request)
_incoming = msgspec.json.Decoder(Incoming)


def decode_request(text: str) -> Request:
    """Raises ControlError for the answer with a null id that JSON-RPC asks for."""
    try:
        return _requests.decode(text)
    except msgspec.ValidationError as error:
        hint = "; batches are not supported" if text.lstrip().startswith("[") else ""
        raise ControlError(ErrorCode.INVALID_REQUEST, f"not a JSON-RPC 2.0 request: {error}{hint}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ControlError(ErrorCode.PARSE_ERROR, f"not JSON: {error}") from None


def decode_params(raw: msgspec.Raw, as_type: type[P]) -> P:
    try:
        return msgspec.json.decode(raw, type=as_type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ControlError(ErrorCode.INVALID_PARAMS, str(error)) from None


def decode_incoming(text: str | bytes) -> Incoming:
    """Raises ValueError for what no server of this protocol sends."""
    try:
        return _incoming.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a message of the control protocol: {error}") from None


def encode_request(request_id: int, method: str, params: Mapping[str, Any]) -> str:
    return _encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def encode_result(request_id: int | str | None, result: msgspec.Struct) -> str:
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def encode_error(request_id: int | str | None, error: ControlError) -> str:
    body = ErrorObject(code=int(error.code), message=error.message, data=error.data)
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": body})


def encode_notification(method: str, params: msgspec.Struct) -> str:
    return _encode({"jsonrpc": "2.0", "method": method, "params": params})


def _encode(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
