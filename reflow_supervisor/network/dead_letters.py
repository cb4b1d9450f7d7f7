"""The activations that a run gave up, on their way to where they are kept; and which of them are being replayed.

Pure bookkeeping. It decides what a letter's id is, how much may wait to be kept before nodes that give something up
have to wait, what counts as left behind by the run, and which letters a node can be given again. Where letters are
kept, and when they are fetched, their keeper decides (`workspace.letters`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import attrs
import msgspec
from reflow.wire import values

from reflow_supervisor.state.letters import Cause, Input, Letter, Port, cut

from .component import Component
from .inbox import Activation, DeadLetter, Replay
from .ports import accepts, parse_port_type

MOST_WAITING = 1000
MOST_WAITING_BYTES = 64 * 1024 * 1024
"""Letters that wait to be kept, and bytes of their inputs, at most; then what fails is held where it is."""

SHOWN = 500
"""Characters of one input as people see it."""
_SHOWN_AT_MOST = 64 * 1024
"""Bytes of an input beyond which it is not decoded to be shown."""

_ID_LENGTH = 10


@attrs.define(eq=False)
class DeadLetters:
    """Those of one run.

    `left` are the ids of those that the run gave up and that are still there; `lost` counts those that could not be
    kept; `replaying` are the ids of letters whose replay has no outcome yet.

    Args:
        run: tells this run's activations from those of every other run.
        bounded: somebody takes them away (`kept`). Where nobody does, they stay, and none ever waits.
    """

    run: str = ""
    bounded: bool = False
    left: set[str] = attrs.field(factory=set[str])
    lost: int = 0
    replaying: set[str] = attrs.field(factory=set[str])
    _waiting: dict[str, DeadLetter] = attrs.field(factory=dict[str, DeadLetter])
    _bytes: int = 0

    def __len__(self) -> int:
        """How many wait to be kept."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._waiting.values())

    @property
    def full(self) -> bool:
        return self.bounded and (len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES)

    @property
    def oldest(self) -> DeadLetter | None:
        return next(iter(self._waiting.values()), None)

    def waits(self, id: str) -> bool:
        return id in self._waiting

    def id_of(self, letter: DeadLetter) -> str:
        replay = letter.activation.replay
        return letter_id(self.run, letter.node, letter.activation.id) if replay is None else replay.letter

    def bury(self, letter: DeadLetter) -> str:
        """Takes one in, also when it is full: who gives something up asks first. Returns its id."""
        id = self.id_of(letter)
        self._waiting[id] = letter
        self._bytes += _size(letter)
        self.left.add(id)
        return id

    def kept(self, letter: DeadLetter) -> None:
        """It is where it outlasts the run."""
        self._take(letter)

    def given_up(self, letter: DeadLetter) -> None:
        """It cannot be kept."""
        self._take(letter)
        self.left.discard(self.id_of(letter))
        self.lost += 1

    @property
    def left_behind(self) -> int:
        """How many the run leaves behind as it stands."""
        return len(self.left) + self.lost

    def _take(self, letter: DeadLetter) -> None:
        id = self.id_of(letter)
        del self._waiting[id]
        self._bytes -= _size(letter)
        self.replaying.discard(id)

    def gone(self, id: str) -> None:
        """Its replay is committed, or somebody dropped it."""
        self.left.discard(id)
        self.replaying.discard(id)


def _size(letter: DeadLetter) -> int:
    return sum(memoryview(raw).nbytes for raw in letter.activation.inputs.values())


def letter_id(run: str, node: str, activation: int) -> str:
    """Ten letters and digits, always the same of one activation; 50 bits, so that among the letters of one workspace no
    two meet."""
    digest = hashlib.sha256(f"{run}\0{node}\0{activation}".encode()).digest()
    return base64.b32encode(digest)[:_ID_LENGTH].decode().lower()


def as_kept(letter: DeadLetter, run: str) -> Letter:
    """The letter in the form that outlives the run."""
    activation, failure, replay = letter.activation, letter.failure, letter.activation.replay
    component = letter.component
    declared = {} if component is None else {port.name: port.type for port in component.inports}
    last = datetime.fromtimestamp(letter.at, UTC)
    return Letter(
        id=letter_id(run, letter.node, activation.id) if replay is None else replay.letter,
        node=letter.node,
        component="" if component is None else component.name,
        run=run,
        activation=activation.id,
        source="" if component is None else component.source_hash,
        attempts=activation.failures + (0 if replay is None else replay.attempts),
        burials=1 if replay is None else replay.burials + 1,
        first=datetime.fromtimestamp(activation.first_failed, UTC) if replay is None else replay.first,
        last=last,
        cause=Cause(
            type=failure.type,
            message=failure.message,
            traceback=failure.traceback,
            file=failure.file,
            line=failure.line,
            column=failure.column,
        ),
        inputs={port: _input(raw, declared.get(port, "any")) for port, raw in activation.inputs.items()},
        initial=list(letter.initial),
    )


def _input(raw: msgspec.Raw, declared: str) -> Input:
    exact = bytes(raw)
    try:
        kind = values.peek_type(exact)
    except values.MalformedMessageError:
        kind = "?"
    return Input(type=kind, declared=declared, size=len(exact), shown=shown(raw), exact=exact)


def shown(raw: msgspec.Raw, length: int = SHOWN) -> str:
    """A message's value for people: as JSON, cut short."""
    size = memoryview(raw).nbytes
    if size > _SHOWN_AT_MOST:
        return f"({size} bytes)"
    try:
        text = values.json_text(values.to_plain(*values.decode(raw)))
    except values.MalformedMessageError:
        return f"({size} bytes that are no message)"
    return cut(text, length)


def preview(activation: Activation, length: int = SHOWN) -> str:
    """The inputs of an activation for people: `port=JSON, …`."""
    return ", ".join(f"{port}={shown(raw, length)}" for port, raw in activation.inputs.items())


def replay_of(letter: Letter) -> tuple[Mapping[str, msgspec.Raw], Replay]:
    """What a node is given again, and as what."""
    inputs = {port: msgspec.Raw(message.exact) for port, message in letter.inputs.items()}
    return inputs, Replay(letter.id, letter.attempts, letter.burials, letter.first)


def obstacle(node: str, component: Component | None, awaited: Sequence[str], ports: Mapping[str, Port]) -> str:
    """Why a letter cannot be given to its node again; "" where it can.

    Args:
        component: what the node is made of now; None: there is no such node.
        awaited: the inports that each of its activations takes a message from.
        ports: what the letter has.
    """
    if component is None:
        return f"the network has no node {node!r} any more"
    open_inports = component.open_ports and not component.inports
    for name, port in ports.items():
        declared = component.inport(name)
        if declared is None:
            if open_inports:
                continue
            return f"{component.name} has no inport {name!r} any more"
        # What did not fit before is as good as it was.
        if declared.type != port.declared and not accepts(parse_port_type(declared.type), port.type):
            return f"inport {name!r} of {component.name} is {declared.type} now, and the letter has {port.type} for it"
    if missing := [port for port in awaited if port not in ports]:
        return f"{component.name} awaits {', '.join(missing)} too now, and the letter has no message for it"
    return ""
