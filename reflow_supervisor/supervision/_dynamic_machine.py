"""The state machine of a dynamic supervisor: OTP's `simple_one_for_one`, Elixir's `DynamicSupervisor`.

It differs from a static one in this: its children all have one spec, come one at a time and with arguments of their
own, are numbered, and are as many as `max_children`; one that stops is forgotten, whatever its restart type; and all
are stopped at once.
"""

from __future__ import annotations

import random

import attrs

from ._children import Child, Operation, Purpose
from ._errors import MaxChildrenError, SpecError, SupervisorEndedError
from ._lifecycle import LIVE
from ._machine import Machine
from ._messages import Command, StartDynamic, TerminateChild
from ._reasons import StopCause
from ._specs import ChildSpec, Ignore, Restart, SupervisorFlags, check_dynamic_flags
from ._states import ChildCounts, ChildState, Phase, StartedChild


class DynamicMachine(Machine):
    """One dynamic supervisor.

    Args:
        spec: what its children have in common; its id is the prefix of theirs.
        max_children: how many there may be at a time; None: any number.

    Raises:
        SpecError: the flags are not those of a dynamic supervisor.
    """

    def __init__(
        self, name: str, spec: ChildSpec, flags: SupervisorFlags, rng: random.Random, *, max_children: int | None
    ) -> None:
        check_dynamic_flags(flags, max_children)
        super().__init__(name, (), flags, rng)
        self._spec = spec
        self._max_children = max_children
        self._last = 0

    def counts(self) -> ChildCounts:
        counts = super().counts()
        return ChildCounts(specs=1, active=counts.active, supervisors=counts.supervisors, workers=counts.workers)

    def change_template(self, spec: ChildSpec | None, flags: SupervisorFlags | None) -> None:
        """All children have the new spec from now on, but temporary ones stay temporary. See `Supervisor.change`."""
        if self._phase in (Phase.ENDING, Phase.ENDED):
            raise SupervisorEndedError(self._name)
        if flags is not None:
            check_dynamic_flags(flags, self._max_children)
        if spec is not None and spec.id != self._spec.id:
            problem = f"must stay {self._spec.id!r}, which the children's ids begin with, not become {spec.id!r}"
            raise SpecError("child template", "id", problem)
        self.change(None, flags)
        if spec is not None:
            self._spec = spec
            # Those that were temporary have no arguments left to be started with again.
            temporary = attrs.evolve(spec, restart=Restart.TEMPORARY)
            for child in self._children.values():
                child.spec = temporary if child.temporary else spec

    def _do_command(self, command: Command) -> None:
        match command:
            case StartDynamic():
                self._start_dynamic(command)
            case TerminateChild(call, child_id) if child_id not in self._children and self._was_child(child_id):
                self._effects.reply(call, None)
            case TerminateChild():
                super()._do_command(command)
            case _:
                raise AssertionError(f"a dynamic supervisor does not do this: {command}")

    def _start_dynamic(self, command: StartDynamic) -> None:
        if self._max_children is not None and len(self._children) >= self._max_children:
            self._effects.reply(command.call, MaxChildrenError(self._name, self._max_children))
            return
        self._last += 1
        child = self._add(f"{self._spec.id}-{self._last}", self._spec, command.args)
        self._run(Operation(Purpose.START_CHILD, StopCause.OPERATOR, start=[child], call=command.call))

    def _was_child(self, child_id: str) -> bool:
        prefix, _, number = child_id.rpartition("-")
        if prefix != self._spec.id or not number.isdecimal() or len(number) > len(str(self._last)):
            return False
        return number == str(int(number)) and 0 < int(number) <= self._last

    def _start(self, child: Child) -> None:
        super()._start(child)
        if child.temporary and child.spec.kill is None:
            # It will not be started again: its arguments need not live as long as it does.
            child.args = ()

    def _started(self, child: Child, value: object) -> None:
        super()._started(child, value if isinstance(value, Ignore) else StartedChild(child.id, value))

    def _forgets(self, child: Child) -> bool:
        return True

    def _stop_order(self) -> list[Child]:
        """All at once: each has its own shutdown time, and the operation only waits for them."""
        order = super()._stop_order()
        for child in order:
            if child.state in LIVE and child.state is not ChildState.STOPPING:
                self._stop(child, StopCause.SHUTDOWN)
        return order
