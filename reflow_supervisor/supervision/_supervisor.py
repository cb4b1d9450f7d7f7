"""The static supervisor, OTP's `supervisor`: children with specs of their own, started in order."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import trio

from ._driver import DEFAULT_FLAGS, RunningSupervisor, around_a_block, ignore_event
from ._events import Event
from ._machine import Machine
from ._messages import CycleChild, DeleteChild, RestartChild, StartChild
from ._specs import ChildSpec, SpecChange, SupervisorFlags


class Supervisor(RunningSupervisor[Machine]):
    """A running supervisor. Made by `open_supervisor` and `run_supervisor`.

    Questions are answered at once. Calls that start or stop a child wait until that is done, and so for what is
    already being done to the same child; a caller that is cancelled stops waiting, and what it asked for goes on.
    All of them raise `SupervisorEndedError` once the supervisor is ending, `ChildNotFoundError` for an unknown id.
    """

    def __init__(
        self,
        specs: Iterable[ChildSpec],
        flags: SupervisorFlags,
        *,
        name: str,
        clock: Callable[[], float],
        rng: random.Random | None,
        on_event: Callable[[Event], None],
    ) -> None:
        machine = Machine(name, specs, flags, random.Random() if rng is None else rng)
        super().__init__(machine, name=name, clock=clock, on_event=on_event)

    def get_childspec(self, child_id: str) -> ChildSpec:
        return self._machine.spec(child_id)

    async def start_child(self, spec: ChildSpec) -> object:
        """Adds a child after the others and starts it. Returns what it was started with, or IGNORE.

        Raises:
            ChildAlreadyStartedError: a child of that id is running.
            ChildAlreadyPresentError: a child of that id exists and is not running.
            SpecError: the spec does not fit to the supervisor's flags.
            StartFailedError: it did not become ready; its spec is discarded.
        """
        return await self._call(lambda call: StartChild(call, spec))

    async def restart_child(self, child_id: str) -> object:
        """Starts a stopped child. Not counted as a restart. Returns what it was started with, or IGNORE.

        Raises:
            ChildRunningError, ChildRestartingError: it is not stopped.
            StartFailedError: it did not become ready, and stays stopped.
        """
        return await self._call(lambda call: RestartChild(call, child_id))

    async def restart(self, child_id: str) -> object:
        """Stops a child, whatever it is doing, and starts it anew. Not counted as a restart, and the backoff begins
        again at its first step. Returns what it was started with, or IGNORE.

        Raises:
            StartFailedError: it did not become ready, and stays stopped.
        """
        return await self._call(lambda call: CycleChild(call, child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forgets a stopped child.

        Raises:
            ChildRunningError, ChildRestartingError: it is not stopped.
        """
        await self._call(lambda call: DeleteChild(call, child_id))

    def change(self, specs: Iterable[ChildSpec] | None = None, flags: SupervisorFlags | None = None) -> SpecChange:
        """Replaces specs and flags while it runs: OTP's `code_change`. All of it is done at once, or nothing.

        Nothing is started or stopped by it. A child that is named has the new spec: what concerns its end (`restart`,
        `shutdown`, `significant`) from now on, the rest from its next start. A new one is added, but not started:
        see `restart_child`. One that is not named stays as it is, behind the others; `terminate_child` and
        `delete_child` remove it. The order of the specs is the new start order.

        Args:
            specs: None: no change. The flags alone may turn `auto_shutdown` off under significant children, which
                then no longer end the supervisor.
            flags: None: no change. Restarts that are in the window stay there.

        Raises:
            SpecError: the specs do not fit together or to the flags.
            SupervisorEndedError: it is ending.
        """
        return self._machine.change(specs, flags)


async def run_supervisor(
    specs: Iterable[ChildSpec] = (),
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = ignore_event,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A supervisor as the child of another: `ChildSpec(id, partial(run_supervisor, specs), type=ChildType.SUPERVISOR)`.

    Each start of that child is a fresh supervisor with these specs; the `value` of the child is its `Supervisor`.

    Args:
        clock: monotonic seconds, for the restart intensity and the times of events.
        rng: draws the jitter of backoffs.
        on_event: called with each event, at once, from within the supervisor: it must not block or raise.

    Raises:
        SpecError: the specs do not fit together or to the flags.
        SupervisorFailedError: it gave up, or could not start.
    """
    supervisor = Supervisor(specs, flags, name=name, clock=clock, rng=rng, on_event=on_event)
    await supervisor.run(task_status=task_status)


@asynccontextmanager
async def open_supervisor(
    specs: Iterable[ChildSpec] = (),
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = ignore_event,
) -> AsyncGenerator[Supervisor]:
    """A supervisor around a block: entered when the first children are ready, shut down in order at its end.

    When the supervisor gives up, the block is cancelled. When it ends in good order (`auto_shutdown`, `shutdown`),
    the block goes on; `Supervisor.wait` tells. Arguments and exceptions as for `run_supervisor`.
    """
    supervisor = Supervisor(specs, flags, name=name, clock=clock, rng=rng, on_event=on_event)
    async with around_a_block(supervisor):
        yield supervisor
