"""What a supervisor is asked to do: child specs, strategy, restart intensity, backoff.

This module decides what is valid and the defaults (OTP's). It starts nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

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


def _default_shutdown(spec: ChildSpec) -> float:
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
        if self.kill is not None and not callable(self.kill):
            raise SpecError(where, "kill", f"must be a function or None, not {self.kill!r}")


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


def check_child_specs(specs: Iterable[ChildSpec], flags: SupervisorFlags) -> None:
    """Checks specs together with each other and with the flags; starts nothing.

    Raises:
        SpecError: what does not fit.
    """
    seen: set[str] = set()
    for spec in specs:
        if spec.id in seen:
            raise SpecError(f"child {spec.id!r}", "id", "is used by more than one child")
        seen.add(spec.id)
        if spec.significant and flags.auto_shutdown is AutoShutdown.NEVER:
            problem = "cannot be True where the supervisor's auto_shutdown is never"
            raise SpecError(f"child {spec.id!r}", "significant", problem)
