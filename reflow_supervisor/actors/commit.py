"""From an agent's answer to its effects: room first, then state, then outputs, then the input is done; all or nothing.

What is ready goes to the store together, in order, so that a slow store costs a round trip for many activations.

What holds:

- Whatever is wrong with an answer is found before anything of it is done. An agent that answers what no agent of ours
  would breaks the protocol; a script's mistake (a message that does not fit its port, an operation that does not fit
  what its key holds) is the failure of its activation.
- Once the store has been called, the commit is *decided*. It is finished, whatever becomes of the sandbox and of the
  incarnation: should the call be cancelled, or its answer be lost, then the node keeps the very same commits, and the
  next incarnation finishes them before anything else, instead of handing the activation out again. So state is applied
  once (the store knows a commit by its id, which is that of the run and of the activation), and the outputs that
  belong to this state are placed, not those of another attempt, which would have been computed from a state that had
  the first one's effects in it.
- This lasts as long as the process. What was decided when the supervisor itself was killed may be applied without its
  outputs: mailboxes are in memory.

A cancelled call can have been applied: `RedisStore` lets no request that was sent be cut short, but `RetryingStore`
may wait to ask again, after an answer that did not come, when it is cancelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import trio
from reflow.wire import messages, values
from reflow.wire.limits import MESSAGE_DEPTH
from reflow.wire.messages import Failure

from reflow_supervisor.network.inbox import Activation
from reflow_supervisor.network.ports import accepts, parse_port_type
from reflow_supervisor.state.operations import InvalidStateOps, StateLimits, parse_ops
from reflow_supervisor.state.store import Append, StateCommit, StateCorruptError, Trim

from .node import Decided, Host, Node

STATE_LIMITS = StateLimits()

MAX_UNDECLARED = 20
"""Ports that are not declared and are spoken of, at most, in one incarnation."""


class BrokenAnswerError(Exception):
    """The agent answered what no agent may; the text says what."""


class RefusedError(Exception):
    """The answer cannot take effect, by a mistake of the script's or by what its state's keys hold."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Committer:
    """Commits the activations of one node, in the order in which they were handed out."""

    def __init__(self, host: Host, node: Node) -> None:
        self._host = host
        self._node = node
        component = node.plan.component
        self._types = {port.name: parse_port_type(port.type) for port in component.outports}
        # As deep as an agent lets a script go: one deeper would break the protocol of the next agent.
        self._max_depth = node.plan.max_depth - MESSAGE_DEPTH
        self._undeclared: set[str] = set()
        """Those that were spoken of."""

    def check_output(self, port: str, message: msgspec.Raw) -> None:
        """
        Raises:
            BrokenAnswerError: it is no message.
            RefusedError: it does not fit its port.
        """
        try:
            type = values.check(message, self._max_depth)
        except values.MalformedMessageError as e:
            raise BrokenAnswerError(str(e)) from None
        expected, node = self._types.get(port), self._node
        if expected is not None:
            elements = values.peek_array(message) if type == values.ARRAY else None
            if type != values.ERROR and not accepts(expected, type, elements):
                found = f"a message of type {type}" if elements is None else f"a typed array of {elements[0]}s"
                text = f"port {port!r} is declared {expected}, and got {found}"
                raise RefusedError(Failure(type="PortTypeError", message=text))
        elif not node.plan.component.open_ports:
            self._say_undeclared(port)

    def _say_undeclared(self, port: str) -> None:
        told, node = self._undeclared, self._node
        if port in told or len(told) >= MAX_UNDECLARED or self._host.router.unrouted[node.id, port]:
            return
        told.add(port)
        declared = ", ".join(self._types) or "none"
        more = "; of further ones nothing is said" if len(told) == MAX_UNDECLARED else ""
        self._host.report(
            "error", node.id, f"returned port {port!r}, which it does not declare (declared: {declared}){more}"
        )

    def decide(self, activation: Activation, answer: messages.Commit, since: float) -> Decided:
        """What an answer would do. Nothing of it is done yet.

        Args:
            since: when the activation was handed out, on Trio's clock.

        Raises:
            BrokenAnswerError, RefusedError: it can do nothing.
        """
        try:
            ops = parse_ops(answer.state, STATE_LIMITS)
        except InvalidStateOps as e:
            raise BrokenAnswerError(str(e)) from None
        for port, message in answer.outputs:
            self.check_output(port, message)
        plan = self._node.plan
        settles = "" if activation.replay is None else activation.replay.letter
        state = StateCommit(plan.node, f"{plan.run_id}:{activation.id}", ops, settles)
        return Decided(activation, state, answer.outputs, since)

    async def wait_for_room(self, decided: Decided) -> None:
        """
        Raises:
            RefusedError: a connection refuses it.
        """
        router, node, ports = self._host.router, self._node.id, _ports(decided)
        while not router.has_room(node, ports):
            await router.changed.wait()
        self._check_refusal(ports)

    def fits(self, batch: Sequence[Decided], decided: Decided) -> bool:
        """Whether there is room for it too, behind those that there is room for."""
        planned = Counter(port for before in batch for port in _ports(before))
        router, ports = self._host.router, _ports(decided)
        return router.has_room(self._node.id, ports, planned) and not router.refusal(self._node.id, ports, planned)

    def _check_refusal(self, ports: Sequence[str]) -> None:
        if refusal := self._host.router.refusal(self._node.id, ports):
            raise RefusedError(Failure(type="MailboxFullError", message=refusal))

    async def commit(self, batch: Sequence[Decided]) -> None:
        """Returns when everything of these has taken effect. Their activations are in flight, the oldest first.

        Without a deadline: while the store is away, commits wait.

        Raises:
            RefusedError: the state of one of them does not fit to what its keys hold. Those before it have taken
                effect; it and those behind it have not.
        """
        node, router = self._node, self._host.router
        states = [decided.state for decided in batch if decided.state.ops or decided.state.settles]
        refusal: StateCorruptError | None = None
        good = len(states)
        if states:
            node.decided = batch
            ports = [port for decided in batch for port in _ports(decided)]
            router.promise(node.id, ports)
            try:
                await node.store.commit(states)
            except StateCorruptError as error:
                refusal, good = error, await self._applied(states[:-1])
            finally:
                router.promise(node.id, ports, -1)
            node.decided = ()
        for decided in batch:
            if refusal is not None and decided.state is states[good]:
                raise RefusedError(_state_failure(decided.state, refusal))
            self._finish(decided)
        router.bump()

    async def _applied(self, states: Sequence[StateCommit]) -> int:
        """How many of these were applied, in front of one that was refused: with those alone the store has no quarrel,
        and it does nothing twice."""
        while states:
            try:
                await self._node.store.commit(states)
            except StateCorruptError:
                states = states[:-1]
            else:
                return len(states)
        return 0

    def _finish(self, decided: Decided) -> None:
        """Nothing here awaits, so that what was applied is also placed."""
        node, router = self._node, self._host.router
        for port, message in decided.outputs:
            router.place(node.id, port, message)
        node.inbox.done(decided.activation)
        node.meter.committed(len(decided.outputs), trio.current_time() - decided.since)
        if (settled := decided.state.settles) != "":
            router.dead_letters.gone(settled)
            self._host.report("info", node.id, f"dead letter {settled} was replayed")


def _ports(decided: Decided) -> list[str]:
    return [port for port, _ in decided.outputs]


def _state_failure(state: StateCommit, error: StateCorruptError) -> Failure:
    asked = ", ".join(
        dict.fromkeys(
            "append to it" if isinstance(op, Append) else "take items off it"
            for op in state.ops
            if op.key == error.key and isinstance(op, Append | Trim)
        )
    )
    text = f"the key {error.key!r} of its state holds {error.found} where {error.expected} is expected"
    if asked:
        text += f" (asked for: {asked})"
    return Failure(type="StateCorruptError", message=f"{text}; delete the key, or put back what it held")
