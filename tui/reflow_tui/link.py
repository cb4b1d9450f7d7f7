"""The connection to the supervisor: Trio, in a thread of its own beside Textual's asyncio loop.

The two meet in two places only. `emit` is called in the Trio thread and must be safe to call from there;
`send` and `end` may be called from any thread. This module decides when to try again, and nothing about what is shown.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import trio

from reflow_supervisor.control.client import Client, ControlError, Disconnected, open_client
from reflow_supervisor.control.protocol import Snapshot


@attrs.frozen
class Command:
    """A method to call, and how to speak of it."""

    method: str
    actor: str = ""

    def __str__(self) -> str:
        return f"{self.method.removeprefix('actor.')} {self.actor}".rstrip()


@attrs.frozen
class Connected:
    pass


@attrs.frozen
class Lost:
    """The connection went away; an attempt to connect again follows shortly."""

    reason: str


@attrs.frozen
class Absent:
    """Nobody answered; the next attempt follows in `retry_in` seconds."""

    reason: str
    retry_in: float


@attrs.frozen
class Arrived:
    snapshot: Snapshot


@attrs.frozen
class Answered:
    """`error` is empty where the command was accepted."""

    command: Command
    error: str = ""


LinkEvent = Connected | Lost | Absent | Arrived | Answered
Emit = Callable[[LinkEvent], None]


class Link(Protocol):
    """Where snapshots come from and commands go."""

    def run(self, emit: Emit) -> None:
        """Blocks until `end` is called."""
        ...

    def send(self, command: Command) -> None:
        """Its outcome comes as `Answered`."""
        ...

    def end(self) -> None: ...


class ControlLink:
    """A link to the control endpoint at `path`, which it keeps looking for until it is ended.

    Args:
        interval: seconds between two snapshots.
        patience: seconds that a command may take.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: float = 0.5,
        retry_first: float = 0.2,
        retry_max: float = 2.0,
        patience: float = 15.0,
    ) -> None:
        self._path = path
        self._interval = interval
        self._retry_first = retry_first
        self._retry_max = retry_max
        self._patience = patience
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._send, self._commands = trio.open_memory_channel[Command](math.inf)
        self._ended = False

    def run(self, emit: Emit) -> None:
        trio.run(self._main, emit)

    def send(self, command: Command) -> None:
        self._in_trio(lambda: self._send.send_nowait(command))

    def end(self) -> None:
        self._ended = True
        self._in_trio(self._scope.cancel)

    def _in_trio(self, function: Callable[[], object]) -> None:
        # Before the run there is nobody to tell (`_main` looks at `_ended` first), and after it nobody left.
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function)

    async def _main(self, emit: Emit) -> None:
        self._token = trio.lowlevel.current_trio_token()
        if self._ended:
            return
        with self._scope:
            retry_in = self._retry_first
            while True:
                try:
                    async with open_client(self._path) as client:
                        retry_in = self._retry_first
                        emit(Connected())
                        try:
                            await self._converse(client, emit)
                        except Disconnected as error:
                            emit(Lost(str(error)))
                    await trio.sleep(self._retry_first)
                except Disconnected as error:
                    emit(Absent(str(error), retry_in))
                    self._refuse_commands(emit)
                    await trio.sleep(retry_in)
                    retry_in = min(2 * retry_in, self._retry_max)

    async def _converse(self, client: Client, emit: Emit) -> None:
        """Returns never: raises Disconnected. A nursery would make that a group, hence the scope and the slot."""
        lost: Disconnected | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, client, emit, nursery)
            try:
                async for snapshot in client.subscribe(self._interval):
                    emit(Arrived(snapshot))
            except Disconnected as error:
                lost = error
            except ControlError as error:
                lost = Disconnected(f"the supervisor shows nothing: {error}")
            nursery.cancel_scope.cancel()
        if lost is not None:
            raise lost

    async def _obey(self, client: Client, emit: Emit, nursery: trio.Nursery) -> None:
        async for command in self._commands:
            nursery.start_soon(self._execute, client, command, emit)

    async def _execute(self, client: Client, command: Command, emit: Emit) -> None:
        error = "it took too long; what it did is not known"
        with trio.move_on_after(self._patience):
            try:
                await (client.call(command.method, id=command.actor) if command.actor else client.call(command.method))
                error = ""
            except (ControlError, Disconnected) as failure:
                error = str(failure)
        emit(Answered(command, error))

    def _refuse_commands(self, emit: Emit) -> None:
        """What was asked for while nobody was there must not happen minutes later."""
        with contextlib.suppress(trio.WouldBlock):
            while True:
                emit(Answered(self._commands.receive_nowait(), "there is no connection"))
