"""What a supervisor is asked to do: child specs, strategy, restart intensity, backoff.

This module decides what is valid and the defaults (OTP's). It starts nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar, TypeVarTuple

import attrs
import trio

from ._errors import SpecError


class Restart(enum.StrEnum):
    """When a child that ended by itself is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """When its reason was abnormal."""
    TEMPORARY = "temporary"
    """Never, not even with its siblings; its spec is deleted when it ends."""


class ChildType(enum.StrEnum):
    WORKER = "worker"
    SUPERVISOR = "supervisor"


class Strategy(enum.StrEnum):
    """Which children are restarted when one fails."""

    ONE_FOR_ONE = "one_for_one"
    """It alone."""
    ONE_FOR_ALL = "one_for_all"
    """All of them."""
    REST_FOR_ONE = "rest_for_one"
    """It and those that were started after it."""


class AutoShutdown(enum.StrEnum):
    """When the supervisor ends because significant children ended by themselves and are not restarted."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class BrutalKill(enum.Enum):
    BRUTAL_KILL = "brutal_kill"


class Ignore(enum.Enum):
    IGNORE = "ignore"


BRUTAL_KILL: Final = BrutalKill.BRUTAL_KILL
"""`shutdown`: kill at once, without time to clean up."""
INFINITY: Final = math.inf
"""`shutdown`: wait as long as it takes."""
IGNORE: Final = Ignore.IGNORE
"""Returned by a child that has nothing to do: not a failure, not restarted, its spec is kept."""


class StartFunction(Protocol):
    """The body of a child. It calls `task_status.started(value)` once it is ready, and runs until it is done."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[object]: ...


ArgsT = TypeVarTuple("ArgsT")


class DynamicStartFunction(Protocol[*ArgsT]):
    """The body of a dynamic child: as `StartFunction`, with the arguments of `start_child`."""

    def __call__(self, *args: *ArgsT, task_status: trio.TaskStatus[Any]) -> Awaitable[object]: ...


_E = TypeVar("_E", bound=enum.StrEnum)


def _choice(kind: type[_E], where: str, field: str, value: object) -> _E:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(member.value for member in kind)
        raise SpecError(where, field, f"must be one of {names}, not {value!r}") from None


def _is_number(value: object) -> bool:
    # bool is an int to Python, and never what was meant.
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _check_number(where: str, field: str, value: object, minimum: float, *, exclusive: bool = False) -> None:
    if _is_number(value):
        number = float(value)  # pyright: ignore[reportArgumentType] - it is one
        if math.isfinite(number) and (number > minimum if exclusive else number >= minimum):
            return
    relation = "greater than" if exclusive else "at least"
    raise SpecError(where, field, f"must be a finite number {relation} {minimum:g}, not {value!r}")


def _default_shutdown(spec: ChildSpec | ChildTemplate[Any]) -> float:
    return INFINITY if spec.type == ChildType.SUPERVISOR else 5.0


