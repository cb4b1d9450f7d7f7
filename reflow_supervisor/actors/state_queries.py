"""Answers what an agent asks of its actor's state: keys that it does not know yet, and names of keys.

It decides which questions are allowed. What a key holds, the store says; writes come with commits.
"""

from __future__ import annotations

from typing import Any

import trio
from reflow.wire import messages
from reflow.wire.messages import Code
from reflow.wire.session import ProtocolViolationError, RequestReceived

from reflow_supervisor.rpc.link import Link
from reflow_supervisor.state.operations import InvalidStateOps, parse_key, parse_keys
from reflow_supervisor.state.store import Kind, StateCorruptError, StateStore, Stored

from .commit import STATE_LIMITS

MAX_WAITING = 256


class StateQueries:
    """The questions of one agent, answered one at a time and in their order."""

    def __init__(self, actor: str, store: StateStore, link: Link) -> None:
        self._actor = actor
        self._store = store
        self._link = link
        self._send, self._receive = trio.open_memory_channel[RequestReceived](MAX_WAITING)

    def ask(self, request: RequestReceived) -> None:
        """
        Raises:
            ProtocolViolationError: too many wait already.
        """
        try:
            self._send.send_nowait(request)
        except trio.WouldBlock:
            raise ProtocolViolationError(f"more than {MAX_WAITING} requests at once") from None
        except trio.ClosedResourceError:
            pass  # nobody waits for the answer

    def close(self) -> None:
        """Takes no more questions."""
        self._send.close()

    async def run(self) -> None:
        """Answers until it is closed and all that was asked before is answered."""
        async for request in self._receive:
            try:
                answer = await self._answer(request)
            except (InvalidStateOps, StateCorruptError) as e:
                self._link.fail(request.id, Code.NOT_ALLOWED, str(e))
            except ProtocolViolationError as e:
                self._link.violated(str(e))
            else:
                if answer is None:
                    self._link.fail(request.id, Code.METHOD_NOT_FOUND, f"no method {request.method!r}")
                else:
                    self._link.respond(request.id, answer)

    async def _answer(self, request: RequestReceived) -> Any:
        match request.method:
            case "state.fetch":
                keys = parse_keys(request.params.decode(messages.StateFetch).keys, STATE_LIMITS)
                found = await self._store.fetch(self._actor, keys)
                return {key: _encoded(stored) for key, stored in found.items()}
            case "state.keys":
                pattern = parse_key(request.params.decode(messages.StateKeys).pattern)
                return list(await self._store.keys(self._actor, pattern))
            case _:
                return None


def _encoded(stored: Stored) -> list[Any]:
    """As in specs/protocol.md §6."""
    if stored.kind is Kind.VALUE:
        return ["value", stored.value.decode(), stored.ttl]
    return ["list", [item.decode() for item in stored.items], stored.ttl]
