"""What becomes of activations that did not end in a commit: an `error` message, another attempt, or a dead letter.

How often something is tried, and in which order, is decided in `network.inbox`; here it is told, counted and said.
"""

from __future__ import annotations

import attrs
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.network.dead_letters import preview
from reflow_supervisor.network.inbox import Activation, DeadLetter
from reflow_supervisor.state.store import StateCommit
from reflow_supervisor.supervision import ExitReason
from reflow_supervisor.telemetry.meters import LastError

from .endings import LinkDown, one_line
from .node import Host, Node

MAX_MESSAGE = 8 * 1024
MAX_TRACEBACK = 64 * 1024
"""Characters that are kept of a failure: of a message the beginning, of a traceback the end."""
_PREVIEW = 200
"""Characters of each input in the log."""


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


class Failures:
    """Deals with the failures of one node."""

    def __init__(self, host: Host, node: Node) -> None:
        self._host = host
        self._node = node

    async def failed(self, activation: Activation, failure: Failure) -> None:
        """An activation failed. With an `error` port, the failure goes there as soon as there is room, and the input is
        done; otherwise, and where a connection of that port refuses it, it is tried again, or given up."""
        node, router, at = self._node, self._host.router, self._host.wall_clock()
        node.meter.failure(failure.type, failure.message, failure.traceback, at)
        self._host.report("error", node.id, text_of(failure), {"activation": activation.id})
        self._host.on_failure(node.id, "activation", one_line(f"{failure.type}: {failure.message}"), failure.traceback)
        if await self._error_port_takes_it(activation):
            node.inbox.skip(activation)
            error = {"message": failure.message, "code": failure.type}
            router.place(node.id, "error", values.encode(values.ERROR, error))
            node.meter.emitted += 1
        else:
            await self._room_for(activation)
            self._bury(node.inbox.failed(activation, failure, at))
        router.bump()

    async def _error_port_takes_it(self, activation: Activation) -> bool:
        node, router = self._node, self._host.router
        if node.plan.component.outport("error") is None:
            return False
        while not router.has_room(node.id, ["error"]):
            await router.changed.wait()
        if router.refusal(node.id, ["error"]):
            return False
        if (replay := activation.replay) is not None:
            # Under an id of its own: should this be cancelled, the next attempt may succeed, and then has a commit.
            commit_id = f"{node.plan.run_id}:{activation.id}:failed"
            await node.store.commit([StateCommit(node.id, commit_id, (), replay.letter)])
            router.dead_letters.gone(replay.letter)
        return True

    async def _room_for(self, activation: Activation | None) -> None:
        """Waits while it would become a dead letter, and there are too many that are not kept yet. Until then it is in
        flight: it holds up its node, and nothing is counted."""
        node, router = self._node, self._host.router
        if activation is not None and node.inbox.last_chance(activation):
            while router.dead_letters.full:
                await router.changed.wait()

    def loading_failed(self, failure: Failure) -> None:
        self._host.report("error", self._node.id, text_of(failure))
        self._note(failure.type, failure.message, failure.traceback)

    async def lost(self, reason: ExitReason) -> None:
        """The sandbox is gone, and with it what was in flight."""
        node = self._node
        kind, text = type(reason).__name__, str(reason)
        if not node.inbox.in_flight:
            self._note(kind, text, "")
            return
        await self._room_for(node.inbox.guilty())
        at = self._host.wall_clock()
        node.meter.failure(kind, text, "", at)
        # What a link says of its end is a sentence already.
        message = text if isinstance(reason, LinkDown) else f"the sandbox {text}"
        self._bury(node.inbox.lost(Failure(type=kind, message=message), at))
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
        id = self._host.router.dead_letters.bury(attrs.evolve(letter, component=node.plan.component))
        node.meter.dead_letters += 1
        shown = preview(activation, _PREVIEW)
        again = "" if activation.replay is None else "again a "
        self._host.report(
            "error",
            node.id,
            f"{again}dead letter after {activation.failures} attempts: {failure.message} ({failure.type}); "
            f"input: {shown}; id: {id}",
            {
                "event": "dead-letter",
                "id": id,
                "activation": activation.id,
                "attempts": activation.failures,
                "error": failure.type,
                "input": shown,
            },
        )
