"""The dynamic supervisor: OTP's `simple_one_for_one`, Elixir's `DynamicSupervisor`. For children that come and go."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, cast

import trio

from ._driver import DEFAULT_FLAGS, RunningSupervisor, around_a_block, ignore_event
from ._dynamic_machine import DynamicMachine
from ._events import Event
from ._messages import StartDynamic
from ._specs import ArgsT, ChildTemplate, Ignore, SupervisorFlags, check_template
from ._states import StartedChild


class DynamicSupervisor(RunningSupervisor[DynamicMachine], Generic[*ArgsT]):
    """A running dynamic supervisor. Made by `open_dynamic_supervisor` and `run_dynamic_supervisor`.

    A child that has stopped, for whatever reason, is forgotten, so starting and stopping one takes the same time
    whatever the number of the others. Otherwise as `Supervisor`.
    """

    dynamic: ClassVar[bool] = True

    def __init__(
        self,
        template: ChildTemplate[*ArgsT],
        flags: SupervisorFlags,
        *,
        max_children: int | None,
        name: str,
        clock: Callable[[], float],
        rng: random.Random | None,
        on_event: Callable[[Event], None],
    ) -> None:
        check_template(template)
        rng = random.Random() if rng is None else rng
        machine = DynamicMachine(name, template.spec, flags, rng, max_children=max_children)
        super().__init__(machine, name=name, clock=clock, on_event=on_event)
        self._template = template

    def get_childspec(self, child_id: str) -> ChildTemplate[*ArgsT]:
        """What all children are started from; the id must be that of one."""
        self._machine.spec(child_id)
        return self._template

    async def start_child(self, *args: *ArgsT) -> StartedChild | Ignore:
        """Starts a child with these arguments. Returns its id and what it was started with, or IGNORE.

        Raises:
            MaxChildrenError: there are `max_children` already.
            StartFailedError: it did not become ready; nothing is left of it.
        """
        return cast("StartedChild | Ignore", await self._call(lambda call: StartDynamic(call, args)))

    def change(self, template: ChildTemplate[*ArgsT] | None = None, flags: SupervisorFlags | None = None) -> None:
        """Replaces the template and the flags while it runs; see `Supervisor.change`. All or nothing.

        It holds for the children that are there, too, but those that are temporary stay so.

        Raises:
            SpecError: the flags are not those of a dynamic supervisor, or the template has another id.
            SupervisorEndedError: it is ending.
        """
        if template is not None:
            check_template(template)
        self._machine.change_template(None if template is None else template.spec, flags)
        if template is not None:
            self._template = template


async def run_dynamic_supervisor(
    template: ChildTemplate[*ArgsT],
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    max_children: int | None = None,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = ignore_event,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A dynamic supervisor as the child of another; see `run_supervisor`. A fresh one has no children.

    Args:
        max_children: how many there may be at a time, those that wait to be restarted among them; None: any number.
    """
    supervisor = DynamicSupervisor(
        template, flags, max_children=max_children, name=name, clock=clock, rng=rng, on_event=on_event
    )
    await supervisor.run(task_status=task_status)


@asynccontextmanager
async def open_dynamic_supervisor(
    template: ChildTemplate[*ArgsT],
    flags: SupervisorFlags = DEFAULT_FLAGS,
    *,
    max_children: int | None = None,
    name: str = "supervisor",
    clock: Callable[[], float] = trio.current_time,
    rng: random.Random | None = None,
    on_event: Callable[[Event], None] = ignore_event,
) -> AsyncGenerator[DynamicSupervisor[*ArgsT]]:
    """A dynamic supervisor around a block. Arguments as for `run_dynamic_supervisor`, all else as `open_supervisor`.

    At the end of the block all children are stopped at once, each with its own shutdown time.
    """
    supervisor = DynamicSupervisor(
        template, flags, max_children=max_children, name=name, clock=clock, rng=rng, on_event=on_event
    )
    async with around_a_block(supervisor):
        yield supervisor
