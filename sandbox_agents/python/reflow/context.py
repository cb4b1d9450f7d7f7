"""`ActorContext`: what an actor's function is given for one activation.

It decides nothing: inputs, state and the way out are put in by the agent (`reflow.agent.runner`), or by a test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, overload

from .message import Message
from .state import ActorState


class _CallableInt(int):
    """Older scripts read `context.timestamp`, newer ones call `context.timestamp()`: both give milliseconds."""

    def __call__(self) -> int:
        return int(self)


class _CallableStr(str):
    """The same for `context.actor_id`."""

    __slots__ = ()

    def __call__(self) -> str:
        return str(self)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class ActorContext:
    """One activation, as the actor sees it.

    Args:
        payload: the messages of this activation by inport.
        state: the actor's state.
        actor_id: the node's id in the network.
        config: the node's configuration.
        emit: takes (port, message) that leaves at once.
        write_log: takes (level, message, fields).
        now: the wall clock in milliseconds.
    """

    __slots__ = ("_actor_id", "_config", "_emit", "_now", "_payload", "_state", "_write_log")

    def __init__(
        self,
        payload: Mapping[str, Message],
        state: ActorState,
        *,
        actor_id: str = "",
        config: Mapping[str, Any] | None = None,
        emit: Callable[[str, Any], None],
        write_log: Callable[[str, str, Mapping[str, Any]], None],
        now: Callable[[], int] = _unix_ms,
    ) -> None:
        self._payload = dict(payload)
        self._state = state
        self._actor_id = actor_id
        self._config: Mapping[str, Any] = {} if config is None else config
        self._emit = emit
        self._write_log = write_log
        self._now = now

    @property
    def payload(self) -> dict[str, Message]:
        return self._payload

    def get_payload(self) -> dict[str, Message]:
        return self._payload

    @property
    def config(self) -> Mapping[str, Any]:
        return self._config

    def get_config(self) -> Mapping[str, Any]:
        return self._config

    @property
    def state(self) -> ActorState:
        return self._state

    @overload
    def get_state(self) -> ActorState: ...

    @overload
    def get_state(self, key: str, default: Any = None, /) -> Any: ...

    def get_state(self, *key_and_default: Any) -> Any:
        """The actor's state; with a key, as older scripts call it, the value of that key."""
        return self._state.get(*key_and_default) if key_and_default else self._state

    def set_state(self, key: str, value: Any) -> None:
        """Older form of `context.state.set(key, value)`."""
        self._state.set(key, value)

    def has_input(self, port: str) -> bool:
        return port in self._payload

    def get_input(self, port: str, default: Any = None) -> Any:
        """The message on that port, or the default where this activation has none."""
        return self._payload.get(port, default)

    def send(self, port: str, message: Any) -> None:
        """Emits a message (or a plain value) now, before the function returns."""
        self._emit(port, message)

    send_output = send

    def log(self, level: str, message: object, **fields: Any) -> None:
        """A record for the supervisor's log: "debug", "info", "warning" or "error"."""
        self._write_log(level, str(message), fields)

    @property
    def timestamp(self) -> _CallableInt:
        """Milliseconds since 1970, now; also as `timestamp()`."""
        return _CallableInt(self._now())

    @property
    def actor_id(self) -> _CallableStr:
        """The id of this node in the network; also as `actor_id()`."""
        return _CallableStr(self._actor_id)
