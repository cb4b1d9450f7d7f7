"""A supervisor and everything below it at one moment, as data."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ._specs import SupervisorFlags
from ._states import ChildInfo, ChildState, Phase


@attrs.frozen
class ChildTree:
    """A child; `below` is the supervisor that it runs, or None. Of several, it is the one that was begun last."""

    info: ChildInfo
    below: SupervisorTree | None


@attrs.frozen
class SupervisorTree:
    """A supervisor and its children, oldest first. `str` of it is a text of one line a node.

    Args:
        time: when that was, by the supervisor's clock, as the times in `ChildInfo`.
        dynamic: whether it is a dynamic supervisor.
        restarts: how many are in its window, of `flags.intensity` that may be.
        omitted: how many children are left out here.
    """

    name: str
    time: float
    dynamic: bool
    phase: Phase
    flags: SupervisorFlags
    restarts: int
    children: tuple[ChildTree, ...]
    omitted: int

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        kind = "dynamic" if self.dynamic else self.flags.strategy
        restarts = f"restarts {self.restarts}/{self.flags.intensity} in {self.flags.period:g} s"
        yield f"{indent}{self.name}: {self.phase}, {kind}, {restarts}"
        for child in self.children:
            yield f"{indent}  {_line(child.info, self.time)}"
            if child.below is not None:
                yield from child.below._lines(f"{indent}    ")
        if self.omitted:
            yield f"{indent}  and {self.omitted} more"


def _line(info: ChildInfo, now: float) -> str:
    text = f"{info.id}: {info.state}, incarnation {info.incarnation}"
    if info.last_exit is not None and info.state is not ChildState.RUNNING:
        text = f"{text}, {info.last_exit}"
    if info.next_retry_at is not None:
        text = f"{text}, next try in {max(0.0, info.next_retry_at - now):.1f} s"
    return " ".join(text.split())
