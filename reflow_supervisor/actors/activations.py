"""The activations of one sandbox, from the inbox to their commit.

A message's way: `_hand_out` takes an activation from the inbox and sends it; the agent's answer comes to `_answered`,
on the link's task, and waits; `run` commits the answers in their order (`commit`), or deals with a failure
(`failures`). What the script sends meanwhile comes to `sent` and waits in the same order: for the commits before it,
and for room. Where too much of it waits, nothing more is read from the link, so that in the end the script waits.

This module decides which answers count. An agent answers in the order in which it was given activations, and after
one that failed it skips those of the same epoch; the inbox hands them out again. An answer that is out of order breaks
the protocol, and one to an activation that is not waited for any more is stale, and ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

import attrs
import trio
from reflow.wire import messages
from reflow.wire.messages import Code, Failure
from reflow.wire.session import Outcome, ProtocolViolationError

from reflow_supervisor.network.inbox import Activation
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.supervision import TimedOut

from .commit import BrokenAnswerError, Committer, RefusedError
from .failures import Failures, bounded
from .node import Decided, Host, Node

MAX_BATCH = 64
"""Activations that are committed together, at most."""

KILL_GRACE = 1.0
"""Seconds between an activation's timeout and the end of a sandbox that did not yield to it."""

MAX_SENT = 1024
MAX_SENT_BYTES = 16 * 1024 * 1024
"""Messages of `context.send` that wait, and bytes of them, at most, before the agent is not listened to."""


@attrs.define(eq=False)
class _Handed:
    """An activation in the agent's hands.

    `at`: when it was handed out; `waiting`: messages that it sent and that are not placed yet; `refusal`: why what it
    sent makes it fail; `muted`: what it still sends is dropped.
    """

    activation: Activation
    attempt: int
    at: float
    waiting: int = 0
    refusal: Failure | None = None
    muted: bool = False


