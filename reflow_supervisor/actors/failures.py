"""What becomes of activations that did not end in a commit: an `error` message, another attempt, or a dead letter.

How often something is tried, and in which order, is decided in `network.inbox`; here it is told, counted and said.
"""

from __future__ import annotations

import attrs
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.network.inbox import Activation, DeadLetter
from reflow_supervisor.supervision import ExitReason
from reflow_supervisor.telemetry.meters import LastError

from .endings import LinkDown, one_line
from .node import Host, Node

MAX_MESSAGE = 8 * 1024
MAX_TRACEBACK = 64 * 1024
"""Characters that are kept of a failure: of a message the beginning, of a traceback the end."""
_PREVIEW = 200
_PREVIEW_AT_MOST = 64 * 1024
"""Bytes of an input beyond which it is not decoded to be shown."""


def bounded(failure: Failure) -> Failure:
    """A failure as an agent sent it, with no more text than is kept."""
    return Failure(
        type=failure.type[:200],
        message=failure.message[:MAX_MESSAGE],
        traceback=failure.traceback[-MAX_TRACEBACK:],
        file=None if failure.file is None else failure.file[:1000],
        line=failure.line,
        column=failure.column,
    )


def text_of(failure: Failure) -> str:
    """For the log: the script's own traceback, where there is one."""
    return failure.traceback.rstrip() or f"{failure.type}: {failure.message}"


def preview(activation: Activation) -> str:
    """The inputs of an activation for people, cut short: `port=JSON, …`."""
    shown: list[str] = []
    for port, message in activation.inputs.items():
        size = memoryview(message).nbytes
        if size > _PREVIEW_AT_MOST:
            text = f"({size} bytes)"
        else:
            try:
                text = values.json_text(values.to_plain(*values.decode(message)))
            except values.MalformedMessageError:
                text = f"({size} bytes that are no message)"
        shown.append(f"{port}={text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + '…'}")
    return ", ".join(shown)


class Failures:
    """Deals with the failures of one node."""

    def __init__(self, host: Host, node: Node) -> None:
        self._host = host
        self._node = node

    async def failed(self, activation: Activation, failure: Failure) -> None:
        """An activation failed. With an `error` port, the failure goes there as soon as there is room, and the input is
        done; otherwise, and where a connection of that port refuses it, it is tried again, or given up."""
        node, router = self._node, self._host.router
        node.meter.failure(failure.type, failure.message, failure.traceback, self._host.wall_clock())
        self._host.report("error", node.id, text_of(failure), {"activation": activation.id})
        self._host.on_failure(node.id, "activation", one_line(f"{failure.type}: {failure.message}"), failure.traceback)
        if await self._error_port_takes_it():
            node.inbox.skip(activation)
            error = {"message": failure.message, "code": failure.type}
            router.place(node.id, "error", values.encode(values.ERROR, error))
            node.meter.emitted += 1
        else:
            self._bury(node.inbox.failed(activation, failure))
        router.bump()

    async def _error_port_takes_it(self) -> bool:
        node, router = self._node, self._host.router
        if node.plan.component.outport("error") is None:
            return False
        while not router.has_room(node.id, ["error"]):
            await router.changed.wait()
        return not router.refusal(node.id, ["error"])

    def loading_failed(self, failure: Failure) -> None:
        self._host.report("error", self._node.id, text_of(failure))
        self._note(failure.type, failure.message, failure.traceback)

    def lost(self, reason: ExitReason) -> None:
        """The sandbox is gone, and with it what was in flight."""
        node = self._node
        kind, text = type(reason).__name__, str(reason)
        if not node.inbox.in_flight:
            self._note(kind, text, "")
            return
        node.meter.failure(kind, text, "", self._host.wall_clock())
        # What a link says of its end is a sentence already.
        message = text if isinstance(reason, LinkDown) else f"the sandbox {text}"
        self._bury(node.inbox.lost(Failure(type=kind, message=message)))
        self._host.router.bump()

    def give_back(self) -> None:
        """The incarnation was stopped by somebody else: what was in flight waits again, and is not to blame."""
        if self._node.inbox.in_flight:
            self._node.inbox.give_back()
            self._host.router.bump()

    def _note(self, kind: str, message: str, traceback: str) -> None:
        self._node.meter.last_error = LastError(kind, message, traceback, self._host.wall_clock())

    def _bury(self, letter: DeadLetter | None) -> None:
        if letter is None:
            return
        node, activation, failure = self._node, letter.activation, letter.failure
        self._host.router.dead_letters.append(attrs.evolve(letter, at=self._host.wall_clock()))
        node.meter.dead_letters += 1
        shown = preview(activation)
        self._host.report(
            "error",
            node.id,
            f"dead letter after {activation.failures} attempts: {failure.message} ({failure.type}); input: {shown}",
            {
                "event": "dead-letter",
                "activation": activation.id,
                "attempts": activation.failures,
                "error": failure.type,
                "input": shown,
            },
        )