@attrs.frozen
class ChildSpec:
    """How one child is started, stopped and restarted.

    Args:
        id: unique among its siblings.
        start: the child's body, see `StartFunction`. Give it arguments with `functools.partial`.
        restart: see `Restart`.
        type: whether the child is itself a supervisor.
        shutdown: seconds that it gets to end after it was cancelled, `INFINITY`, or `BRUTAL_KILL`. 5 s for a
            worker, `INFINITY` for a supervisor: any other value can cut off the children below it.
        significant: its end can end the supervisor, see `AutoShutdown`.
        start_timeout: seconds until it must be ready; None: no limit.
        liveness: once it is ready, it must call `progress()` at least this often, in seconds; otherwise it is ended and
            has failed as `Unresponsive`. None: it need not. A child that blocks Trio's thread cannot be noticed.
        kill: called once, with no arguments, when the shutdown time is over. Trio cannot kill a task: a child
            that stands for a process ends that process here, so that its task comes to an end. Must not raise.
    """

    id: str
    start: StartFunction
    restart: Restart = attrs.field(kw_only=True, default=Restart.PERMANENT)
    type: ChildType = attrs.field(kw_only=True, default=ChildType.WORKER)
    shutdown: float | BrutalKill = attrs.field(kw_only=True, default=attrs.Factory(_default_shutdown, takes_self=True))
    significant: bool = attrs.field(kw_only=True, default=False)
    start_timeout: float | None = attrs.field(kw_only=True, default=None)
    liveness: float | None = attrs.field(kw_only=True, default=None)
    kill: Callable[[], None] | None = attrs.field(kw_only=True, default=None)

    def __attrs_post_init__(self) -> None:
        where = "child spec"
        # Values often come from configuration, past any type checker.
        if not isinstance(self.id, str) or not self.id:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SpecError(where, "id", f"must be a non-empty string, not {self.id!r}")
        where = f"child {self.id!r}"
        if not callable(self.start):
            raise SpecError(where, "start", f"must be an async function, not {self.start!r}")
        object.__setattr__(self, "restart", _choice(Restart, where, "restart", self.restart))
        object.__setattr__(self, "type", _choice(ChildType, where, "type", self.type))
        if self.shutdown is not BRUTAL_KILL and not (_is_number(self.shutdown) and float(self.shutdown) >= 0):
            problem = f"must be seconds (at least 0), INFINITY or BRUTAL_KILL, not {self.shutdown!r}"
            raise SpecError(where, "shutdown", problem)
        if not isinstance(self.significant, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SpecError(where, "significant", f"must be True or False, not {self.significant!r}")
        if self.significant and self.restart is Restart.PERMANENT:
            problem = "cannot be True for a permanent child: it is always restarted"
            raise SpecError(where, "significant", problem)
        if self.start_timeout is not None:
            _check_number(where, "start_timeout", self.start_timeout, 0, exclusive=True)
        if self.liveness is not None:
            _check_number(where, "liveness", self.liveness, 0, exclusive=True)
            if self.type is ChildType.SUPERVISOR:
                raise SpecError(where, "liveness", "is for workers: give it to the supervisor's children")
        if self.kill is not None and not callable(self.kill):
            raise SpecError(where, "kill", f"must be a function or None, not {self.kill!r}")


@attrs.frozen
class ChildTemplate(Generic[*ArgsT]):
    """What the children of a dynamic supervisor have in common.

    Args:
        id: the prefix of their ids: "job" gives "job-1", "job-2" and so on.
        start: their body, called with the arguments of `start_child`.
        kill: called with the same arguments.

    The other fields are those of `ChildSpec`. There is no `significant`: a dynamic supervisor has no `auto_shutdown`.
    """

    id: str
    start: DynamicStartFunction[*ArgsT]
    restart: Restart = attrs.field(kw_only=True, default=Restart.PERMANENT)
    type: ChildType = attrs.field(kw_only=True, default=ChildType.WORKER)
    shutdown: float | BrutalKill = attrs.field(kw_only=True, default=attrs.Factory(_default_shutdown, takes_self=True))
    start_timeout: float | None = attrs.field(kw_only=True, default=None)
    liveness: float | None = attrs.field(kw_only=True, default=None)
    kill: Callable[[*ArgsT], None] | None = attrs.field(kw_only=True, default=None)
    spec: ChildSpec = attrs.field(init=False, repr=False, eq=False)
    """The same as a `ChildSpec`, for the state machine, which gives the arguments separately."""

    def __attrs_post_init__(self) -> None:
        start: Any = self.start
        kill: Any = self.kill
        spec = ChildSpec(
            self.id,
            start,
            restart=self.restart,
            type=self.type,
            shutdown=self.shutdown,
            start_timeout=self.start_timeout,
            liveness=self.liveness,
            kill=kill,
        )
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "restart", spec.restart)
        object.__setattr__(self, "type", spec.type)


@attrs.frozen
class Backoff:
    """How long to wait before a restart. The n-th in a row waits `initial * factor**(n-1)` seconds, at most `max`.

    Jitter takes away up to that share of the wait, drawn evenly. It shortens rather than lengthens, so that `max`
    holds and children that have all reached it still do not return in step.

    Args:
        reset_after: seconds of running after which the next failure counts as the first again.
    """

    initial: float = 0.1
    factor: float = 2.0
    max: float = 30.0
    jitter: float = 0.2
    reset_after: float = 60.0

    def __attrs_post_init__(self) -> None:
        _check_number("backoff", "initial", self.initial, 0)
        _check_number("backoff", "factor", self.factor, 1)
        _check_number("backoff", "max", self.max, 0)
        _check_number("backoff", "jitter", self.jitter, 0)
        _check_number("backoff", "reset_after", self.reset_after, 0)
        if self.max < self.initial:
            raise SpecError("backoff", "max", f"must be at least initial ({self.initial:g}), not {self.max!r}")
        if self.jitter > 1:
            raise SpecError("backoff", "jitter", f"must be at most 1, not {self.jitter!r}")

    def delay(self, attempt: int, draw: float) -> float:
        """The wait before restart number `attempt` (from 1) in a row; `draw` is even in [0, 1)."""
        try:
            full = min(self.max, self.initial * float(self.factor) ** (attempt - 1))
        except OverflowError:
            full = self.max
        return full * (1 - self.jitter * draw)