class Activations:
    """See the module.

    Args:
        kill: ends the sandbox, and says why.
    """

    def __init__(
        self,
        host: Host,
        node: Node,
        link: Link,
        committer: Committer,
        failures: Failures,
        kill: Callable[[str], None],
    ) -> None:
        self.overran: TimedOut | None = None
        """Set when the sandbox was killed because an activation did not end."""
        self._router = host.router
        self._node = node
        self._link = link
        self._committer = committer
        self._failures = failures
        self._kill = kill
        self._handed: deque[_Handed] = deque()
        self._running_since = 0.0
        """When the first of those handed out can have begun: when the one before it was answered."""
        self._answers: deque[tuple[_Handed, messages.Commit | Failure | messages.Send]] = deque()
        """And what was sent before them."""
        self._sent = 0
        self._sent_bytes = 0
        self._failing = False
        """A failure is to be dealt with: what is handed out before that would be skipped, or left with an agent that is
        about to be replaced."""
        self._wake = trio.Event()

    async def run(self) -> bool:
        """Hands out and commits until the link is over and all its answers are dealt with.

        Returns:
            True where the link is not over, but the agent holds a state that was refused: it needs to be replaced.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hand_out)
                nursery.start_soon(self._watch_overruns)
                nursery.start_soon(self._wake_when_closed)
                replace = await self._commit_answers()
                nursery.cancel_scope.cancel()
        finally:
            self._handed.clear()  # whatever the agent says from now on is stale
        return replace

    # -- out ----------------------------------------------------------------------------------------------------

    async def _hand_out(self) -> None:
        timeout, inbox = self._node.plan.timeout, self._node.inbox
        timeout_ms = None if timeout is None else round(timeout * 1000)
        while True:
            changed = self._router.changed
            # What is not sent to a link that is cut or over cannot be blamed for the sandbox's end.
            while not self._failing and self._link.is_up and (activation := inbox.take()) is not None:
                handed = _Handed(activation, activation.attempt, trio.current_time())
                params = messages.Activate(
                    activation=activation.id,
                    attempt=activation.attempt,
                    epoch=inbox.epoch,
                    inputs=dict(activation.inputs),
                    timeout_ms=timeout_ms,
                )
                if not self._handed:
                    self._running_since = handed.at
                self._handed.append(handed)

                def answered(outcome: Outcome, handed: _Handed = handed) -> None:
                    self._answered(handed, outcome)

                self._link.call("activate", params, answered)
            await changed.wait()

    async def _watch_overruns(self) -> None:
        """Ends a sandbox whose running activation yields to no timeout of the agent."""
        timeout = self._node.plan.timeout
        if timeout is None:
            return
        while True:
            if self._link.held:
                self._running_since = trio.current_time()  # its answer may have come, and was not read
            since = self._running_since if self._handed else trio.current_time()
            over_at = since + timeout + KILL_GRACE + self._link.patience(since)
            if self._handed and trio.current_time() >= over_at:
                self.overran = TimedOut(f"activation {self._handed[0].activation.id}", timeout)
                self._kill(f"an activation did not end within {timeout:g} s, nor when it was interrupted")
                return
            await trio.sleep_until(over_at)

    # -- in -----------------------------------------------------------------------------------------------------

    def _answered(self, handed: _Handed, outcome: Outcome) -> None:
        if outcome.unknown or handed not in self._handed:
            return
        id = handed.activation.id
        if handed is not self._handed[0]:
            self._link.violated(f"activation {id} was answered before {self._handed[0].activation.id}")
            return
        error = outcome.error
        if error is None:
            assert outcome.result is not None
            self._answers.append((handed, outcome.result.decode(messages.Commit)))
        elif error.code == Code.SKIPPED:
            self._link.violated(f"activation {id} was skipped, and none before it had failed")
            return
        else:
            failure = error.decode_data(Failure) or Failure(type="Error", message=error.message)
            if error.code == Code.DEADLINE_EXCEEDED and self._node.plan.timeout is not None:
                # What it was interrupted by in its language is of no interest; where it was, is.
                failure.type, failure.message = "TimeoutError", f"it took longer than {self._node.plan.timeout:g} s"
            self._answers.append((handed, bounded(failure)))
        if error is None:
            self._handed.popleft()
            self._running_since = trio.current_time()
        else:
            self._handed.clear()
            self._failing = True
        self._wake.set()

    def sent(self, sent: messages.Send) -> None:
        """`context.send` of the running activation: lets it wait for its turn.

        Raises:
            ProtocolViolationError: it is no message, or one before it is missing.
        """
        handed = self._handed[0] if self._handed else None
        if handed is None or (handed.activation.id, handed.attempt) != (sent.activation, sent.attempt):
            return
        if handed.refusal is not None:
            return  # the activation is going to fail
        known = handed.activation.sent + handed.waiting
        if sent.index < known:
            return  # an earlier attempt's was placed
        if sent.index > known:
            raise ProtocolViolationError(f"message {sent.index} of an activation came after {known} others")
        try:
            self._committer.check_output(sent.port, sent.message)
        except BrokenAnswerError as e:
            raise ProtocolViolationError(str(e)) from None
        except RefusedError as e:
            handed.refusal = e.failure
            return
        handed.waiting += 1
        self._answers.append((handed, sent))
        self._count_sent(1, sent)
        self._wake.set()

    def _count_sent(self, change: int, sent: messages.Send) -> None:
        self._sent += change
        self._sent_bytes += change * memoryview(sent.message).nbytes
        if self._sent >= MAX_SENT or self._sent_bytes >= MAX_SENT_BYTES:
            self._link.hold()
        elif self._link.held and self._sent <= MAX_SENT // 2 and self._sent_bytes <= MAX_SENT_BYTES // 2:
            self._link.release()
            self._running_since = trio.current_time()

    # -- commit -------------------------------------------------------------------------------------------------

    async def _wake_when_closed(self) -> None:
        await self._link.closed.wait()
        self._wake.set()

    async def _commit_answers(self) -> bool:
        while True:
            while self._answers:
                first, answer = self._answers[0]
                try:
                    if isinstance(answer, messages.Send):
                        await self._place_sent()
                    elif isinstance(answer, Failure):
                        await self._failures.failed(first.activation, answer)
                        self._failing = False
                        self._answers.popleft()
                        self._router.bump()
                    else:
                        await self._commit_batch(first, answer)
                except RefusedError as e:
                    # The agent's copy of the state has the effects of what was refused, and so may all that follows.
                    self._failing = True
                    self._handed.clear()
                    refused = next(h for h, _ in self._answers if self._node.inbox.is_in_flight(h.activation))
                    await self._failures.failed(refused.activation, e.failure)
                    return True
                except BrokenAnswerError as e:
                    self._link.violated(f"activation {first.activation.id}: {e}")
                    return False
            if self._link.closed.is_set():
                return False
            await self._wake.wait()
            self._wake = trio.Event()

    async def _place_sent(self) -> None:
        """Lets out what was sent and has its turn, as there is room."""
        router, node = self._router, self._node
        while self._answers and isinstance(sent := (front := self._answers[0])[1], messages.Send):
            handed = front[0]
            while not handed.muted and not router.has_room(node.id, [sent.port]):
                router.bump()  # what was placed so far has to be taken, or there will never be room
                await router.changed.wait()
            if not handed.muted and (refusal := router.refusal(node.id, [sent.port])):
                handed.muted = True
                handed.refusal = handed.refusal or Failure(type="MailboxFullError", message=refusal)
            if not handed.muted:
                handed.activation.sent += 1
                node.meter.emitted += 1
                router.place(node.id, sent.port, sent.message)
            handed.waiting -= 1
            self._answers.popleft()
            self._count_sent(-1, sent)
        router.bump()

    async def _commit_batch(self, handed: _Handed, answer: messages.Commit) -> None:
        """Commits the first answer, when there is room for it, and with it those behind it that are ready.

        Raises:
            BrokenAnswerError, RefusedError: the first cannot be committed. A later one waits until it is the first.
        """
        committer = self._committer
        first = self._decide(handed, answer)
        await committer.wait_for_room(first)
        batch = [first]
        # Only now: while it waited for room, more may have come.
        for later, its_answer in islice(self._answers, 1, MAX_BATCH):
            if not isinstance(its_answer, messages.Commit):
                break
            try:
                decided = self._decide(later, its_answer)
            except (BrokenAnswerError, RefusedError):
                break
            if not committer.fits(batch, decided):
                break
            batch.append(decided)
        await committer.commit(batch)
        for _ in batch:
            self._answers.popleft()

    def _decide(self, handed: _Handed, answer: messages.Commit) -> Decided:
        if handed.refusal is not None:
            raise RefusedError(handed.refusal)
        return self._committer.decide(handed.activation, answer, handed.at)
