"""What goes into the state machine and what comes out of it.

`child_id` and `incarnation` together name one task; `call` names one management call, which gets exactly one `Reply`.
"""

from __future__ import annotations

import attrs

from ._errors import SupervisionError
from ._events import Event
from ._reasons import ExitReason
from ._specs import ChildSpec, Ignore

# --- Inputs ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Begin:
    """Start the first children."""


@attrs.frozen
class BecameReady:
    child_id: str
    incarnation: int
    value: object


@attrs.frozen
class Ended:
    """The task of a child is gone.

    `reason` is None where it ended because of `Cancel`, and IGNORE where it returned that before it was ready.
    """

    child_id: str
    incarnation: int
    reason: ExitReason | Ignore | None


@attrs.frozen
class TimerFired:
    """`progress` is when the child that the timer watches made progress last; None for a timer that watches none."""

    timer: int
    progress: float | None = None


@attrs.frozen
class ShutDown:
    """Stop everything, in order."""


@attrs.frozen
class StartChild:
    call: int
    spec: ChildSpec


@attrs.frozen
class StartDynamic:
    """Start one more child of a dynamic supervisor."""

    call: int
    args: tuple[object, ...]


@attrs.frozen
class TerminateChild:
    call: int
    child_id: str


@attrs.frozen
class RestartChild:
    """Start a stopped child."""

    call: int
    child_id: str


@attrs.frozen
class CycleChild:
    """Stop a child, whatever it is doing, and start it again."""

    call: int
    child_id: str


@attrs.frozen
class DeleteChild:
    call: int
    child_id: str


Command = StartChild | StartDynamic | TerminateChild | RestartChild | CycleChild | DeleteChild
Input = Begin | BecameReady | Ended | TimerFired | ShutDown | Command


# --- Actions ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Start:
    """Run the child in a task. `BecameReady` and `Ended` answer."""

    child_id: str
    incarnation: int
    spec: ChildSpec
    args: tuple[object, ...]


@attrs.frozen
class Cancel:
    """Cancel the child's task. `Ended` answers, when it is gone."""

    child_id: str
    incarnation: int


@attrs.frozen
class Kill:
    """Call `kill`, if the spec has it. `Cancel` has come before."""

    child_id: str
    spec: ChildSpec
    args: tuple[object, ...]


@attrs.frozen
class SetTimer:
    """`watch` is the child and the incarnation whose last progress `TimerFired` is to tell."""

    timer: int
    delay: float
    watch: tuple[str, int] | None = None


@attrs.frozen
class ClearTimer:
    timer: int


@attrs.frozen
class Report:
    event: Event


@attrs.frozen
class Reply:
    """The one answer to a command."""

    call: int
    outcome: object | SupervisionError


@attrs.frozen
class Ready:
    """The first children are ready."""


@attrs.frozen
class End:
    """No child is left, and nothing else will come: `Shutdown`, `FailedToStart` or `GaveUp`."""

    reason: ExitReason


Action = Start | Cancel | Kill | SetTimer | ClearTimer | Report | Reply | Ready | End
