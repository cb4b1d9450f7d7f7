"""Gives signals to children, as the table in `_lifecycle.py` has them, and collects what is to be done for it."""

from __future__ import annotations

import math
from typing import TypedDict

from ._children import Child
from ._errors import SupervisionError
from ._events import Event
from ._lifecycle import TRANSITIONS, Effect, Signal
from ._messages import Action, Cancel, ClearTimer, Kill, Reply, Report, SetTimer, Start
from ._specs import BRUTAL_KILL, ChildSpec


class About(TypedDict):
    """What every event of a child says."""

    supervisor: str
    time: float
    child_id: str
    incarnation: int


class Effects:
    """`now` is the time of the input at work."""

    def __init__(self, name: str) -> None:
        self.now = 0.0
        self._name = name
        self._actions: list[Action] = []
        self._timers: dict[int, Child] = {}
        self._last_timer = 0

    def take(self) -> list[Action]:
        """What is to be done, in that order."""
        actions, self._actions = self._actions, []
        return actions

    def add(self, action: Action) -> None:
        self._actions.append(action)

    def reply(self, call: int, outcome: object | SupervisionError) -> None:
        self._actions.append(Reply(call, outcome))

    def report(self, event: Event) -> None:
        self._actions.append(Report(event))

    def about(self, child: Child) -> About:
        return {"supervisor": self._name, "time": self.now, "child_id": child.id, "incarnation": child.incarnation}

    def fired(self, timer: int) -> Child | None:
        """The child whose timer that is; None, if it was cleared while it fired."""
        child = self._timers.pop(timer, None)
        if child is not None:
            child.timer = None
        return child

    def signal(self, child: Child, signal: Signal, delay: float = 0.0) -> None:
        """`delay` is the backoff, for `Signal.WAIT`."""
        try:
            child.state, effects = TRANSITIONS[child.state, signal]
        except KeyError:
            raise AssertionError(f"{child.id} is {child.state}: {signal} cannot be") from None
        for effect in effects:
            self._bring_about(child, effect, delay)

    def _bring_about(self, child: Child, effect: Effect, delay: float) -> None:
        match effect:
            case Effect.START_TASK:
                child.running_spec = child.spec
                self.add(Start(child.id, child.incarnation, child.spec, child.args))
            case Effect.CANCEL_TASK:
                self.add(Cancel(child.id, child.incarnation))
            case Effect.KILL:
                child.killed = True
                self.add(Kill(child.id, running_spec(child), child.args))
            case Effect.CLEAR_TIMER:
                self._clear_timer(child)
            case Effect.SET_START_TIMER:
                start_timeout = running_spec(child).start_timeout
                if start_timeout is not None:
                    self._set_timer(child, start_timeout)
            case Effect.SET_LIVENESS_TIMER:
                liveness = running_spec(child).liveness
                if liveness is not None:
                    self.watch(child, liveness)
            case Effect.SET_SHUTDOWN_TIMER:
                if child.spec.shutdown is BRUTAL_KILL:
                    child.shutdown_time = None
                    self.signal(child, Signal.OVERDUE)
                elif math.isfinite(child.spec.shutdown):
                    child.shutdown_time = child.spec.shutdown
                    self._set_timer(child, child.spec.shutdown)
            case Effect.SET_BACKOFF_TIMER:
                child.next_retry_at = self.now + delay
                self._set_timer(child, delay)

    def watch(self, child: Child, delay: float) -> None:
        """Asks after that time when the child made progress last."""
        self._set_timer(child, delay, (child.id, child.incarnation))

    def _set_timer(self, child: Child, delay: float, watch: tuple[str, int] | None = None) -> None:
        self._last_timer += 1
        child.timer = self._last_timer
        self._timers[child.timer] = child
        self.add(SetTimer(child.timer, delay, watch))

    def _clear_timer(self, child: Child) -> None:
        if child.timer is not None:
            del self._timers[child.timer]
            self.add(ClearTimer(child.timer))
            child.timer = None


def running_spec(child: Child) -> ChildSpec:
    """What the child was started with: its spec may have been replaced since."""
    assert child.running_spec is not None, f"{child.id} was never started"
    return child.running_spec
