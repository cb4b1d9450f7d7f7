"""Shapes of the requests, results and notifications of specs/protocol.md, and its error codes.

Types only: what may be sent when is decided in `session` and by the two ends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec


class Code(IntEnum):
    """JSON-RPC error codes."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    CANCELLED = -32800
    DEADLINE_EXCEEDED = -32801
    NO_COMMON_VERSION = -32001
    SESSION_OVER = -32002
    SKIPPED = -32010
    LOAD_FAILED = -32020
    SCRIPT_FAILED = -32021
    UNSENDABLE_RESULT = -32022
    STATE_UNAVAILABLE = -32030
    NOT_ALLOWED = -32031


class CloseCode(IntEnum):
    """WebSocket close codes. After any but these four, and without one, the agent comes back."""

    DONE = 1000
    VIOLATION = 4001
    NO_COMMON_VERSION = 4002
    REPLACED = 4003
    CUT = 4004
    """This connection is of no more use; the session is."""


FINAL: Final = frozenset((CloseCode.DONE, CloseCode.VIOLATION, CloseCode.NO_COMMON_VERSION, CloseCode.REPLACED))
"""Those that end the session with the connection."""


class AgentExit(IntEnum):
    """Exit codes of an agent."""

    DONE = 0
    LINK_LOST = 70
    VIOLATION = 71
    REFUSED = 72


class _Params(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Unknown members are ignored, so that a later version can add some."""


Ordinal = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""Up to what every language holds exactly."""
FrameNumber = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Resume(_Params):
    """`received`: how many of the other side's frames have come."""

    received: FrameNumber


class Hello(_Params):
    protocol: list[int]
    runtime: str
    agent: str = ""
    language: str = ""
    pid: int = 0
    resume: Resume | None = None


class LinkLimits(_Params):
    max_frame: int
    max_message: int
    max_depth: int
    max_batch: int


class HelloResult(_Params):
    protocol: int
    session: str
    limits: LinkLimits
    resume_window_ms: Milliseconds = 0
    resumed: bool = False
    received: FrameNumber = 0


class StateSettings(_Params):
    backend: str = "redis"
    ttl_ms: Milliseconds | None = None


class Load(_Params):
    node: str
    component: str
    file: str
    source: str
    export: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    incarnation: Ordinal = 1
    inports: list[str] = msgspec.field(default_factory=list[str])
    outports: list[str] | None = None
    error_port: bool = False
    state: StateSettings = msgspec.field(default_factory=StateSettings)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    deadline_ms: Milliseconds | None = None


class LoadResult(_Params):
    name: str
    inports: list[str] | None = None
    outports: list[str] | None = None
    await_all_inports: bool = False


class Activate(_Params):
    activation: Ordinal
    attempt: Ordinal
    epoch: Ordinal
    inputs: dict[str, msgspec.Raw]
    timeout_ms: Milliseconds | None = None
    deadline_ms: Milliseconds | None = None


class Commit(_Params):
    """`outputs`: [port, encoded message]; `state`: operations as arrays (specs/protocol.md §6)."""

    outputs: list[tuple[str, msgspec.Raw]] = msgspec.field(default_factory=list[tuple[str, msgspec.Raw]])
    state: list[list[Any]] = msgspec.field(default_factory=list[list[Any]])
    sent: int = 0


class Send(_Params):
    activation: int
    attempt: int
    index: int
    port: str
    message: msgspec.Raw


class StateFetch(_Params):
    keys: list[str]


class StateKeys(_Params):
    pattern: str = "*"


class Cancel(_Params):
    id: int | str


class Log(_Params):
    level: str
    message: str
    fields: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Stop(_Params):
    grace_ms: Milliseconds = 5000


class Pong(_Params):
    busy: int | None = None
    busy_ms: int = 0


class Failure(_Params):
    """What went wrong in a script, as `data` of an error."""

    type: str
    message: str
    traceback: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