@attrs.frozen
class SupervisorFlags:
    """How a supervisor treats its children. The defaults are OTP's.

    More than `intensity` restarts within `period` seconds, of all children together, make it give up.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    backoff: Backoff | None = None

    def __attrs_post_init__(self) -> None:
        where = "supervisor flags"
        object.__setattr__(self, "strategy", _choice(Strategy, where, "strategy", self.strategy))
        auto_shutdown = _choice(AutoShutdown, where, "auto_shutdown", self.auto_shutdown)
        object.__setattr__(self, "auto_shutdown", auto_shutdown)
        if not isinstance(self.intensity, int) or isinstance(self.intensity, bool) or self.intensity < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SpecError(where, "intensity", f"must be a whole number, at least 0, not {self.intensity!r}")
        _check_number(where, "period", self.period, 0, exclusive=True)
        if self.backoff is not None and not isinstance(self.backoff, Backoff):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SpecError(where, "backoff", f"must be a Backoff or None, not {self.backoff!r}")


@attrs.frozen
class SpecChange:
    """What a change of a running supervisor came to, as ids of children.

    `changed` had a spec already and have the new one, `added` are there but not started, `kept` were not named.
    """

    changed: tuple[str, ...]
    added: tuple[str, ...]
    kept: tuple[str, ...]


def check_child_specs(specs: Iterable[ChildSpec], flags: SupervisorFlags) -> tuple[ChildSpec, ...]:
    """Checks specs together with each other and with the flags, and returns them; starts nothing.

    Raises:
        SpecError: what does not fit.
    """
    _check_kind("supervisor", "flags", SupervisorFlags, flags)
    try:
        checked = tuple(specs)
    except TypeError:
        raise SpecError("supervisor", "specs", f"must be a list of ChildSpec, not {specs!r}") from None
    seen: set[str] = set()
    for spec in checked:
        _check_kind("supervisor", "child spec", ChildSpec, spec)
        if spec.id in seen:
            raise SpecError(f"child {spec.id!r}", "id", "is used by more than one child")
        seen.add(spec.id)
        if spec.significant and flags.auto_shutdown is AutoShutdown.NEVER:
            problem = "cannot be True where the supervisor's auto_shutdown is never"
            raise SpecError(f"child {spec.id!r}", "significant", problem)
    return checked


def check_template(template: object) -> None:
    """Checks that it is one.

    Raises:
        SpecError: it is not.
    """
    _check_kind("dynamic supervisor", "template", ChildTemplate, template)


def _check_kind(where: str, field: str, kind: type, value: object) -> None:
    if not isinstance(value, kind):
        raise SpecError(where, field, f"must be a {kind.__name__}, not {value!r}")


def check_dynamic_flags(flags: SupervisorFlags, max_children: int | None) -> None:
    """Checks what a dynamic supervisor is asked for: its children are independent of each other.

    Raises:
        SpecError: what does not fit.
    """
    where = "dynamic supervisor"
    _check_kind(where, "flags", SupervisorFlags, flags)
    if flags.strategy is not Strategy.ONE_FOR_ONE:
        raise SpecError(where, "strategy", f"must be one_for_one, not {flags.strategy}")
    if flags.auto_shutdown is not AutoShutdown.NEVER:
        raise SpecError(where, "auto_shutdown", f"must be never, not {flags.auto_shutdown}")
    if max_children is None:
        return
    if not isinstance(max_children, int) or isinstance(max_children, bool) or max_children < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SpecError(where, "max_children", f"must be a whole number, at least 0, or None, not {max_children!r}")
